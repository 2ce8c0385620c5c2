//! `restart`, from a server's start to its first answer; and `idle`, what it takes doing nothing.

use crate::args::{Common, Idle, Restart};
use crate::engine::Outcome;
use crate::keys::key;
use crate::meter::Meter;
use crate::report::{Recorder, Style};
use crate::wire::{Method, Pool};
use anyhow::{Context as _, Result, bail, ensure};
use api::etcdserverpb::RangeRequest;
use prost::Message as _;
use rustix::event::{Timespec, poll};
use serde_json::json;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Runs `restart`. The server is killed at the end.
pub(crate) fn run_restart(common: &Common, flags: &Restart) -> Result<()> {
    let (program, arguments) = flags.server.split_first().context("which server?")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let mut server = Killed(command.spawn().with_context(|| format!("starting {program}"))?);
    let key = match flags.filled {
        0 => flags.key.clone().into(),
        filled => key("", FILLED_KEY_BYTES, filled - 1),
    };
    let request = RangeRequest { key, ..RangeRequest::default() }.encode_to_vec();
    let found = loop {
        if let Some(found) = first_answer(common, &request, began + flags.patience) {
            break found;
        }
        if let Some(status) = server.0.try_wait()? {
            bail!("the server ended: {status}");
        }
        ensure!(began.elapsed() < flags.patience, "the server does not answer in time");
        pass(ASK_AGAIN)?;
    };
    let at = Instant::now();
    ensure!(found == 1 || !(flags.expect_key || flags.filled > 0), "the key is not there");
    let mut recorder = Recorder::new("restart", Style::default());
    recorder.succeeded(began, at);
    let seconds = at.duration_since(began).as_secs_f64();
    let mut meter = Meter::new(Some(server.0.id()))?;
    let reading = meter.read()?;
    let cost = meter.cost(meter.started(), reading, 1)?;
    println!("First answer:\t{:.1} ms after the start", seconds * 1e3);
    let figures = json!({
        "load": "restart", "reports": [recorder.figures(seconds)], "seconds": seconds, "cost": cost,
    });
    write(common, &figures)
}

/// Runs `idle`.
pub(crate) fn run_idle(common: &Common, _: &Idle) -> Result<()> {
    ensure!(common.server_pid.is_some(), "--server-pid says who is idle");
    let length = common.seconds.context("--seconds says for how long")?;
    let mut meter = Meter::new(common.server_pid)?;
    pass(common.warmup)?;
    let from = meter.read()?;
    pass(length)?;
    let to = meter.read()?;
    let seconds = to.at.duration_since(from.at).as_secs_f64();
    let outcome = Outcome { seconds, cost: meter.cost(from, to, 1)?, in_time: 0, lost: None };
    crate::bench::print_cost(&outcome.cost);
    let figures = json!({"load": "idle", "seconds": seconds, "cost": outcome.cost});
    write(common, &figures)
}

/// What `put` makes its keys of if it is not told otherwise.
const FILLED_KEY_BYTES: usize = 8;

/// How long a server that does not answer is left alone.
const ASK_AGAIN: Duration = Duration::from_millis(1);

/// A server that is killed whatever happens.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// How many keys were found, if there is an answer.
fn first_answer(common: &Common, request: &[u8], deadline: Instant) -> Option<u64> {
    let left = deadline.saturating_duration_since(Instant::now());
    let mut pool = Pool::connect(&common.endpoints, 1, left).ok()?;
    let answer = pool.call(0, Method::Range, request).ok()?;
    Some(crate::proto::number(&answer, COUNT).unsigned_abs())
}

/// Of a RangeResponse.
const COUNT: u64 = 4;

/// Lets time pass. Nothing tells when a server that starts can be asked.
fn pass(time: Duration) -> Result<()> {
    let until = Instant::now() + time;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let left = Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [], Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting"),
        }
    }
}

fn write(common: &Common, figures: &serde_json::Value) -> Result<()> {
    let Some(path) = &common.json else { return Ok(()) };
    let text = serde_json::to_string_pretty(figures)?;
    std::fs::write(path, text + "\n").with_context(|| path.display().to_string())
}
