//! A replicated key-value store, small enough to read in one sitting: the walk of one PUT through
//! raft, log and network, on the crates that the server stands on.
//!
//! The files in the order of the tour: `main` ties the pieces together, `httpapi` is the door,
//! `kvstore` the state, `raft` the event loop between proposals, log, peers and commits,
//! `listener` the peer port. `gob` is how a proposal stands in the log, `link` how the peers' tasks
//! reach the loop. README.md tells the tour.

mod gob;
mod httpapi;
mod kvstore;
mod link;
mod listener;
mod raft;

use anyhow::{Context, Result, bail};
use clap::{ArgAction, Parser};
use httpapi::HttpKvApi;
use kvstore::{COMMITS_MAX, KvStore};
use peer::PeerUrl;
use raft::{NodeConfig, RaftNode};
use std::ffi::OsString;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tracing::info;
use tracing_subscriber::EnvFilter;

/// A key-value store replicated by raft
///
/// Every node serves HTTP: PUT /key sets a key to the body, GET /key reads it,
/// POST /ID with a peer URL as the body adds a node, DELETE /ID removes one.
///
/// The node keeps its log in ./raftexample-ID and its snapshots in ./raftexample-ID-snap.
/// Set RUST_LOG=debug to see each step of a PUT.
#[derive(Parser)]
#[command(name = "raftexample", version)]
struct Args {
    /// Peer URLs of all nodes, in the order of their ids
    #[arg(long, value_delimiter = ',', default_value = "http://127.0.0.1:9021")]
    cluster: Vec<String>,

    /// Id of this node: its place in --cluster, from 1
    #[arg(long, default_value_t = 1)]
    id: u64,

    /// Port to serve keys and values on
    #[arg(long, default_value_t = 9121)]
    port: u16,

    /// Join a running cluster, which a POST has told of this node
    #[arg(
        long,
        action = ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_value_t = false,
        default_missing_value = "true"
    )]
    join: bool,
}

/// Proposals on their way to raft, at most. A full channel makes PUTs wait: a node that has no
/// leader takes some, rather than memory without bound.
const PROPOSALS_MAX: usize = 1024;

/// Membership changes on their way to raft, at most. They are rare, and raft takes one at a time.
const CONF_CHANGES_MAX: usize = 1;

fn main() -> Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let args = Args::parse_from(std::env::args_os().map(long_flag));
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    runtime.block_on(run(args))
}

/// Compat: Go's flags may be written with one dash.
fn long_flag(arg: OsString) -> OsString {
    let names = ["-cluster", "-id", "-port", "-join"];
    match arg.to_str() {
        Some(text) if names.contains(&text.split('=').next().unwrap_or(text)) => {
            format!("-{text}").into()
        }
        _ => arg,
    }
}

async fn run(args: Args) -> Result<()> {
    let config = node_config(&args)?;
    let (propose_c, proposals) = mpsc::channel(PROPOSALS_MAX);
    let (conf_change_c, conf_changes) = mpsc::channel(CONF_CHANGES_MAX);
    let (commit_c, commits) = mpsc::channel(COMMITS_MAX);

    // Raft reads its log; the store starts from the snapshot that the log continues.
    let store = Arc::new(KvStore::new(propose_c));
    let node = RaftNode::start(config, store.clone(), proposals, conf_changes, commit_c)?;
    let view = node.view();

    let applying = store.clone();
    let store_done = on_thread("kvstore", move || applying.read_commits(commits))?;
    let runtime = tokio::runtime::Handle::current();
    // The loop syncs files, so it has a thread to itself.
    let mut raft_done = on_thread("raft", move || runtime.block_on(node.serve_channels()))?;

    let listener = listen(args.port).await.context("cannot serve keys: choose another --port")?;
    info!(port = args.port, "serving keys and values");
    let api = HttpKvApi { store, conf_change_c, view };
    tokio::select! {
        served = httpapi::serve_http_kv_api(api, listener) => served.context("serving keys")?,
        applied = store_done => {
            applied.context("the store's thread is gone")??;
            // It stops without an error when raft has: that tells why.
            raft_done.await.context("raft's thread is gone")??;
        }
        ended = &mut raft_done => ended.context("raft's thread is gone")??,
    }
    Ok(())
}

fn node_config(args: &Args) -> Result<NodeConfig> {
    let mut cluster = Vec::new();
    for url in &args.cluster {
        cluster.push(PeerUrl::parse_plain(url).context("--cluster")?);
    }
    let count = cluster.len() as u64;
    if !(1..=count).contains(&args.id) {
        bail!("--id {} names no node of --cluster: it must be 1 to {count}", args.id);
    }
    // Nodes that start together shall not draw the same election timeouts.
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = since_epoch.as_secs() ^ u64::from(since_epoch.subsec_nanos()) << 32;
    Ok(NodeConfig { id: args.id, cluster, join: args.join, seed })
}

/// Listens on all addresses, of both families where there are two.
async fn listen(port: u16) -> std::io::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await,
    }
}

/// Runs `work` on a thread of its own; its result can be waited for.
fn on_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<oneshot::Receiver<T>> {
    let (done, wait) = oneshot::channel();
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            // Nobody waits any more when the process is ending.
            let _ = done.send(work());
        })
        .with_context(|| format!("starting thread {name}"))?;
    Ok(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<NodeConfig> {
        let args = ["raftexample"].iter().chain(args).map(|arg| long_flag((*arg).into()));
        node_config(&Args::try_parse_from(args)?)
    }

    #[test]
    fn flags_are_upstreams_in_both_spellings() {
        let cluster = "http://127.0.0.1:1,http://127.0.0.1:2";
        for args in [
            ["--id", "2", "--cluster", cluster, "--join"],
            ["-id", "2", "-cluster", cluster, "-join=true"],
        ] {
            let config = parse(&args).expect("good flags");
            assert_eq!((config.id, config.cluster.len(), config.join), (2, 2, true));
        }
        assert!(!parse(&["--join=false"]).expect("good flags").join);
        for bad in [
            &["--id", "0"][..],
            &["--id", "2"],
            &["--cluster", "127.0.0.1:1"],
            &["--cluster", "http://127.0.0.1:1,"],
            &["--port", "70000"],
            &["--join", "true"],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
