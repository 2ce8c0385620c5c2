//! Rules for any text, and for the two documents that must keep up: the architecture page names
//! every crate, the evidence table has whole rows.

use super::{File, Violation};

const EVIDENCE: &str = "docs/evidence/README.md";
/// id, must show, command, commit, date, figure.
const EVIDENCE_CELLS: usize = 6;

pub(super) fn check_text(file: &File) -> Vec<Violation> {
    let mut found = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        let number = number + 1;
        if !line.is_ascii() {
            found.push(file.at(number, "ASCII only: spell or escape it"));
        }
        if line.ends_with([' ', '\t']) {
            found.push(file.at(number, "space at the end of the line: `cargo xtask fix`"));
        }
        if file.path.ends_with(".rs") && unnumbered(line) {
            found.push(file.at(number, "give the issue's number, as in (#12), or do it now"));
        }
    }
    found
}

/// Whether the line puts something off without the number of an issue.
fn unnumbered(line: &str) -> bool {
    [concat!("TO", "DO"), concat!("FIX", "ME")].iter().any(|word| {
        line.match_indices(word).any(|(at, _)| {
            let rest = line[at + word.len()..].strip_prefix("(#");
            !rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
    })
}

pub(super) fn check_architecture(files: &[File]) -> Vec<Violation> {
    const PAGE: &str = "ARCHITECTURE.md";
    let text = files.iter().find(|file| file.path == PAGE).map_or("", |file| &file.text);
    let crates = files.iter().filter_map(|file| {
        let folder = file.path.strip_suffix("/Cargo.toml")?;
        folder.starts_with("crates/").then_some(folder)
    });
    crates
        .filter(|folder| !text.contains(&format!("`{folder}`")))
        .map(|folder| {
            let rule = format!("say in the code map what `{folder}` is, in backquotes");
            Violation { path: PAGE.into(), line: 0, rule }
        })
        .collect()
}

pub(super) fn check_evidence(files: &[File]) -> Vec<Violation> {
    let Some(file) = files.iter().find(|file| file.path == EVIDENCE) else {
        let rule = "the table of evidence is missing".into();
        return vec![Violation { path: EVIDENCE.into(), line: 0, rule }];
    };
    let mut found = Vec::new();
    let mut seen = Vec::new();
    // Header and ruler first.
    let rows = file.text.lines().enumerate().filter(|(_, line)| line.starts_with('|')).skip(2);
    for (number, line) in rows {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if let Err(rule) = check_row(&cells) {
            found.push(file.at(number + 1, rule));
        } else if seen.contains(&cells[0]) {
            found.push(file.at(number + 1, "the line has a row already: replace that"));
        }
        seen.push(cells[0]);
    }
    found
}

fn check_row(cells: &[&str]) -> Result<(), &'static str> {
    if cells.len() != EVIDENCE_CELLS || cells.iter().any(|cell| cell.is_empty()) {
        return Err("a row has: id, must show, command, commit, date, figure; none empty");
    }
    let numeric = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !cells[0].split_once('.').is_some_and(|(issue, line)| numeric(issue) && numeric(line)) {
        return Err("an id is issue and line, as in 2.1");
    }
    let commit = cells[3].trim_matches('`');
    if !(7..=40).contains(&commit.len()) || !commit.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err("the commit is 7 to 40 hexadecimal digits");
    }
    let date: Vec<&str> = cells[4].split('-').collect();
    if date.iter().map(|part| part.len()).ne([4, 2, 2]) || !date.iter().all(|part| numeric(part)) {
        return Err("the date is written 2026-01-31");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.into(), text: text.into() }
    }

    #[test]
    fn text_is_plain() {
        let planted = concat!("caf\u{e9}\nx \n// TO", "DO: y\n// TO", "DO(#12): z\n");
        let lines: Vec<_> = check_text(&file("a.rs", planted)).iter().map(|v| v.line).collect();
        assert_eq!(lines, [1, 2, 3]);
    }

    #[test]
    fn every_crate_is_on_the_page() {
        let page = file("ARCHITECTURE.md", "`crates/a` is a.");
        let files = [page, file("crates/a/Cargo.toml", ""), file("crates/ab/Cargo.toml", "")];
        let found = check_architecture(&files);
        assert_eq!(found.len(), 1);
        assert!(found[0].rule.contains("crates/ab"));
    }

    #[test]
    fn evidence_rows_are_whole() {
        let row = "| 2.1 | clone | `./test` | `4c03184` | 2026-01-31 | 12 tests |";
        let check = |rows: &str| {
            let text = format!("| id | .. |\n|---|---|\n{rows}\n");
            check_evidence(&[file(EVIDENCE, &text)]).len()
        };
        assert_eq!(check(""), 0);
        assert_eq!(check(row), 0);
        assert_eq!(check(&format!("{row}\n{row}")), 1);
        assert_eq!(check(&row.replace("2.1", "two")), 1);
        assert_eq!(check(&row.replace("4c03184", "main")), 1);
        assert_eq!(check(&row.replace("2026-01-31", "today")), 1);
        assert_eq!(check(&row.replace("12 tests", "")), 1);
        assert_eq!(check_evidence(&[]).len(), 1);
    }
}
