//! The server's program: flags, ports, a member, and an end.

use anyhow::{Context, Result};
use serve::config::{Asked, Checked, Url, check, help, parse};
use serve::edge::{self, Serves};
use serve::http::Http;
use serve::metrics::Metrics;
use serve::peer_port::PeerPaths;
use server::Server;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

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
    let Checked { config, client_urls, http_urls, metrics_urls, peer_urls, access, .. } = checked;
    let clients = listen(&client_urls).await?;
    let https = listen(&http_urls).await?;
    let scrapers = listen(&metrics_urls).await?;
    let peers = listen(&peer_urls).await?;
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
    let metrics = Arc::new(Metrics::new(checked.extensive_metrics));
    let warning = server.config().warning_request;
    let grpc = Some((serve::grpc::routes(&server), Arc::clone(&metrics.requests)));
    let http = Some(Http::new(server.clone(), Arc::clone(&metrics), access));
    let beside = if http_urls.is_empty() { http.clone() } else { None };
    let serves = Serves { grpc, http: beside, warning };
    let only_http = Serves { grpc: None, http, warning };
    let client_ports = clients.into_iter().zip(&client_urls).map(|port| (port, &serves));
    let http_ports = https.into_iter().zip(&http_urls).map(|port| (port, &only_http));
    for ((listener, url), serves) in client_ports.chain(http_ports) {
        ports.spawn(edge::run(listener, serves.clone(), stopping.clone()));
        tracing::info!(
            traffic = serves.traffic(),
            address = url.address,
            "serving client traffic insecurely; this is strongly discouraged!"
        );
    }
    let http = Some(Http::only_metrics(server.clone(), metrics));
    let only_metrics = Serves { grpc: None, http, warning };
    for (listener, url) in scrapers.into_iter().zip(&metrics_urls) {
        ports.spawn(edge::run(listener, only_metrics.clone(), stopping.clone()));
        tracing::info!(address = url.text, "serving metrics");
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

async fn listen(urls: &[Url]) -> Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for url in urls {
        let bound = TcpListener::bind(&url.address).await;
        listeners.push(bound.with_context(|| format!("listening on {}", url.text))?);
    }
    Ok(listeners)
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
