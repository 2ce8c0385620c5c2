//! What a server and this program cost: processor time, memory, bytes written.
//!
//! The server is any process of this machine, told by its number. Its processor time is that of
//! all its threads, also of those that have ended, in nanoseconds, and not that of its children.

use anyhow::{Context as _, Result};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde::Serialize;
use std::fs;
use std::time::Instant;

/// Reads what a process costs.
#[derive(Debug)]
pub(crate) struct Meter {
    server: Option<u32>,
    clock: Option<ClockId>,
    /// The most anonymous memory that was seen.
    anon_most: u64,
}

/// What was counted up to one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) at: Instant,
    server_cpu: u64,
    server_written: u64,
    client_cpu: u64,
    server_anon: u64,
}

/// What happened between two readings, for JSON.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cost {
    /// Seconds between the readings.
    pub(crate) seconds: f64,
    /// What the other figures are divided by.
    pub(crate) operations: u64,
    /// Processor time of the server, microseconds an operation.
    pub(crate) server_cpu_us: Option<f64>,
    /// Processors that the server kept busy.
    pub(crate) server_cores: Option<f64>,
    /// Bytes that the server had written to the block device, an operation.
    pub(crate) server_written: Option<f64>,
    /// Anonymous memory of the server in bytes: before, at most between, after.
    pub(crate) server_anon: Option<[u64; 3]>,
    /// All memory of the server in bytes, at most since its start.
    pub(crate) server_peak: Option<u64>,
    /// Processor time of this program, microseconds an operation.
    pub(crate) client_cpu_us: f64,
    /// Processors that this program kept busy.
    pub(crate) client_cores: f64,
}

impl Meter {
    /// A meter of the process `server`, if there is one.
    pub(crate) fn new(server: Option<u32>) -> Result<Self> {
        let clock = server.map(|pid| {
            let pid = i32::try_from(pid).context("no such process")?;
            clock_getcpuclockid(Pid::from_raw(pid)).context("a server's clock")
        });
        Ok(Self { server, clock: clock.transpose()?, anon_most: 0 })
    }

    /// Counts up to now.
    pub(crate) fn read(&mut self) -> Result<Reading> {
        let server_anon = self.sample()?;
        let (mut server_cpu, mut server_written) = (0, 0);
        if let (Some(pid), Some(clock)) = (self.server, self.clock) {
            server_written = field(&file(pid, "io")?, "write_bytes:")?;
            server_cpu = nanos(clock)?;
        }
        let client_cpu = nanos(ClockId::CLOCK_PROCESS_CPUTIME_ID)?;
        Ok(Reading { at: Instant::now(), server_cpu, server_written, client_cpu, server_anon })
    }

    /// What was counted when the server began: nothing. Not for this program's own figures.
    pub(crate) fn started(&self) -> Reading {
        Reading {
            at: Instant::now(),
            server_cpu: 0,
            server_written: 0,
            client_cpu: 0,
            server_anon: 0,
        }
    }

    /// Looks at the memory, for its peak.
    pub(crate) fn sample(&mut self) -> Result<u64> {
        let Some(pid) = self.server else { return Ok(0) };
        let anon = field(&file(pid, "status")?, "RssAnon:")? * 1024;
        self.anon_most = self.anon_most.max(anon);
        Ok(anon)
    }

    /// What `operations` between two readings cost.
    pub(crate) fn cost(&self, from: Reading, to: Reading, operations: u64) -> Result<Cost> {
        let each = |count: u64| count as f64 / operations.max(1) as f64;
        let seconds = to.at.duration_since(from.at).as_secs_f64();
        let cpu = to.server_cpu - from.server_cpu;
        let here = self.server.is_some();
        let peak = match self.server {
            Some(pid) => Some(field(&file(pid, "status")?, "VmHWM:")? * 1024),
            None => None,
        };
        Ok(Cost {
            seconds,
            operations,
            server_cpu_us: here.then(|| each(cpu) / 1e3),
            server_cores: here.then(|| cpu as f64 / 1e9 / seconds),
            server_written: here.then(|| each(to.server_written - from.server_written)),
            server_anon: here.then_some([from.server_anon, self.anon_most, to.server_anon]),
            server_peak: peak,
            client_cpu_us: each(to.client_cpu - from.client_cpu) / 1e3,
            client_cores: (to.client_cpu - from.client_cpu) as f64 / 1e9 / seconds,
        })
    }
}

fn nanos(clock: ClockId) -> Result<u64> {
    let time = clock_gettime(clock).context("reading a processor clock")?;
    let (seconds, nanos) = (u64::try_from(time.tv_sec())?, u64::try_from(time.tv_nsec())?);
    Ok(seconds * 1_000_000_000 + nanos)
}

fn file(pid: u32, name: &str) -> Result<String> {
    fs::read_to_string(format!("/proc/{pid}/{name}")).context("the server is gone")
}

fn field(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let word = line.and_then(|line| line.split_whitespace().next());
    word.and_then(|word| word.parse().ok()).with_context(|| format!("the kernel tells no {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_measured() {
        let mut meter = Meter::new(Some(std::process::id())).unwrap();
        let from = meter.read().unwrap();
        let mut sum = 0_u64;
        let began = Instant::now();
        while began.elapsed().as_millis() < 20 {
            sum = sum.wrapping_mul(3).wrapping_add(1);
        }
        std::hint::black_box(sum);
        let to = meter.read().unwrap();
        let cost = meter.cost(from, to, 10).unwrap();
        assert!(cost.server_cpu_us.unwrap() > 500.0, "{cost:?}");
        assert!(cost.client_cpu_us > 500.0 && cost.server_peak.unwrap() > 100_000, "{cost:?}");
    }

    #[test]
    fn without_a_server_there_is_no_figure_of_it() {
        let mut meter = Meter::new(None).unwrap();
        let from = meter.read().unwrap();
        let to = meter.read().unwrap();
        let cost = meter.cost(from, to, 0).unwrap();
        assert!(cost.server_cpu_us.is_none() && cost.server_peak.is_none());
        assert!(field("a: 1", "b:").is_err());
    }
}
