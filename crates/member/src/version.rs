//! Versions of servers and of the cluster, and how the latter follows the former.
//!
//! The cluster's version is the lowest major and minor of its members, and says which entries
//! may be in the log. It rises by itself and falls only in a downgrade that somebody asked for
//! (etcd `server/etcdserver/version/{monitor,downgrade}.go`).

use crate::{Downgrade, Error};
use std::fmt;

/// Major, minor, patch; ordered so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// 3, so far.
    pub major: u64,
    /// What compatibility goes by.
    pub minor: u64,
    /// 0 in cluster versions.
    pub patch: u64,
}

/// The etcd release that this server speaks as.
pub const SERVER_VERSION: Version = Version { major: 3, minor: 7, patch: 1 };

/// What a cluster's version is taken for until all members were asked once.
pub const MIN_VERSION: Version = Version { major: 3, minor: 0, patch: 0 };

/// A downgrade was asked for that cannot be done; it should not have got into the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid downgrade target")]
pub struct InvalidDowngradeTarget;

impl Version {
    /// Reads `X.Y.Z`, three numbers and nothing else: what cluster versions look like.
    ///
    /// # Errors
    /// [`Error::BadVersion`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let number = |part: Option<&str>| {
            let digits = part.filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))?;
            // Go's numbers are signed.
            digits.parse().ok().filter(|number: &u64| i64::try_from(*number).is_ok())
        };
        let mut parts = text.split('.');
        let numbers =
            (number(parts.next()), number(parts.next()), number(parts.next()), parts.next());
        match numbers {
            (Some(major), Some(minor), Some(patch), None) => Ok(Self { major, minor, patch }),
            _ => Err(Error::BadVersion { text: text.to_owned() }),
        }
    }

    /// Reads a server's version, which may be of a pre-release or a special build, as in
    /// `3.8.0-alpha.0+git`. What follows the numbers makes no difference to any decision here.
    ///
    /// # Errors
    /// [`Error::BadVersion`].
    pub fn parse_server(text: &str) -> Result<Self, Error> {
        let numbers = text.split_once(['-', '+']).map_or(text, |(numbers, _)| numbers);
        Self::parse(numbers).map_err(|_| Error::BadVersion { text: text.to_owned() })
    }

    /// Reads the target of a downgrade, `X.Y` or `X.Y.Z`, of which major and minor count.
    ///
    /// # Errors
    /// [`Error::BadVersion`].
    pub fn parse_target(text: &str) -> Result<Self, Error> {
        let longer = || Self::parse(&format!("{text}.0"));
        let version = Self::parse_server(text).or_else(|_| longer());
        version.map(Self::major_minor).map_err(|_| Error::BadVersion { text: text.to_owned() })
    }

    /// The same with patch 0, as cluster versions are.
    #[must_use]
    pub fn major_minor(self) -> Self {
        Self { patch: 0, ..self }
    }

    /// The one version that a cluster of this one can be downgraded to: a minor less.
    #[must_use]
    pub fn downgrade_target(self) -> Option<Self> {
        let minor = self.minor.checked_sub(1)?;
        Some(Self { minor, patch: 0, ..self })
    }
}

/// `X.Y.Z`.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// The lowest version among the members' servers; `None` if one of them did not say, or if there
/// is none.
pub fn min_server_version(servers: impl IntoIterator<Item = Option<Version>>) -> Option<Version> {
    servers.into_iter().collect::<Option<Vec<_>>>()?.into_iter().min()
}

