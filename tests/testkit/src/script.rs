//! Scripted tests: files of commands with the output each is expected to give.
//!
//! ```text
//! # a comment
//! command argument key=value key=(value, value)
//! input, any number of lines
//! ----
//! expected output, up to an empty line (or, between two pairs of `----`, with empty lines)
//! ```
//!
//! It is the format of the `datadriven` package that etcd-io/raft uses. With `QUORATE_REWRITE=1`
//! in the environment a run writes the output there is into the file in place of the expected
//! one; the change is then read before it is committed.

use std::fmt::Write;
use std::path::{Path, PathBuf};

/// One command with its expected output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Line of the command in its file, from 1.
    pub line: usize,
    /// The command.
    pub command: String,
    /// Its arguments, in order.
    pub arguments: Vec<Argument>,
    /// The lines between command and `----`.
    pub input: String,
    /// The output expected, ending in a newline unless empty.
    pub expected: String,
    /// Lines of the file that the expected output takes up, from 0.
    output_lines: std::ops::Range<usize>,
    /// Whether the output stands between two pairs of `----`.
    doubled: bool,
}

/// An argument: a key alone, or with one or more values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// What stands before `=`, or all of it.
    pub key: String,
    /// What stands behind it.
    pub values: Vec<String>,
}

impl Block {
    /// The argument `key`, if it is given.
    pub fn argument(&self, key: &str) -> Option<&Argument> {
        self.arguments.iter().find(|argument| argument.key == key)
    }

    /// The arguments without values, as numbers.
    ///
    /// # Errors
    /// Names the argument that is no number.
    pub fn numbers(&self) -> Result<Vec<u64>, String> {
        let bare = self.arguments.iter().filter(|argument| argument.values.is_empty());
        let parse = |argument: &Argument| {
            argument.key.parse().map_err(|_| format!("{:?} is no number", argument.key))
        };
        bare.map(parse).collect()
    }
}

/// A file that is no script, or a command that gave another output than expected.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// A line makes no sense where it stands.
    #[error("{}:{line}: {what}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The command panicked. What it said was printed when it did.
    #[error("{}:{line}: {command} panicked: {what}", path.display())]
    Panic {
        /// The file.
        path: PathBuf,
        /// The command's line, from 1.
        line: usize,
        /// The command.
        command: String,
        /// What the panic said.
        what: String,
    },
    /// The output differs.
    #[error("{}:{line}: {command}\nexpected:\n{expected}\nfound:\n{found}", path.display())]
    Output {
        /// The file.
        path: PathBuf,
        /// The command's line, from 1.
        line: usize,
        /// The command.
        command: String,
        /// The output expected.
        expected: String,
        /// The output given.
        found: String,
    },
}

/// Whether a script whose output differs fails, or is written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The outputs are compared.
    Compare,
    /// The outputs found take the place of those expected.
    Rewrite,
}

impl Mode {
    /// [`Mode::Rewrite`] if `QUORATE_REWRITE` is 1; for scripts that are our own only.
    pub fn from_env() -> Self {
        let rewrite = std::env::var_os("QUORATE_REWRITE").is_some_and(|value| value == "1");
        if rewrite { Self::Rewrite } else { Self::Compare }
    }
}

