//! Releases of the real etcd that are here, and their command line programs.
//!
//! What it is not: a list of what ought to be here. 3.5.1 has to be, as `cargo xtask peers` fetches
//! it; others are used if they lie beside it.

use crate::Member;
use crate::hash::KvHash;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A release of the real etcd.
#[derive(Clone, Debug)]
pub struct Release {
    /// The folder of its programs.
    pub home: PathBuf,
    /// As in `3.5.1`.
    pub version: String,
}

/// Those that are here, the oldest first.
///
/// # Panics
/// If 3.5.1 is missing: run `cargo xtask peers`.
#[must_use]
pub fn releases() -> Vec<Release> {
    let first = crate::etcd_home();
    let second = first.with_file_name("etcd-3.7.1");
    let here = [first, second].into_iter().filter(|home| home.join("etcd").exists());
    here.map(|home| {
        let name = home.file_name().and_then(|name| name.to_str());
        let version = name.and_then(|name| name.strip_prefix("etcd-"));
        let version = version.expect("a folder is called etcd-<version>").to_owned();
        Release { home, version }
    })
    .collect()
}

impl Release {
    /// Before 3.6 the database does not say which version wrote it.
    #[must_use]
    pub fn stamps(&self) -> bool {
        self.version != "3.5.1"
    }

    /// The version that its clusters agree on.
    ///
    /// # Panics
    /// If the folder's name has no version of three numbers.
    #[must_use]
    pub fn cluster_version(&self) -> String {
        let (minor, _) = self.version.rsplit_once('.').expect("a version has three numbers");
        format!("{minor}.0")
    }

    /// Starts a member, as [`Member::start`].
    #[must_use]
    pub fn start(&self, data: &Path, flags: &[&str]) -> Member {
        Member::start_of(&self.home, data, flags)
    }

    /// Runs etcdctl against a member.
    ///
    /// # Panics
    /// If it fails; what it printed is in the message.
    pub fn ctl(&self, member: &Member, words: &[&str]) -> Value {
        let endpoint = format!("--endpoints={}", member.client_url());
        let mut ctl = Command::new(self.home.join("etcdctl"));
        run(ctl.args([&endpoint, "-w=json"]).args(words))
    }

    /// Runs etcdutl.
    ///
    /// # Panics
    /// If it fails; what it printed is in the message.
    pub fn utl(&self, words: &[&str]) -> Value {
        run(Command::new(self.home.join("etcdutl")).arg("-w=json").args(words))
    }

    /// The hash as the member tells it, 0 for its current revision.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn hash(&self, member: &Member, revision: i64) -> KvHash {
        let rev = format!("--rev={revision}");
        let told = self.ctl(member, &["endpoint", "hashkv", &rev]);
        let told = &told[0]["HashKV"];
        let number = |value: &Value| value.as_i64().unwrap_or_else(|| panic!("{told}"));
        let current = number(&told["header"]["revision"]);
        KvHash {
            hash: u32::try_from(number(&told["hash"])).expect("a hash has 32 bits"),
            compact_revision: number(&told["compact_revision"]),
            revision: if revision == 0 { current } else { revision },
        }
    }
}

/// Runs a program to its end; what it prints, read as JSON if it is some.
fn run(command: &mut Command) -> Value {
    let output = command.output().expect("the program can be started");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{command:?}: {told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_str(&told).unwrap_or(Value::Null)
}
