//! Scripted tests of raft: quorums, membership changes, and whole nodes.
//!
//! The verbs and the output are those of etcd-io/raft's data-driven tests, so that its scripts run
//! here as they are; only its log lines are left out of the comparison. Each verb of the
//! interaction scripts is a function in one of the files below `interaction/`.

pub mod confchange;
pub mod interaction;
pub mod quorum;

/// The output without log lines. Output that was nothing but log lines is `ok`, which is what a
/// silent command prints.
pub fn without_logs(output: &str) -> String {
    const LEVELS: [&str; 5] = ["DEBUG ", "INFO ", "WARN ", "ERROR ", "FATAL "];
    let is_log = |line: &str| LEVELS.iter().any(|level| line.trim_start().starts_with(level));
    let rest: String =
        output.lines().filter(|line| !is_log(line)).map(|line| format!("{line}\n")).collect();
    if rest.is_empty() && !output.is_empty() { "ok\n".to_owned() } else { rest }
}