/// Runs the script at `path`: gives each block to `run`, and compares what it returns with what
/// is expected, both as `normalize` makes them. Returns the number of blocks.
///
/// # Errors
/// At the first block whose output differs or that panics, or if the file is no script.
pub fn run_file(
    path: &Path,
    mode: Mode,
    normalize: impl Fn(&str) -> String,
    mut run: impl FnMut(&Block) -> String,
) -> Result<usize, ScriptError> {
    let file_error = |source| ScriptError::File { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(file_error)?;
    let blocks = parse(path, &text)?;
    let rewrite = mode == Mode::Rewrite;
    let mut outputs = Vec::new();
    for block in &blocks {
        let mut found = run_block(path, block, &mut run)?;
        if !found.is_empty() && !found.ends_with('\n') {
            found.push('\n');
        }
        if !rewrite && normalize(&found) != normalize(&block.expected) {
            return Err(ScriptError::Output {
                path: path.to_owned(),
                line: block.line,
                command: block.command.clone(),
                expected: normalize(&block.expected),
                found: normalize(&found),
            });
        }
        outputs.push(found);
    }
    if rewrite {
        std::fs::write(path, rewritten(&text, &blocks, &outputs)).map_err(file_error)?;
    }
    Ok(blocks.len())
}

/// Runs one block. A panic becomes an error that names the block: without it, nobody would know
/// which of hundreds it was.
fn run_block(
    path: &Path,
    block: &Block,
    run: &mut impl FnMut(&Block) -> String,
) -> Result<String, ScriptError> {
    // Whatever the panic left half done is not looked at again: the script ends here.
    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(block)));
    ran.map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let what = text.or_else(|| payload.downcast_ref::<&str>().copied());
        ScriptError::Panic {
            path: path.to_owned(),
            line: block.line,
            command: block.command.clone(),
            what: what.unwrap_or("not with a text").to_owned(),
        }
    })
}

/// All scripts (`*.txt`) below `folder`, sorted.
///
/// # Panics
/// If a folder cannot be read: scripts that are not found would count as passed.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let entries = entries.unwrap_or_else(|e| panic!("cannot read {}: {e}", folder.display()));
    for path in entries.into_iter().map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(files_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "txt") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Reads the blocks of a script.
///
/// # Errors
/// Names the line that makes no sense.
pub fn parse(path: &Path, text: &str) -> Result<Vec<Block>, ScriptError> {
    let lines: Vec<&str> = text.lines().collect();
    let error = |line, what| ScriptError::Syntax { path: path.to_owned(), line: line + 1, what };
    let mut blocks = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let directive = lines[at].trim();
        if directive.is_empty() || directive.starts_with('#') {
            at += 1;
            continue;
        }
        let start = at;
        let (command, arguments) =
            parse_directive(directive).ok_or_else(|| error(start, "unclosed parenthesis"))?;
        at += 1;
        let input_start = at;
        while lines.get(at).is_some_and(|line| *line != SEPARATOR) {
            at += 1;
        }
        if at == lines.len() {
            return Err(error(start, "no ---- behind the command"));
        }
        let input = lines[input_start..at].join("\n");
        at += 1;
        let doubled = lines.get(at) == Some(&SEPARATOR);
        if doubled {
            at += 1;
        }
        let output_start = at;
        while lines
            .get(at)
            .is_some_and(|line| if doubled { *line != SEPARATOR } else { !line.is_empty() })
        {
            at += 1;
        }
        let output_lines = output_start..at;
        let expected: String =
            lines[output_lines.clone()].iter().map(|line| format!("{line}\n")).collect();
        if doubled {
            if lines.get(at..at + 2) != Some(&[SEPARATOR, SEPARATOR]) {
                return Err(error(start, "output behind a pair of ---- ends with a pair"));
            }
            at += 2;
        }
        let line = start + 1;
        blocks.push(Block { line, command, arguments, input, expected, output_lines, doubled });
    }
    Ok(blocks)
}

const SEPARATOR: &str = "----";

