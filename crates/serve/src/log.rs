//! Log lines as etcd writes them: a JSON object each, on stderr, or for people.
//!
//! ```text
//! {"level":"info","ts":"2026-01-02T15:04:05.000000Z","caller":"server/start.rs:9","msg":"..."}
//! ```
//! Invariants: a line is written in one piece; the four keys come first and are never empty;
//! fields are in kebab-case.

use crate::config::LogFormat;
use serde_json::{Map, Value};
use std::fmt;
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Starts logging; does nothing if it has been started.
pub fn start(level: &str, format: LogFormat) {
    let level = level.parse().unwrap_or(Level::INFO);
    // What others log is of use to those who work on the server only.
    let others = if level == Level::DEBUG { Level::INFO } else { Level::WARN };
    let targets = Targets::new().with_default(others).with_target("quorate", level);
    // It was started already if this fails.
    let _ = tracing_subscriber::registry().with(Lines { format }.with_filter(targets)).try_init();
}

struct Lines {
    format: LogFormat,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let level = match *metadata.level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG | Level::TRACE => "debug",
        };
        let file = metadata.file().unwrap_or("unknown");
        let file = file.rsplit_once("/src/").map_or(file.to_owned(), |(before, file)| {
            let folder = before.rsplit('/').next().unwrap_or(before);
            format!("{folder}/{file}")
        });
        let caller = format!("{file}:{}", metadata.line().unwrap_or_default());
        let ts = timestamp(SystemTime::now());
        let message = if fields.message.is_empty() { metadata.name() } else { &fields.message };
        let line = match self.format {
            LogFormat::Json => {
                let head = [("level", level), ("ts", &ts), ("caller", &caller), ("msg", message)];
                let head = head.map(|(key, value)| format!("{key:?}:{}", Value::from(value)));
                let others =
                    fields.others.iter().map(|(key, value)| format!(",{}:{value}", quoted(key)));
                format!("{{{}{}}}\n", head.join(","), others.collect::<String>())
            }
            LogFormat::Console => {
                let others = Value::Object(fields.others);
                format!("{ts}\t{level}\t{caller}\t{message}\t{others}\n")
            }
        };
        // Nobody can be told that there is no stderr.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
}

fn quoted(text: &str) -> Value {
    text.into()
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        self.others.insert(field.name().replace('_', "-"), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.add(field, format!("{value:?}").into());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        self.add(field, text.into());
    }
}

/// A moment as etcd writes it, in UTC.
pub(crate) fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Days are counted from 1 March of year 0, so that leap days come last.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let micros = since.subsec_micros();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

#[cfg(test)]
mod tests {
    use super::timestamp;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn moments() {
        let check = |seconds, want| {
            let time = UNIX_EPOCH + Duration::new(seconds, 1_234_000);
            assert_eq!(timestamp(time), want);
        };
        check(0, "1970-01-01T00:00:00.001234Z");
        check(951_782_400, "2000-02-29T00:00:00.001234Z");
        check(1_767_366_245, "2026-01-02T15:04:05.001234Z");
        check(4_102_444_799, "2099-12-31T23:59:59.001234Z");
    }
}
