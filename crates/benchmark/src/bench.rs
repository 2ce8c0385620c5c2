//! What every sub-command has: connections, a meter, and a place for its figures.

use crate::args::Common;
use crate::engine::{self, Group, Length, Load, Outcome, Span};
use crate::meter::{Cost, Meter};
use crate::report::{Recorder, Style};
use crate::wire::Pool;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// A sub-command that runs.
pub(crate) struct Bench {
    pub(crate) common: Common,
    pub(crate) pool: Pool,
    pub(crate) meter: Meter,
    pub(crate) style: Style,
    /// Everything that goes into the JSON.
    pub(crate) json: Map<String, Value>,
    lost: Option<String>,
}

/// How long connecting may take if nothing is said.
const DIAL: Duration = Duration::from_secs(10);

impl Bench {
    /// Connects.
    pub(crate) fn start(name: &str, common: &Common) -> Result<Self> {
        let dial = if common.dial_timeout.is_zero() { DIAL } else { common.dial_timeout };
        let pool = Pool::connect(&common.endpoints, common.conns, dial)?;
        let meter = Meter::new(common.server_pid)?;
        let style = Style { precise: common.precise, sample: common.sample };
        let mut json = Map::new();
        json.insert("load".into(), name.into());
        json.insert("conns".into(), common.conns.into());
        json.insert("clients".into(), common.clients.into());
        Ok(Self { common: common.clone(), pool, meter, style, json, lost: None })
    }

    pub(crate) fn recorder(&self, name: &str) -> Recorder {
        Recorder::new(name, self.style)
    }

    /// For so long as the flags say: a time, or all of the totals.
    pub(crate) fn span(&self) -> Span {
        let length = self.common.seconds.map_or(Length::Totals, Length::Time);
        Span { warmup: self.common.warmup, length }
    }

    /// The clients of the flags, asking what `load` says.
    pub(crate) fn group<'a>(&self, load: &'a mut dyn Load, total: u64, rate: f64) -> Group<'a> {
        Group {
            load,
            clients: self.common.clients,
            rate: (rate > 0.0).then_some(rate),
            total: self.common.seconds.is_none().then_some(total),
            late: false,
        }
    }

    /// Runs groups; costs are divided by all operations of all recorders.
    pub(crate) fn run(
        &mut self,
        groups: &mut [Group<'_>],
        span: Span,
        reports: &mut [Recorder],
    ) -> Result<Outcome> {
        let count = |reports: &[Recorder]| reports.iter().map(Recorder::count).sum();
        self.run_counting(groups, span, reports, count)
    }

    /// Runs groups; costs are divided by the operations of one recorder.
    pub(crate) fn run_of(
        &mut self,
        groups: &mut [Group<'_>],
        span: Span,
        reports: &mut [Recorder],
        report: usize,
    ) -> Result<Outcome> {
        self.run_counting(groups, span, reports, |reports| reports[report].count())
    }

    fn run_counting(
        &mut self,
        groups: &mut [Group<'_>],
        span: Span,
        reports: &mut [Recorder],
        count: impl Fn(&[Recorder]) -> u64,
    ) -> Result<Outcome> {
        let outcome = engine::run(&mut self.pool, groups, span, reports, &mut self.meter, count)?;
        if let Some(lost) = &outcome.lost {
            self.lost.get_or_insert_with(|| lost.text.clone());
        }
        Ok(outcome)
    }

    /// Runs `load` so many times with so many clients, measuring nothing. Every one must succeed.
    pub(crate) fn prepare(
        &mut self,
        load: &mut dyn Load,
        clients: usize,
        total: u64,
    ) -> Result<()> {
        let mut reports = [Recorder::new("preparation", Style::default())];
        let group = Group { load, clients, rate: None, total: Some(total), late: false };
        let span = Span { warmup: Duration::ZERO, length: Length::Totals };
        let mut meter = Meter::new(None)?;
        let all = |reports: &[Recorder]| reports[0].count();
        engine::run(&mut self.pool, &mut [group], span, &mut reports, &mut meter, all)?;
        let figures = reports[0].figures(1.0);
        let why = figures.errors.keys().next().map_or("nothing failed", String::as_str);
        ensure!(figures.count == total, "a preparation failed: {why}");
        Ok(())
    }

    /// Prints a report's text, and keeps its figures.
    pub(crate) fn show(&mut self, report: &Recorder, seconds: f64) -> Result<()> {
        if self.common.report_perfdash {
            let path = report.write_perfdash()?;
            println!("Successfully created a JSON perf report at {}", path.display());
        }
        print!("{}", report.text(seconds, self.style));
        let figures = serde_json::to_value(report.figures(seconds))?;
        let reports = self.json.entry("reports").or_insert_with(|| json!([]));
        reports.as_array_mut().context("reports are a list")?.push(figures);
        Ok(())
    }

    /// Keeps what a run cost, and prints it where a server was measured.
    pub(crate) fn cost(&mut self, outcome: &Outcome) -> Result<()> {
        print_cost(&outcome.cost);
        self.json.insert("seconds".into(), outcome.seconds.into());
        let in_time = outcome.in_time as f64 / outcome.seconds;
        self.json.insert("in_time_per_second".into(), in_time.into());
        self.json.insert("cost".into(), serde_json::to_value(&outcome.cost)?);
        Ok(())
    }

    /// Writes the JSON. Fails if a connection was lost: then the figures are not what they seem.
    pub(crate) fn finish(self) -> Result<()> {
        if let Some(path) = &self.common.json {
            let text = serde_json::to_string_pretty(&Value::Object(self.json))?;
            std::fs::write(path, text + "\n").with_context(|| path.display().to_string())?;
        }
        match self.lost {
            Some(why) => Err(anyhow::anyhow!("lost a connection: {why}")),
            None => Ok(()),
        }
    }
}

/// Prints what a run cost, where a server was measured.
pub(crate) fn print_cost(cost: &Cost) {
    let (Some(cpu), Some(cores)) = (cost.server_cpu_us, cost.server_cores) else { return };
    println!("\nCost of an operation:");
    println!("  Server:\t{cpu:.2} us of CPU ({cores:.2} cores busy)");
    println!("  Client:\t{:.2} us of CPU", cost.client_cpu_us);
    if let Some(written) = cost.server_written {
        println!("  Written:\t{written:.0} bytes");
    }
    if let (Some(anon), Some(peak)) = (cost.server_anon, cost.server_peak) {
        let [before, most, after] = anon.map(mib);
        print!("  Memory:\t{before:.1} MiB anonymous before, {most:.1} at most, {after:.1} after");
        println!("; {:.1} in all at most", mib(peak));
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
