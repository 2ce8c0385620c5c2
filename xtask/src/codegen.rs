//! Generates Rust message types from our .proto files. The output is committed, so that a build
//! needs no protobuf compiler; protox parses the files, so neither does this.

use crate::root;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Rewrites every generated file.
pub fn run() -> Result<()> {
    let crate_dir = root().join("crates/raftpb");
    generate(&crate_dir.join("proto"), &crate_dir.join("src/generated"))
}

/// Generates the messages of all .proto files in `protos` into `out`.
pub fn generate(protos: &Path, out: &Path) -> Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(protos).with_context(|| format!("reading {}", protos.display()))? {
        files.push(entry?.path());
    }
    files.sort();
    let descriptors = protox::compile(&files, [protos])?;
    fs::create_dir_all(out)?;
    // `Bytes` lets an entry's data travel from socket to log and state machine without a copy.
    prost_build::Config::new()
        .bytes(["."])
        .out_dir(out)
        .compile_fds(descriptors)
        .context("generating message types")
}
