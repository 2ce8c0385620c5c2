//! What a member serves over HTTP beside gRPC: version, health, metrics, debugging.
//!
//! Answers are those of Go's mux over etcd's handlers, down to redirects and the texts of
//! refusals. What it is not: gRPC, or the JSON gateway.
//!
//! Source: etcd `server/embed/serve.go`, `server/etcdserver/api/etcdhttp`, Go's `net/http`.

mod access;
mod health;
mod path;
mod vars;

pub use access::Access;

use crate::metrics::Metrics;
use api::version::VERSION;
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use server::Server;
use std::sync::Arc;

/// The handler. Clones share everything.
#[derive(Debug, Clone)]
pub struct Http {
    server: Server,
    metrics: Arc<Metrics>,
    /// Who may ask from where; `None` where only metrics are served, and everybody may.
    access: Option<Arc<Access>>,
}

impl Http {
    /// Everything, for clients.
    #[must_use]
    pub fn new(server: Server, metrics: Arc<Metrics>, access: Access) -> Self {
        Self { server, metrics, access: Some(Arc::new(access)) }
    }

    /// Metrics and health alone, for a port of their own.
    #[must_use]
    pub fn only_metrics(server: Server, metrics: Arc<Metrics>) -> Self {
        Self { server, metrics, access: None }
    }

    /// Answers a request; `secure` says whether it came over TLS.
    pub async fn answer(&self, request: Parts, secure: bool) -> Response {
        let Some(access) = &self.access else { return self.route(&request).await };
        if !secure && let Some(refusal) = access.refuse_host(&request) {
            return refusal;
        }
        let allowed = access.allowed_origin(&request);
        let mut response = match request.method {
            Method::OPTIONS => Response::default(),
            _ => self.route(&request).await,
        };
        if let Some(origin) = allowed {
            access::add_cors(response.headers_mut(), origin);
        }
        response
    }

    async fn route(&self, request: &Parts) -> Response {
        let uri = &request.uri;
        let cleaned = path::clean(uri.path());
        if cleaned != uri.path() && request.method != Method::CONNECT {
            return path::redirect(&request.method, &cleaned, uri.query());
        }
        let segments = path::segments(uri.path());
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let query = uri.query().unwrap_or_default();
        let get = request.method == Method::GET;
        let all = self.access.is_some();
        match segments[..] {
            // Compat: answers whatever it is asked with.
            ["metrics"] => self.metrics.answer(&self.server).await,
            ["health"] => health::health(&self.server, &self.metrics, get, query).await,
            ["livez" | "readyz"] => {
                health::all(&self.server, &self.metrics, segments[0], get, query).await
            }
            ["livez" | "readyz", name] => {
                let (kind, metrics) = (segments[0], &self.metrics);
                let one = health::one(&self.server, metrics, kind, name, get, query).await;
                one.unwrap_or_else(not_found)
            }
            ["version"] if all => {
                if get {
                    self.version()
                } else {
                    not_allowed("GET")
                }
            }
            ["debug", "vars"] if all => {
                if get {
                    vars::vars(&self.server).await
                } else {
                    not_allowed("GET")
                }
            }
            _ => not_found(),
        }
    }

    fn version(&self) -> Response {
        let members = self.server.cluster();
        let decided = members.version().map(|version| version.to_string());
        let cluster = decided.unwrap_or_else(|| "not_decided".to_owned());
        let storage = members.storage_version().map(|version| version.to_string());
        let storage = storage.unwrap_or_else(|| "unknown".to_owned());
        let text = format!(
            "{{\"etcdserver\":\"{VERSION}\",\"etcdcluster\":\"{cluster}\",\
             \"storage\":\"{storage}\"}}"
        );
        respond(StatusCode::OK, "application/json", text)
    }
}

fn respond(status: StatusCode, kind: &'static str, text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

const PLAIN: &str = "text/plain; charset=utf-8";

/// An error as Go's `http.Error` writes it.
fn error(status: StatusCode, text: &str) -> Response {
    let mut response = respond(status, PLAIN, format!("{text}\n"));
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

fn not_found() -> Response {
    error(StatusCode::NOT_FOUND, "404 page not found")
}

fn not_allowed(allow: &'static str) -> Response {
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}
