//! The server.

use anyhow::{Context, Result};
use server::{Config, Server};
use tokio::net::TcpListener;
use tokio::sync::watch;

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut config = Config::default();
    let mut listen = "127.0.0.1:2379".to_owned();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let bare = matches!(arg.trim_start_matches('-'), "unsafe-no-fsync");
        let arg = if bare { format!("{arg}=true") } else { arg };
        let arg = if arg.contains('=') { arg } else { format!("{arg}={}", args.next().context("value")?) };
        let (k, v) = arg.split_once('=').context("flags are --name=value")?;
        let strip = |v: &str| v.trim_start_matches("http://").to_owned();
        match k.trim_start_matches('-') {
            "name" => config.name = v.into(),
            "data-dir" => config.data_dir = v.into(),
            "listen-client-urls" => listen = strip(v),
            "advertise-client-urls" => config.advertise_client_urls = vec![v.into()],
            "initial-advertise-peer-urls" => config.advertise_peer_urls = vec![v.into()],
            "initial-cluster" => {
                config.initial_cluster = member::InitialCluster::parse(v)?;
            }
            "unsafe-no-fsync" => config.unsafe_no_fsync = v == "true",
            "quota-backend-bytes" => config.quota_bytes = Some(v.parse()?),
            "listen-peer-urls" | "log-level" | "logger" => {}
            other => anyhow::bail!("unknown {other}"),
        }
    }
    let listener = TcpListener::bind(&listen).await?;
    let server = Server::start(config).await?;
    let (stop, stopping) = watch::channel(false);
    let edge = tokio::spawn(serve::edge::run(listener, serve::grpc::routes(&server), stopping));
    server.ready().await;
    tracing::info!("ready to serve client requests");
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = term.recv() => {}
        fatal = server.ended() => { tracing::error!("{fatal:?}"); }
    }
    stop.send_replace(true);
    edge.await?;
    server.stop().await;
    Ok(())
}
