//! The Rust client `etcd-client`, built into a program that walks the tour.
//!
//! Its build script wants protobuf's compiler, which nothing else here needs. So it is a workspace
//! of its own, that only `cargo xtask peers` builds, and this program stands in for the compiler:
//! [`protoc`] understands what that build script says, and nothing more.

use anyhow::{Context, Result, ensure};
use prost::Message;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Builds it, if its sources are newer. Cargo says which.
pub(super) fn run() -> Result<()> {
    let home = crate::root().join("target/peers/etcd-client");
    fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
    let stand_in = home.join("protoc");
    let us = std::env::current_exe().context("a program knows itself")?;
    // A build script is told of a compiler as one path, without arguments.
    fs::write(&stand_in, format!("#!/bin/sh\nexec '{}' protoc -- \"$@\"\n", us.display()))?;
    super::make_executable(&stand_in)?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--locked"]).arg("--target-dir").arg(home.join("target"));
    cargo.current_dir(crate::root().join("tests/tour/client")).env("PROTOC", &stand_in);
    ensure!(cargo.status().context("cannot run cargo")?.success(), "etcd-client does not build");
    fs::copy(home.join("target/debug/walk"), home.join("walk")).context("it built no program")?;
    println!("etcd-client is in {}", home.display());
    Ok(())
}

/// Compiles .proto files into a set of descriptors, as `protoc -I <folder> -o <file> <files>`.
pub fn protoc(args: &[String]) -> Result<()> {
    if args.iter().any(|arg| arg == "--version") {
        // The least that knows optional fields of proto3.
        println!("libprotoc 3.15.0");
        return Ok(());
    }
    let (mut folders, mut files, mut out) = (Vec::new(), Vec::new(), None);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-I" => folders.push(PathBuf::from(args.next().context("-I names a folder")?)),
            "-o" => out = Some(PathBuf::from(args.next().context("-o names a file")?)),
            flag if flag.starts_with('-') => {}
            file => files.push(PathBuf::from(file)),
        }
    }
    let out = out.context("-o says where to")?;
    // What the compiler would bring along itself comes with protox.
    folders.retain(|folder| folder.is_dir());
    let descriptors = protox::compile(&files, &folders)?;
    fs::write(&out, descriptors.encode_to_vec()).with_context(|| out.display().to_string())
}
