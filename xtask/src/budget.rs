//! `budget`: instructions of six paths beside what they may take (`tests/budget`).

use crate::shell;
use anyhow::Result;

/// Compares, or writes down what is counted now.
pub fn run(write: bool) -> Result<()> {
    let mut command = shell::cargo(&["test", "-p", "quorate-budget"]);
    if write {
        command.env("QUORATE_REWRITE", "1");
    }
    shell::run(command)
}
