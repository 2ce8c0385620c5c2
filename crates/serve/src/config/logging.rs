//! How to log, from the flags: looked at before all else, so that what is wrong with the others is
//! logged so already.
//!
//! Source: etcd `server/embed/config_logging.go`.

use super::check::{ConfigError, Found, error, etcds};
use super::parse::Raw;
use crate::log::{self, Format, Output, Rotation, Severity};

/// How to log.
///
/// # Errors
/// [`ConfigError`].
pub fn check_log(raw: &Raw) -> Result<log::Settings, ConfigError> {
    match raw.get("logger") {
        "zap" => {}
        "capnslog" => return Err(etcds("logger", "--logger=capnslog is removed in v3.5")),
        other => return Err(etcds("logger", &format!("unknown logger option {other:?}"))),
    }
    let mut names: Vec<&str> = raw.get("log-outputs").split(',').collect();
    names.sort_unstable();
    names.dedup();
    let is_file = |name: &&str| !matches!(*name, "" | "default" | "stderr" | "stdout");
    if names.len() > 1 && names.contains(&"default") {
        let text = "multi logoutput for \"default\" is not supported yet";
        return Err(etcds("log-outputs", text));
    }
    if names.contains(&"systemd/journal") {
        let text = "systemd/journal cannot be written to yet: it waits for a journal's protocol; \
                    systemd takes what goes to stderr";
        return Err(error("log-outputs", text));
    }
    let mut rotation = None;
    if raw.get("enable-log-rotation") == "true" {
        if names.iter().filter(|name| is_file(name)).count() != 1 {
            // Compat: several places that are no files are refused here, and not in etcd: there
            // is nothing to change then.
            let text = "--log-outputs requires a single file path when --log-rotate-config-json \
                        is defined";
            return Err(etcds("enable-log-rotation", text));
        }
        let rules = Rotation::parse(raw.get("log-rotation-config-json"));
        rotation = Some(rules.map_err(|text| etcds("log-rotation-config-json", &text))?);
    }
    let level = Severity::parse(raw.get("log-level")).ok_or_else(|| ConfigError {
        name: "log-level",
        // Compat: etcd panics with this.
        text: format!("unrecognized level: {:?}", raw.get("log-level")),
        found: Found::BeforeLog,
    })?;
    let format = match raw.get("log-format") {
        "json" | "" => Format::Json,
        "console" => Format::Console,
        other => {
            let text = format!("unknown log format: {other}, supported values json, console");
            return Err(etcds("log-format", &text));
        }
    };
    let output = |name: &str| match name {
        "" | "default" | "stderr" => Output::Stderr,
        "stdout" => Output::Stdout,
        path => Output::File(path.strip_prefix("file://").unwrap_or(path).into()),
    };
    let outputs = names.into_iter().map(output).collect();
    Ok(log::Settings { level, format, outputs, rotation })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Asked, parse};

    fn raw(line: &str) -> Raw {
        match parse(line.split_whitespace().map(str::to_owned), []).expect("flags of the table") {
            Asked::Run(raw) => raw,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn how_to_log() {
        let of = |line: &str| check_log(&raw(line)).map_err(|error| error.text);
        assert_eq!(of(""), Ok(log::Settings::default()));
        let settings =
            of("--log-level=fatal --log-format=console --log-outputs=a.log,stdout,a.log");
        assert_eq!(
            settings,
            Ok(log::Settings {
                level: Severity::Fatal,
                format: Format::Console,
                outputs: vec![Output::File("a.log".into()), Output::Stdout],
                rotation: None,
            })
        );
        let rotated = of("--log-outputs=a --enable-log-rotation \
                          --log-rotation-config-json={\"maxsize\":2}");
        let rotation = rotated.expect("a file to rotate").rotation.expect("it rotates");
        assert_eq!(rotation.max_bytes, 2 << 20);
        let check = |line: &str, want: &str| assert_eq!(of(line), Err(want.to_owned()));
        check("--logger=capnslog", "--logger=capnslog is removed in v3.5");
        check("--logger=x", "unknown logger option \"x\"");
        check("--log-level=loud", "unrecognized level: \"loud\"");
        check("--log-format=x", "unknown log format: x, supported values json, console");
        check("--log-outputs=default,a", "multi logoutput for \"default\" is not supported yet");
        check(
            "--enable-log-rotation",
            "--log-outputs requires a single file path when --log-rotate-config-json is defined",
        );
        assert!(of("--log-outputs=systemd/journal").is_err());
    }
}
