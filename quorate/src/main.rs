//! The server's program: flags, ports, a member, and an end. `report.rs` logs what etcd logs of a
//! start and a stop, `system.rs` is what the program asks of the system around it.

mod report;
mod system;

use anyhow::{Context, Result};
use serve::Api;
use serve::config::{
    Asked, Checked, ConfigError, FlagError, Found, Raw, check, check_log, help, parse,
};
use serve::http::Http;
use serve::limits::{ClientRoom, raise_open_files};
use serve::log::{self, Severity};
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
    log::start();
    log::abort_on_panic();
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let args: Vec<String> = std::env::args_os().map(lossy).collect();
    let env = std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value)));
    let raw = match parse(args.iter().skip(1).cloned(), env) {
        Ok(Asked::Run(raw)) => raw,
        Ok(Asked::Version) => return print(&version()),
        Ok(Asked::Help) => return print(&help()),
        Err(error) => return refuse_flags(&args, &error),
    };
    let checked = check_log(&raw).and_then(|settings| {
        log::configure(&settings).map_err(|text| {
            let name = "log-outputs";
            ConfigError { name, text, found: Found::Verifying }
        })?;
        report::flags(&raw, &args);
        check(&raw)
    });
    let checked = match checked {
        Ok(checked) => checked,
        Err(error) => return refuse(&args, &error),
    };
    report::beginning(&raw, &checked);
    raise_open_files();
    let locked = if checked.lock_memory { system::lock_memory() } else { Ok(()) };
    let ran = locked.and_then(|()| {
        tokio::runtime::Runtime::new().context("starting threads")?.block_on(run(&raw, checked))
    });
    match ran {
        Ok(Some(signal)) => {
            system::end_by(signal);
            ExitCode::SUCCESS
        }
        Ok(None) => ExitCode::SUCCESS,
        // Compat: whatever it is that failed.
        Err(error) => fail("discovery failed", &format!("{error:#}")),
    }
}

/// Compat: what is wrong with the command line itself is said without a log.
fn refuse_flags(args: &[String], error: &FlagError) -> ExitCode {
    match error {
        FlagError::Shadowed { variable } => {
            let field = ("environment-variable", variable.clone().into());
            log::write(Severity::Fatal, &error.to_string(), [field]);
        }
        FlagError::FileUrls { .. } => say(&format!("{error}\n")),
        _ if error.is_usage() => {
            say(&format!("{error}\nquorate --help lists all flags\n"));
            return ExitCode::from(BAD_FLAG);
        }
        _ => report::refused(args, &error.to_string()),
    }
    ExitCode::from(FAILED)
}

fn refuse(args: &[String], error: &ConfigError) -> ExitCode {
    match error.found {
        Found::BeforeLog => {
            say(&format!("{error}\n"));
            return ExitCode::from(BAD_FLAG);
        }
        Found::Verifying => {
            report::refused(args, &error.text);
            if error.text.starts_with("--advertise-client-urls is required") {
                tracing::warn!(error = error.text, "advertise client URLs are not set");
            }
        }
        Found::Starting => return fail("discovery failed", &error.text),
    }
    ExitCode::from(FAILED)
}

fn fail(message: &str, error: &str) -> ExitCode {
    log::write(Severity::Fatal, message, [("error", error.into())]);
    ExitCode::from(FAILED)
}

/// Runs until a signal comes, which is given back, or the member ends.
async fn run(raw: &Raw, checked: Checked) -> Result<Option<SignalKind>> {
    let is_initialized = Server::is_initialized(&checked.config)?;
    let starting = report::Starting::new(raw, &checked, is_initialized);
    let Ports { peers, clients, https, metrics: scrapers, peer_tls, .. } =
        Ports::open(&checked).await?;
    let Checked { config, client_urls, peer_urls, http2, access, extensive_metrics, .. } = checked;
    let config = Config { peer_tls, ..config };
    starting.log();
    let server = Server::start(config).await?;
    report::started(raw, &server, &peer_urls, &client_urls);
    let (stop, stopping) = watch::channel(false);
    let mut ports = JoinSet::new();
    let peer_addresses: Vec<_> =
        peers.iter().map(|port| port.local_address().unwrap_or_default()).collect();
    for (listener, address) in peers.into_iter().zip(&peer_addresses) {
        tracing::info!(address, "serving peer traffic");
        ports.spawn(server.clone().serve_peers(listener, PeerPaths(server.clone())));
    }
    let metrics = Arc::new(Metrics::new(extensive_metrics));
    let grpc = Api::grpc(&server, Arc::clone(&metrics.requests), http2);
    let http = Http::new(server.clone(), Arc::clone(&metrics), access);
    let room = ClientRoom::of_open_files();
    let api = if https.is_empty() { grpc.with(http.clone()) } else { grpc };
    let http = Api::http(http, http2);
    let of_clients = clients.into_iter().map(|port| (port, &api));
    for (port, api) in of_clients.chain(https.into_iter().map(|port| (port, &http))) {
        port.announce(api.traffic());
        let edge = serve::edge::run(port.listener, room.clone(), api.clone(), stopping.clone());
        ports.spawn(edge);
    }
    let only_metrics = Api::http(Http::only_metrics(server.clone(), metrics), http2);
    for (listener, address) in scrapers {
        tracing::info!(address, "serving metrics");
        let edge = serve::edge::run(listener, room.clone(), only_metrics.clone(), stopping.clone());
        ports.spawn(edge);
    }
    // Heard from here on: whoever is told that it is ready may stop it at once.
    let (mut interrupted, mut terminated) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let tell_ready = async {
        if server.ready().await {
            tracing::info!("ready to serve client requests");
            system::notify_ready();
        }
        std::future::pending::<()>().await;
    };
    let mut signal = None;
    let fatal = tokio::select! {
        () = tell_ready => None,
        _ = interrupted.recv() => { signal = Some(SignalKind::interrupt()); None }
        _ = terminated.recv() => { signal = Some(SignalKind::terminate()); None }
        () = server.stopping() => None,
        fatal = server.ended() => Some(fatal),
    };
    report::closing(&server, signal);
    stop.send_replace(true);
    server.stop().await;
    while ports.join_next().await.is_some() {}
    report::closed(&server, &peer_addresses);
    match fatal {
        None => Ok(signal),
        Some(fatal) => Err(anyhow::anyhow!("{fatal:?}").context("the member has ended")),
    }
}

/// Compat: the first line and their order; scripts read them.
fn version() -> String {
    format!(
        "etcd Version: {}\nGit SHA: {}\nGo Version: {}\nGo OS/Arch: {}/{}\n",
        api::version::VERSION,
        report::git_sha(),
        report::GO_VERSION,
        std::env::consts::OS,
        report::go_arch(),
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
