//! How many files and connections a test may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Asks the system for as many open files as it allows, and tells how many those are. Programs
/// started afterwards begin with the limit that was there before.
///
/// # Panics
/// If the system does not give what it says that it allows.
#[must_use]
pub fn raise_open_files() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
            .expect("a limit can be raised as far as the system allows");
    }
    maximum.unwrap_or(u64::MAX)
}
