//! Figures a test run found out: how many scripts, flips, puts.
//!
//! Cargo swallows what a passing test prints, yet a count is half of a proof: "every flip was
//! caught" means little without how many there were. So a test writes its figures into a folder,
//! and `cargo xtask test` prints them all at the end.

use std::fs;
use std::path::PathBuf;

/// Notes the figures of the suite or case `name`, replacing what an earlier run noted.
///
/// # Panics
/// If the figure cannot be written: a proof without its figure is none.
pub fn note(name: &str, figures: impl std::fmt::Display) {
    let line = format!("{name}: {figures}");
    println!("{line}");
    let folder = folder();
    fs::create_dir_all(&folder).expect("the folder of figures can be made");
    fs::write(folder.join(name), line + "\n").expect("a figure can be written");
}

/// `target/figures` of the build under test, beside the folder of its profile.
fn folder() -> PathBuf {
    let program = std::env::current_exe().expect("a test knows its own program");
    let profile = program.ancestors().nth(2).expect("target/<profile>/deps/<test>");
    profile.parent().expect("a profile lies in the target folder").join("figures")
}
