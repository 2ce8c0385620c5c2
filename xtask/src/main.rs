//! `cargo xtask <verb>`: the project's one door. Each verb is a file.

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

mod bench;
mod beside;
mod budget;
mod check;
mod codegen;
mod evidence;
mod fix;
mod fuzz;
mod peers;
mod shell;
mod test;
mod tidy;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Develop, check and measure Quorate")]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run every check; changes no source
    Check {
        /// Leave the tests out
        #[arg(long)]
        no_test: bool,
    },
    /// Format, apply the lints' suggestions, generate
    Fix,
    /// Generate the message types from the .proto files
    Codegen {
        /// Write nothing; fail if the committed files differ
        #[arg(long)]
        check: bool,
    },
    /// Fetch the real etcd that interoperability tests run against
    Peers,
    /// Stand in for protobuf's compiler, for a build script that asks for it
    #[command(hide = true)]
    Protoc {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run the tests and print their figures
    Test {
        /// Arguments for `cargo test` in place of `--workspace`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Check the house rules no compiler knows
    Tidy,
    /// List the must-show lines, or run one
    Evidence {
        /// The line, such as 2.1
        line: Option<String>,
        /// Run although files differ from the commit; such a run is no evidence
        #[arg(long)]
        dirty: bool,
    },
    /// Run the benches, or one; or our server beside the real etcd
    Bench {
        /// commits, append, store, compact, image or puts; beside etcd a line, such as 5.1, or a
        /// row, such as put
        name: Option<String>,
        #[command(flatten)]
        options: beside::Options,
    },
    /// Start a local cluster, and take orders on what is to happen to it
    Cluster {
        /// See --help
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Count the instructions of six paths, and compare them with what they may take
    Budget {
        /// Write down what is counted now
        #[arg(long)]
        write: bool,
    },
    /// Let a fuzzer look for inputs that break a reader
    Fuzz {
        /// The target; tests/fuzz/src/lib.rs lists them
        target: String,
        /// How long to look
        #[arg(default_value_t = 60)]
        seconds: u64,
        /// Put what was found so far and reaches something new into the committed corpus
        #[arg(long)]
        distill: bool,
    },
}

fn main() -> ExitCode {
    match run(Args::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            let code = error.downcast_ref::<shell::Failed>().map_or(1, |failed| failed.code);
            ExitCode::from(code)
        }
    }
}

fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::Check { no_test } => check::run(!no_test),
        Verb::Fix => fix::run(),
        Verb::Codegen { check: false } => codegen::run(),
        Verb::Codegen { check: true } => codegen::check(),
        Verb::Test { args } => test::run(&args),
        Verb::Peers => peers::run(),
        Verb::Protoc { args } => peers::client::protoc(&args),
        Verb::Tidy => tidy::run(),
        Verb::Evidence { line: None, .. } => evidence::list(),
        Verb::Evidence { line: Some(line), dirty } => evidence::run(&line, dirty),
        Verb::Cluster { args } => {
            let run = ["run", "--quiet", "-p", "quorate-process", "--bin", "cluster", "--"];
            let mut cluster = shell::cargo(&run);
            cluster.args(args);
            shell::run(cluster)
        }
        Verb::Budget { write } => budget::run(write),
        Verb::Fuzz { target, distill: true, .. } => fuzz::distill(&target),
        Verb::Fuzz { target, seconds, distill: false } => fuzz::run(&target, seconds),
        Verb::Bench { name, options } if options.beside.is_some() => {
            beside::run(name.as_deref(), &options)
        }
        Verb::Bench { name, .. } => bench::run(name.as_deref()),
    }
}

/// The root of the checkout this program was built from.
fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("xtask lies in a folder of the workspace").to_path_buf()
}
