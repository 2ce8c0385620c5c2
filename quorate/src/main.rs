//! The server's program: flags, ports, a member, and an end.

use anyhow::{Context, Result};
use serve::Api;
use serve::config::{Asked, Checked, check, help, parse};
use serve::http::Http;
use serve::limits::{ClientRoom, raise_open_files};
use serve::metrics::Metrics;
use serve::peer_port::PeerPaths;
use serve::ports::Ports;
use server::{Config, Server};
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A put allocates some dozens of times, on one thread, and frees on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit codes as etcd's: of a bad flag, and of all else.
const BAD_FLAG: u8 = 2;
const FAILED: u8 = 1;

fn main() -> ExitCode {
    let asked = match parse(std::env::args().skip(1), std::env::vars()) {
        Ok(asked) => asked,
        Err(error) => {
            say(&format!("{error}\nquorate --help lists all flags\n"));
            return ExitCode::from(BAD_FLAG);
        }
    };
    let raw = match asked {
        Asked::Run(raw) => raw,
        Asked::Version => return print(&version()),
        Asked::Help => return print(&help()),
    };
    let ran = check(&raw).map_err(anyhow::Error::from).and_then(|checked| {
        serve::log::start(&checked.log_level, checked.log_format);
        raise_open_files();
        tokio::runtime::Runtime::new().context("starting threads")?.block_on(run(checked))
    });
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("quorate: {error:#}\n"));
            ExitCode::from(FAILED)
        }
    }
}

async fn run(checked: Checked) -> Result<()> {
    let Ports { peers, clients, https, metrics: scrapers, peer_tls, .. } =
        Ports::open(&checked).await?;
    let Checked { config, access, extensive_metrics, .. } = checked;
    let config = Config { peer_tls, ..config };
    tracing::info!(
        etcd_version = api::version::VERSION,
        quorate_version = api::version::QUORATE_VERSION,
        name = config.name,
        data_dir = %config.data_dir.display(),
        snapshot_count = config.snapshot_count,
        snapshot_catchup_entries = config.snapshot_catch_up_entries,
        v2_deprecation = "write-only",
        "starting an etcd server"
    );
    let server = Server::start(config).await?;
    let (stop, stopping) = watch::channel(false);
    let mut ports = JoinSet::new();
    for listener in peers {
        ports.spawn(server.clone().serve_peers(listener, PeerPaths(server.clone())));
    }
    let metrics = Arc::new(Metrics::new(extensive_metrics));
    let grpc = Api::grpc(&server, Arc::clone(&metrics.requests));
    let http = Http::new(server.clone(), Arc::clone(&metrics), access);
    let room = ClientRoom::of_open_files();
    let api = if https.is_empty() { grpc.with(http.clone()) } else { grpc };
    let http = Api::http(http);
    let of_clients = clients.into_iter().map(|port| (port, &api));
    for (port, api) in of_clients.chain(https.into_iter().map(|port| (port, &http))) {
        port.announce(api.traffic());
        let edge = serve::edge::run(port.listener, room.clone(), api.clone(), stopping.clone());
        ports.spawn(edge);
    }
    let only_metrics = Api::http(Http::only_metrics(server.clone(), metrics));
    for (listener, address) in scrapers {
        tracing::info!(address, "serving metrics");
        let edge = serve::edge::run(listener, room.clone(), only_metrics.clone(), stopping.clone());
        ports.spawn(edge);
    }
    if server.ready().await {
        tracing::info!("ready to serve client requests");
    }
    let (mut interrupted, mut terminated) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let fatal = tokio::select! {
        _ = interrupted.recv() => None,
        _ = terminated.recv() => None,
        () = server.stopping() => None,
        fatal = server.ended() => Some(fatal),
    };
    tracing::info!("closing etcd server");
    stop.send_replace(true);
    server.stop().await;
    while ports.join_next().await.is_some() {}
    match fatal {
        None => Ok(()),
        Some(fatal) => Err(anyhow::anyhow!("{fatal:?}").context("the member has ended")),
    }
}

/// Compat: the first line and their order; scripts read them.
fn version() -> String {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    format!(
        "etcd Version: {}\nGit SHA: quorate {}\nGo Version: none, this is Rust\nGo OS/Arch: {os}/{arch}\n",
        api::version::VERSION,
        api::version::QUORATE_VERSION,
    )
}

fn say(text: &str) {
    // Nobody can be told that there is no stderr.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn print(text: &str) -> ExitCode {
    let printed = std::io::stdout().write_all(text.as_bytes());
    if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}
