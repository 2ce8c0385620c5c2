//! A configuration file: YAML, of which JSON is a part, in place of all flags and variables.
//!
//! Keys are called as the flags are, but for those of [`KEYS`]; those that nobody knows are named
//! in the log, which etcd does not do, and ignored. Values have types here: a number is not a text, and a duration is a
//! number of nanoseconds.
//!
//! Compat: scalars are what YAML 1.1 says they are (`yes` is a switch, `017` is 15), keys count in
//! whatever case, and what is wrong is said in the words of Go's decoder.
//!
//! Source: etcd `server/embed/config.go`, its YAML and JSON decoders by experiment.

use super::go;
use super::kind::Kind;
use super::parse::{FlagError, FromFile, Raw, find};
use super::table::Flag;
use saphyr::{ScalarStyle, Tag, Yaml, YamlLoader};
use std::collections::BTreeMap;
use std::path::Path;

/// Flags whose keys are not their names. An empty key: there is none.
const KEYS: &[(&str, &str)] = &[
    ("version", ""),
    ("config-file", ""),
    ("discovery-fallback", ""),
    ("raft-read-timeout", ""),
    ("raft-write-timeout", ""),
    ("client-crl-file", ""),
    ("peer-crl-file", ""),
    ("cert-file", "client-transport-security.cert-file"),
    ("key-file", "client-transport-security.key-file"),
    ("client-cert-file", "client-transport-security.client-cert-file"),
    ("client-key-file", "client-transport-security.client-key-file"),
    ("client-cert-auth", "client-transport-security.client-cert-auth"),
    ("trusted-ca-file", "client-transport-security.trusted-ca-file"),
    ("auto-tls", "client-transport-security.auto-tls"),
    ("client-cert-allowed-hostname", "client-transport-security.allowed-hostname"),
    ("peer-cert-file", "peer-transport-security.cert-file"),
    ("peer-key-file", "peer-transport-security.key-file"),
    ("peer-client-cert-file", "peer-transport-security.client-cert-file"),
    ("peer-client-key-file", "peer-transport-security.client-key-file"),
    ("peer-client-cert-auth", "peer-transport-security.client-cert-auth"),
    ("peer-trusted-ca-file", "peer-transport-security.trusted-ca-file"),
    ("peer-auto-tls", "peer-transport-security.auto-tls"),
    ("peer-cert-allowed-cn", "peer-transport-security.allowed-cn"),
    ("peer-cert-allowed-hostname", "peer-transport-security.allowed-hostname"),
    ("peer-skip-client-san-verification", "peer-transport-security.skip-client-san-verification"),
    ("socket-reuse-port", "socket-options.reuse-port"),
    ("socket-reuse-address", "socket-options.reuse-address"),
    ("discovery-token", "discovery-config.token"),
    ("discovery-endpoints", "discovery-config.client.endpoints"),
    ("discovery-dial-timeout", "discovery-config.client.dial-timeout"),
    ("discovery-request-timeout", "discovery-config.client.request-timeout"),
    ("discovery-keepalive-time", "discovery-config.client.keepalive-time"),
    ("discovery-keepalive-timeout", "discovery-config.client.keepalive-timeout"),
    ("discovery-cert", "discovery-config.client.secure.cert"),
    ("discovery-key", "discovery-config.client.secure.key"),
    ("discovery-cacert", "discovery-config.client.secure.cacert"),
    ("discovery-insecure-transport", "discovery-config.client.secure.insecure-transport"),
    (
        "discovery-insecure-skip-tls-verify",
        "discovery-config.client.secure.insecure-skip-tls-verify",
    ),
    ("discovery-user", "discovery-config.client.auth.username"),
    ("discovery-password", "discovery-config.client.auth.password"),
];

/// Maps, and what etcd's decoder calls what they are read into.
const MAPS: &[(&str, &str)] = &[
    ("client-transport-security", "embed.securityConfig"),
    ("peer-transport-security", "embed.securityConfig"),
    ("socket-options", "transport.SocketOpts"),
    ("discovery-config", "v3discovery.DiscoveryConfig"),
    ("discovery-config.client", "clientv3.ConfigSpec"),
    ("discovery-config.client.secure", "clientv3.SecureConfig"),
    ("discovery-config.client.auth", "clientv3.AuthConfig"),
];

