//! What the program asks of the system around it: memory, its init, its end.

use anyhow::{Context as _, Result};
use rustix::mm::{MlockAllFlags, mlockall};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use tokio::signal::unix::SignalKind;

/// Keeps all memory in RAM from now on.
pub fn lock_memory() -> Result<()> {
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE).context(
        "--memory-mlock: the system does not let memory be locked; it needs CAP_IPC_LOCK or a \
         higher limit of locked memory",
    )
}

/// Tells the init daemon that the server is ready, if there is one that waits for it.
pub fn notify_ready() {
    tracing::info!("notifying init daemon");
    match notify(std::env::var_os("NOTIFY_SOCKET"), b"READY=1") {
        Ok(()) => tracing::info!("successfully notified init daemon"),
        Err(error) => tracing::error!(%error, "failed to notify systemd for readiness"),
    }
}

fn notify(socket: Option<std::ffi::OsString>, message: &[u8]) -> io::Result<()> {
    let Some(path) = socket.filter(|path| !path.is_empty()) else { return Ok(()) };
    let bytes = path.as_encoded_bytes();
    // An abstract one begins with an at sign.
    let address = match bytes.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message, &address).map(drop)
}

/// Ends as one who never heard of the signal: whoever started this sees why it ended. Comes back
/// in the first process of a system, which no signal ends.
pub fn end_by(signal: SignalKind) {
    if std::process::id() != 1 {
        // It comes back only if the system has no such signal.
        let _ = signal_hook::low_level::emulate_default_handler(signal.as_raw_value());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_init_daemon_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let name = format!("@quorate-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name[1..]).expect("a name");
        let sockets = [
            (path.clone().into_os_string(), UnixDatagram::bind(&path)),
            (name.into(), UnixDatagram::bind_addr(&address)),
        ];
        for (name, socket) in sockets {
            let socket = socket.expect("a socket");
            notify(Some(name), b"READY=1").expect("somebody listens");
            let mut message = [0; 16];
            let len = socket.recv(&mut message).expect("a message");
            assert_eq!(&message[..len], b"READY=1");
        }
        notify(None, b"READY=1").expect("nobody waits");
        notify(Some("/no/such/socket".into()), b"READY=1").expect_err("nobody listens");
    }
}
