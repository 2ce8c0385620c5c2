//! Whether a member is well: `/health` as a whole, `/livez` and `/readyz` by single checks.
//!
//! Source: etcd `server/etcdserver/api/etcdhttp/health.go`.

use super::path::values;
use super::{PLAIN, error, not_allowed, respond};
use crate::metrics::Metrics;
use crate::slow::{self, ReadTimer};
use api::etcdserverpb::AlarmType;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use mvcc::RangeQuery;
use server::Server;

/// One thing that can be wrong.
#[derive(Debug, Clone, Copy)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

/// What makes a member live, and what makes it ready. Compat: etcd's order is a random one.
const LIVE: &[Check] = &[Check::SerializableRead];
const READY: &[Check] =
    &[Check::DataCorruption, Check::SerializableRead, Check::LinearizableRead, Check::NonLearner];

impl Check {
    fn name(self) -> &'static str {
        match self {
            Check::DataCorruption => "data_corruption",
            Check::SerializableRead => "serializable_read",
            Check::LinearizableRead => "linearizable_read",
            Check::NonLearner => "non_learner",
        }
    }

    async fn run(self, server: &Server) -> Result<(), String> {
        match self {
            Check::DataCorruption => {
                let corrupt = AlarmType::Corrupt as i32;
                if server.alarms().iter().any(|alarm| alarm.alarm == corrupt) {
                    return Err("alarm activated: CORRUPT".to_owned());
                }
                Ok(())
            }
            Check::SerializableRead => read(server, true).await,
            Check::LinearizableRead => read(server, false).await,
            Check::NonLearner if server.is_learner() => Err("not supported for learner".to_owned()),
            Check::NonLearner => Ok(()),
        }
    }
}

fn checks(kind: &str) -> (&'static str, &'static [Check]) {
    if kind == "livez" { ("livez", LIVE) } else { ("readyz", READY) }
}

/// All checks of a kind but those left out.
pub(super) async fn all(
    server: &Server,
    metrics: &Metrics,
    kind: &str,
    get: bool,
    query: &str,
) -> Response {
    let (kind, checks) = checks(kind);
    if !get {
        return refuse(&format!("/{kind}"));
    }
    let mut excluded = values(query, "exclude");
    excluded.retain(|name| !name.is_empty());
    let (left_out, checks): (Vec<Check>, Vec<Check>) =
        checks.iter().partition(|check| excluded.iter().any(|name| name == check.name()));
    excluded.retain(|name| !left_out.iter().any(|check| check.name() == name));
    if !excluded.is_empty() {
        let missing: Vec<String> = excluded.iter().map(|name| format!("{name:?}")).collect();
        tracing::warn!(
            missing_health_checks = missing.join(","),
            "some health checks cannot be excluded"
        );
    }
    run(server, metrics, (kind, &format!("/{kind}")), &checks, query).await
}

/// One check of a kind; `None` if it has none of this name.
pub(super) async fn one(
    server: &Server,
    metrics: &Metrics,
    kind: &str,
    name: &str,
    get: bool,
    query: &str,
) -> Option<Response> {
    let (kind, checks) = checks(kind);
    let check = checks.iter().find(|check| check.name() == name)?;
    let path = format!("/{kind}/{name}");
    if !get {
        return Some(refuse(&path));
    }
    Some(run(server, metrics, (kind, &path), &[*check], query).await)
}

async fn run(
    server: &Server,
    metrics: &Metrics,
    (kind, path): (&'static str, &str),
    checks: &[Check],
    query: &str,
) -> Response {
    let (mut reason, mut well) = (String::new(), true);
    for check in checks {
        let (name, ran) = (check.name(), check.run(server).await);
        metrics.checked(kind, name, ran.is_ok());
        match ran {
            Ok(()) => reason += &format!("[+]{name} ok\n"),
            Err(why) => {
                well = false;
                reason += &format!("[-]{name} failed: {why}\n");
            }
        }
    }
    if !well {
        tracing::error!(path, reason, status_code = 503, "Health check error");
        return error(StatusCode::SERVICE_UNAVAILABLE, &reason);
    }
    tracing::debug!(path, reason, status_code = 200, "Health check OK");
    // The switch is on whatever its value.
    let mut text = if values(query, "verbose").is_empty() { String::new() } else { reason };
    text += "ok\n";
    let mut response = respond(StatusCode::OK, PLAIN, text);
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

fn refuse(path: &str) -> Response {
    tracing::warn!(path, status_code = 405, "Health request error");
    not_allowed("GET")
}

/// The whole member.
pub(super) async fn health(server: &Server, metrics: &Metrics, get: bool, query: &str) -> Response {
    if !get {
        tracing::warn!(status_code = 405, "/health error");
        return not_allowed("GET");
    }
    let excluded = values(query, "exclude");
    let serializable = values(query, "serializable").first().is_some_and(|first| first == "true");
    let reason = reason(server, &excluded, serializable).await;
    metrics.health(reason.is_none());
    match reason {
        None => respond(StatusCode::OK, PLAIN, r#"{"health":"true","reason":""}"#),
        Some(reason) => {
            let output = serde_json::json!({ "health": "false", "reason": reason }).to_string();
            tracing::warn!(output, status_code = 503, "/health error");
            error(StatusCode::SERVICE_UNAVAILABLE, &output)
        }
    }
}

/// Why the member is not healthy, if it is not.
async fn reason(server: &Server, excluded: &[String], serializable: bool) -> Option<String> {
    for alarm in server.alarms().iter() {
        let name = match AlarmType::try_from(alarm.alarm) {
            Ok(AlarmType::Nospace) => "NOSPACE",
            Ok(AlarmType::Corrupt) => "CORRUPT",
            Ok(AlarmType::None) | Err(_) => "UNKNOWN",
        };
        if !excluded.iter().any(|excluded| excluded == name) {
            tracing::warn!(alarm = name, "serving /health false due to an alarm");
            return Some(format!("ALARM {name}"));
        }
    }
    if !serializable && server.status().lead == 0 {
        tracing::warn!("serving /health false; no leader");
        return Some("RAFT NO LEADER".to_owned());
    }
    if let Err(error) = read(server, serializable).await {
        tracing::warn!(error, "serving /health false; Range fails");
        return Some(format!("RANGE ERROR:{error}"));
    }
    None
}

/// Reads a key that is not there.
async fn read(server: &Server, serializable: bool) -> Result<(), String> {
    let query = RangeQuery { limit: 1, keys_only: true, ..RangeQuery::default() };
    let mut timer = ReadTimer::start();
    let agreed = if serializable { Ok(()) } else { server.linearizable().await };
    let read = match agreed {
        Ok(()) => {
            timer.agreed(!serializable);
            let ranged = mvcc::Read::range(&server.view(), &query);
            ranged.map(drop).map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    slow::range(server, timer.took(), read.is_ok());
    read
}
