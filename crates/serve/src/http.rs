//! What the client port serves beside gRPC: version and health.
//!
//! Source: etcd server/etcdserver/api/etcdhttp/{version,health}.go.

use api::etcdserverpb::AlarmType;
use api::version::VERSION;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use mvcc::{RangeQuery, Read as _};
use server::Server;

/// The routes.
pub fn router(server: &Server) -> Router {
    Router::new()
        .route("/version", any(version))
        .route("/health", any(health))
        .with_state(server.clone())
}

async fn version(State(server): State<Server>, method: Method) -> Response {
    if method != Method::GET {
        return not_allowed();
    }
    let decided = server.cluster().version().map(|version| version.to_string());
    let cluster = decided.unwrap_or_else(|| "not_decided".to_owned());
    let storage = server.cluster().storage_version().map(|version| version.to_string());
    let storage = storage.unwrap_or_else(|| "unknown".to_owned());
    json(
        StatusCode::OK,
        format!(
            "{{\"etcdserver\":\"{VERSION}\",\"etcdcluster\":\"{cluster}\",\
             \"storage\":\"{storage}\"}}"
        ),
    )
}

async fn health(
    State(server): State<Server>,
    method: Method,
    RawQuery(query): RawQuery,
) -> Response {
    if method != Method::GET {
        return not_allowed();
    }
    let query = query.unwrap_or_default();
    let values = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).collect::<Vec<_>>()
    };
    let (excluded, serializable) = (values("exclude"), values("serializable").contains(&"true"));
    match reason(&server, &excluded, serializable).await {
        None => json(StatusCode::OK, r#"{"health":"true","reason":""}"#.to_owned()),
        Some(reason) => {
            tracing::warn!(reason, "serving /health false");
            let body = serde_json::json!({ "health": "false", "reason": reason }).to_string();
            json(StatusCode::SERVICE_UNAVAILABLE, body)
        }
    }
}

/// Why the member is not healthy, if it is not.
async fn reason(server: &Server, excluded: &[&str], serializable: bool) -> Option<String> {
    for alarm in server.alarms().iter() {
        let name = match AlarmType::try_from(alarm.alarm) {
            Ok(AlarmType::Nospace) => "NOSPACE",
            Ok(AlarmType::Corrupt) => "CORRUPT",
            Ok(AlarmType::None) | Err(_) => "UNKNOWN",
        };
        if !excluded.contains(&name) {
            return Some(format!("ALARM {name}"));
        }
    }
    if !serializable {
        if server.status().lead == 0 {
            return Some("RAFT NO LEADER".to_owned());
        }
        if let Err(error) = server.linearizable().await {
            return Some(format!("RANGE ERROR:{error}"));
        }
    }
    let query = RangeQuery { key: "health".into(), limit: 1, ..RangeQuery::default() };
    server.view().range(&query).err().map(|error| format!("RANGE ERROR:{error}"))
}

fn json(status: StatusCode, body: String) -> Response {
    let kind = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, kind)], body).into_response()
}

fn not_allowed() -> Response {
    let allow = [(header::ALLOW, HeaderValue::from_static("GET"))];
    (StatusCode::METHOD_NOT_ALLOWED, allow, "Method Not Allowed\n").into_response()
}
