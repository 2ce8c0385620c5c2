//! One run: a server with fresh data, what is prepared, the load, and what the load tool wrote.

use super::programs::{Program, Programs};
use super::results;
use super::rows::{Row, WARMUP_SECONDS, Way};
use super::server::{Addresses, Server};
use super::slow::{self, Syncs};
use crate::{root, shell};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs a row on one server, and returns what the client measured.
pub fn once(
    row: &Row,
    program: &Program,
    programs: &Programs,
    seconds: u32,
    rate: Option<f64>,
) -> Result<Value> {
    let folder = root().join("target/beside-run");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("removing an earlier run's data")?;
    }
    fs::create_dir_all(&folder)?;
    let file = folder.join("figures.json");
    let run = Run { row, program, tool: &programs.tool, addresses: Addresses::free()?, rate };
    let measured = match row.way {
        Way::Running => run.running(&folder, &file, seconds, None),
        Way::SlowDisk => run.running(&folder, &file, seconds, Some(&folder.join("trace"))),
        Way::Started { killed } => run.started(&folder, &file, killed),
    };
    let syncs =
        measured.with_context(|| format!("{} {} on {}", row.line, row.name, program.name))?;
    let mut figures: Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
    if let Some(syncs) = syncs {
        figures["slow_disk"] = json!({"delayed": syncs.count(), "calls": syncs.0});
        is_slow(&figures)?;
    }
    fs::remove_dir_all(&folder).context("removing a run's data")?;
    Ok(figures)
}

/// The delay is seen by whoever writes: none was answered before a sync was over.
fn is_slow(figures: &Value) -> Result<()> {
    let least = results::figure(figures, "/reports/1/latency_us/min")?;
    let delay = slow::DELAY.as_micros() as f64;
    ensure!(least >= delay, "a put took {least} us, though every sync takes {delay} longer");
    Ok(())
}

struct Run<'a> {
    row: &'a Row,
    program: &'a Program,
    tool: &'a Path,
    addresses: Addresses,
    rate: Option<f64>,
}

impl Run<'_> {
    /// The load on a server that runs. With a trace its disk is slow, and the syncs are told.
    fn running(
        &self,
        folder: &Path,
        file: &Path,
        seconds: u32,
        trace: Option<&Path>,
    ) -> Result<Option<Syncs>> {
        let data = folder.join("data");
        let mut server = Server::start(self.program, &data, self.addresses, trace)?;
        self.prepare(&server)?;
        let mut more = vec![format!("--json={}", file.display())];
        more.push(format!("--seconds={seconds}"));
        more.push(format!("--warmup={WARMUP_SECONDS}"));
        more.extend(self.rate.map(|rate| format!("--rate={rate}")));
        self.load(&server, self.row.load, &more)?;
        let pid = server.pid();
        server.kill()?;
        trace.map(|trace| slow::read(trace, pid)).transpose()
    }

    /// A server that the load tool starts, on what an earlier one has left.
    fn started(&self, folder: &Path, file: &Path, killed: bool) -> Result<Option<Syncs>> {
        let data = folder.join("data");
        if !self.row.prepare.is_empty() {
            let mut server = Server::start(self.program, &data, self.addresses, None)?;
            self.prepare(&server)?;
            if killed { server.kill()? } else { server.stop()? }
        }
        let mut command = Command::new(self.tool);
        command.args(self.row.load.split_whitespace());
        command.arg(format!("--json={}", file.display()));
        command.arg(format!("--endpoints={}", self.addresses.client));
        command.arg("--").arg(&self.program.path).args(self.addresses.flags(&data));
        ended_well(command)?;
        Ok(None)
    }

    fn prepare(&self, server: &Server) -> Result<()> {
        for load in self.row.prepare {
            self.load(server, load, &[]).with_context(|| format!("preparing with {load}"))?;
        }
        Ok(())
    }

    /// Runs the load tool on a server, which it measures.
    fn load(&self, server: &Server, load: &str, more: &[String]) -> Result<()> {
        let mut command = Command::new(self.tool);
        command.args(load.split_whitespace()).args(more);
        command.arg(format!("--endpoints={}", server.address()));
        command.arg(format!("--server-pid={}", server.pid()));
        ended_well(command)
    }
}

fn ended_well(mut command: Command) -> Result<()> {
    command.stdin(Stdio::null());
    let output = command.output().context("starting the load tool")?;
    let (text, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{}: {errors}{text}", shell::show(&command));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_was_not_slow_is_found_out() {
        let figures = |least: u64| json!({"reports": [{}, {"latency_us": {"min": least}}]});
        assert!(is_slow(&figures(120_000)).is_ok());
        assert!(is_slow(&figures(119_999)).is_err());
    }
}
