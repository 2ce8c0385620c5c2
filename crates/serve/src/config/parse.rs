//! Reading flags and environment: Go's syntax, with its words for what is wrong.
//!
//! A configuration file takes the place of all of them (`file.rs`). What is noteworthy and not
//! wrong goes to the log, as in etcd.
//!
//! Source: etcd `server/etcdmain/config.go`, `pkg/flags/flag.go`, Go's `flag` package.

use super::file;
use super::kind::Kind;
use super::table::{FLAGS, Flag, IGNORED};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

/// Values by the names of flags: those that were given, numbers in decimal, switches as `true` or
/// `false`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Raw {
    given: BTreeMap<&'static str, String>,
    file: Option<FromFile>,
}

/// What only a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FromFile {
    /// Where it is.
    pub(super) path: String,
    /// Common names, one of which clients' certificates must have; there is no flag for them.
    pub(super) client_allowed_cns: Vec<String>,
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

    /// The file that it was read from, if any: other things may be left out there.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        self.file.as_ref().map(|file| &*file.path)
    }

    /// Common names, one of which clients' certificates must have.
    pub(super) fn client_allowed_cns(&self) -> Vec<String> {
        self.file.as_ref().map(|file| file.client_allowed_cns.clone()).unwrap_or_default()
    }

    pub(super) fn of_file(given: BTreeMap<&'static str, String>, file: FromFile) -> Self {
        Self { given, file: Some(file) }
    }

    fn refuse_waiting(&self) -> Result<(), FlagError> {
        for (&name, value) in &self.given {
            let flag = find(name).expect("only names of the table are given");
            if let Some(waits_for) = flag.waits_for.filter(|_| value != flag.default) {
                return Err(FlagError::Waits { name, value: value.clone(), waits_for });
            }
        }
        Ok(())
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

/// What is wrong with the command line, the environment or the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// No flag. Compat: Go's text.
    #[error("flag provided but not defined: -{0}")]
    Unknown(String),
    /// A flag without its value. Compat: Go's text.
    #[error("flag needs an argument: -{0}")]
    NoValue(String),
    /// Dashes that name nothing. Compat: Go's text.
    #[error("bad flag syntax: {0}")]
    Syntax(String),
    /// Something that is neither a flag nor its value. Compat: etcd's text.
    #[error("{0:?} is not a valid flag")]
    NoFlag(String),
    /// A switch that is neither on nor off. Compat: Go's text.
    #[error("invalid boolean value {value:?} for -{name}: parse error")]
    Boolean {
        /// The flag.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// A value that cannot be read. Compat: Go's text.
    #[error("invalid value {value:?} for flag -{name}: {reason}")]
    Value {
        /// The flag.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is wrong.
        reason: String,
    },
    /// A variable's value that cannot be read. Compat: etcd's text.
    #[error("invalid value {value:?} for {variable}: {reason}")]
    Variable {
        /// The variable.
        variable: String,
        /// Its value.
        value: String,
        /// What is wrong.
        reason: String,
    },
    /// A flag and its variable. Compat: etcd refuses that, with this text and its brackets.
    #[error(
        "conflicting environment variable is shadowed by corresponding command-line flag (either \
         unset environment variable or disable flag))"
    )]
    Shadowed {
        /// The variable.
        variable: String,
    },
    /// A file that cannot be read. Compat: etcd's text.
    #[error("{0}")]
    File(String),
    /// URLs in a file. Compat: etcd's text, and its wrong name for one of them.
    #[error("unexpected error setting up {key}: {reason}")]
    FileUrls {
        /// What etcd calls the key.
        key: &'static str,
        /// What is wrong.
        reason: String,
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

impl FlagError {
    /// Whether the command line itself is wrong, so that its usage is shown instead of a log line.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        use FlagError::{Boolean, NoValue, Syntax, Unknown, Value};
        matches!(self, Unknown(_) | NoValue(_) | Syntax(_) | Boolean { .. } | Value { .. })
    }
}

