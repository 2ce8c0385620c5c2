//! Rules for .rs files: opening, length, words that must not occur, the purity of raft, orphans.

use super::{File, Violation};

/// Files longer than `LINES_ASKED` and the lines each may have. The list only shrinks.
const LONG: [(&str, usize); 0] = [];

/// Above this a file needs an entry in `LONG`.
const LINES_ASKED: usize = 600;
/// Above this there is no entry.
const LINES_MAX: usize = 1000;

// Written in halves, so that this file does not break its own rules.
const BANNED: [(&str, &str); 2] = [
    (concat!("#[", "ignore"), "a test that does not run proves nothing: mend or delete it"),
    (concat!("thread::", "sleep"), "wait for an event or a deadline, never for time to pass"),
];

/// What raft must not name: ticks, seeds and storage are arguments.
const IMPURE: [&str; 11] = [
    "Instant",
    "SystemTime",
    "std::thread",
    "std::fs",
    "std::net",
    "Mutex",
    "RwLock",
    "HashMap",
    "HashSet",
    "tokio",
    "println!",
];

pub(super) fn check(file: &File) -> Vec<Violation> {
    if file.is_generated() {
        return Vec::new();
    }
    let mut found = opening(file);
    found.extend(length(file, &LONG));
    found.extend(banned(file));
    if file.path.starts_with("crates/raft/src/") && !file.path.ends_with("tests.rs") {
        found.extend(impure(file));
    }
    found
}

fn opening(file: &File) -> Vec<Violation> {
    if file.text.starts_with("//!") {
        return Vec::new();
    }
    vec![file.at(1, "open the file with `//!`: what it is, what it is not, its invariants")]
}

fn length(file: &File, long: &[(&str, usize)]) -> Vec<Violation> {
    let lines = file.text.lines().count();
    let allowed = long.iter().find(|(path, _)| *path == file.path).map(|(_, lines)| *lines);
    let rule = match allowed {
        _ if lines > LINES_MAX => format!("{lines} lines, at most {LINES_MAX}: split by concept"),
        None if lines > LINES_ASKED => format!("{lines} lines: split, or defend it in `LONG`"),
        Some(allowed) if lines > allowed => format!("{lines} lines, `LONG` allows {allowed}"),
        Some(_) if lines <= LINES_ASKED => "short enough now: take it off `LONG`".into(),
        _ => return Vec::new(),
    };
    vec![file.at(lines, rule)]
}

fn banned(file: &File) -> Vec<Violation> {
    let mut found = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        for (word, why) in BANNED {
            if code(line).contains(word) {
                found.push(file.at(number + 1, format!("`{word}`: {why}")));
            }
        }
    }
    found
}

/// Looks at the code up to the tests, which stand last.
fn impure(file: &File) -> Vec<Violation> {
    let mut found = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        if line.starts_with("#[cfg(test)]") {
            break;
        }
        for word in IMPURE.iter().filter(|word| has_word(code(line), word)) {
            let rule = format!("raft names `{word}`: it decides, its caller acts; pass it in");
            found.push(file.at(number + 1, rule));
        }
    }
    found
}

/// The part of a line before a comment.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or(line)
}

/// Whether `word` stands in `line` and is not the end or start of a longer name.
fn has_word(line: &str, word: &str) -> bool {
    let in_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(in_name) && !line[at + word.len()..].starts_with(in_name)
    })
}

/// Files below a `src` that no file of their package declares as a module.
pub(super) fn orphans(files: &[File]) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| !file.is_generated()) {
        let Some((package, inner)) = file.path.split_once("/src/") else { continue };
        let Some(module) = module(inner) else { continue };
        let declaration = format!("mod {module};");
        let declared = files.iter().any(|other| {
            other.path.split_once("/src/").is_some_and(|(owner, _)| owner == package)
                && other.text.lines().any(|line| has_word(code(line), &declaration))
        });
        if !declared {
            let rule = format!("no `{declaration}` in {package}: declare or delete it");
            found.push(file.at(0, rule));
        }
    }
    found
}

/// The module that `inner`, a path below `src`, must be declared as; none for a root.
fn module(inner: &str) -> Option<&str> {
    let stem = inner.strip_suffix(".rs")?;
    if stem == "lib" || stem == "main" || stem.starts_with("bin/") {
        return None;
    }
    stem.strip_suffix("/mod").unwrap_or(stem).rsplit('/').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.into(), text: text.into() }
    }

    #[test]
    fn opening_must_be_module_docs() {
        assert_eq!(opening(&file("a.rs", "use x;\n")).len(), 1);
        assert!(opening(&file("a.rs", "//! What.\n")).is_empty());
    }

    #[test]
    fn length_is_bounded_and_exemptions_shrink() {
        let of = |lines: usize| file("a.rs", &"\n".repeat(lines));
        assert!(length(&of(600), &[]).is_empty());
        assert_eq!(length(&of(601), &[]).len(), 1);
        assert!(length(&of(700), &[("a.rs", 700)]).is_empty());
        assert_eq!(length(&of(701), &[("a.rs", 700)]).len(), 1);
        assert_eq!(length(&of(600), &[("a.rs", 700)]).len(), 1);
        assert_eq!(length(&of(1001), &[("a.rs", 2000)]).len(), 1);
    }

    #[test]
    fn banned_words_are_found_in_code_only() {
        let planted = format!("//! x\n    {}]\n// {}\n", BANNED[0].0, BANNED[1].0);
        let found = banned(&file("a.rs", &planted));
        assert_eq!(found.iter().map(|violation| violation.line).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn raft_is_pure_up_to_its_tests() {
        let path = "crates/raft/src/a.rs";
        let text = "//! x\nuse std::fs;\n#[cfg(test)]\nuse std::fs;\n";
        assert_eq!(check(&file(path, text)).len(), 1);
        assert!(check(&file("crates/wal/src/a.rs", text)).is_empty());
        assert!(check(&file(path, "//! x\nlet my_tokio_x = 1;\n")).is_empty());
    }

    #[test]
    fn undeclared_files_are_orphans() {
        let lib = file("crates/a/src/lib.rs", "mod b;\nmod d;");
        let other = file("crates/z/src/lib.rs", "mod c;");
        let b = file("crates/a/src/b.rs", "");
        let c = file("crates/a/src/c.rs", "");
        let d = file("crates/a/src/d/mod.rs", "");
        let found = orphans(&[lib, other, b, c, d]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "crates/a/src/c.rs");
    }
}
