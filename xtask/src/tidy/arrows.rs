//! Which crate may use which: the floors of ARCHITECTURE.md, checked against what cargo resolves.
//!
//! An arrow goes from a crate to one on a lower floor, never sideways or up; `raft` uses `raftpb`
//! alone. Dependencies that only tests have may also be the test kit. From outside, every licence
//! is one that may be shipped, everything comes from the one public registry, and there is one of
//! each of a few crates whose types cross our borders.

use super::Violation;
use crate::shell;
use anyhow::{Context, Result};
use serde_json::Value;

/// Each crate's floor. What is not here may be used by nothing.
const FLOORS: &[(&str, u32)] = &[
    ("quorate-api", 0),
    ("quorate-http2", 0),
    ("quorate-raftpb", 0),
    ("quorate-vfs", 0),
    ("quorate-bolt", 1),
    ("quorate-net", 1),
    ("quorate-raft", 1),
    ("quorate-wal", 1),
    ("quorate-backend", 2),
    ("quorate-peer", 2),
    ("quorate-lease", 3),
    ("quorate-member", 3),
    ("quorate-mvcc", 3),
    ("quorate-apply", 4),
    ("quorate-server", 5),
    ("quorate-serve", 6),
    ("quorate", 7),
    ("quorate-benchmark", 7),
    ("quorate-raftexample", 7),
];

/// Floor of tests and tools: they may use everything, and nothing may use them.
const TOP: u32 = 99;

/// The pure state machine knows no clock, thread, file, network or chance.
const BANNED_IN_RAFT: [&str; 8] =
    ["tokio", "rustix", "nix", "crossbeam-channel", "rand", "mio", "hyper", "parking_lot"];

/// Licences that ours may be combined with; an expression needs one of its alternatives here.
const LICENCES: [&str; 11] = [
    "MIT",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unicode-3.0",
    "Zlib",
    "0BSD",
    "Unlicense",
    "MIT-0",
    "NCSA",
];

/// Of these there is one version: their types are part of what our crates say to each other.
const SINGLE: [&str; 4] = ["prost", "bytes", "hyper", "thiserror"];

pub(super) fn check() -> Result<Vec<Violation>> {
    let text = shell::read(shell::cargo(&["metadata", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&text).context("reading cargo's metadata")?;
    let packages = metadata["packages"].as_array().context("cargo lists packages")?;
    let mut found = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        if package["source"].is_null() {
            for dependency in package["dependencies"].as_array().into_iter().flatten() {
                let to = dependency["name"].as_str().unwrap_or_default();
                let ours = !dependency["path"].is_null();
                let for_tests = dependency["kind"] == "dev";
                found.extend(arrow(name, to, ours, for_tests).map(|rule| at(package, rule)));
            }
        } else {
            let source = package["source"].as_str().unwrap_or_default();
            if !source.starts_with("registry+") {
                found.push(at(package, format!("{name} must come from the public registry")));
            }
            let licence = package["license"].as_str().unwrap_or_default();
            if !may_ship(licence) {
                found.push(at(package, format!("{name} has the licence {licence:?}: replace it")));
            }
        }
    }
    for single in SINGLE {
        let versions = packages.iter().filter(|package| package["name"] == single).count();
        if versions > 1 {
            let rule = format!("{versions} versions of {single}: settle on one");
            found.push(Violation { path: "Cargo.lock".into(), line: 0, rule });
        }
    }
    Ok(found)
}

fn at(package: &Value, rule: String) -> Violation {
    let path = package["manifest_path"].as_str().unwrap_or_default();
    let root = crate::root();
    let path = path.strip_prefix(&*root.to_string_lossy()).unwrap_or(path);
    Violation { path: path.trim_start_matches('/').to_owned(), line: 0, rule }
}

fn floor(name: &str) -> u32 {
    FLOORS.iter().find(|(crate_name, _)| *crate_name == name).map_or(TOP, |(_, floor)| *floor)
}

/// Why `from` may not depend on `to`.
fn arrow(from: &str, to: &str, ours: bool, for_tests: bool) -> Option<String> {
    if from == "quorate-raft" && !for_tests && BANNED_IN_RAFT.contains(&to) {
        return Some(format!("raft is pure: it must not use {to}"));
    }
    if !ours || (for_tests && to == "quorate-testkit") || floor(from) == TOP {
        return None;
    }
    if floor(to) < floor(from) {
        return None;
    }
    Some(format!("{from} must not use {to}: arrows go to lower floors only"))
}

/// Whether one alternative of a licence expression may be shipped.
fn may_ship(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], " ");
    expression.split(" OR ").any(|alternative| {
        alternative.split(" AND ").all(|licence| {
            let plain = licence.split(" WITH ").next().unwrap_or_default().trim();
            LICENCES.contains(&plain)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_go_down() {
        let ours = |from, to| arrow(from, to, true, false).is_some();
        assert!(!ours("quorate-raft", "quorate-raftpb"));
        assert!(ours("quorate-raft", "quorate-wal"), "sideways");
        assert!(ours("quorate-raftpb", "quorate-raft"), "up");
        assert!(ours("quorate-wal", "quorate-testkit"), "a normal arrow to tests");
        assert!(ours("quorate-wal", "xtask"));
        assert!(arrow("quorate-wal", "quorate-testkit", true, true).is_none());
        assert!(arrow("quorate-wal", "quorate-peer", true, true).is_some());
        assert!(arrow("quorate-raft", "tokio", false, false).is_some());
        assert!(arrow("quorate-peer", "tokio", false, false).is_none());
    }

    #[test]
    fn licences_need_one_good_alternative() {
        for good in ["MIT", "MIT OR Apache-2.0", "MIT/GPL-3.0", "(MIT OR GPL-2.0) AND Unicode-3.0"]
        {
            assert!(may_ship(good), "{good}");
        }
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0"] {
            assert!(!may_ship(bad), "{bad}");
        }
    }
}
