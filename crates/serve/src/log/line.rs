//! One line, as zap writes it: from an event's fields to bytes.

use super::{Format, Severity};
use jiff::ZonedDateTime;
use serde_json::Value;
use std::fmt::{self, Write as _};
use std::time::SystemTime;
use tracing::field::{Field, Visit};

/// What is said in a line.
pub(super) struct Line<'a> {
    pub level: Severity,
    pub caller: String,
    pub message: &'a str,
    /// In the order in which they were given.
    pub fields: Vec<(String, Value)>,
}

impl Line<'_> {
    /// The line of now, with its end.
    pub(super) fn text(&self, format: Format) -> String {
        self.text_at(format, &timestamp(&ZonedDateTime::now()))
    }

    fn text_at(&self, format: Format, ts: &str) -> String {
        let Self { level, caller, message, fields } = self;
        match format {
            Format::Json => {
                let head =
                    [("level", level.name()), ("ts", ts), ("caller", caller), ("msg", message)];
                let mut text = String::from("{");
                for (index, (key, value)) in head.into_iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    // Writing to a string cannot fail, here and below.
                    let _ = write!(text, "{comma}{}:{}", quoted(key), quoted(value));
                }
                for (key, value) in fields {
                    let _ = write!(text, ",{}:{value}", quoted(key));
                }
                text.push_str("}\n");
                text
            }
            Format::Console => {
                let mut text = format!("{ts}\t{}\t{caller}\t{message}", level.name());
                for (index, (key, value)) in fields.iter().enumerate() {
                    let before = if index == 0 { "\t{" } else { ", " };
                    let _ = write!(text, "{before}{}: ", quoted(key));
                    spaced(&mut text, value);
                }
                text.push_str(if fields.is_empty() { "\n" } else { "}\n" });
                text
            }
        }
    }
}

/// A value with spaces, as in lines for people.
fn spaced(text: &mut String, value: &Value) {
    let Value::Array(items) = value else {
        let _ = write!(text, "{value}");
        return;
    };
    text.push('[');
    for (index, item) in items.iter().enumerate() {
        text.push_str(if index == 0 { "" } else { ", " });
        spaced(text, item);
    }
    text.push(']');
}

fn quoted(text: &str) -> Value {
    text.into()
}

/// Where a line was written, with its folder: `server/start.rs:9`.
pub(super) fn caller(file: &str, line: u32) -> String {
    match file.rsplit_once("/src/") {
        Some((before, file)) => {
            let folder = before.rsplit('/').next().unwrap_or(before);
            format!("{folder}/{file}:{line}")
        }
        None => format!("{file}:{line}"),
    }
}

/// A moment as etcd writes it; one that no calendar has is now.
pub(crate) fn timestamp_of(time: SystemTime) -> String {
    timestamp(&ZonedDateTime::try_from(time).unwrap_or_else(|_| ZonedDateTime::now()))
}

/// The same of a moment in a time zone.
fn timestamp(time: &ZonedDateTime) -> String {
    let zone = if time.offset().is_zero() { "Z" } else { "%z" };
    time.strftime(&format!("%Y-%m-%dT%H:%M:%S%.6f{zone}")).to_string()
}

/// What an event says.
#[derive(Default)]
pub(super) struct Fields {
    pub message: String,
    pub others: Vec<(String, Value)>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        self.others.push((field.name().replace('_', "-"), value));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
            return;
        }
        // Events have no lists; what reads as one was given as one, with a question mark.
        let list = text.starts_with('[').then(|| serde_json::from_str::<Vec<Value>>(&text).ok());
        let value = list.flatten().map_or_else(|| text.into(), Value::Array);
        self.add(field, value);
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

    fn record_f64(&mut self, field: &Field, value: f64) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(fields: Vec<(String, Value)>) -> Line<'static> {
        let caller = caller("/x/crates/server/src/start.rs", 9);
        Line { level: Severity::Info, caller, message: "a \"b\"\n", fields }
    }

    #[test]
    fn lines_are_zaps() {
        let fields = vec![
            ("zone".to_owned(), json!(["http://a", "b"])),
            ("count".to_owned(), json!(3)),
            ("empty".to_owned(), json!([])),
        ];
        let ts = "2026-01-02T15:04:05.000000Z";
        assert_eq!(
            line(fields.clone()).text_at(Format::Json, ts),
            "{\"level\":\"info\",\"ts\":\"2026-01-02T15:04:05.000000Z\",\
             \"caller\":\"server/start.rs:9\",\"msg\":\"a \\\"b\\\"\\n\",\
             \"zone\":[\"http://a\",\"b\"],\"count\":3,\"empty\":[]}\n"
        );
        assert_eq!(
            line(fields).text_at(Format::Console, ts),
            "2026-01-02T15:04:05.000000Z\tinfo\tserver/start.rs:9\ta \"b\"\n\t\
             {\"zone\": [\"http://a\", \"b\"], \"count\": 3, \"empty\": []}\n"
        );
        assert!(line(Vec::new()).text_at(Format::Console, ts).ends_with("a \"b\"\n\n"));
    }

    #[test]
    fn moments_are_in_the_machines_zone() {
        let check = |text: &str, want| {
            let time: ZonedDateTime = text.parse().expect("a moment");
            assert_eq!(timestamp(&time), want);
        };
        check("1970-01-01T00:00:00.001234[UTC]", "1970-01-01T00:00:00.001234Z");
        check("2026-01-02T15:04:05[+01:00]", "2026-01-02T15:04:05.000000+0100");
        check("2026-01-02T15:04:05[-09:30]", "2026-01-02T15:04:05.000000-0930");
    }
}
