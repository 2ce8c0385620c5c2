//! Generates Rust message types from our .proto files. The output is committed, so that a build
//! needs no protobuf compiler; protox parses the files, so neither does this.

use crate::root;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

/// Rewrites every generated file.
pub fn run() -> Result<()> {
    let crate_dir = root().join("crates/raftpb");
    generate(&crate_dir.join("proto"), &crate_dir.join("src/generated"))
}

/// Fails if a committed file differs from what would be generated, or is missing, or left over.
pub fn check() -> Result<()> {
    let crate_dir = root().join("crates/raftpb");
    let fresh = tempfile::tempdir()?;
    generate(&crate_dir.join("proto"), fresh.path())?;
    let same = read(fresh.path())? == read(&crate_dir.join("src/generated"))?;
    ensure!(same, "crates/raftpb/src/generated is stale: run `cargo xtask codegen`");
    Ok(())
}

/// Name and content of every file in `folder`.
fn read(folder: &Path) -> Result<BTreeMap<OsString, String>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        files.insert(entry.file_name(), fs::read_to_string(entry.path())?);
    }
    Ok(files)
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