/// Keys that no flag stands for. Compat: of the second one nothing follows, as in etcd: it looks at
/// addresses in certificates of members only.
const CLIENT_CNS: &str = "client-transport-security.allowed-cn";
const CLIENT_SKIPS: &str = "client-transport-security.skip-client-san-verification";

/// Where etcd's decoder has what it makes something else of later.
const TRANSLATED: &[&str] = &[
    "listen-peer-urls",
    "listen-client-urls",
    "listen-client-http-urls",
    "initial-advertise-peer-urls",
    "advertise-client-urls",
    "cors",
    "host-whitelist",
    "client-transport-security",
    "peer-transport-security",
    "feature-gates",
];

/// Reads a file.
///
/// # Errors
/// [`FlagError::File`], [`FlagError::FileUrls`].
pub(super) fn read(path: &Path) -> Result<Raw, FlagError> {
    let text = std::fs::read(path).map_err(|error| {
        let doing = if error.kind() == std::io::ErrorKind::IsADirectory { "read" } else { "open" };
        FlagError::File(go::io_text(doing, path, &error))
    })?;
    parse(&String::from_utf8_lossy(&text), &path.display().to_string())
}

fn parse(text: &str, path: &str) -> Result<Raw, FlagError> {
    let failed = |reason: &dyn std::fmt::Display| {
        FlagError::File(format!("error converting YAML to JSON: yaml: {reason}"))
    };
    let mut loader = YamlLoader::<Yaml<'_>>::default();
    loader.early_parse(false);
    // Compat: the last one counts.
    loader.allow_duplicate_keys(true);
    let mut parser = saphyr_parser::Parser::new_from_str(text);
    parser.load(&mut loader, true).map_err(|error| failed(&error))?;
    if let Some(error) = loader.error() {
        return Err(failed(error));
    }
    let mut given = BTreeMap::new();
    let mut file = FromFile { path: path.to_owned(), ..FromFile::default() };
    // Compat: only the first document counts.
    match loader.into_documents().into_iter().next().map(value).transpose()? {
        None | Some(Value::Null) => {}
        Some(Value::Map(map)) => read_map(map, "", &mut given, &mut file)?,
        Some(other) => {
            return Err(FlagError::File(format!(
                "{DECODING}: json: cannot unmarshal {} into Go value of type embed.configYAML",
                other.name()
            )));
        }
    }
    Ok(Raw::of_file(given, file))
}

const DECODING: &str = "error unmarshaling JSON: while decoding JSON";

/// A value as YAML 1.1 has them.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Null,
    Bool(bool),
    /// In the form that JSON has it.
    Number(String),
    Text(String),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
}

impl Value {
    /// What Go's decoder calls it.
    fn name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Number(_) => "number",
            Self::Text(_) => "string",
            Self::List(_) => "array",
            Self::Map(_) => "object",
        }
    }
}