/// Reads arguments, without the program's name, and variables; or the file that they name.
///
/// # Errors
/// [`FlagError`].
pub fn parse(
    args: impl IntoIterator<Item = String>,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<Asked, FlagError> {
    let mut raw = Raw::default();
    let mut used = BTreeSet::new();
    match read_args(&mut raw, &mut used, args.into_iter())? {
        Line::Run => {}
        Line::Version => return Ok(Asked::Version),
        Line::Help => return Ok(Asked::Help),
    }
    let env: BTreeMap<String, String> =
        env.into_iter().filter(|(name, _)| name.starts_with("ETCD_")).collect();
    let in_env = env.get("ETCD_CONFIG_FILE").map(String::as_str).unwrap_or_default();
    let path = match raw.get("config-file") {
        "" => in_env,
        path => path,
    }
    .to_owned();
    if !path.is_empty() {
        raw = file::read(Path::new(&path))?;
    } else {
        read_env(&mut raw, &used, &env)?;
    }
    raw.refuse_waiting()?;
    Ok(Asked::Run(raw))
}

enum Line {
    Run,
    Version,
    Help,
}

fn read_args(
    raw: &mut Raw,
    used: &mut BTreeSet<String>,
    mut args: impl Iterator<Item = String>,
) -> Result<Line, FlagError> {
    let mut rest = None;
    while let Some(arg) = args.next() {
        if arg == "--" {
            rest = args.next();
            break;
        }
        let Some(text) = arg.strip_prefix('-').filter(|text| !text.is_empty()) else {
            rest = Some(arg);
            break;
        };
        let text = text.strip_prefix('-').unwrap_or(text);
        if text.starts_with(['-', '=']) {
            return Err(FlagError::Syntax(arg));
        }
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        if matches!(name, "h" | "help") {
            return Ok(Line::Help);
        }
        used.insert(variable(name));
        if IGNORED.contains(&name) {
            continue;
        }
        let flag = find(name).ok_or_else(|| FlagError::Unknown(name.to_owned()))?;
        let value = match value {
            Some(value) => value,
            None if flag.boolean => "true".to_owned(),
            None => args.next().ok_or_else(|| FlagError::NoValue(name.to_owned()))?,
        };
        let name = flag.name;
        match Kind::of(flag).read(flag, &value) {
            // The last one counts.
            Ok(value) => raw.given.insert(name, value),
            Err(_) if flag.boolean => return Err(FlagError::Boolean { name, value }),
            Err(reason) => return Err(FlagError::Value { name, value, reason }),
        };
    }
    match rest {
        Some(rest) => Err(FlagError::NoFlag(rest)),
        None if raw.get("version") == "true" => Ok(Line::Version),
        None => Ok(Line::Run),
    }
}

/// Reads what flags left open. Of several wrong values the last is told, as in etcd, and one that
/// a flag shadows before all of them.
fn read_env(
    raw: &mut Raw,
    used: &BTreeSet<String>,
    env: &BTreeMap<String, String>,
) -> Result<(), FlagError> {
    let known: BTreeMap<String, Option<&'static Flag>> = FLAGS
        .iter()
        .map(|flag| (variable(flag.name), Some(flag)))
        .chain(IGNORED.iter().map(|name| (variable(name), None)))
        .collect();
    let mut wrong = None;
    for (name, value) in env {
        // Compat: it may be set for other programs, and is the name of a flag all the same.
        if name == "ETCD_VERSION" && !value.is_empty() {
            tracing::warn!(key = name, value, "cannot set special environment variable");
            continue;
        }
        if used.contains(name) {
            return Err(FlagError::Shadowed { variable: name.clone() });
        }
        let Some(flag) = known.get(name).filter(|_| !value.is_empty()) else {
            tracing::warn!(
                environment_variable = format!("{name}={value}"),
                "unrecognized environment variable"
            );
            continue;
        };
        if let Some(flag) = flag {
            match Kind::of(flag).read(flag, value) {
                Ok(value) => raw.given.insert(flag.name, value),
                Err(reason) => {
                    let (variable, value) = (name.clone(), value.clone());
                    wrong = Some(FlagError::Variable { variable, value, reason });
                    continue;
                }
            };
        }
        tracing::info!(
            variable_name = name,
            variable_value = value,
            "recognized and used environment variable"
        );
    }
    wrong.map_or(Ok(()), Err)
}

fn variable(name: &str) -> String {
    format!("ETCD_{}", name.to_ascii_uppercase().replace('-', "_"))
}

pub(super) fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.name == name)
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

    fn error(line: &str, env: &[(&str, &str)]) -> (String, bool) {
        match run(line, env) {
            Err(error) => (error.to_string(), error.is_usage()),
            other => panic!("{line}: {other:?}"),
        }
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
        check("--v2-deprecation=gone", "v2-deprecation", "gone");
        check("--client-cert-auth=false", "client-cert-auth", "false");
        check("--snapshot=3 --force=1", "name", "default");
        check("--snapshot-count=0x10", "snapshot-count", "16");
        check("--compaction-sleep-interval=1h", "compaction-sleep-interval", "1h0m0s");
        check("--listen-peer-urls=", "listen-peer-urls", "http://localhost:2380");
        check("--name=a --", "name", "a");
        check("", "election-timeout", "1000");
        assert_eq!(run("--version", &[]), Ok(Asked::Version));
        assert_eq!(run("--name=a -h run", &[]), Ok(Asked::Help));
    }

    #[test]
    fn what_is_wrong_is_said_in_gos_words() {
        let check = |line: &str, want: &str, usage: bool| {
            assert_eq!(error(line, &[]), (want.to_owned(), usage));
        };
        check("--nam=a", "flag provided but not defined: -nam", true);
        check("--name", "flag needs an argument: -name", true);
        check("---name", "bad flag syntax: ---name", true);
        check("--=a", "bad flag syntax: --=a", true);
        check(
            "--pre-vote=maybe",
            "invalid boolean value \"maybe\" for -pre-vote: parse error",
            true,
        );
        check("--max-wals=x", "invalid value \"x\" for flag -max-wals: parse error", true);
        check(
            "--v2-deprecation=not-yet",
            "invalid value \"not-yet\" for flag -v2-deprecation: invalid value \"not-yet\"",
            true,
        );
        check("run", "\"run\" is not a valid flag", false);
        check("--version -- run", "\"run\" is not a valid flag", false);
        check("-", "\"-\" is not a valid flag", false);
    }

    #[test]
    fn a_row_that_waits_takes_its_default_only() {
        for flag in FLAGS.iter().filter(|flag| flag.waits_for.is_some()) {
            let given = |value: &str| {
                let raw = Raw { given: [(flag.name, value.to_owned())].into(), file: None };
                raw.refuse_waiting().map_err(|error| error.to_string())
            };
            assert_eq!(given(flag.default), Ok(()), "{}", flag.name);
            let refused = given("another").expect_err("it waits");
            assert!(refused.starts_with(&format!("--{}=another cannot be taken yet", flag.name)));
        }
    }

    #[test]
    fn variables_stand_in_for_flags_and_not_beside_them() {
        let raw = match run("", &[("ETCD_NAME", "a"), ("ETCD_DATA_DIR", ""), ("ETCD_NO", "1")]) {
            Ok(Asked::Run(raw)) => raw,
            other => panic!("{other:?}"),
        };
        assert_eq!((raw.get("name"), raw.has("data-dir")), ("a", false));
        assert!(matches!(run("--name=b", &[("ETCD_NAME", "a")]), Err(FlagError::Shadowed { .. })));
        assert!(matches!(run("--force", &[("ETCD_FORCE", "")]), Err(FlagError::Shadowed { .. })));
        let wrong = [("ETCD_MAX_WALS", "x"), ("ETCD_PRE_VOTE", "maybe"), ("ETCD_VERSION", "3")];
        let want = "invalid value \"maybe\" for ETCD_PRE_VOTE: parse error".to_owned();
        assert_eq!(error("", &wrong), (want, false));
    }

    #[test]
    fn help_has_every_flag() {
        let help = help();
        for flag in FLAGS {
            assert!(help.contains(&format!("--{} ", flag.name)), "{}", flag.name);
        }
    }
}
