//! The tail of what happened, for the report of a failure. A run keeps none; a failed seed is
//! run again with it on, and does the same.

use std::collections::VecDeque;
use std::fmt::Arguments;

/// Lines kept, if `QUORATE_TRACE` does not ask for another number.
const LINES: usize = 120;
/// A line is cut there: payloads say little.
const LINE_CHARS_MAX: usize = 1000;

#[derive(Debug, Default)]
pub(crate) struct Trace {
    on: bool,
    lines_max: usize,
    lines: VecDeque<String>,
}

impl Trace {
    pub(crate) fn new(on: bool) -> Self {
        let asked = std::env::var("QUORATE_TRACE").ok().and_then(|lines| lines.parse().ok());
        Self { on, lines_max: asked.unwrap_or(LINES), lines: VecDeque::new() }
    }

    /// Whether lines are kept; to ask before a line that costs something to make.
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    pub(crate) fn note(&mut self, now: u64, line: Arguments<'_>) {
        if !self.on {
            return;
        }
        if self.lines.len() >= self.lines_max {
            self.lines.pop_front();
        }
        let line: String = line.to_string().chars().take(LINE_CHARS_MAX).collect();
        self.lines.push_back(format!("{now:6} ms  {line}"));
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}