fn value(yaml: Yaml<'_>) -> Result<Value, FlagError> {
    match yaml {
        Yaml::Representation(text, style, tag) => scalar(&text, style, tag.as_deref()),
        Yaml::Sequence(items) => {
            items.into_iter().map(value).collect::<Result<_, _>>().map(Value::List)
        }
        Yaml::Tagged(_, inner) => value(*inner),
        Yaml::Mapping(entries) => {
            let (mut map, mut merged) = (BTreeMap::new(), BTreeMap::new());
            for (key, entry) in entries {
                let key = match value(key)? {
                    Value::Text(key) | Value::Number(key) => key,
                    Value::Bool(key) => key.to_string(),
                    Value::Null => "null".to_owned(),
                    Value::List(_) | Value::Map(_) => {
                        let reason = "error converting YAML to JSON: yaml: invalid map key";
                        return Err(FlagError::File(reason.to_owned()));
                    }
                };
                match (&*key, value(entry)?) {
                    ("<<", Value::Map(others)) => merged.extend(others),
                    (_, entry) => {
                        map.insert(key, entry);
                    }
                }
            }
            // What is merged in counts less than what is there.
            merged.append(&mut map);
            Ok(Value::Map(merged))
        }
        Yaml::Value(_) | Yaml::Alias(_) | Yaml::BadValue => {
            Err(FlagError::File("error converting YAML to JSON: yaml: no value".to_owned()))
        }
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, FlagError> {
    let of_core = tag.filter(|tag| tag.is_yaml_core_schema());
    if style != ScalarStyle::Plain || of_core.is_some_and(|tag| tag.suffix == "str") {
        return Ok(Value::Text(text.to_owned()));
    }
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Value::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Value::Bool(false)
        }
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Err(no_json("+Inf")),
        "-.inf" | "-.Inf" | "-.INF" => return Err(no_json("-Inf")),
        ".nan" | ".NaN" | ".NAN" => return Err(no_json("NaN")),
        text => number(text).map_or_else(|| Value::Text(text.to_owned()), Value::Number),
    })
}

fn no_json(value: &str) -> FlagError {
    FlagError::File(format!("error converting YAML to JSON: json: unsupported value: {value}"))
}

/// A number in decimal, if it is one.
fn number(text: &str) -> Option<String> {
    let plain = text.replace('_', "");
    if !plain.trim_start_matches(['+', '-', '.']).starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if let Ok(number) = go::parse_int(&plain) {
        return Some(number.to_string());
    }
    if let Ok(number) = go::parse_uint(&plain) {
        return Some(number.to_string());
    }
    let of_floats = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
    let float = plain.chars().all(of_floats).then(|| plain.parse::<f64>().ok()).flatten()?;
    // Go's encoder writes whole numbers without a point up to here.
    Some(if float.fract() == 0.0 && float.abs() < 1e21 {
        format!("{float:.0}")
    } else {
        float.to_string()
    })
}

fn read_map(
    map: BTreeMap<String, Value>,
    prefix: &str,
    given: &mut BTreeMap<&'static str, String>,
    file: &mut FromFile,
) -> Result<(), FlagError> {
    if prefix.is_empty() && map.get("peer-transport-security") == Some(&Value::Null) {
        // Compat: of the maps only this one must be a map.
        return Err(FlagError::File("invalid peer-transport-security".to_owned()));
    }
    for (key, value) in map {
        let path = format!("{prefix}{}", key.to_ascii_lowercase());
        if let Some((_, go_type)) = MAPS.iter().find(|(name, _)| *name == path) {
            match value {
                Value::Null => {}
                Value::Map(inner) => read_map(inner, &format!("{path}."), given, file)?,
                other => return Err(wrong_type(&path, &other, go_type)),
            }
        } else if let Some(flag) = flag_of(&path) {
            if let Some(value) = read_value(flag, &path, value)? {
                given.insert(flag.name, value);
            }
        } else if path == CLIENT_CNS {
            file.client_allowed_cns = match value {
                Value::Null => Vec::new(),
                Value::List(items) => texts(&path, items)?,
                other => return Err(wrong_type(&path, &other, "[]string")),
            };
        } else if path == CLIENT_SKIPS {
            if !matches!(value, Value::Null | Value::Bool(_)) {
                return Err(wrong_type(&path, &value, "bool"));
            }
        } else {
            tracing::warn!(key = path, "unknown key in the configuration file; ignored");
        }
    }
    Ok(())
}

fn texts(path: &str, items: Vec<Value>) -> Result<Vec<String>, FlagError> {
    let text = |item| match item {
        Value::Text(text) => Ok(text),
        Value::Null => Ok(String::new()),
        other => Err(wrong_type(path, &other, "string")),
    };
    items.into_iter().map(text).collect()
}

fn flag_of(path: &str) -> Option<&'static Flag> {
    if let Some((name, _)) = KEYS.iter().find(|(_, key)| *key == path) {
        return find(name);
    }
    find(path).filter(|flag| KEYS.iter().all(|(name, _)| *name != flag.name))
}

