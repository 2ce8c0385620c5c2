//! Reading flags and environment: Go's syntax, with its words for what is wrong.

use super::table::{FLAGS, Flag, IGNORED};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Strings by the names of flags: those that were given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Raw {
    given: BTreeMap<&'static str, String>,
}

impl Raw {
    /// The value of a flag, or its default.
    ///
    /// # Panics
    /// If the table has no such flag.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        let flag = find(name).expect("only names of the table are asked for");
        self.given.get(flag.name).map_or(flag.default, String::as_str)
    }

    /// Whether a flag was given.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }
}

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// To run.
    Run(Raw),
    /// To print the version.
    Version,
    /// To print help.
    Help,
}

/// What is wrong with the command line or the environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// No flag. Compat: Go's text.
    #[error("flag provided but not defined: -{0}")]
    Unknown(String),
    /// A flag without its value. Compat: Go's text.
    #[error("flag needs an argument: -{0}")]
    NoValue(String),
    /// Something that is neither a flag nor its value. Compat: etcd's text.
    #[error("'{0}' is not a valid flag")]
    NoFlag(String),
    /// A switch that is neither on nor off. Compat: Go's text.
    #[error("invalid boolean value {value:?} for -{name}: parse error")]
    Boolean {
        /// The flag.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// A flag and its variable. Compat: etcd refuses that.
    #[error(
        "conflicting environment variable {variable:?} is shadowed by corresponding command-line \
         flag (either unset environment variable or disable flag)"
    )]
    Shadowed {
        /// The variable.
        variable: String,
    },
    /// A flag that this version cannot do anything with.
    #[error("--{name}={value} cannot be taken yet: it waits for {waits_for}; leave it out")]
    Waits {
        /// The flag.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it waits for.
        waits_for: &'static str,
    },
}

/// Reads arguments, without the program's name, and variables.
///
/// # Errors
/// [`FlagError`].
pub fn parse(
    args: impl IntoIterator<Item = String>,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<Asked, FlagError> {
    let mut raw = Raw::default();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let Some(text) = arg.strip_prefix('-').filter(|text| !text.is_empty() && text != &"-")
        else {
            return Err(FlagError::NoFlag(arg));
        };
        let text = text.strip_prefix('-').unwrap_or(text);
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        if matches!(name, "h" | "help") {
            return Ok(Asked::Help);
        }
        if IGNORED.contains(&name) {
            continue;
        }
        let flag = find(name).ok_or_else(|| FlagError::Unknown(name.to_owned()))?;
        let value = match value {
            Some(value) => value,
            None if flag.boolean => "true".to_owned(),
            None => args.next().ok_or_else(|| FlagError::NoValue(name.to_owned()))?,
        };
        // The last one counts.
        raw.given.insert(flag.name, checked(flag, value)?);
    }
    if raw.get("version") == "true" {
        return Ok(Asked::Version);
    }
    for (variable, value) in env {
        let Some(name) = variable.strip_prefix("ETCD_").filter(|_| !value.is_empty()) else {
            continue;
        };
        let name = name.to_ascii_lowercase().replace('_', "-");
        match find(&name) {
            Some(flag) if raw.has(flag.name) => return Err(FlagError::Shadowed { variable }),
            Some(flag) => {
                raw.given.insert(flag.name, checked(flag, value)?);
            }
            None => {
                tracing::warn!(environment_variable = variable, "unrecognized environment variable")
            }
        }
    }
    Ok(Asked::Run(raw))
}

fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.name == name)
}

fn checked(flag: &'static Flag, value: String) -> Result<String, FlagError> {
    let name = flag.name;
    let value = if flag.boolean {
        match &*value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => "true".to_owned(),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => "false".to_owned(),
            _ => return Err(FlagError::Boolean { name, value }),
        }
    } else {
        value
    };
    match flag.waits_for {
        Some(waits_for) if value != flag.default => {
            Err(FlagError::Waits { name, value, waits_for })
        }
        _ => Ok(value),
    }
}

/// What `--help` prints.
#[must_use]
pub fn help() -> String {
    let mut text = "Usage: quorate [flags]\n\nA member of a cluster that speaks etcd's protocols. \
                    Every flag is also a variable: --data-dir is ETCD_DATA_DIR.\n"
        .to_owned();
    let mut group = "";
    for flag in &FLAGS {
        if flag.group != group {
            group = flag.group;
            // Writing to a string cannot fail.
            let _ = write!(text, "\n{group}:\n");
        }
        let _ = writeln!(text, "  --{} '{}'", flag.name, flag.default);
        let _ = write!(text, "      {}", flag.help);
        match flag.waits_for {
            Some(waits_for) => {
                let _ = writeln!(text, " (not to be set yet: waits for {waits_for})");
            }
            None => text.push('\n'),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn run(line: &str, env: &[(&str, &str)]) -> Result<Asked, FlagError> {
        parse(args(line), env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn go_flags() {
        let check = |line: &str, name: &str, want: &str| match run(line, &[]) {
            Ok(Asked::Run(raw)) => assert_eq!(raw.get(name), want, "{line}"),
            other => panic!("{line}: {other:?}"),
        };
        check("--name=a", "name", "a");
        check("-name a", "name", "a");
        check("--name a --name=b", "name", "b");
        check("--unsafe-no-fsync --name=x", "unsafe-no-fsync", "true");
        check("--unsafe-no-fsync=F", "unsafe-no-fsync", "false");
        check("--v2-deprecation=not-yet", "v2-deprecation", "not-yet");
        check("--client-cert-auth=false", "client-cert-auth", "false");
        check("--snapshot=3 --force=1", "name", "default");
        check("", "election-timeout", "1000");
        let error = |line: &str, want: &str| match run(line, &[]) {
            Err(error) => assert_eq!(error.to_string(), want),
            other => panic!("{line}: {other:?}"),
        };
        error("--nam=a", "flag provided but not defined: -nam");
        error("--name", "flag needs an argument: -name");
        error("run", "'run' is not a valid flag");
        error("--pre-vote=maybe", "invalid boolean value \"maybe\" for -pre-vote: parse error");
        error(
            "--auth-token=jwt",
            "--auth-token=jwt cannot be taken yet: it waits for users and roles; leave it out",
        );
        assert_eq!(run("--version", &[]), Ok(Asked::Version));
        assert_eq!(run("--name=a -h", &[]), Ok(Asked::Help));
    }

    #[test]
    fn variables_stand_in_for_flags_and_not_beside_them() {
        let raw = match run("", &[("ETCD_NAME", "a"), ("ETCD_DATA_DIR", ""), ("ETCD_NO", "1")]) {
            Ok(Asked::Run(raw)) => raw,
            other => panic!("{other:?}"),
        };
        assert_eq!((raw.get("name"), raw.has("data-dir")), ("a", false));
        assert!(matches!(run("--name=b", &[("ETCD_NAME", "a")]), Err(FlagError::Shadowed { .. })));
    }

    #[test]
    fn help_has_every_flag() {
        let help = help();
        for flag in FLAGS {
            assert!(help.contains(&format!("--{} ", flag.name)), "{}", flag.name);
        }
    }
}
