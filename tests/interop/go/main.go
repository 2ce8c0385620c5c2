// The three programs of etcd in one binary of ours, built from the published modules: which of
// them it is, the name that it was called by decides. Tests run it beside our own members.
//
// It adds nothing to etcd. etcdutl's commands are exported but not the command that holds them,
// so that one is put together here.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/etcdctl/v3/ctlv3"
	"go.etcd.io/etcd/etcdutl/v3/etcdutl"
	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	switch name := filepath.Base(os.Args[0]); name {
	case "etcd":
		etcdmain.Main(os.Args)
	case "etcdctl":
		ctlv3.MustStart()
	case "etcdutl":
		if err := utl().Execute(); err != nil {
			os.Exit(1)
		}
	default:
		fmt.Fprintf(os.Stderr, "called %q: call it etcd, etcdctl or etcdutl\n", name)
		os.Exit(2)
	}
}

// utl is etcdutl's root command.
func utl() *cobra.Command {
	root := &cobra.Command{Use: "etcdutl"}
	flags := root.PersistentFlags()
	flags.DurationVar(&etcdutl.FlockTimeout, "timeout", 10*time.Second, "how long to wait for a file's lock")
	flags.StringVarP(&etcdutl.OutputFormat, "write-out", "w", "simple", "the form of the output")
	root.AddCommand(
		etcdutl.NewDefragCommand(),
		etcdutl.NewSnapshotCommand(),
		etcdutl.NewHashKVCommand(),
		etcdutl.NewVersionCommand(),
		etcdutl.NewMigrateCommand(),
	)
	return root
}