/// What the leader should propose as the cluster's version, if anything: `cluster` is the present
/// one, `servers` the lowest of the members' servers if all answered.
///
/// # Errors
/// [`InvalidDowngradeTarget`].
pub fn decide_cluster_version(
    cluster: Option<Version>,
    servers: Option<Version>,
    downgrade: &Downgrade,
) -> Result<Option<Version>, InvalidDowngradeTarget> {
    let Some(cluster) = cluster else {
        return Ok(Some(servers.unwrap_or(MIN_VERSION).major_minor()));
    };
    let Some(servers) = servers else { return Ok(None) };
    if let Some(target) = downgrade.target {
        if target == cluster {
            return Ok(None);
        }
        let allowed = [cluster, servers].map(Version::downgrade_target);
        return if allowed == [Some(target); 2] {
            Ok(Some(target.major_minor()))
        } else {
            Err(InvalidDowngradeTarget)
        };
    }
    let rises =
        cluster < servers && cluster.major == servers.major && cluster.minor < servers.minor;
    Ok(rises.then(|| servers.major_minor()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).expect(text)
    }

    #[test]
    fn only_three_numbers_are_a_version() {
        assert_eq!(version("3.7.1"), SERVER_VERSION);
        assert_eq!(version("3.0.0"), MIN_VERSION);
        assert_eq!(SERVER_VERSION.to_string(), "3.7.1");
        let bad =
            ["", "3", "3.7", "3.7.", "3.7.1.", "3.7.1.2", "v3.7.1", "3.-7.1", "+3.7.1", " 3.7.1"];
        for text in bad.into_iter().chain(["3.7.1-alpha", "3.7.9223372036854775808"]) {
            assert_eq!(Version::parse(text), Err(Error::BadVersion { text: text.to_owned() }));
        }
    }

    #[test]
    fn servers_and_targets_may_say_more_or_less() {
        for text in ["3.8.0", "3.8.0-alpha.0", "3.8.0+git", "3.8.0-rc.1+a-b"] {
            assert_eq!(Version::parse_server(text), Ok(version("3.8.0")));
        }
        for (text, target) in [("3.6", "3.6.0"), ("3.6.5", "3.6.0"), ("3.6.0", "3.6.0")] {
            assert_eq!(Version::parse_target(text), Ok(version(target)));
        }
        for text in ["", "3", "3.6.", "3.6.1.2", "x"] {
            Version::parse_server(text).expect_err(text);
            Version::parse_target(text).expect_err(text);
        }
    }

    #[test]
    fn the_lowest_server_counts_once_all_have_answered() {
        let (a, b) = (version("3.7.1"), version("3.6.4"));
        assert_eq!(min_server_version([Some(a), Some(b)]), Some(b));
        assert_eq!(min_server_version([Some(a), None]), None);
        assert_eq!(min_server_version([]), None);
    }

    #[test]
    fn the_cluster_version_follows_the_servers() {
        // Cluster, lowest server, downgrade target: what to propose.
        let table = [
            ("", "", "", Ok("3.0.0")),
            ("", "3.7.1", "", Ok("3.7.0")),
            ("3.0.0", "", "", Ok("")),
            ("3.0.0", "3.7.1", "", Ok("3.7.0")),
            ("3.6.0", "3.7.1", "", Ok("3.7.0")),
            ("3.7.0", "3.7.1", "", Ok("")),
            ("3.7.0", "3.6.1", "", Ok("")),
            ("3.7.0", "4.0.0", "", Ok("")),
            ("3.7.0", "3.7.1", "3.6.0", Ok("3.6.0")),
            ("3.6.0", "3.7.1", "3.6.0", Ok("")),
            ("3.7.0", "", "3.6.0", Ok("")),
            ("3.7.0", "3.7.1", "3.5.0", Err(InvalidDowngradeTarget)),
            ("3.7.0", "3.6.1", "3.6.0", Err(InvalidDowngradeTarget)),
        ];
        for (cluster, servers, target, expected) in table {
            let given = |text: &str| (!text.is_empty()).then(|| version(text));
            let downgrade = Downgrade { target: given(target) };
            let decided = decide_cluster_version(given(cluster), given(servers), &downgrade);
            let case = format!("{cluster:?} {servers:?} {target:?}");
            assert_eq!(decided, expected.map(given), "{case}");
        }
    }
}
