//! `fuzz`: runs one target of `tests/fuzz` under libFuzzer.
//!
//! The compiler that builds everything else builds this too: coverage counters are asked for
//! with options that need no nightly one. Our code has no unsafe, so no sanitizer is used; checks
//! of overflow and our own assertions are on. New inputs go to `target/fuzz/corpus/<target>`, a
//! failing one to `target/fuzz/failures`.

use crate::{root, shell};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Runs `target` for `seconds`; fails if it finds something.
pub fn run(target: &str, seconds: u64) -> Result<()> {
    let home = root().join("target/fuzz");
    let corpus = home.join("corpus").join(target);
    let failures = home.join("failures");
    let committed = committed(target);
    for folder in [&corpus, &failures, &committed] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut program = Command::new(build()?);
    program.env("QUORATE_FUZZ_TARGET", target);
    program.arg(&corpus).arg(&committed);
    program.arg(format!("-max_total_time={seconds}"));
    program.arg(format!("-artifact_prefix={}/{target}-", failures.display()));
    program.args(["-print_final_stats=1", "-rss_limit_mb=2048", "-timeout=10", "-max_len=8192"]);
    shell::run(program)
}

/// Files of a committed corpus: enough to reach every part of a reader, few enough to read
/// through in a test.
const CORPUS_MAX: usize = 48;

/// Adds to the committed corpus what was found and reaches something new, and thins it out to
/// [`CORPUS_MAX`] files of all sizes. Files with a name of their own stay.
pub fn distill(target: &str) -> Result<()> {
    let found = root().join("target/fuzz/corpus").join(target);
    let committed = committed(target);
    fs::create_dir_all(&committed)?;
    let mut program = Command::new(build()?);
    program.env("QUORATE_FUZZ_TARGET", target);
    program.args(["-set_cover_merge=1", "-max_len=4096"]).arg(&committed).arg(&found);
    shell::run(program)?;
    let mut files = Vec::new();
    for entry in fs::read_dir(&committed)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let by_engine = name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        if by_engine {
            files.push((entry.metadata()?.len(), name));
        }
    }
    files.sort();
    let all = files.len();
    let keep: BTreeSet<usize> = (0..CORPUS_MAX).map(|n| n * all / CORPUS_MAX).collect();
    for (place, (_, name)) in files.iter().enumerate() {
        if !keep.contains(&place) {
            fs::remove_file(committed.join(name))?;
        }
    }
    println!("{} of {all} inputs are in {}", keep.len().min(all), committed.display());
    Ok(())
}

fn committed(target: &str) -> PathBuf {
    root().join("tests/fuzz/corpus").join(target)
}

/// Builds the program and says where it is.
fn build() -> Result<PathBuf> {
    const COVERAGE: [&str; 5] = [
        "-Cpasses=sancov-module",
        "-Cllvm-args=-sanitizer-coverage-level=4",
        "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
        "-Cllvm-args=-sanitizer-coverage-pc-table",
        "-Cllvm-args=-sanitizer-coverage-trace-compares",
    ];
    const CHECKS: [&str; 3] = ["-Cdebug-assertions", "-Coverflow-checks", "-Ccodegen-units=1"];
    let flags: Vec<&str> = COVERAGE.into_iter().chain(CHECKS).collect();
    let target_dir = root().join("target/fuzz");
    // With a target named, build scripts and macros are built without the counters.
    let triple = shell::read({
        let mut rustc = Command::new("rustc");
        rustc.args(["--print", "host-tuple"]);
        rustc
    })?;
    let triple = triple.trim();
    let mut cargo = shell::cargo(&["build", "--release", "-p", "quorate-fuzz"]);
    cargo.args(["--bin", "fuzz", "--features", "engine", "--target", triple]);
    cargo.arg("--target-dir").arg(&target_dir).env("RUSTFLAGS", flags.join(" "));
    shell::run(cargo)?;
    Ok(target_dir.join(triple).join("release/fuzz"))
}
