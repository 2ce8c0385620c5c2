//! A program with a command line of its own, watched by what it says and how it ends.
//!
//! It lies beside [`crate::Server`], which knows its flags: here they are what is tried.

use crate::{PATIENCE, Program};
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

/// Lines that may wait for the test.
const LINES_MAX: usize = 10_000;

/// A program that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Run {
    child: Child,
    lines: Receiver<String>,
    /// What was said so far, on both outputs.
    pub said: Vec<String>,
}

impl Run {
    /// Starts a program in a folder, with these arguments and variables and no others.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(program: &Program, folder: &Path, args: &[String], env: &[(&str, &str)]) -> Self {
        let path = std::fs::canonicalize(&program.path).expect("the program is there");
        let mut command = Command::new(path);
        command.args(args).current_dir(folder).env_clear().envs(env.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (say, lines) = sync_channel(LINES_MAX);
        read(child.stdout.take().expect("stdout is a pipe"), say.clone());
        read(child.stderr.take().expect("stderr is a pipe"), say);
        Self { child, lines, said: Vec::new() }
    }

    /// Waits for a line with this in it; `None` if it ends without one.
    ///
    /// # Panics
    /// If neither happens in time.
    pub fn wait_for(&mut self, text: &str) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if line.contains(text) {
                        return Some(line);
                    }
                }
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                    panic!("no {text:?} in:\n{}", self.said.join("\n"))
                }
            }
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn wait(&mut self) -> ExitStatus {
        // No line has this in it: all are read.
        while self.wait_for("\0").is_some() {}
        self.child.wait().expect("a child can be waited for")
    }

    /// Asks it to end, as init does.
    ///
    /// # Panics
    /// If it has ended.
    pub fn terminate(&self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it runs");
    }

    /// The system's number of it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // It may have ended already; either way nothing is left running.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn read(output: impl Read + Send + 'static, say: SyncSender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            // A full pipe would stop it: lines that nobody wants any more are read all the same.
            let _ = say.send(String::from_utf8_lossy(&line).into_owned());
        }
    });
}
