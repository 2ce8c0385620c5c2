//! `tidy`: the house rules no compiler knows. Collects every violation before it fails.
//!
//! A rule is a small function from text to violations, tested on a planted one. Rules read files;
//! none writes. Also a unit test, so that `cargo test` cannot pass an untidy checkout.

use crate::{codegen, root};
use anyhow::{Result, bail};
use std::fmt;
use std::fs;
use std::path::Path;

mod arrows;
mod documents;
mod flags;
mod manifests;
mod sources;

/// One broken rule at one place.
#[derive(Debug, PartialEq)]
struct Violation {
    path: String,
    /// From 1; 0 when the whole file is meant.
    line: usize,
    /// What is wrong and how to put it right.
    rule: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.rule)
    }
}

/// A text file of the checkout, its path relative to the root.
struct File {
    path: String,
    text: String,
}

impl File {
    fn at(&self, line: usize, rule: impl Into<String>) -> Violation {
        Violation { path: self.path.clone(), line, rule: rule.into() }
    }

    fn is_generated(&self) -> bool {
        self.path.contains("/generated/")
    }
}

/// Prints every violation; fails if there is one.
pub fn run() -> Result<()> {
    let violations = violations()?;
    for violation in &violations {
        println!("{violation}");
    }
    if violations.is_empty() {
        println!("tidy");
        return Ok(());
    }
    bail!("{} violations of the house rules", violations.len())
}

fn violations() -> Result<Vec<Violation>> {
    let mut files = Vec::new();
    read_folder(&root(), "", &mut files)?;
    let mut found = Vec::new();
    for file in &files {
        if file.path.ends_with(".rs") {
            found.extend(sources::check(file));
        }
        if file.path.ends_with("Cargo.toml") && file.path != "Cargo.toml" {
            found.extend(manifests::check(file));
        }
        if !file.is_generated() {
            found.extend(documents::check_text(file));
        }
    }
    found.extend(sources::orphans(&files));
    found.extend(documents::check_architecture(&files));
    found.extend(documents::check_evidence(&files));
    found.extend(flags::check(&files));
    found.extend(arrows::check()?);
    if let Err(stale) = codegen::check() {
        let path = "crates/raftpb/src/generated".into();
        found.push(Violation { path, line: 0, rule: format!("{stale:#}") });
    }
    Ok(found)
}

/// Reads our sources, manifests and prose below `folder` into `files`, in order of path.
fn read_folder(folder: &Path, prefix: &str, files: &mut Vec<File>) -> Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    for name in names {
        let path = folder.join(&name);
        let relative = format!("{prefix}{name}");
        if path.is_dir() {
            let skipped = name.starts_with('.') || name == "target" || name == "testdata";
            if !skipped {
                read_folder(&path, &format!("{relative}/"), files)?;
            }
        } else if [".rs", ".md", ".toml"].iter().any(|ending| name.ends_with(ending)) {
            files.push(File { path: relative, text: fs::read_to_string(path)? });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_checkout_is_tidy() {
        let found = super::violations().unwrap();
        let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(lines.is_empty(), "{}", lines.join("\n"));
    }
}
