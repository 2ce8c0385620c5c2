//! `bench --beside etcd`: ours and the real etcd in turns, under the same load.
//!
//! A row is one load and what it must come to. Each is run in pairs, ours then theirs, every time
//! with fresh data on the same disk, with the same flags and the same client; figures are medians
//! over the pairs, and a ratio is taken pair by pair, so that what the machine does besides falls
//! on both. Every pair is kept in a folder, from which the tables and the picture
//! are drawn and an interrupted run goes on (`--resume`), if programs and lengths are the same.
//! What it is not: the load (that is `quorate-benchmark`, which measures the server as well).

mod figures;
mod peak;
mod picture;
mod programs;
mod results;
mod rows;
mod run;
mod server;
mod slow;
mod table;

use crate::{root, shell};
use anyhow::{Result, bail, ensure};
use programs::Programs;
use results::{Key, Results};
use rows::{ROWS, Row};
use std::path::PathBuf;

/// What is asked for on the command line.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Run our server beside this one, row by row; there is etcd
    #[arg(long, value_parser = ["etcd"])]
    pub beside: Option<String>,
    /// Pairs of runs of each row
    #[arg(long, default_value_t = 5, requires = "beside")]
    pub pairs: usize,
    /// Seconds that each run is measured
    #[arg(long, default_value_t = 5, requires = "beside")]
    pub seconds: u32,
    /// Go on with an earlier run of the same programs
    #[arg(long, requires = "beside")]
    pub resume: bool,
    /// Where pairs are kept
    #[arg(long, default_value = "target/beside", requires = "beside")]
    pub results: PathBuf,
    /// Run nothing: draw what is kept into this file
    #[arg(long, requires = "beside")]
    pub picture: Option<PathBuf>,
    /// Another program in place of ours
    #[arg(long, requires = "beside")]
    pub ours: Option<PathBuf>,
    /// Another program in place of etcd
    #[arg(long, requires = "beside")]
    pub theirs: Option<PathBuf>,
}

/// How often the empty server is measured.
const CEILINGS: usize = 3;

/// Runs the rows of a line, or the one with this name, or all.
pub fn run(name: Option<&str>, options: &Options) -> Result<()> {
    ensure!(options.pairs > 0 && options.seconds > 0, "nothing comes of nothing");
    let chosen = |row: &&Row| name.is_none_or(|name| row.line == name || row.name == name);
    let rows: Vec<&Row> = ROWS.iter().filter(chosen).collect();
    if rows.is_empty() {
        let known: Vec<_> = ROWS.iter().map(|row| format!("{} {}", row.line, row.name)).collect();
        bail!("no such line or row; there are: {}", known.join(", "));
    }
    if let Some(picture) = &options.picture {
        return picture::draw(&rows, options, picture);
    }
    let programs = Programs::find(options)?;
    println!("{}\n{}", shell::heading()?, programs.heading()?);
    let mut missed = 0;
    for row in rows {
        let results = measure(row, &programs, options)?;
        let (text, misses) = table::show(row, &results)?;
        print!("{text}");
        missed += misses;
    }
    println!("\n{missed} figures are not what they must be");
    Ok(())
}

/// Runs what a row misses of its pairs.
fn measure(row: &Row, programs: &Programs, options: &Options) -> Result<Results> {
    let key = Key::new(programs, options);
    let file = file_of(row, options);
    let mut results = Results::load(file, key, options.resume)?;
    if let Some(share) = row.rate_share
        && results.rate.is_none()
    {
        results.rate = Some(peak::find(row, share, programs, options.seconds)?);
        results.save()?;
    }
    let rate = results.rate.map(|rate| rate.rate);
    while results.pairs.len() < options.pairs {
        let ours = run::once(row, &programs.ours, programs, options.seconds, rate)?;
        let theirs = run::once(row, &programs.theirs, programs, options.seconds, rate)?;
        results.pairs.push([ours, theirs]);
        results.save()?;
        eprintln!("{} {}: pair {} of {}", row.line, row.name, results.pairs.len(), options.pairs);
    }
    let ceilings = if row.has_ceiling { options.pairs.min(CEILINGS) } else { 0 };
    while results.ceilings.len() < ceilings {
        let ceiling = run::once(row, &programs.empty, programs, options.seconds, rate)?;
        results.ceilings.push(ceiling);
        results.save()?;
    }
    Ok(results)
}

/// Where the pairs of a row are kept.
fn file_of(row: &Row, options: &Options) -> PathBuf {
    root().join(&options.results).join(format!("{}.json", row.name))
}
