//! Versions of clusters and servers: three numbers, as semantic versioning has them.

use std::fmt;
use std::str::FromStr;

/// A version without pre-release or build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Changes that break.
    pub major: u64,
    /// Changes that add.
    pub minor: u64,
    /// Changes that mend.
    pub patch: u64,
}

impl Version {
    /// The version of a cluster of such servers: without what mends.
    #[must_use]
    pub fn cluster(self) -> Self {
        Self { patch: 0, ..self }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// It is not three numbers with dots between them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no version of the form 3.7.0")]
pub struct ParseVersionError {
    text: String,
}

impl FromStr for Version {
    type Err = ParseVersionError;

    /// What follows a `-` or `+` does not count here.
    fn from_str(text: &str) -> Result<Self, ParseVersionError> {
        let error = || ParseVersionError { text: text.to_owned() };
        let core = text.split(['-', '+']).next().unwrap_or_default();
        let numbers: Vec<u64> = core
            .split('.')
            .map(|number| {
                let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
                if digits { number.parse().ok() } else { None }
            })
            .collect::<Option<_>>()
            .ok_or_else(error)?;
        match numbers[..] {
            [major, minor, patch] => Ok(Self { major, minor, patch }),
            _ => Err(error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn three_numbers_or_nothing() {
        let parse = |text: &str| text.parse::<Version>().map(|version| version.to_string()).ok();
        assert_eq!(parse("3.7.1").as_deref(), Some("3.7.1"));
        assert_eq!(parse("3.6.0-rc.1+git").as_deref(), Some("3.6.0"));
        for wrong in ["", "3.7", "3.7.1.2", "3.+7.1", "3..1", "v3.7.1", "not_decided"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
