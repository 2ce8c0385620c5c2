//! `check`: everything a change must pass, quickest first. Reads only; `fix` writes.

use crate::{shell, test, tidy};
use anyhow::Result;

/// Runs the readers, then the tests if `tests`; stops at the first that fails.
pub fn run(tests: bool) -> Result<()> {
    shell::run(shell::cargo(&["fmt", "--all", "--check"]))?;
    tidy::run()?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    shell::run(shell::cargo(&clippy))?;
    let planted = ["clippy", "-p", "quorate-sim", "--features", "planted-bugs", "--all-targets"];
    shell::run(shell::cargo(&[&planted[..], &["--", "-D", "warnings"]].concat()))?;
    let mut doc = shell::cargo(&["doc", "--workspace", "--no-deps"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    shell::run(doc)?;
    if tests { test::run(&[]) } else { Ok(()) }
}