/// A value in the form that flags have; `None` if it leaves the default in force.
fn read_value(flag: &Flag, path: &str, value: Value) -> Result<Option<String>, FlagError> {
    let kind = Kind::of(flag);
    let wrong = |value: &Value| wrong_type(path, value, go_type(kind));
    let text = match (kind, value) {
        (_, Value::Null) => return Ok(None),
        (Kind::Switch, Value::Bool(is_on)) => is_on.to_string(),
        (Kind::List, Value::List(items)) => texts(path, items)?.join(","),
        (
            Kind::Text | Kind::Urls | Kind::Gates | Kind::Choice(_) | Kind::Choices(_),
            Value::Text(text),
        ) => text,
        (
            Kind::Uint | Kind::Uint64 | Kind::Uint32 | Kind::Int | Kind::Int64 | Kind::Duration,
            Value::Number(number),
        ) => number,
        (_, value) => return Err(wrong(&value)),
    };
    let number = || Value::Number(text.clone());
    match kind {
        Kind::Duration => match text.parse() {
            Ok(nanos) => Ok(Some(go::duration_text(nanos))),
            Err(_) => Err(wrong_number(path, &text, kind)),
        },
        Kind::Urls if text.is_empty() => Ok(None),
        Kind::Urls => kind.read(flag, &text).map(Some).map_err(|reason| {
            // Compat: etcd mixes up two names here.
            let key = if flag.name == "advertise-client-urls" {
                "advertise-peer-urls"
            } else {
                flag.name
            };
            FlagError::FileUrls { key, reason }
        }),
        // Compat: not looked at here; of a choice, whoever reads it does.
        Kind::Choice(_) | Kind::Choices(_) => Ok(Some(text)),
        Kind::Gates => kind.read(flag, &text).map(Some).map_err(FlagError::File),
        Kind::Text | Kind::List | Kind::Switch => Ok(Some(text)),
        _ => match kind.read(flag, &text) {
            Ok(read) => Ok(Some(read)),
            Err(_) if text.parse::<f64>().is_ok() => Err(wrong_number(path, &text, kind)),
            Err(_) => Err(wrong(&number())),
        },
    }
}

fn go_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Switch => "bool",
        Kind::Uint => "uint",
        Kind::Uint64 => "uint64",
        Kind::Uint32 => "uint32",
        Kind::Int => "int",
        Kind::Int64 => "int64",
        Kind::Duration => "time.Duration",
        Kind::List => "[]string",
        Kind::Text | Kind::Urls | Kind::Gates | Kind::Choice(_) | Kind::Choices(_) => "string",
    }
}

fn wrong_number(path: &str, number: &str, kind: Kind) -> FlagError {
    wrong_field(path, &format!("number {number}"), go_type(kind))
}

fn wrong_type(path: &str, value: &Value, go_type: &str) -> FlagError {
    wrong_field(path, value.name(), go_type)
}

