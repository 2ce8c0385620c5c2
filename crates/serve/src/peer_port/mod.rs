//! What the peer port serves beside the peer protocol: who the members are, the version, the
//! hash by which members compare their keys, whether a downgrade is under way; and on the leader
//! what the others ask it for their clients.
//!
//! Source: etcd `server/etcdserver/api/etcdhttp/peer.go`, `server/etcdserver/corrupt.go`.

mod leader;

use api::version::VERSION;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Method, Request, Response, StatusCode};
use mvcc::Read as _;
use peer::{BoxFuture, Others, ResponseBody};
use serde::Deserialize;
use server::Server;

/// Bytes of a request's body, at most.
const BODY_BYTES_MAX: usize = 64 << 10;

/// The paths over a member.
#[derive(Debug, Clone)]
pub struct PeerPaths(pub Server);

impl Others for PeerPaths {
    fn answer(&self, request: Request<Incoming>) -> BoxFuture<'_, Option<Response<ResponseBody>>> {
        let server = &self.0;
        Box::pin(async move {
            Some(match request.uri().path() {
                "/version" => get_only(&request, || version(server)),
                "/members" => get_only(&request, || members(server)),
                "/members/hashkv" => hash_kv(server, request).await,
                "/downgrade/enabled" => downgrade_enabled(server, &request).await,
                "/leases" => leader::renew(server, request).await,
                "/leases/internal" => leader::lease_times(server, request).await,
                path => match path.strip_prefix("/members/promote/") {
                    Some(id) => leader::promote(server, request.method(), id).await,
                    None => return None,
                },
            })
        })
    }
}

fn get_only(
    request: &Request<Incoming>,
    answer: impl FnOnce() -> Response<ResponseBody>,
) -> Response<ResponseBody> {
    if request.method() == Method::GET { answer() } else { not_allowed("GET") }
}

fn version(server: &Server) -> Response<ResponseBody> {
    let decided = server.cluster().version().map(|version| version.to_string());
    let cluster = decided.unwrap_or_else(|| "not_decided".to_owned());
    let storage = server.cluster().storage_version().map(|version| version.to_string());
    let storage = storage.unwrap_or_else(|| "unknown".to_owned());
    let text =
        format!(r#"{{"etcdserver":"{VERSION}","etcdcluster":"{cluster}","storage":"{storage}"}}"#);
    body(StatusCode::OK, text)
}

fn members(server: &Server) -> Response<ResponseBody> {
    let cluster = server.cluster();
    body(StatusCode::OK, member::members_json(cluster.members()))
}

/// Whether the cluster is going back to an earlier version; members ask for it once they start.
async fn downgrade_enabled(server: &Server, request: &Request<Incoming>) -> Response<ResponseBody> {
    if request.method() != Method::GET {
        return not_allowed("GET");
    }
    if let Err(why) = server.linearizable().await {
        let text = format!("failed linearized read: {why}");
        return error(StatusCode::INTERNAL_SERVER_ERROR, &text);
    }
    let enabled = server.cluster().downgrade().target.is_some();
    let mut response = body(StatusCode::OK, enabled.to_string());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// As Go writes it into JSON.
#[derive(Deserialize)]
struct HashRequest {
    #[serde(default)]
    revision: i64,
}

/// Compat: the request is JSON in the body of a GET.
async fn hash_kv(server: &Server, request: Request<Incoming>) -> Response<ResponseBody> {
    if request.method() != Method::GET {
        return not_allowed("GET");
    }
    let cluster_id = member::format_id(server.cluster_id());
    let asked = request.headers().get("x-etcd-cluster-id");
    if asked.is_some_and(|id| !id.is_empty() && id.as_bytes() != cluster_id.as_bytes()) {
        return error(StatusCode::PRECONDITION_FAILED, "cluster ID mismatch");
    }
    let read = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await;
    let Ok(read) = read else {
        return error(StatusCode::BAD_REQUEST, "error reading body");
    };
    // Go takes no list for an object, and null for an empty one.
    let asked = match serde_json::from_slice(&read.to_bytes()) {
        Ok(serde_json::Value::Null) => Ok(HashRequest { revision: 0 }),
        Ok(object @ serde_json::Value::Object(_)) => serde_json::from_value(object).map_err(drop),
        _ => Err(()),
    };
    let Ok(HashRequest { revision }) = asked else {
        return error(StatusCode::BAD_REQUEST, "error unmarshalling request");
    };
    let view = server.view();
    let present = view.revision();
    let Some(hashed) = server.hash_by_revision(revision).await else {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "hashing was cut short");
    };
    match hashed {
        Ok(hash) => {
            // In Go's order, and what is 0 is left out.
            let mut answer = format!(r#"{{"header":{{"revision":{present}}}"#);
            let fields = [
                ("hash", i64::from(hash.hash)),
                ("compact_revision", hash.compact_revision),
                ("hash_revision", hash.hash_revision),
            ];
            for (name, value) in fields.into_iter().filter(|(_, value)| *value != 0) {
                answer += &format!(r#","{name}":{value}"#);
            }
            answer.push('}');
            body(StatusCode::OK, answer)
        }
        Err(refused) => error(StatusCode::BAD_REQUEST, &refused.to_string()),
    }
}

fn body(status: StatusCode, text: String) -> Response<ResponseBody> {
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

fn not_allowed(allowed: &'static str) -> Response<ResponseBody> {
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// An error as Go's `http.Error` writes it.
fn error(status: StatusCode, text: &str) -> Response<ResponseBody> {
    let mut response = body(status, format!("{text}\n"));
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

fn full(content: impl Into<Bytes>) -> ResponseBody {
    Full::new(content.into()).map_err(|never| match never {}).boxed()
}
