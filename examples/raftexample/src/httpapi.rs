//! The HTTP door of one node: PUT and GET a key, POST and DELETE a member.
//!
//! A PUT answers 204 once the proposal is on its way into raft, not once it is committed: a GET
//! right after it may still see the old value, exactly as the article explains. Membership
//! changes are as optimistic. A GET reads this node's own map, so a node cut off from the others
//! answers with what it knew.
//!
//! Bad input changes nothing: 400 with a line that says why, 404 for a key nobody put, 405 with
//! the methods there are.

use crate::kvstore::KvStore;
use crate::raft::RaftView;
use ::raft::is_local_target;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use peer::PeerUrl;
use raftpb::{ConfChange, ConfChangeType};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{debug, warn};

/// The largest body read, in bytes: far above any sensible value, far below a node's memory.
pub const BODY_BYTES_MAX: usize = 16 << 20;

/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// What the handler needs of the node.
pub struct HttpKvApi {
    /// Takes proposals, answers look-ups.
    pub store: Arc<KvStore>,
    /// Takes membership changes to raft.
    pub conf_change_c: mpsc::Sender<ConfChange>,
    /// Tells which members there are.
    pub view: RaftView,
}

/// Serves the API on `listener` until the task is dropped.
///
/// # Errors
/// If the listener fails.
pub async fn serve_http_kv_api(api: HttpKvApi, listener: TcpListener) -> std::io::Result<()> {
    let router = axum::Router::new().fallback(handle).with_state(Arc::new(api));
    axum::serve(listener, router).await
}

/// Compat: the key is the whole request URI as it was typed, leading slash and query included.
async fn handle(State(api): State<Arc<HttpKvApi>>, request: Request) -> Response {
    let key = request.uri().path_and_query().map_or("/", |uri| uri.as_str()).to_owned();
    let method = request.method().clone();
    debug!(%method, key, "handler: request");
    match method {
        Method::PUT => api.put(key, request.into_body()).await,
        Method::GET => api.get(&key),
        Method::POST => api.add_node(&key, request.into_body()).await,
        Method::DELETE => api.remove_node(&key).await,
        _ => method_not_allowed(),
    }
}

impl HttpKvApi {
    async fn put(&self, key: String, body: Body) -> Response {
        let value = match read(body).await {
            Ok(value) => value,
            Err(reason) => return refuse("Failed on PUT", &reason),
        };
        if self.store.propose(key, value).await.is_err() {
            return shutting_down();
        }
        StatusCode::NO_CONTENT.into_response()
    }

    fn get(&self, key: &str) -> Response {
        match self.store.lookup(key) {
            Some(value) => {
                let text = std::str::from_utf8(&value).is_ok();
                let kind =
                    if text { "text/plain; charset=utf-8" } else { "application/octet-stream" };
                ([(header::CONTENT_TYPE, kind)], value).into_response()
            }
            None => error(StatusCode::NOT_FOUND, "Failed to GET"),
        }
    }

    async fn add_node(&self, key: &str, body: Body) -> Response {
        const FAILED: &str = "Failed on POST";
        let url = match read(body).await {
            Ok(url) => url,
            Err(reason) => return refuse(FAILED, &reason),
        };
        let node_id = match parse_node_id(key) {
            Ok(node_id) => node_id,
            Err(reason) => return refuse(FAILED, &reason),
        };
        let Ok(text) = std::str::from_utf8(&url) else {
            return refuse(FAILED, "the body must be the node's peer URL, in ASCII");
        };
        // A URL that no member could dial would be committed and then be there for ever.
        if let Err(reason) = PeerUrl::parse_plain(text) {
            return refuse(FAILED, &reason.to_string());
        }
        self.propose_conf_change(ConfChangeType::ConfChangeAddNode, node_id, Some(url)).await
    }

    async fn remove_node(&self, key: &str) -> Response {
        const FAILED: &str = "Failed on DELETE";
        let node_id = match parse_node_id(key) {
            Ok(node_id) => node_id,
            Err(reason) => return refuse(FAILED, &reason),
        };
        if self.view.is_only_voter(node_id) {
            return refuse(FAILED, "the only node cannot leave: add another one first");
        }
        self.propose_conf_change(ConfChangeType::ConfChangeRemoveNode, node_id, None).await
    }

    async fn propose_conf_change(
        &self,
        kind: ConfChangeType,
        node_id: u64,
        context: Option<Bytes>,
    ) -> Response {
        let change = ConfChange {
            r#type: Some(kind.into()),
            node_id: Some(node_id),
            context,
            ..ConfChange::default()
        };
        if self.conf_change_c.send(change).await.is_err() {
            return shutting_down();
        }
        // As with a PUT: taken, not yet committed.
        StatusCode::NO_CONTENT.into_response()
    }
}

async fn read(body: Body) -> Result<Bytes, String> {
    // One that announces too much need not be waited for.
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(format!("the body is longer than {BODY_BYTES_MAX} bytes"));
    }
    match timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) => Err(format!("reading a body of at most {BODY_BYTES_MAX} bytes: {error}")),
        Err(_) => Err(format!("the body took longer than {BODY_TIMEOUT:?}")),
    }
}

/// Reads the node id of `/<id>`.
///
/// Compat: the forms of Go's `strconv.ParseUint(_, 0, 64)`: decimal, `0x`, `0o`, a bare leading
/// zero for octal, `0b`. Ids that raft keeps for itself are refused.
fn parse_node_id(key: &str) -> Result<u64, String> {
    let text = key.strip_prefix('/').unwrap_or(key);
    let lower = text.to_ascii_lowercase();
    let (digits, radix) = match lower.as_bytes() {
        [b'0', b'x', ..] => (&lower[2..], 16),
        [b'0', b'o', ..] => (&lower[2..], 8),
        [b'0', b'b', ..] => (&lower[2..], 2),
        [b'0', _, ..] => (&lower[1..], 8),
        _ => (&lower[..], 10),
    };
    // `from_str_radix` would take a sign, which Go does not.
    let id = if digits.starts_with('+') { None } else { u64::from_str_radix(digits, radix).ok() };
    match id {
        Some(0) => Err("node id 0 means none: ids start at 1".to_owned()),
        Some(id) if is_local_target(id) => Err(format!("node id {id} is reserved")),
        Some(id) => Ok(id),
        None => Err(format!("{text:?} is not a node id: the path must be /<number>")),
    }
}

fn refuse(failed: &str, reason: &str) -> Response {
    warn!(failed, reason, "refused a request");
    error(StatusCode::BAD_REQUEST, &format!("{failed}: {reason}"))
}

fn shutting_down() -> Response {
    error(StatusCode::SERVICE_UNAVAILABLE, "this node is shutting down")
}

fn method_not_allowed() -> Response {
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
    for method in ["PUT", "GET", "POST", "DELETE"] {
        response.headers_mut().append(header::ALLOW, HeaderValue::from_static(method));
    }
    response
}

/// An error as Go's `http.Error` writes it: the text, a newline, plain text that must not be
/// sniffed for anything else.
fn error(status: StatusCode, text: &str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, format!("{text}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use super::parse_node_id;

    #[test]
    fn node_ids_are_read_as_go_reads_them() {
        for (key, id) in [("/4", 4), ("/0x10", 16), ("/0b11", 3), ("/0o17", 15), ("/017", 15)] {
            assert_eq!(parse_node_id(key), Ok(id), "{key}");
        }
        for key in ["/", "/0", "/foo", "/-1", "/+1", "/1/2", "/0x", "/4?a", "/18446744073709551615"]
        {
            parse_node_id(key).expect_err(key);
        }
    }
}
