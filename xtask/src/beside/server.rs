//! A server that is measured: a child with its own ports, folder and log.

use super::programs::{Kind, Program, flags};
use super::slow;
use anyhow::{Context as _, Result, bail, ensure};
use std::io::{BufRead as _, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

/// A server that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    client: SocketAddr,
}

/// Where a server listens: for clients, and for peers.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub client: SocketAddr,
    pub peer: SocketAddr,
}

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What servers say once clients can come.
const READY: [&str; 2] = ["ready to serve client requests", "listening on "];

impl Server {
    /// Starts a program on a folder, and waits until it says that it is ready. With a trace its
    /// disk is slow, and the trace is where that is written down.
    pub fn start(
        program: &Program,
        data: &Path,
        addresses: Addresses,
        trace: Option<&Path>,
    ) -> Result<Self> {
        let client = addresses.client;
        let mut command = match trace {
            Some(trace) => slow::below_strace(&program.path, trace)?,
            None => Command::new(&program.path),
        };
        match program.kind {
            Kind::Etcd => {
                command.args(addresses.flags(data));
            }
            Kind::Empty => {
                command.arg("empty-server").arg(format!("--listen={client}"));
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| program.path.display().to_string())?;
        let (ready_tx, ready) = sync_channel(1);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let server = Self { child, client };
        keep(stdout.context("stdout is a pipe")?, ready_tx.clone());
        keep(stderr.context("stderr is a pipe")?, ready_tx);
        match ready.recv_timeout(PATIENCE) {
            Ok(None) => Ok(server),
            Ok(Some(log)) => bail!("{} ended; its log:\n{log}", program.name),
            Err(_) => bail!("{} does not get ready", program.name),
        }
    }

    /// Where clients reach it.
    pub fn address(&self) -> SocketAddr {
        self.client
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(&mut self) -> Result<()> {
        let ended = self.child.try_wait().context("asking for a server")?;
        ensure!(ended.is_none(), "a server ended by itself: {ended:?}");
        let kill = format!("kill -TERM {}", self.pid());
        let asked = Command::new("sh").args(["-c", &kill]).status().context("asking to end")?;
        ensure!(asked.success(), "a server cannot be asked to end");
        self.child.wait().context("waiting for a server that ends")?;
        Ok(())
    }

    /// Ends it; fails if it had ended by itself.
    pub fn kill(&mut self) -> Result<()> {
        let ended = self.child.try_wait().context("asking for a server")?;
        ensure!(ended.is_none(), "a server ended by itself: {ended:?}");
        self.child.kill().context("killing a server")?;
        self.child.wait().context("waiting for a killed server")?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; either way nothing is left running.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Reads a log for as long as there is one, because a full pipe would stop the server. Tells once
/// that it is ready, or at the end what the log was.
fn keep(log: impl Read + Send + 'static, ready: SyncSender<Option<String>>) {
    std::thread::spawn(move || {
        let (mut text, mut is_ready) = (String::new(), false);
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            if is_ready {
                continue;
            }
            is_ready = READY.iter().any(|words| line.contains(words));
            text += &line;
            text.push('\n');
            if is_ready {
                // Nobody waits for a second log's word.
                ready.try_send(None).ok();
            }
        }
        if !is_ready && !text.is_empty() {
            ready.try_send(Some(text)).ok();
        }
    });
}

impl Addresses {
    /// Nobody listens there. Both are held until both are known, so that they differ.
    pub fn free() -> Result<Self> {
        let bind = || TcpListener::bind("127.0.0.1:0").context("finding a free port");
        let (one, other) = (bind()?, bind()?);
        Ok(Self { client: one.local_addr()?, peer: other.local_addr()? })
    }

    /// The flags of a server that listens there.
    pub fn flags(self, data: &Path) -> Vec<String> {
        flags(&self.client.to_string(), &self.peer.to_string(), data)
    }
}
