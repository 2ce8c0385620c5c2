//! Which programs are compared, and how they are started.

use super::Options;
use crate::{root, shell};
use anyhow::{Context as _, Result};
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

/// A server's program.
#[derive(Clone, Debug)]
pub struct Program {
    /// What tables call it.
    pub name: String,
    pub path: PathBuf,
    pub kind: Kind,
    /// Tells builds apart.
    pub print: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// With etcd's flags.
    Etcd,
    /// The load tool's server that does nothing.
    Empty,
}

/// What takes part.
#[derive(Clone, Debug)]
pub struct Programs {
    pub ours: Program,
    pub theirs: Program,
    pub empty: Program,
    /// The load tool.
    pub tool: PathBuf,
}

/// Real etcds, the best first; `cargo xtask peers` fetches them.
const ETCDS: [&str; 2] = ["3.7.1", "3.5.1"];

impl Programs {
    /// Builds ours and the tool, and finds the real etcd.
    pub fn find(options: &Options) -> Result<Self> {
        // One by one: built together, each would get what the other asks of common libraries.
        for package in ["quorate", "quorate-benchmark"] {
            shell::run(shell::cargo(&["build", "--release", "--quiet", "-p", package]))?;
        }
        let release = root().join("target/release");
        let tool = release.join("quorate-benchmark");
        let ours = options.ours.clone().unwrap_or_else(|| release.join("quorate"));
        let theirs = match &options.theirs {
            Some(path) => path.clone(),
            None => {
                let peer = |version| root().join(format!("target/peers/etcd-{version}/etcd"));
                let found = ETCDS.into_iter().map(peer).find(|path| path.exists());
                found.context("there is no etcd: run cargo xtask peers")?
            }
        };
        Ok(Self {
            ours: Program::new(&ours, Kind::Etcd)?,
            theirs: Program::new(&theirs, Kind::Etcd)?,
            empty: Program::new(&tool, Kind::Empty)?,
            tool,
        })
    }

    /// Programs, flags and processors.
    pub fn heading(&self) -> Result<String> {
        let mut text = String::new();
        for program in [&self.ours, &self.theirs] {
            let bytes = fs::metadata(&program.path)?.len();
            let path = program.path.strip_prefix(root()).unwrap_or(&program.path);
            let (name, print) = (&program.name, &program.print);
            text += &format!("{name}: {} ({bytes} bytes, {print})\n", path.display());
        }
        let status = fs::read_to_string("/proc/self/status")?;
        let cpus = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let cpus = cpus.map_or("unknown", str::trim);
        let flags = flags("<client>", "<peer>", Path::new("<folder>")).join(" ");
        text += &format!("flags of both: {flags}\n");
        text += &format!("processors of servers and client: {cpus}, none bound to fewer");
        Ok(text)
    }
}

impl Program {
    fn new(path: &Path, kind: Kind) -> Result<Self> {
        let folder = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        let name = match (kind, folder.and_then(|folder| folder.strip_prefix("etcd-"))) {
            (Kind::Empty, _) => "empty tonic".to_owned(),
            (Kind::Etcd, Some(version)) => format!("etcd {version}"),
            (Kind::Etcd, None) => "quorate".to_owned(),
        };
        let mut hasher = DefaultHasher::new();
        fs::read(path).with_context(|| path.display().to_string())?.hash(&mut hasher);
        let print = format!("{:016x}", hasher.finish());
        Ok(Self { name, path: path.to_owned(), kind, print })
    }
}

/// The flags of a server with these two addresses.
pub fn flags(client: &str, peer: &str, data: &Path) -> Vec<String> {
    vec![
        "--name=m".to_owned(),
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls=http://{client}"),
        format!("--advertise-client-urls=http://{client}"),
        format!("--listen-peer-urls=http://{peer}"),
        format!("--initial-advertise-peer-urls=http://{peer}"),
        format!("--initial-cluster=m=http://{peer}"),
    ]
}
