//! `test`: installs what tests need, builds, runs every test, and prints the figures the tests
//! noted, also when some failed.
//!
//! A figure is a file in `target/figures` written by `testkit::figures::note`.

use crate::{peers, root, shell};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs};

const PLANTED: [&str; 7] =
    ["test", "-p", "quorate-sim", "--features", "planted-bugs", "--test", "planted"];

/// Runs `cargo test` with `args`, or for the whole workspace if there are none.
pub fn run(args: &[String]) -> Result<()> {
    let started = Instant::now();
    peers::run()?;
    let figures = target()?.join("figures");
    if figures.exists() {
        fs::remove_dir_all(&figures).context("clearing the figures of the run before")?;
    }
    let mut selected: Vec<&str> = args.iter().map(String::as_str).collect();
    let everything = selected.is_empty();
    if everything {
        // Benches alone, and LMDB to build for them.
        selected.extend(["--workspace", "--exclude", "quorate-beside-lmdb"]);
    }
    // One failing suite must not hide the figures of the others.
    let mut command = shell::cargo(&["test", "--no-fail-fast"]);
    command.args(selected);
    if env::var_os("QUORATE_RAFT_SCRIPTS").is_none()
        && let Some(scripts) = shared_scripts()
    {
        command.env("QUORATE_RAFT_SCRIPTS", scripts);
    }
    let mut tests = shell::run(command);
    if everything {
        // Code with planted bugs is built apart: no other test runs on it.
        tests = tests.and(shell::run(shell::cargo(&PLANTED)));
    }
    for line in read_figures(&figures)? {
        println!("{line}");
    }
    println!("elapsed: {} s", started.elapsed().as_secs());
    tests
}

/// Upstream's raft scripts, where they lie beside the checkout.
fn shared_scripts() -> Option<PathBuf> {
    let scripts = root().join("../shared/conformance/raft");
    scripts.is_dir().then_some(scripts)
}

/// The folder cargo builds into, wherever the caller's settings put it.
fn target() -> Result<PathBuf> {
    let text = shell::read(shell::cargo(&["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&text)?;
    let folder = metadata["target_directory"].as_str().context("cargo names its target")?;
    Ok(PathBuf::from(folder))
}

/// Every figure in `folder`, one line each, by file name. No folder: no figures.
fn read_figures(folder: &Path) -> Result<Vec<String>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        files.push(entry?.path());
    }
    files.sort();
    files.iter().map(|file| Ok(fs::read_to_string(file)?.trim_end().replace('\n', "; "))).collect()
}

#[cfg(test)]
mod tests {
    use super::read_figures;
    use std::fs;

    #[test]
    fn figures_come_sorted_one_line_each() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("b"), "b: 2\nmore\n").unwrap();
        fs::write(folder.path().join("a"), "a: 1\n").unwrap();
        assert_eq!(read_figures(folder.path()).unwrap(), ["a: 1", "b: 2; more"]);
        assert!(read_figures(&folder.path().join("none")).unwrap().is_empty());
    }
}