/// Command and arguments; `None` if a parenthesis is not closed.
fn parse_directive(text: &str) -> Option<(String, Vec<Argument>)> {
    let (command, mut rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let mut arguments = Vec::new();
    while !rest.trim_start().is_empty() {
        rest = rest.trim_start();
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let key = rest[..end].to_owned();
        rest = &rest[end..];
        let mut values = Vec::new();
        if let Some(value) = rest.strip_prefix('=') {
            if let Some(list) = value.strip_prefix('(') {
                let close = list.find(')')?;
                values = list[..close].split(',').map(|value| value.trim().to_owned()).collect();
                rest = &list[close + 1..];
            } else {
                let end = value.find(char::is_whitespace).unwrap_or(value.len());
                values.push(value[..end].to_owned());
                rest = &value[end..];
            }
        }
        arguments.push(Argument { key, values });
    }
    Some((command.to_owned(), arguments))
}

fn rewritten(text: &str, blocks: &[Block], outputs: &[String]) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut new = String::new();
    let mut at = 0;
    for (block, output) in blocks.iter().zip(outputs) {
        for line in &lines[at..block.output_lines.start] {
            writeln!(new, "{line}").expect("a string takes any text");
        }
        // An empty line would end the output, unless it stands between two pairs.
        let double = !block.doubled && output.lines().any(str::is_empty);
        let (before, after) = if double { ("----\n", "----\n----\n") } else { ("", "") };
        new.push_str(&format!("{before}{output}{after}"));
        at = block.output_lines.end;
    }
    for line in &lines[at..] {
        writeln!(new, "{line}").expect("a string takes any text");
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# two blocks
first 1 flag key=value list=(1, _,3)
input
----
out
put

second
----
----
with

gap
----
----
";

    #[test]
    fn blocks_have_arguments_input_and_output() {
        let blocks = parse(Path::new("script"), TEXT).expect("a script");
        assert_eq!(blocks.len(), 2);
        assert_eq!(blocks[0].line, 2);
        assert_eq!(blocks[0].arguments[3].values, ["1", "_", "3"]);
        assert_eq!(blocks[0].argument("key").expect("given").values, ["value"]);
        assert_eq!((&*blocks[0].input, &*blocks[0].expected), ("input", "out\nput\n"));
        assert_eq!(blocks[1].expected, "with\n\ngap\n");
        let same: Vec<String> = blocks.iter().map(|block| block.expected.clone()).collect();
        assert_eq!(rewritten(TEXT, &blocks, &same), TEXT);
        let other = ["new\n".to_owned(), "gap\n".to_owned()];
        let other = rewritten(TEXT, &blocks, &other);
        let again = parse(Path::new("script"), &other).expect("a script");
        assert_eq!((&*again[0].expected, &*again[1].expected), ("new\n", "gap\n"));
    }

    #[test]
    fn new_output_with_an_empty_line_is_put_between_pairs() {
        let blocks = parse(Path::new("script"), TEXT).expect("a script");
        let gaps = ["a\n\nb\n".to_owned(), "c\n\n".to_owned()];
        let again = rewritten(TEXT, &blocks, &gaps);
        let again = parse(Path::new("script"), &again).expect("a script");
        assert_eq!((&*again[0].expected, &*again[1].expected), ("a\n\nb\n", "c\n\n"));
    }

    #[test]
    fn failures_name_file_and_line() {
        let folder = std::env::temp_dir().join(format!("script-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("one.txt");
        std::fs::write(&path, TEXT).expect("a file");
        let run = |run: fn(&Block) -> String| run_file(&path, Mode::Compare, str::to_owned, run);
        let differs = run(|_| "other".to_owned()).expect_err("another output").to_string();
        let panics = run(|block| panic!("no {}", block.command)).expect_err("a panic").to_string();
        let passes = run(|block| block.expected.clone()).expect("the output expected");
        std::fs::remove_dir_all(&folder).expect("the folder is there");
        assert!(differs.contains("one.txt:2: first\n"), "{differs}");
        assert!(panics.ends_with("one.txt:2: first panicked: no first"), "{panics}");
        assert_eq!(passes, 2);
    }

    #[test]
    fn a_broken_script_names_its_line() {
        for (text, line) in [
            ("# c\ncmd a=(1\n----\n", ":2:"),
            ("cmd\ninput\n", ":1:"),
            ("cmd\n----\n----\nout\n\n----\nmore\n", ":1:"),
        ] {
            let error = parse(Path::new("script"), text).expect_err("no script").to_string();
            assert!(error.contains(line), "{error}");
        }
    }
}
