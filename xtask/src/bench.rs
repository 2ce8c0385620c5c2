//! `bench`: runs the benches, the machine and commit above their tables.

use crate::shell;
use anyhow::{Result, ensure};

/// Name of the bench and the package it belongs to.
const BENCHES: [(&str, &str); 7] = [
    ("commits", "quorate-raft"),
    ("append", "quorate-wal"),
    ("store", "quorate-beside-lmdb"),
    ("compact", "quorate-backend"),
    ("image", "quorate-bolt"),
    ("puts", "quorate-raftexample"),
    ("server", "quorate-process"),
];

/// Runs the bench `name`, or all.
pub fn run(name: Option<&str>) -> Result<()> {
    let known = name.is_none_or(|name| BENCHES.iter().any(|(bench, _)| *bench == name));
    ensure!(known, "no such bench; there are: {}", BENCHES.map(|(bench, _)| bench).join(", "));
    println!("{}", shell::heading()?);
    for (bench, package) in BENCHES {
        if name.is_none_or(|name| name == bench) {
            shell::run(shell::cargo(&["bench", "-p", package, "--bench", bench]))?;
        }
    }
    Ok(())
}
