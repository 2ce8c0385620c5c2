//! A disk whose syncs take longer: strace delays every system call that makes data durable.
//!
//! A server is run below strace, which stops it at those calls alone (a filter in the kernel picks
//! them) and lets each return so much later; the program and its data are the same. strace writes
//! down every one of them, which is the proof: a run is refused if one was not delayed, if a file
//! was opened so that its writes are syncs themselves, or if there is a ring of the kernel's,
//! through which syncs would pass unseen. Opening is watched for that reason.

use anyhow::{Context as _, Result, bail, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

/// How much later a sync returns.
pub const DELAY: Duration = Duration::from_millis(120);

const SYNCS: [&str; 6] = ["fsync", "fdatasync", "sync_file_range", "msync", "syncfs", "sync"];

/// Calls that could make data durable in another way; a question mark lets a machine have none.
const WATCHED: &str = "?open,openat,?openat2,?creat,pwritev2,io_uring_setup";

/// How long strace may take to write down the end.
const PATIENCE: Duration = Duration::from_secs(10);

const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Turns a command into one below strace. The program stays our child, with its own number.
pub fn below_strace(program: &Path, trace: &Path) -> Result<Command> {
    let found = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
    ensure!(
        found.is_ok_and(|status| status.success()),
        "a slow disk needs strace: run scripts/prepare bench, or install it otherwise"
    );
    let mut command = Command::new("strace");
    command.args(["--daemonize", "--follow-forks", "--seccomp-bpf", "-q", "-e", "signal=kill"]);
    command.arg("-o").arg(trace);
    let syncs = SYNCS.join(",");
    command.args(["-e", &format!("trace={syncs},{WATCHED}")]);
    command.args(["-e", &format!("inject={syncs}:delay_exit={}", DELAY.as_micros())]);
    command.arg(program);
    Ok(command)
}

/// What was synced: by call, how often.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Syncs(pub BTreeMap<String, u64>);

impl Syncs {
    pub fn count(&self) -> u64 {
        self.0.values().sum()
    }
}

/// Reads what strace has written about a process that has ended.
pub fn read(trace: &Path, pid: u32) -> Result<Syncs> {
    let end = format!("{pid} ");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = fs::read_to_string(trace).context("reading what strace wrote")?;
        let is_end = |line: &str| line.strip_prefix(&end).is_some_and(|l| l.contains("+++"));
        if text.lines().rev().any(is_end) {
            return syncs_of(&text);
        }
        ensure!(Instant::now() < deadline, "strace does not write down the server's end");
        // Nothing tells when strace has written: its folder is looked into again later.
        let (_never, timer) = sync_channel::<()>(0);
        timer.recv_timeout(LOOK_AGAIN).ok();
    }
}

fn syncs_of(text: &str) -> Result<Syncs> {
    let mut syncs = Syncs::default();
    for line in text.lines() {
        let Some((_, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        // A call that others overtook is written in two pieces, of which the second has its result.
        let call = call.strip_prefix("<... ").unwrap_or(call);
        let end = call.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(0);
        let (name, rest) = call.split_at(end);
        let Some((_, result)) = rest.rsplit_once(" = ") else { continue };
        if SYNCS.contains(&name) && !result.starts_with('?') {
            ensure!(result.ends_with("(DELAYED)"), "a sync was not delayed: {line}");
            *syncs.0.entry(name.to_owned()).or_default() += 1;
        }
        if name == "io_uring_setup" && !result.starts_with('-') {
            bail!("syncs may go through a ring of the kernel's, unseen: {line}");
        }
    }
    // Flags may stand in either piece.
    let durable = ["O_DSYNC", "O_SYNC", "RWF_DSYNC", "RWF_SYNC"];
    let durable = text.lines().find(|line| durable.iter().any(|flag| line.contains(flag)));
    match durable {
        Some(line) => bail!("these writes are syncs that are not delayed: {line}"),
        None => Ok(syncs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "\
        7  openat(AT_FDCWD, \"/x\", O_RDWR|O_CREAT|O_CLOEXEC, 0600) = 5\n\
        7  fdatasync(5)                     = 0 (DELAYED)\n\
        8  fsync(6 <unfinished ...>\n\
        9  fdatasync(5)                     = 0 (DELAYED)\n\
        8  <... fsync resumed>)             = 0 (DELAYED)\n\
        9  fdatasync(5 <unfinished ...>\n\
        9  <... fdatasync resumed>)         = ?\n\
        9  +++ killed by SIGKILL +++\n\
        7  +++ killed by SIGKILL +++\n";

    #[test]
    fn syncs_are_counted() {
        let syncs = syncs_of(TRACE).unwrap();
        assert_eq!(syncs.0, [("fdatasync".to_owned(), 2), ("fsync".to_owned(), 1)].into());
        assert_eq!(syncs.count(), 3);
    }

    #[test]
    fn what_would_not_be_delayed_is_refused() {
        for line in [
            "7  fdatasync(5) = 0",
            "7  openat(AT_FDCWD, \"/x\", O_WRONLY|O_DSYNC) = 5",
            "7  pwritev2(5, [{iov_base=\"\", iov_len=1}], 1, 0, RWF_DSYNC) = 1",
            "7  io_uring_setup(8, {flags=0}) = 9",
        ] {
            assert!(syncs_of(&format!("{TRACE}{line}\n")).is_err(), "{line}");
        }
        let without = format!("{TRACE}7  io_uring_setup(8, 0x1) = -1 ENOSYS (not there)\n");
        assert_eq!(syncs_of(&without).unwrap().count(), 3);
    }

    #[test]
    fn the_end_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join("trace");
        fs::write(&trace, TRACE).unwrap();
        assert_eq!(read(&trace, 7).unwrap().count(), 3);
    }
}
