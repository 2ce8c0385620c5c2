//! The load tool: upstream's `benchmark` with its sub-commands, flags and summaries, and more.
//!
//! Floor 7. It runs on the servers' cores, so it is made to cost little: one thread, HTTP/2 frames
//! written by hand (`wire`), answers looked at and not decoded (`proto`). `engine.rs` is the first
//! file to read: closed loads find the throughput, open ones the latency, with what a stall holds
//! up counted in. What it is not: a client library, nor a judge; `cargo xtask bench --beside etcd`
//! starts two servers and compares what this prints.

mod args;
mod bench;
mod empty;
mod engine;
mod keys;
mod loads;
mod meter;
mod proto;
mod report;
mod wire;

use anyhow::Result;
use args::{Cli, Load};
use bench::Bench;
use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quorate-benchmark: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let start = |name: &str| Bench::start(name, &cli.common);
    match &cli.load {
        Load::Put(flags) => loads::put::run(start("put")?, flags),
        Load::Range(flags) => loads::range::run(start("range")?, flags),
        Load::TxnPut(flags) => loads::txn::run_put(start("txn-put")?, flags),
        Load::TxnMixed(flags) => loads::txn::run_mixed(start("txn-mixed")?, flags),
        Load::LeaseKeepalive(flags) => loads::lease::run(start("lease-keepalive")?, flags),
        Load::K8s(flags) => loads::k8s::run(start("k8s")?, flags),
        Load::Watch(flags) => loads::watch::run(start("watch")?, flags),
        Load::WatchLatency(flags) => loads::watch_latency::run(start("watch-latency")?, flags),
        Load::WatchGet(flags) => loads::watch_latency::run_get(start("watch-get")?, flags),
        Load::List(flags) => loads::list::run(start("list")?, flags),
        Load::LeaseStorm(flags) => loads::lease_storm::run(start("lease-storm")?, flags),
        Load::WatchFanout(flags) => loads::watch::run_fanout(start("watch-fanout")?, flags),
        Load::ReadUnderWrite(flags) => {
            loads::beside_writes::run_reads(start("read-under-write")?, flags)
        }
        Load::CompactUnderLoad(flags) => {
            loads::beside_writes::run_compaction(start("compact-under-load")?, flags)
        }
        Load::Restart(flags) => loads::process::run_restart(&cli.common, flags),
        Load::Idle(flags) => loads::process::run_idle(&cli.common, flags),
        Load::EmptyServer(flags) => empty::run(flags),
    }
}
