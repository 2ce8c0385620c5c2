//! What the values of flags are: how each is read, and what is said of one that cannot be.
//!
//! A row of the table that is not listed here is a text, or a switch if it says so. Values leave
//! in one form whatever they were written as: numbers in decimal, switches as `true` or `false`,
//! so that whoever checks them need not know Go's syntax.

use super::gates::Gates;
use super::go;
use super::table::Flag;

/// What a flag's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Anything.
    Text,
    /// True or false.
    Switch,
    /// A number from 0 up, of so many bits.
    Uint,
    /// The same, in a field that etcd calls uint64.
    Uint64,
    /// From 0 up to 2^32 - 1.
    Uint32,
    /// A number.
    Int,
    /// The same, in a field that etcd calls int64.
    Int64,
    /// A Go duration.
    Duration,
    /// URLs with commas between; an empty list is the default one.
    Urls,
    /// One of these.
    Choice(&'static [&'static str]),
    /// Some of these, with commas between.
    Choices(&'static [&'static str]),
    /// Texts with commas between; a list in a file.
    List,
    /// `A=true,B=false`.
    Gates,
}

/// Stages of a deprecation that is over.
const V2_STAGES: &[&str] = &["write-only", "write-only-skip-check", "write-only-drop-data", "gone"];

const KINDS: &[(&str, Kind)] = &[
    ("snapshot-count", Kind::Uint64),
    ("snapshot-catchup-entries", Kind::Uint64),
    ("heartbeat-interval", Kind::Uint),
    ("election-timeout", Kind::Uint),
    ("listen-peer-urls", Kind::Urls),
    ("listen-client-urls", Kind::Urls),
    ("listen-client-http-urls", Kind::Urls),
    ("listen-metrics-urls", Kind::Urls),
    ("max-snapshots", Kind::Uint),
    ("max-wals", Kind::Uint),
    ("quota-backend-bytes", Kind::Int64),
    ("backend-batch-interval", Kind::Duration),
    ("backend-batch-limit", Kind::Int),
    ("max-txn-ops", Kind::Uint),
    ("max-request-bytes", Kind::Uint),
    ("max-concurrent-streams", Kind::Uint32),
    ("grpc-keepalive-min-time", Kind::Duration),
    ("grpc-keepalive-interval", Kind::Duration),
    ("grpc-keepalive-timeout", Kind::Duration),
    ("raft-read-timeout", Kind::Duration),
    ("raft-write-timeout", Kind::Duration),
    ("feature-gates", Kind::Gates),
    ("initial-advertise-peer-urls", Kind::Urls),
    ("initial-cluster-state", Kind::Choice(&["new", "existing"])),
    ("advertise-client-urls", Kind::Urls),
    ("discovery-endpoints", Kind::List),
    ("discovery-dial-timeout", Kind::Duration),
    ("discovery-request-timeout", Kind::Duration),
    ("discovery-keepalive-time", Kind::Duration),
    ("discovery-keepalive-timeout", Kind::Duration),
    ("discovery-fallback", Kind::Choice(&["exit", "proxy"])),
    ("v2-deprecation", Kind::Choices(V2_STAGES)),
    ("max-learners", Kind::Int),
    ("client-cert-allowed-hostname", Kind::List),
    ("peer-cert-allowed-cn", Kind::List),
    ("peer-cert-allowed-hostname", Kind::List),
    ("self-signed-cert-validity", Kind::Uint),
    ("cipher-suites", Kind::List),
    ("bcrypt-cost", Kind::Uint),
    ("auth-token-ttl", Kind::Uint),
    ("log-outputs", Kind::List),
    ("warning-unary-request-duration", Kind::Duration),
    ("warning-apply-duration", Kind::Duration),
    ("distributed-tracing-sampling-rate", Kind::Int),
    ("corrupt-check-time", Kind::Duration),
    ("compact-hash-check-time", Kind::Duration),
    ("compaction-batch-limit", Kind::Int),
    ("compaction-sleep-interval", Kind::Duration),
    ("watch-progress-notify-interval", Kind::Duration),
    ("downgrade-check-time", Kind::Duration),
    ("bootstrap-defrag-threshold-megabytes", Kind::Uint),
];

impl Kind {
    /// What the value of a flag is.
    pub(super) fn of(flag: &Flag) -> Self {
        if flag.boolean {
            return Self::Switch;
        }
        KINDS.iter().find(|(name, _)| *name == flag.name).map_or(Self::Text, |(_, kind)| *kind)
    }

    /// Reads a value, into the one form that it has inside.
    ///
    /// # Errors
    /// What Go says of it.
    pub(super) fn read(self, flag: &Flag, value: &str) -> Result<String, String> {
        let number = |wrong: go::Wrong| wrong.flag_text().to_owned();
        Ok(match self {
            Self::Text | Self::List => value.to_owned(),
            Self::Switch => match go::parse_bool(value) {
                Some(is_on) => is_on.to_string(),
                None => return Err("parse error".to_owned()),
            },
            Self::Uint | Self::Uint64 => go::parse_uint(value).map_err(number)?.to_string(),
            Self::Uint32 => {
                let narrow = |wide| u32::try_from(wide).map_err(|_| go::Wrong::Range);
                let read = go::parse_uint(value).and_then(narrow);
                let read = read.map_err(|wrong| {
                    format!("strconv.ParseUint: parsing {value:?}: {}", wrong.strconv_text())
                });
                read?.to_string()
            }
            Self::Int | Self::Int64 => go::parse_int(value).map_err(number)?.to_string(),
            Self::Duration => match go::parse_duration(value) {
                Some(nanos) => go::duration_text(nanos),
                None => return Err("parse error".to_owned()),
            },
            // Compat: an empty list leaves the default in force.
            Self::Urls if value.is_empty() => flag.default.to_owned(),
            Self::Urls => {
                let urls = member::parse_urls(value.split(','));
                let mut urls = urls.map_err(|wrong| wrong.to_string())?;
                urls.dedup();
                urls.join(",")
            }
            Self::Choice(valid) if valid.contains(&value) => value.to_owned(),
            Self::Choice(_) => return Err("invalid value".to_owned()),
            Self::Choices(valid) => {
                if let Some(wrong) = value.split(',').find(|one| !valid.contains(one)) {
                    return Err(format!("invalid value {wrong:?}"));
                }
                value.to_owned()
            }
            Self::Gates => {
                Gates::parse(value)?;
                value.to_owned()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::FLAGS;
    use super::*;

    #[test]
    fn every_row_has_a_default_of_its_kind() {
        for flag in FLAGS {
            let read = Kind::of(&flag).read(&flag, flag.default);
            assert_eq!(read.as_deref(), Ok(flag.default), "{}", flag.name);
        }
    }

    #[test]
    fn every_kind_has_a_row() {
        for (name, kind) in KINDS {
            let flag = FLAGS.iter().find(|flag| flag.name == *name);
            let flag = flag.unwrap_or_else(|| panic!("{name} is in no row"));
            assert_eq!(Kind::of(flag), *kind, "{name} is listed twice, or is a switch");
        }
    }
}
