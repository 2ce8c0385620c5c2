//! `fix`: everything a program can put right by itself. `check` only reads.

use crate::{codegen, shell};
use anyhow::Result;

/// Generates, applies the lints' suggestions, formats: each may undo the shape of the one before.
pub fn run() -> Result<()> {
    codegen::run()?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--fix", "--allow-dirty"];
    shell::run(shell::cargo(&clippy))?;
    shell::run(shell::cargo(&["fmt", "--all"]))
}
