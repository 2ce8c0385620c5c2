//! Which program is started.
//!
//! Ours is `quorate`, built once a test asks for it. `QUORATE_BIN` names another build of it,
//! `QUORATE_SUBJECT` any program with etcd's flags: a test that the real etcd does not pass in our
//! place is wrong.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A program with etcd's flags.
#[derive(Clone, Debug)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// What figures call it.
    pub name: String,
}

impl Program {
    /// The real etcd of a release, if `cargo xtask peers` could get it.
    #[must_use]
    pub fn etcd(version: &str) -> Option<Self> {
        let path = root().join(format!("target/peers/etcd-{version}/etcd"));
        path.exists().then(|| Self { path, name: format!("etcd {version}") })
    }

    /// The newest real etcd that is here.
    ///
    /// # Panics
    /// If there is none: run `cargo xtask peers`.
    #[must_use]
    pub fn newest_etcd() -> Self {
        let etcd = Self::etcd("3.7.1").or_else(|| Self::etcd("3.5.1"));
        etcd.expect("no etcd in target/peers: run cargo xtask peers")
    }

    /// Whether it is an etcd of the release whose answers are ours to give.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.name != "etcd 3.5.1"
    }
}

/// The server under test.
///
/// # Panics
/// If ours cannot be built.
#[must_use]
pub fn subject() -> Program {
    static SUBJECT: OnceLock<Program> = OnceLock::new();
    SUBJECT.get_or_init(find).clone()
}

fn find() -> Program {
    for variable in ["QUORATE_SUBJECT", "QUORATE_BIN"] {
        if let Some(path) = std::env::var_os(variable) {
            return named(Path::new(&path));
        }
    }
    if !root().join("quorate/Cargo.toml").exists() {
        return Program::newest_etcd();
    }
    build();
    let test = std::env::current_exe().expect("a test knows its own program");
    let mut above = test.ancestors().map(|above| above.join("release/quorate"));
    let built = above.find(|path| path.exists());
    named(&built.expect("a test lies somewhere below target, as does what it built"))
}

/// An etcd is called by its release: its folder has it.
fn named(path: &Path) -> Program {
    let folder = path.parent().and_then(Path::file_name).and_then(OsStr::to_str);
    let release = folder.and_then(|folder| folder.strip_prefix("etcd-"));
    let name = release.map_or_else(|| "quorate".to_owned(), |version| format!("etcd {version}"));
    Program { path: path.to_owned(), name }
}

/// As it is shipped: figures of a debug build say nothing.
fn build() {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--quiet", "-p", "quorate"]).current_dir(root());
    let built = cargo.status().expect("cargo can be started");
    assert!(built.success(), "{cargo:?} failed; its message is above");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("this crate lies two deep")
}
