//! Figures of a load: where they stand in what the load tool wrote, and what they must come to.
//!
//! A figure that must come to something is compared as ours by etcd's, pair by pair.

use std::fmt;

/// One figure of a load.
#[derive(Debug)]
pub struct Figure {
    pub title: &'static str,
    /// Where the load tool's JSON has it.
    pub at: &'static str,
    /// What it is divided by to be shown.
    pub unit: f64,
    /// What the ratio, ours by theirs, must be.
    pub must: Option<Must>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Must {
    AtMost(f64),
    AtLeast(f64),
}

impl Must {
    pub fn is_reached(self, ratio: f64) -> bool {
        match self {
            Self::AtMost(most) => ratio <= most,
            Self::AtLeast(least) => ratio >= least,
        }
    }

    pub fn bound(self) -> f64 {
        match self {
            Self::AtMost(bound) | Self::AtLeast(bound) => bound,
        }
    }
}

impl fmt::Display for Must {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "<= {most}"),
            Self::AtLeast(least) => write!(f, ">= {least}"),
        }
    }
}

impl Figure {
    /// The same, and ours must be so much of theirs at most.
    pub const fn at_most(self, most: f64) -> Self {
        Self { must: Some(Must::AtMost(most)), ..self }
    }

    pub const fn at_least(self, least: f64) -> Self {
        Self { must: Some(Must::AtLeast(least)), ..self }
    }

    /// The same under another name.
    pub const fn called(self, title: &'static str) -> Self {
        Self { title, ..self }
    }
}

const MIB: f64 = 1_048_576.0;

pub const fn shown(title: &'static str, at: &'static str, unit: f64) -> Figure {
    Figure { title, at, unit, must: None }
}

pub const CPU: Figure = shown("server CPU, us an operation", "/cost/server_cpu_us", 1.0);
pub const THROUGHPUT: Figure = shown("operations a second", "/reports/0/per_second", 1.0);
pub const P50: Figure = shown("p50, ms", "/reports/0/latency_us/p50", 1e3);
pub const P99: Figure = shown("p99, ms", "/reports/0/latency_us/p99", 1e3);
pub const P999: Figure = shown("p99.9, ms", "/reports/0/latency_us/p999", 1e3);
pub const CLIENT: Figure = shown("client CPU, us an operation", "/cost/client_cpu_us", 1.0);
pub const CORES: Figure = shown("processors the server kept busy", "/cost/server_cores", 1.0);
pub const CLIENT_CORES: Figure =
    shown("processors the client kept busy", "/cost/client_cores", 1.0);
pub const WRITTEN: Figure = shown("bytes written an operation", "/cost/server_written", 1.0);
pub const ANON: Figure = shown("anonymous memory at most, MiB", "/cost/server_anon/1", MIB);
pub const ANON_AFTER: Figure = shown("anonymous memory, MiB", "/cost/server_anon/2", MIB);
pub const PEAK: Figure = shown("all memory at most, MiB", "/cost/server_peak", MIB);
/// An open load's answers that came while it was measured.
pub const IN_TIME: Figure = shown("answers in time a second", "/in_time_per_second", 1.0);

/// What every load of calls shows.
pub const CALLS: &[Figure] =
    &[CPU, THROUGHPUT, P50, P99, P999, CORES, CLIENT, CLIENT_CORES, WRITTEN, ANON, PEAK];

/// The same of an open load.
pub const OPEN: &[Figure] =
    &[CPU, THROUGHPUT, IN_TIME, P50, P99, P999, CORES, CLIENT, CLIENT_CORES, WRITTEN, ANON, PEAK];

const EVENT_P50: Figure = shown("p50 from put to event, ms", "/reports/1/latency_us/p50", 1e3);
const EVENT_P99: Figure = shown("p99 from put to event, ms", "/reports/1/latency_us/p99", 1e3);
const EVENT_P999: Figure = shown("p99.9 from put to event, ms", "/reports/1/latency_us/p999", 1e3);

/// Of a load that is measured by events: the first report is of the puts.
pub const EVENTS: &[Figure] = &[
    shown("events a second", "/reports/1/per_second", 1.0),
    EVENT_P50,
    EVENT_P99,
    EVENT_P999,
    P99.called("p99 of the puts, ms"),
    CORES,
    CLIENT_CORES,
    WRITTEN.called("bytes written an event"),
    ANON,
    PEAK,
];

/// From a server's start until something happened, once.
pub const ONCE: &[Figure] = &[
    CPU.called("server CPU until then, us"),
    WRITTEN.called("bytes written until then"),
    ANON_AFTER.called("anonymous memory then, MiB"),
    PEAK,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_be_is_read_both_ways() {
        assert!(Must::AtMost(0.5).is_reached(0.5) && !Must::AtMost(0.5).is_reached(0.51));
        assert!(Must::AtLeast(2.5).is_reached(2.5) && !Must::AtLeast(2.5).is_reached(2.4));
        // What cannot be divided was not reached.
        assert!(!Must::AtMost(0.5).is_reached(f64::NAN));
        assert!(!Must::AtLeast(2.5).is_reached(f64::NAN));
    }
}
