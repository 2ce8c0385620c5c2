//! Generates Rust message types from our .proto files. The output is committed, so that a build
//! needs no protobuf compiler; protox parses the files, so neither does this.

use crate::root;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

/// Crates with messages, and whether they have services too.
const CRATES: [(&str, bool); 2] = [("raftpb", false), ("api", true)];

/// Rewrites every generated file.
pub fn run() -> Result<()> {
    for (name, services) in CRATES {
        let folder = root().join("crates").join(name);
        generate(&folder.join("proto"), &folder.join("src/generated"), services)?;
    }
    Ok(())
}

/// Fails if a committed file differs from what would be generated, or is missing, or left over.
pub fn check() -> Result<()> {
    for (name, services) in CRATES {
        let folder = root().join("crates").join(name);
        let fresh = tempfile::tempdir()?;
        generate(&folder.join("proto"), fresh.path(), services)?;
        let same = read(fresh.path())? == read(&folder.join("src/generated"))?;
        ensure!(same, "crates/{name}/src/generated is stale: run `cargo xtask codegen`");
    }
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
fn generate(protos: &Path, out: &Path, services: bool) -> Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(protos).with_context(|| format!("reading {}", protos.display()))? {
        files.push(entry?.path());
    }
    files.sort();
    let descriptors = protox::compile(&files, [protos])?;
    fs::create_dir_all(out)?;
    // `Bytes` lets an entry's data travel from socket to log and state machine without a copy.
    let mut config = prost_build::Config::new();
    config.bytes(["."]).out_dir(out);
    if services {
        tonic_prost_build::configure()
            .out_dir(out)
            .build_transport(false)
            .compile_fds_with_config(descriptors, config)
    } else {
        config.compile_fds(descriptors)
    }
    .context("generating message types")
}
