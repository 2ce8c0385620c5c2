//! What the runs of a row came to, kept in a file.

use super::Options;
use super::programs::Programs;
use crate::shell;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

/// The pairs of one row.
#[derive(Clone, Debug)]
pub struct Results {
    file: PathBuf,
    key: Key,
    /// Of an open load.
    pub rate: Option<Rate>,
    /// Ours, then theirs: the JSON of the load tool.
    pub pairs: Vec<[Value; 2]>,
    /// Of the empty server.
    pub ceilings: Vec<Value>,
}

/// How many requests a second an open load asks, and why.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    pub rate: f64,
    /// The highest rate that etcd keeps up with if requests come at fixed times.
    pub kept: f64,
    /// What etcd does if each client waits for its answer.
    pub closed: f64,
}

impl Rate {
    fn json(self) -> Value {
        json!({"rate": self.rate, "kept": self.kept, "closed": self.closed})
    }

    fn read(json: &Value) -> Option<Self> {
        let number = |name: &str| json[name].as_f64();
        Some(Self { rate: number("rate")?, kept: number("kept")?, closed: number("closed")? })
    }
}

/// What results belong to: others are not mixed with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Names and prints of ours and theirs.
    pub programs: [[String; 2]; 2],
    /// The load tool's print.
    tool: String,
    pub seconds: u32,
}

impl Key {
    pub fn new(programs: &Programs, options: &Options) -> Self {
        let both = [&programs.ours, &programs.theirs];
        let both = both.map(|program| [program.name.clone(), program.print.clone()]);
        Self { programs: both, tool: programs.empty.print.clone(), seconds: options.seconds }
    }

    fn json(&self) -> Value {
        json!({"programs": self.programs, "tool": self.tool, "seconds": self.seconds})
    }

    fn read(json: &Value) -> Option<Self> {
        let word = |at: &str| json.pointer(at).and_then(Value::as_str).map(str::to_owned);
        let programs = [
            [word("/programs/0/0")?, word("/programs/0/1")?],
            [word("/programs/1/0")?, word("/programs/1/1")?],
        ];
        let seconds = u32::try_from(json["seconds"].as_u64()?).ok()?;
        Some(Self { programs, tool: word("/tool")?, seconds })
    }
}

impl Results {
    /// Earlier results if they are to be gone on with and belong to `key`, or none.
    pub fn load(file: PathBuf, key: Key, resume: bool) -> Result<Self> {
        let mut results = Self { file, key, rate: None, pairs: Vec::new(), ceilings: Vec::new() };
        if !resume || !results.file.exists() {
            return Ok(results);
        }
        let kept: Value = serde_json::from_str(&fs::read_to_string(&results.file)?)
            .with_context(|| format!("{} is damaged: remove it", results.file.display()))?;
        if kept["key"] != results.key.json() {
            return Ok(results);
        }
        results.take(&kept);
        Ok(results)
    }

    /// What is kept in a file, whatever it belongs to, and the heading it was measured under; none
    /// if there is no file.
    pub fn kept(file: PathBuf) -> Result<Option<(Self, String)>> {
        if !file.exists() {
            return Ok(None);
        }
        let kept: Value = serde_json::from_str(&fs::read_to_string(&file)?)
            .with_context(|| format!("{} is damaged: remove it", file.display()))?;
        let key = Key::read(&kept["key"]).context("these results belong to nothing")?;
        let heading = kept["heading"].as_str().unwrap_or_default().to_owned();
        let mut results = Self { file, key, rate: None, pairs: Vec::new(), ceilings: Vec::new() };
        results.take(&kept);
        Ok(Some((results, heading)))
    }

    fn take(&mut self, kept: &Value) {
        self.rate = Rate::read(&kept["rate"]);
        for pair in kept["pairs"].as_array().into_iter().flatten() {
            self.pairs.push([pair[0].clone(), pair[1].clone()]);
        }
        self.ceilings = kept["ceilings"].as_array().cloned().unwrap_or_default();
    }

    /// Keeps them.
    pub fn save(&self) -> Result<()> {
        fs::create_dir_all(self.file.parent().context("a file lies in a folder")?)?;
        let kept = json!({
            "key": self.key.json(),
            "heading": shell::heading()?,
            "rate": self.rate.map(Rate::json),
            "pairs": self.pairs,
            "ceilings": self.ceilings,
        });
        fs::write(&self.file, serde_json::to_string_pretty(&kept)?)
            .with_context(|| format!("writing {}", self.file.display()))
    }

    /// The names of ours and theirs.
    pub fn names(&self) -> [&str; 2] {
        [&self.key.programs[0][0], &self.key.programs[1][0]]
    }

    pub fn seconds(&self) -> u32 {
        self.key.seconds
    }

    /// One figure of every pair.
    pub fn figures(&self, pointer: &str) -> Result<Vec<[f64; 2]>> {
        self.pairs.iter().map(|[a, b]| Ok([figure(a, pointer)?, figure(b, pointer)?])).collect()
    }
}

/// A number in what the load tool wrote.
pub fn figure(json: &Value, pointer: &str) -> Result<f64> {
    let number = json.pointer(pointer).and_then(Value::as_f64);
    number.with_context(|| format!("the load tool wrote no {pointer}"))
}

/// How many operations failed, and one of the reasons.
pub fn errors(json: &Value) -> Option<(u64, String)> {
    let reports = json["reports"].as_array().into_iter().flatten();
    let errors = reports.filter_map(|report| report["errors"].as_object()).flatten();
    let errors = errors.map(|(why, count)| (count.as_u64().unwrap_or_default(), why.clone()));
    errors.reduce(|(sum, why), (count, _)| (sum + count, why))
}

/// The middle one, or between the two in the middle.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.len().saturating_sub(1) / 2, sorted.len() / 2);
    match (sorted.get(low), sorted.get(high)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn what_is_written_is_read() {
        let rate = Rate { rate: 5.0, kept: 10.0, closed: 20.0 };
        assert_eq!(Rate::read(&rate.json()), Some(rate));
        assert_eq!(Rate::read(&json!(null)), None);
        let two = |name: &str| [name.to_owned(), "0123".to_owned()];
        let key = Key { programs: [two("a"), two("b")], tool: "4567".to_owned(), seconds: 5 };
        assert_eq!(Key::read(&key.json()), Some(key));
    }

    #[test]
    fn errors_are_added_up() {
        let json = json!({"reports": [{"errors": {"a": 2}}, {"errors": {}}, {"errors": {"b": 3}}]});
        assert_eq!(errors(&json).unwrap().0, 5);
        assert_eq!(errors(&json!({"reports": [{"errors": {}}]})), None);
        assert!(figure(&json, "/x").is_err());
    }
}
