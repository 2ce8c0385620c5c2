//! Running other programs from the root of the checkout, and saying on which machine.

use crate::root;
use anyhow::{Context, Result, ensure};
use std::fmt;
use std::process::Command;

/// A program that ran and failed; its exit status becomes ours.
#[derive(Debug)]
pub struct Failed {
    command: String,
    /// Exit status, 1 if a signal ended the program.
    pub code: u8,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` failed with status {}", self.command, self.code)
    }
}

impl std::error::Error for Failed {}

/// A command that starts at the root of the checkout.
pub fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    command
}

/// `cargo <args>`, with the cargo that runs us.
pub fn cargo(args: &[&str]) -> Command {
    command(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()), args)
}

/// Prints and runs `command`, its output going where ours goes.
pub fn run(mut command: Command) -> Result<()> {
    let shown = show(&command);
    println!("$ {shown}");
    let status = command.status().with_context(|| format!("starting `{shown}`"))?;
    if status.success() {
        return Ok(());
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Err(Failed { command: shown, code }.into())
}

/// Runs `command` and returns what it printed, without the last line end.
pub fn read(mut command: Command) -> Result<String> {
    let shown = show(&command);
    let output = command.output().with_context(|| format!("starting `{shown}`"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{shown}` failed: {errors}");
    Ok(String::from_utf8(output.stdout)?.trim_end().to_string())
}

/// The command as one would type it, without its variables.
pub fn show(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let words = std::iter::once(name).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Machine, commit and date: what a figure is worthless without.
pub fn heading() -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let kernel = read(command("uname", &["-srm"]))?;
    let commit = read(command("git", &["rev-parse", "--short=12", "HEAD"]))?;
    let date = read(command("date", &["-u", "+%Y-%m-%d %H:%M UTC"]))?;
    let dirty = if dirty()? { " with uncommitted changes" } else { "" };
    Ok(format!("machine: {cores} cores, {kernel}\ncommit: {commit}{dirty}\ndate: {date}"))
}

/// Whether files differ from the commit, or are unknown to it.
pub fn dirty() -> Result<bool> {
    Ok(!read(command("git", &["status", "--porcelain"]))?.is_empty())
}
