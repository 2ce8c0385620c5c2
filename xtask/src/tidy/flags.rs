//! Rules for the server's table of flags: each row that works has a reader and a test.
//!
//! A reader is code that names the flag, a test one that gives it on a command line, in a
//! variable or in a file. Whether they are any good is not for this rule to say.

use super::{File, Violation};

const TABLE: &str = "crates/serve/src/config/table.rs";

/// Name flags, and read none: how values are written, and where files have them.
const NO_READERS: [&str; 3] =
    [TABLE, "crates/serve/src/config/kind.rs", "crates/serve/src/config/file.rs"];

/// What they ask for is done whatever they say: the system's default for listeners, in Go as well.
const DONE_ANYWAY: [&str; 1] = ["socket-reuse-address"];

/// Where readers and tests are.
const SOURCES: [&str; 3] = ["crates/serve/src/", "quorate/src/", "tests/process/tests/"];

pub(super) fn check(files: &[File]) -> Vec<Violation> {
    let Some(table) = files.iter().find(|file| file.path == TABLE) else { return Vec::new() };
    let (mut code, mut tests) = (String::new(), String::new());
    for file in files.iter().filter(|file| SOURCES.iter().any(|root| file.path.starts_with(root))) {
        if file.path.starts_with("tests/") || file.path.ends_with("/tests.rs") {
            tests += &file.text;
            continue;
        }
        let (its_code, its_tests) =
            file.text.split_once("#[cfg(test)]").unwrap_or((&file.text, ""));
        if !NO_READERS.contains(&&*file.path) {
            code += its_code;
        }
        tests += its_tests;
    }
    let mut found = Vec::new();
    for (line, name) in working_rows(&table.text) {
        if !code.contains(&format!("\"{name}\"")) && !DONE_ANYWAY.contains(&&*name) {
            found.push(table.at(line, format!("--{name} works, and nothing reads it")));
        }
        if !is_given(&tests, &name) {
            found.push(table.at(line, format!("--{name} works, and no test gives it")));
        }
    }
    found
}

/// Lines and names of the rows that work.
fn working_rows(table: &str) -> Vec<(usize, String)> {
    let mut rows = Vec::new();
    for (at, _) in table.match_indices("works(") {
        let line = table[..at].matches('\n').count() + 1;
        // The group, and then the name; the function itself has no such texts before its end.
        let mut texts = table[at..].split('"').skip(1).step_by(2);
        let end = table[at..].find(") ->").unwrap_or(usize::MAX);
        let is_row = table[at..].find('"').is_some_and(|quote| quote < end);
        if let Some(name) = texts.nth(1).filter(|_| is_row) {
            rows.push((line, name.to_owned()));
        }
    }
    rows
}

fn is_given(tests: &str, name: &str) -> bool {
    let variable = format!("ETCD_{}\"", name.to_ascii_uppercase().replace('-', "_"));
    let mut forms = [format!("-{name}="), format!("{name}: "), format!("\"{name}\\\"")].into_iter();
    let alone = |(at, _): (usize, &str)| {
        let behind = &tests[at + name.len() + 1..];
        behind.starts_with([' ', '"'])
    };
    forms.any(|form| tests.contains(&form))
        || tests.contains(&variable)
        || tests.match_indices(&format!("-{name}")).any(alone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(table: &str, code: &str) -> Vec<String> {
        let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
        let files = [file(TABLE, table), file("crates/serve/src/config/check.rs", code)];
        check(&files).into_iter().map(|violation| violation.rule).collect()
    }

    #[test]
    fn rows_that_work_are_read_and_tested() {
        let table = "const fn works(group: &str) -> Flag {}\n\
                     [works(\"Member\", \"name\", \"default\", \"help\"),\n\
                     switch(works(\n\"Unsafe\",\n\"fast\", \"false\", \"help\")),\n\
                     waits(\"Member\", \"slow\", \"\", \"help\", \"time\")]";
        let good = "get(\"name\"); get(\"fast\")\n#[cfg(test)]\n\"--name=a --fast\"";
        assert_eq!(found(table, good), Vec::<String>::new());
        let unread = good.replace("get(\"fast\")", "");
        assert_eq!(found(table, &unread), ["--fast works, and nothing reads it"]);
        let untested = good.replace("--name=a", "");
        assert_eq!(found(table, &untested), ["--name works, and no test gives it"]);
    }
}
