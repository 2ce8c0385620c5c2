//! Latencies and errors of one kind of operation, and how they are shown: upstream's text, and JSON.
//!
//! Latencies are kept in a histogram of three digits, so that a long run takes no more memory than
//! a short one. An operation that failed has no latency; it is counted by its error.

use crate::wire::Failure;
use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Collects what became of operations.
#[derive(Debug)]
pub(crate) struct Recorder {
    name: String,
    latencies: Histogram<u64>,
    /// All latencies together, in nanoseconds.
    sum: u128,
    errors: BTreeMap<Failure, u64>,
    samples: Option<Samples>,
}

/// By second, counted from 1970.
#[derive(Debug)]
struct Samples {
    began: (Instant, SystemTime),
    seconds: BTreeMap<u64, Sample>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    least: u64,
    most: u64,
    sum: u64,
    count: u64,
}

/// How text is printed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Style {
    /// Every digit there is.
    pub(crate) precise: bool,
    /// A line for each second.
    pub(crate) sample: bool,
}

/// The figures of a [`Recorder`], for JSON.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) name: String,
    /// Operations that succeeded.
    pub(crate) count: u64,
    pub(crate) per_second: f64,
    /// Microseconds.
    pub(crate) latency_us: Latency,
    /// By code and text.
    pub(crate) errors: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) min: f64,
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

/// The longest latency that is told apart, in nanoseconds: an hour.
const LONGEST: u64 = 3_600_000_000_000;

const PERCENTILES: [f64; 8] = [10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9];

const BARS: u32 = 10;
const BAR_WIDTH: u64 = 40;

impl Recorder {
    pub(crate) fn new(name: &str, style: Style) -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST, 3);
        let began = (Instant::now(), SystemTime::now());
        Self {
            name: name.to_owned(),
            latencies: histogram.expect("these bounds are good"),
            sum: 0,
            errors: BTreeMap::new(),
            samples: style.sample.then_some(Samples { began, seconds: BTreeMap::new() }),
        }
    }

    /// An operation that was due at `due` ended well at `at`.
    pub(crate) fn succeeded(&mut self, due: Instant, at: Instant) {
        let nanos = nanos(at.saturating_duration_since(due));
        self.latencies.saturating_record(nanos);
        self.sum += u128::from(nanos);
        if let Some(samples) = &mut self.samples {
            samples.add(due, nanos);
        }
    }

    pub(crate) fn failed(&mut self, why: &Failure) {
        self.failed_times(why, 1);
    }

    /// So many failed for the same reason, or none.
    pub(crate) fn failed_times(&mut self, why: &Failure, times: u64) {
        match self.errors.get_mut(why) {
            Some(count) => *count += times,
            None if times > 0 => drop(self.errors.insert(why.clone(), times)),
            None => {}
        }
    }

    /// How many succeeded.
    pub(crate) fn count(&self) -> u64 {
        self.latencies.len()
    }

    pub(crate) fn figures(&self, seconds: f64) -> Figures {
        let micros = |nanos: u64| nanos as f64 / 1e3;
        let at = |quantile: f64| micros(self.latencies.value_at_quantile(quantile));
        let empty = self.latencies.is_empty();
        let latency_us = Latency {
            min: if empty { 0.0 } else { micros(self.latencies.min()) },
            mean: self.mean() * 1e6,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: micros(self.latencies.max()),
        };
        Figures {
            name: self.name.clone(),
            count: self.count(),
            per_second: self.count() as f64 / seconds,
            latency_us,
            errors: self.errors.iter().map(|(why, count)| (why.to_string(), *count)).collect(),
        }
    }

    /// Upstream's summary of operations that took `seconds` together.
    pub(crate) fn text(&self, seconds: f64, style: Style) -> String {
        let mut text = String::new();
        self.write(seconds, style, &mut text).expect("a string takes everything");
        text
    }

    fn write(&self, seconds: f64, style: Style, text: &mut String) -> std::fmt::Result {
        let number = |value: f64| {
            if style.precise { format!("{value}") } else { format!("{value:4.4}") }
        };
        let time = |nanos: u64| number(nanos as f64 / 1e9);
        if !self.latencies.is_empty() {
            writeln!(text, "\nSummary:")?;
            writeln!(text, "  Total:\t{} secs.", number(seconds))?;
            writeln!(text, "  Slowest:\t{} secs.", time(self.latencies.max()))?;
            writeln!(text, "  Fastest:\t{} secs.", time(self.latencies.min()))?;
            writeln!(text, "  Average:\t{} secs.", number(self.mean()))?;
            writeln!(text, "  Stddev:\t{} secs.", number(self.latencies.stdev() / 1e9))?;
            writeln!(text, "  Requests/sec:\t{}", number(self.count() as f64 / seconds))?;
            writeln!(text, "\nResponse time histogram:")?;
            let bars = self.bars();
            let most = bars.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
            for (upto, count) in bars {
                let width = usize::try_from(count * BAR_WIDTH / most).unwrap_or_default();
                writeln!(text, "  {} [{count}]\t|{}", time(upto), "\u{220e}".repeat(width))?;
            }
            writeln!(text, "\nLatency distribution:")?;
            for percentile in PERCENTILES {
                let nanos = self.latencies.value_at_percentile(percentile);
                writeln!(text, "  {percentile}% in {} secs.", time(nanos))?;
            }
            if let Some(samples) = &self.samples {
                samples.write(text)?;
            }
        }
        if !self.errors.is_empty() {
            writeln!(text, "\nError distribution:")?;
            for (why, count) in &self.errors {
                writeln!(text, "  [{count}]\t{why}")?;
            }
        }
        Ok(())
    }

    /// How many latencies are up to each of eleven bounds, from the least to the most.
    fn bars(&self) -> Vec<(u64, u64)> {
        let (least, most) = (self.latencies.min(), self.latencies.max());
        let bound = |bar: u32| least + (most - least) * u64::from(bar) / u64::from(BARS);
        let mut bars: Vec<(u64, u64)> = (0..=BARS).map(|bar| (bound(bar), 0)).collect();
        for value in self.latencies.iter_recorded() {
            let at = value.value_iterated_to().min(most);
            let bar = bars.iter().position(|(bound, _)| at <= *bound).unwrap_or(bars.len() - 1);
            bars[bar].1 += value.count_at_value();
        }
        bars
    }

    /// Seconds.
    fn mean(&self) -> f64 {
        if self.count() == 0 { 0.0 } else { self.sum as f64 / self.count() as f64 / 1e9 }
    }

    /// Writes upstream's other form, which a dashboard of Kubernetes reads, and tells where.
    pub(crate) fn write_perfdash(&self) -> Result<PathBuf> {
        let folder = std::env::var("ARTIFACTS").unwrap_or_default();
        let folder = Path::new(if folder.is_empty() { "./_artifacts" } else { &folder });
        std::fs::create_dir_all(folder).context("making the folder of reports")?;
        let name = format!("EtcdAPI_benchmark_{}_{}.json", self.name, utc(SystemTime::now()));
        let millis = |quantile: f64| {
            let nanos = self.latencies.value_at_quantile(quantile);
            (nanos as f64 / 1e2).round() / 1e4
        };
        let data = serde_json::json!({
            "Perc50": millis(0.5), "Perc90": millis(0.9), "Perc99": millis(0.99),
        });
        let item = serde_json::json!({
            "data": data, "labels": {"Operation": self.name.to_uppercase()}, "unit": "ms",
        });
        let report = serde_json::json!({"version": "v1", "dataItems": [item]});
        let path = folder.join(name);
        std::fs::write(&path, serde_json::to_string_pretty(&report)?)
            .context("writing a report")?;
        Ok(path)
    }
}