fn wrong_field(path: &str, what: &str, go_type: &str) -> FlagError {
    let outer = path.split('.').next().unwrap_or(path);
    let part = if TRANSLATED.contains(&outer) { "configJSON" } else { "Config" };
    // Compat: below a map, the decoder begins with the innermost structure's name.
    let structure = match path.rsplit_once('.').map(|(map, _)| map) {
        None => "configYAML",
        Some(map) => {
            let found = MAPS.iter().find(|(name, _)| *name == map);
            found.and_then(|(_, name)| name.split('.').nth(1)).unwrap_or("configYAML")
        }
    };
    FlagError::File(format!(
        "{DECODING}: json: cannot unmarshal {what} into Go struct field {structure}.{part}.{path} \
         of type {go_type}"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::table::FLAGS;
    use super::*;

    fn read(text: &str) -> Raw {
        parse(text, "c.yml").unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn yaml_and_json() {
        let raw = read(
            "name: m\nsnapshot-count: 0x10\npre-vote: no\nlog-outputs: [a.log, stderr]\n\
             compaction-sleep-interval: 1000000\nwal-dir: &dir w\ndata-dir: *dir\n\
             peer-transport-security:\n  cert-file: p.pem\n  allowed-cn: [a, b]\nmax-wals:\n",
        );
        let check = |name: &str, want: &str| assert_eq!(raw.get(name), want, "{name}");
        check("name", "m");
        check("snapshot-count", "16");
        check("pre-vote", "false");
        check("log-outputs", "a.log,stderr");
        check("compaction-sleep-interval", "1ms");
        check("data-dir", "w");
        check("peer-cert-file", "p.pem");
        check("peer-cert-allowed-cn", "a,b");
        assert!(!raw.has("max-wals"), "nothing is the default");
        let raw = read("{\"Name\": \"j\", \"max-wals\": 1e1, \"socket-options\": {}}");
        assert_eq!((raw.get("name"), raw.get("max-wals")), ("j", "10"));
        assert_eq!(read("name: a\nname: b\n---\nname: c\n").get("name"), "b");
        assert_eq!(read("<<: {name: q, data-dir: d}\ndata-dir: e\n").get("data-dir"), "e");
        assert_eq!(read("").get("name"), "default");
    }

    #[test]
    fn every_row_has_a_key_or_is_known_to_have_none() {
        for flag in FLAGS {
            let key = KEYS.iter().find(|(name, _)| *name == flag.name);
            let path = key.map_or(flag.name, |(_, key)| key);
            if !path.is_empty() {
                assert_eq!(flag_of(path).map(|found| found.name), Some(flag.name));
            }
        }
        for (name, _) in KEYS {
            assert!(find(name).is_some(), "{name} is in no row");
        }
    }

    #[test]
    fn wrong_types_are_said_in_gos_words() {
        let check = |text: &str, want: &str| {
            let error = parse(text, "c.yml").expect_err(text).to_string();
            let error = error.strip_prefix(&format!("{DECODING}: json: cannot unmarshal "));
            assert_eq!(error, Some(want), "{text}");
        };
        check("name: 1", "number into Go struct field configYAML.Config.name of type string");
        check("max-wals: x", "string into Go struct field configYAML.Config.max-wals of type uint");
        check("cors: yes", "bool into Go struct field configYAML.configJSON.cors of type string");
        check(
            "max-wals: -1",
            "number -1 into Go struct field configYAML.Config.max-wals of type uint",
        );
        check(
            "client-transport-security: {auto-tls: 1}",
            "number into Go struct field \
             securityConfig.configJSON.client-transport-security.auto-tls of type bool",
        );
        check(
            "compaction-sleep-interval: 10m",
            "string into Go struct field configYAML.Config.compaction-sleep-interval of type \
             time.Duration",
        );
        check("[a]", "array into Go value of type embed.configYAML");
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let check = |text: &str, want: &str| {
            let error = parse(text, "c.yml").expect_err(text).to_string();
            assert!(error.starts_with(want), "{text}: {error}");
        };
        check("name: [a", "error converting YAML to JSON: yaml: ");
        check("? [a]\n: b\n", "error converting YAML to JSON: yaml: invalid map key");
        check("listen-peer-urls: foo", "unexpected error setting up listen-peer-urls: URL scheme");
        check("advertise-client-urls: x", "unexpected error setting up advertise-peer-urls: URL");
        check("feature-gates: Foo=true", "unrecognized feature gate: Foo");
        check("peer-transport-security:", "invalid peer-transport-security");
    }

    #[test]
    fn what_has_no_flag_is_read_too() {
        let raw = read(
            "client-transport-security: {allowed-cn: [a, b], skip-client-san-verification: true}",
        );
        assert_eq!(
            (raw.client_allowed_cns(), raw.file()),
            (vec!["a".into(), "b".into()], Some("c.yml"))
        );
        let check = |text: &str, want: &str| {
            let error = parse(text, "c.yml").expect_err(text).to_string();
            assert!(error.ends_with(want), "{text}: {error}");
        };
        check("client-transport-security: {allowed-cn: a}", "allowed-cn of type []string");
        check(
            "client-transport-security: {skip-client-san-verification: 1}",
            "skip-client-san-verification of type bool",
        );
    }
}
