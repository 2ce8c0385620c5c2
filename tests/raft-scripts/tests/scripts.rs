//! Runs our own scripts, and those of etcd-io/raft if `QUORATE_RAFT_SCRIPTS` names their folder.

use quorate_raft_scripts::{confchange, interaction, quorum, without_logs};
use std::path::{Path, PathBuf};
use testkit::script::{self, Mode, ScriptError};

#[test]
fn own_scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    run_folder(&folder, Mode::from_env(), "raft-scripts-own");
}

#[test]
fn upstream_scripts() {
    let Some(folder) = std::env::var_os("QUORATE_RAFT_SCRIPTS") else {
        testkit::figures::note("raft-scripts", "QUORATE_RAFT_SCRIPTS is not set, so none were run");
        return;
    };
    run_folder(&PathBuf::from(folder), Mode::Compare, "raft-scripts");
}

/// Runs all scripts below `folder`, by the name of the folder each lies in.
fn run_folder(folder: &Path, mode: Mode, name: &str) {
    let files = script::files_below(folder);
    assert!(!files.is_empty(), "there are no scripts below {}", folder.display());
    let (mut blocks, mut failures) = (0, Vec::new());
    for file in &files {
        match run(file, mode) {
            Ok(count) => blocks += count,
            Err(error) => failures.push(error.to_string()),
        }
    }
    let (passed, count) = (files.len() - failures.len(), files.len());
    testkit::figures::note(name, format!("{passed} of {count} files pass, {blocks} blocks"));
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

fn run(file: &Path, mode: Mode) -> Result<usize, ScriptError> {
    let kind = file.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    match kind {
        Some("quorum") => script::run_file(file, mode, str::to_owned, quorum::run),
        Some("confchange") => {
            let mut env = confchange::Env::new();
            script::run_file(file, mode, str::to_owned, |block| env.run(block))
        }
        Some("interaction") => {
            let mut env = interaction::Env::new();
            script::run_file(file, mode, without_logs, |block| env.run(block))
        }
        _ => panic!("{}: not in a folder interaction, quorum or confchange", file.display()),
    }
}
