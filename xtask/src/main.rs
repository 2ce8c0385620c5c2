//! `cargo xtask <verb>`: the project's one door. Each verb is a file.

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

mod codegen;
mod peers;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Develop, check and measure Quorate")]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Generate the message types from the .proto files
    Codegen,
    /// Fetch the real etcd that interoperability tests run against
    Peers,
}

fn main() -> Result<()> {
    match Args::parse().verb {
        Verb::Codegen => codegen::run(),
        Verb::Peers => peers::run(),
    }
}

/// The root of the checkout this program was built from.
fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("xtask lies in a folder of the workspace").to_path_buf()
}
