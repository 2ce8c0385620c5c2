//! Runs one path a fixed number of times: `quorate-budget <path> <folder>`.
//!
//! What is counted is what happens below [`measured`], which callgrind knows by its name; making
//! what a path needs is not. One thread, the same numbers in every run, no clock: two runs of one
//! build come to the same count. The folder is empty, and takes what a path writes.
//! What it is not: a measure of time. `cargo xtask bench` has those.

mod paths;

use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, folder] = &arguments[..] else {
        eprintln!("quorate-budget <path> <folder>");
        return ExitCode::FAILURE;
    };
    let Some((_, path)) = paths::PATHS.iter().find(|(known, _)| known == name) else {
        eprintln!("no such path; there are: {}", paths::PATHS.map(|(name, _)| name).join(", "));
        return ExitCode::FAILURE;
    };
    println!("operations: {}", path(Path::new(folder)));
    ExitCode::SUCCESS
}

/// Does the work. Its name is what the counting begins and ends at, so it is never inlined, and is
/// still there when the work is done.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    let mut done = false;
    work();
    *black_box(&mut done) = true;
    assert!(done, "the work was done");
}