impl Samples {
    fn add(&mut self, due: Instant, nanos: u64) {
        let (instant, time) = self.began;
        let time = time + due.saturating_duration_since(instant);
        let second = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let sample =
            self.seconds.entry(second).or_insert(Sample { least: nanos, ..Sample::default() });
        sample.least = sample.least.min(nanos);
        sample.most = sample.most.max(nanos);
        sample.sum += nanos;
        sample.count += 1;
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "\nSample in one second (unix latency throughput):")?;
        writeln!(text, "UNIX-SECOND,MIN-LATENCY-MS,AVG-LATENCY-MS,MAX-LATENCY-MS,AVG-THROUGHPUT")?;
        let (first, last) = (self.seconds.keys().next(), self.seconds.keys().next_back());
        let (Some(first), Some(last)) = (first, last) else { return Ok(()) };
        for second in *first..=*last {
            let sample = self.seconds.get(&second).copied().unwrap_or_default();
            let [least, mean, most] = [sample.least, sample.sum / sample.count.max(1), sample.most]
                .map(|nanos| nanos as f64 / 1e6);
            writeln!(text, "{second},{least}ms,{mean:.6}ms,{most}ms,{}", sample.count)?;
        }
        writeln!(text)
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A time as RFC 3339 has it (Howard Hinnant's civil_from_days).
fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years begin in March, so that the leap day is the last one.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Code;

    fn recorder(style: Style) -> Recorder {
        let mut recorder = Recorder::new("put", style);
        let due = Instant::now();
        for millis in 1..=100 {
            recorder.succeeded(due, due + Duration::from_millis(millis));
        }
        recorder
    }

    #[test]
    fn the_text_is_upstream_s() {
        let mut recorder = recorder(Style::default());
        recorder.failed(&Failure::new(Code::Unavailable, "gone"));
        recorder.failed(&Failure::new(Code::Unavailable, "gone"));
        let text = recorder.text(2.0, Style::default());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..3], ["", "Summary:", "  Total:\t2.0000 secs."]);
        assert!(lines.contains(&"  Requests/sec:\t50.0000"), "{text}");
        assert!(lines.contains(&"  Average:\t0.0505 secs."), "{text}");
        assert!(lines.contains(&"  99% in 0.0990 secs."), "{text}");
        assert!(lines.contains(&"  99.9% in 0.1000 secs."), "{text}");
        assert_eq!(
            lines[lines.len() - 2..],
            ["Error distribution:", "  [2]\trpc error: code = Unavailable desc = gone"]
        );
        let bars = recorder.bars();
        assert_eq!(bars.len(), 11);
        assert_eq!(bars.iter().map(|(_, count)| count).sum::<u64>(), 100);
    }

    #[test]
    fn nothing_says_nothing() {
        let recorder = Recorder::new("put", Style::default());
        assert_eq!(recorder.text(1.0, Style::default()), "");
        assert_eq!(recorder.figures(1.0).count, 0);
    }

    #[test]
    fn samples_are_lines() {
        let style = Style { sample: true, precise: true };
        let text = recorder(style).text(1.0, style);
        let last = text.lines().rev().find(|line| !line.is_empty()).unwrap();
        assert_eq!(last.split(',').count(), 5, "{text}");
        assert!(last.ends_with(",100"), "{text}");
    }

    #[test]
    fn times_are_written_as_dates() {
        let at = |seconds| utc(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_785_542_399), "2026-07-31T23:59:59Z");
    }
}
