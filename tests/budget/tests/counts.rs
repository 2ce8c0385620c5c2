//! Instructions of six paths beside what they may take: `budget-<machine>.txt`.
//!
//! callgrind counts, so neither the machine's speed nor what else it does changes a figure: what
//! changed is the code, or the compiler. More than the budget is a path that became slower; less
//! is a gain, which is written down with `QUORATE_REWRITE=1` (`cargo xtask budget --write`) lest it
//! is lost again unseen. The counts belong to one compiler and one C library: those of others differ a
//! little, so that there only a path that grew by much fails.
//!
//! What the system chooses by the processor (how memory is copied) is chosen here: the oldest way.
#![allow(clippy::unwrap_used, reason = "a test may end with a panic")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a count may differ by with the compiler and library that the budget was written with.
const SHARE: f64 = 0.03;

/// And with others.
const OTHER_SHARE: f64 = 0.25;

/// No way of copying that only newer processors have, nor one that depends on their caches.
const PLAIN: &str = "glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX512VL,-AVX_Fast_Unaligned_Load,-ERMS,\
                     -FSRM,-SSSE3,-Fast_Copy_Backward,-SSE4_2:\
                     glibc.cpu.x86_non_temporal_threshold=0x4000000";

const PATHS: [&str; 6] =
    ["raft-step", "wal-append", "index-put", "index-range", "mvcc-put", "watch-notify"];

#[test]
fn paths_take_what_they_may() {
    let program = build();
    // All at once: each is one thread, and waits for nothing.
    let counts: BTreeMap<&str, f64> = std::thread::scope(|scope| {
        let counting = PATHS.map(|path| (path, scope.spawn(|| count(&program, path))));
        counting.into_iter().map(|(path, thread)| (path, thread.join().unwrap())).collect()
    });
    let tools = tools();
    let file = folder().join(format!("budget-{}.txt", std::env::consts::ARCH));
    let text = counts.iter().fold(format!("{tools}\n"), |mut text, (path, count)| {
        writeln!(text, "{path} {count:.1}").unwrap();
        text
    });
    testkit::figures::note("budget", format!("instructions each: {}", text.replace('\n', "; ")));
    if std::env::var_os("QUORATE_REWRITE").is_some() {
        return std::fs::write(&file, text).unwrap();
    }
    let budget = std::fs::read_to_string(&file).unwrap_or_else(|error| {
        panic!(
            "{}: {error}\nThis kind of machine has no budget yet; counted:\n{text}",
            file.display()
        )
    });
    let wrong = compare(&budget, &tools, &counts);
    assert!(wrong.is_empty(), "{wrong}\nIf that is right: cargo xtask budget --write");
}

/// What does not agree with the budget, a line each.
fn compare(budget: &str, tools: &str, counts: &BTreeMap<&str, f64>) -> String {
    let mut lines = budget.lines();
    let same = lines.next() == Some(tools);
    let mut wrong = String::new();
    let budget: BTreeMap<&str, f64> = lines
        .map(|line| line.split_once(' ').expect("a path and its count"))
        .map(|(path, count)| (path, count.parse().expect("a number")))
        .collect();
    if !budget.keys().eq(counts.keys()) {
        writeln!(wrong, "the budget has other paths: {:?}", budget.keys()).unwrap();
    }
    for (path, count) in counts {
        let Some(allowed) = budget.get(path) else { continue };
        let grown = count / allowed - 1.0;
        let is_wrong = if same { grown.abs() > SHARE } else { grown > OTHER_SHARE };
        if is_wrong {
            writeln!(
                wrong,
                "{path}: {count:.1} instructions, not {allowed} ({:+.1} %)",
                grown * 1e2
            )
            .unwrap();
        }
    }
    wrong
}

/// Instructions of one operation of a path.
fn count(program: &Path, path: &str) -> f64 {
    let data = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.args(["--collect-atstart=no", "--toggle-collect=quorate_budget::measured*"]);
    valgrind.arg(program).arg(path).arg(data.path());
    // Nothing else that a machine has in its environment decides anything.
    valgrind.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    valgrind.env("GLIBC_TUNABLES", PLAIN);
    let output = valgrind.output().expect("valgrind counts: ./scripts/prepare test installs it");
    let (text, log) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{path}: {text}{log}");
    let number = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.split_once(name));
        let number = line.and_then(|(_, rest)| rest.trim_start_matches([' ', ':']).parse().ok());
        number.unwrap_or_else(|| panic!("no {name} of {path}: {text}"))
    };
    let (instructions, operations): (f64, f64) =
        (number(&log, "Collected"), number(&text, "operations"));
    assert!(instructions > operations, "{path}: nothing was counted: {log}");
    instructions / operations
}

/// As the server is shipped: counts of a debug build say nothing.
fn build() -> PathBuf {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // With the server: its libraries are then the ones that are built for it anyway.
    cargo.args(["build", "--release", "--quiet", "-p", "quorate", "-p", "quorate-budget"]);
    cargo.current_dir(folder());
    let built = cargo.status().expect("cargo can be started");
    assert!(built.success(), "{cargo:?} failed; its message is above");
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(3).expect("target/<profile>/deps/<test>");
    target.join("release/quorate-budget")
}

/// Versions of the compiler and the C library, by which counts differ.
fn tools() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let compiler = first_line(Command::new(rustc).arg("--version").current_dir(folder()));
    let library = first_line(Command::new("getconf").arg("GNU_LIBC_VERSION"));
    format!("{compiler}, {library}")
}

fn first_line(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or("unknown").to_owned()
}

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn both_more_and_less_is_found() {
    let counts = |put: f64| [("put", put), ("get", 10.0)].into();
    let budget = "rustc 1\nget 10.0\nput 100.0\n";
    assert_eq!(compare(budget, "rustc 1", &counts(102.9)), "");
    let more = compare(budget, "rustc 1", &counts(103.1));
    assert_eq!(more, "put: 103.1 instructions, not 100 (+3.1 %)\n");
    assert!(!compare(budget, "rustc 1", &counts(96.9)).is_empty());
    assert_eq!(compare(budget, "rustc 2", &counts(50.0)), "");
    assert!(!compare(budget, "rustc 2", &counts(126.0)).is_empty());
    assert!(!compare("rustc 1\nget 10.0\n", "rustc 1", &counts(100.0)).is_empty());
}
