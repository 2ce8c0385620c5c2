//! One client program walking the tour against one server.

use process::{PATIENCE, Server};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Instant;

/// A stop of the tour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Runs to its end; the text is typed in.
    Run(Vec<String>, String),
    /// Runs on in the background.
    Background(Vec<String>),
    /// Waits for that many lines of what runs in the background, and interrupts it.
    Interrupt(usize),
}

/// Lines of a program in the background that may wait to be taken.
const LINES_WAITING: usize = 1000;

/// The stops that a text describes.
///
/// # Panics
/// If a line begins with no known sign.
#[must_use]
pub fn stops(text: &str) -> Vec<Stop> {
    let mut stops = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (sign, rest) = line.split_at(1);
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        match (sign, stops.last_mut()) {
            ("$", _) => stops.push(Stop::Run(words(rest), String::new())),
            ("<", Some(Stop::Run(_, typed))) => {
                typed.push_str(rest);
                typed.push('\n');
            }
            ("&", _) => stops.push(Stop::Background(words(rest))),
            ("!", _) => stops.push(Stop::Interrupt(rest.parse().expect("a number of lines"))),
            _ => panic!("not a line of a tour: {line}"),
        }
    }
    stops
}

/// Walks with a client program, and tells what it printed at each stop, unmasked.
///
/// # Panics
/// If the program cannot be started, or what it waits for does not come.
#[must_use]
pub fn walk(client: &Path, server: &Server, stops: &[Stop]) -> Vec<(Stop, String)> {
    let mut lease = String::new();
    let mut background: Option<(Child, Receiver<String>)> = None;
    let mut told = Vec::new();
    let command = |words: &[String], lease: &str| {
        let mut command = Command::new(client);
        command.arg(format!("--endpoints=http://{}", server.client_address()));
        command.args(words.iter().map(|word| word.replace("LEASE", lease)));
        command.env("ETCDCTL_API", "3").stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the client can be started")
    };
    for stop in stops {
        let printed = match stop {
            Stop::Run(words, typed) => {
                let printed = run(command(words, &lease), typed);
                if words.starts_with(&["lease".to_owned(), "grant".to_owned()]) {
                    printed.split(' ').nth(1).unwrap_or_default().clone_into(&mut lease);
                }
                printed
            }
            Stop::Background(words) => {
                let mut child = command(words, &lease);
                let lines = lines(&mut child);
                background = Some((child, lines));
                String::new()
            }
            Stop::Interrupt(count) => {
                let (child, lines) = background.take().expect("something runs in the background");
                interrupt(child, &lines, *count)
            }
        };
        told.push((stop.clone(), printed));
    }
    told
}

/// Runs a program to its end: what it printed, and whether it failed.
fn run(mut child: Child, typed: &str) -> String {
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    // One that ends before it has read everything says why itself.
    drop(stdin.write_all(typed.as_bytes()));
    drop(stdin);
    let output = child.wait_with_output().expect("a child ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut printed = text(&output.stdout);
    // Clients log to stderr what they try again; the last line is what they tell.
    if let Some(line) = text(&output.stderr).lines().rfind(|line| !line.starts_with('{')) {
        printed += &format!("stderr: {line}\n");
    }
    if !output.status.success() {
        printed += &format!("status: {}\n", output.status.code().unwrap_or(-1));
    }
    printed
}

/// A program's lines, as they come.
fn lines(child: &mut Child) -> Receiver<String> {
    let stdout = child.stdout.take().expect("stdout is a pipe");
    let (sender, receiver) = sync_channel(LINES_WAITING);
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn interrupt(mut child: Child, lines: &Receiver<String>, count: usize) -> String {
    let deadline = Instant::now() + PATIENCE;
    let mut printed = String::new();
    for _ in 0..count {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(line) = lines.recv_timeout(left) else {
            drop(child.kill());
            let mut errors = String::new();
            drop(child.stderr.take().expect("stderr is a pipe").read_to_string(&mut errors));
            panic!("waited in vain for {count} lines; there were:\n{printed}{errors}");
        };
        printed += &(line + "\n");
    }
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status().expect("kill is there");
    assert!(sent.success(), "the client runs until it is interrupted");
    // A holder of a lock lets it go before it ends.
    child.wait().expect("a child ends");
    printed
}

/// Words of a line; quotes hold one together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, part) in line.split('"').enumerate() {
        if number % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_stops() {
        let text = "# comment\n$ put a \"b c\"\n\n$ txn\n< x\n<\n& watch a\n! 3\n";
        let word = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let expected = [
            Stop::Run(word(&["put", "a", "b c"]), String::new()),
            Stop::Run(word(&["txn"]), "x\n\n".to_owned()),
            Stop::Background(word(&["watch", "a"])),
            Stop::Interrupt(3),
        ];
        assert_eq!(stops(text), expected);
    }
}
