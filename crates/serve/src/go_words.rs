//! What Go's gRPC library says of a request that no method gets to see: clients' logs, and people
//! who search for its texts, know those.
//!
//! Not a transport: [`refuse`] looks at the head of a request before any service does, and
//! [`Asked::reword`] at the head of the answer. A message that broke within a stream is worded by
//! [`of_stream`], as its answer has begun already.
//!
//! Source: google.golang.org/grpc `internal/transport/http2_server.go`, `server.go`, `rpc_util.go`.

use api::{Code, etcdserverpb as pb, healthpb, v3electionpb, v3lockpb};
use axum::extract::Request;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderValue, Method, StatusCode, Version, header};
use axum::response::{IntoResponse as _, Response};
use tonic::Status;

const CONTENT_TYPE: &str = "application/grpc";

/// The services that are served: of others no method is known.
const SERVICES: [&str; 9] = [
    pb::kv_server::SERVICE_NAME,
    pb::watch_server::SERVICE_NAME,
    pb::lease_server::SERVICE_NAME,
    pb::cluster_server::SERVICE_NAME,
    pb::maintenance_server::SERVICE_NAME,
    pb::auth_server::SERVICE_NAME,
    v3lockpb::lock_server::SERVICE_NAME,
    v3electionpb::election_server::SERVICE_NAME,
    healthpb::health_server::SERVICE_NAME,
];

/// Methods that take one request and answer with a stream; Go reads their request as a stream's.
const ANSWER_IN_STREAMS: [&str; 3] = ["/RangeStream", "/Snapshot", "/Observe"];

/// Refuses what is no call.
pub(crate) fn refuse(request: &Request) -> Option<Response> {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    // Behind TLS, and on HTTP/1, what is no call is a request for a page.
    let plain = request.version() == Version::HTTP_2 && request.uri().scheme_str() != Some("https");
    let calls = request.version() == Version::HTTP_2 && is_call_kind(kind);
    if !calls && !plain {
        return Some((StatusCode::NOT_FOUND, "404 page not found\n").into_response());
    }
    if !calls {
        let status =
            Status::invalid_argument(format!("invalid gRPC request content-type {kind:?}"));
        return Some(early(StatusCode::UNSUPPORTED_MEDIA_TYPE, status));
    }
    let timeout = request.headers().get("grpc-timeout").map(|text| is_over(text.as_bytes()));
    if let Some(Err(reason)) = &timeout {
        let status = Status::internal(format!("malformed grpc-timeout: {reason}"));
        return Some(early(StatusCode::BAD_REQUEST, status));
    }
    if request.method() != Method::POST {
        let method = request.method().as_str();
        let text = format!("Received a HEADERS frame with :method {method:?} which should be POST");
        return Some(early(StatusCode::METHOD_NOT_ALLOWED, Status::internal(text)));
    }
    if timeout == Some(Ok(true)) {
        let status = Status::deadline_exceeded("context deadline exceeded");
        return Some(early(StatusCode::OK, status));
    }
    None
}

fn is_call_kind(kind: &str) -> bool {
    let rest = kind.strip_prefix(CONTENT_TYPE);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
}

/// Whether a request says that it is a call. Compat: anywhere in its content-type, as etcd looks.
pub(crate) fn is_call<B>(request: &axum::http::Request<B>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    kind.and_then(|kind| kind.to_str().ok()).is_some_and(|kind| kind.contains(CONTENT_TYPE))
}

fn early(code: StatusCode, status: Status) -> Response {
    let mut response = status.into_http::<axum::body::Body>();
    *response.status_mut() = code;
    response
}

/// Whether a timeout is over before it began; an error is what Go's library says of one that is
/// none. What is left of others, clients count themselves.
fn is_over(text: &[u8]) -> Result<bool, String> {
    let text = String::from_utf8_lossy(text);
    if text.len() < 2 {
        return Err(format!("transport: timeout string is too short: {text:?}"));
    }
    if text.len() > 9 {
        return Err(format!("transport: timeout string is too long: {text:?}"));
    }
    let unit = text.chars().next_back().filter(|unit| "HMSmun".contains(*unit));
    let Some(digits) = unit.and_then(|unit| text.strip_suffix(unit)) else {
        return Err(format!("transport: timeout unit is not recognized: {text:?}"));
    };
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(format!("strconv.ParseUint: parsing {digits:?}: invalid syntax"));
    }
    Ok(digits.bytes().all(|digit| digit == b'0'))
}

/// What of a request its answer may have to name.
pub(crate) struct Asked {
    path: Option<PathAndQuery>,
    /// Kept if it is not the usual one: answers come in the same.
    kind: Option<HeaderValue>,
}

impl Asked {
    pub(crate) fn of(request: &Request) -> Self {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind.filter(|kind| kind.as_bytes().starts_with(b"application/grpc+"));
        Self { path: request.uri().path_and_query().cloned(), kind: kind.cloned() }
    }

    /// Says the same in other words, if they would be others.
    pub(crate) fn reword(&self, mut response: Response) -> Response {
        if let Some(kind) = &self.kind {
            response.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
        }
        // An answer that is more than an error has its status behind it.
        let Some(status) = Status::from_header_map(response.headers()) else { return response };
        let path = self.path.as_ref().map_or("", PathAndQuery::path);
        let other = if status.code() == Code::Unimplemented && status.message().is_empty() {
            Some(Status::unimplemented(unknown(path)))
        } else if ANSWER_IN_STREAMS.iter().any(|method| path.ends_with(method)) {
            reworded(&status, IN_STREAM)
        } else {
            reworded(&status, ALONE)
        };
        let Some(other) = other else { return response };
        // Neither code nor text has anything that no header may have.
        let _ = other.add_header(response.headers_mut());
        response
    }
}

fn unknown(path: &str) -> String {
    let Some((service, method)) = path.strip_prefix('/').unwrap_or(path).rsplit_once('/') else {
        return format!("malformed method name: {path:?}");
    };
    if SERVICES.contains(&service) {
        format!("unknown method {method} for service {service}")
    } else {
        format!("unknown service {service}")
    }
}

/// What a message that was no protobuf is called, alone and in a stream.
const ALONE: &str = "grpc: error unmarshalling request";
const IN_STREAM: &str = "grpc: failed to unmarshal the received message";

/// Why a stream of requests broke, in Go's words.
pub(crate) fn of_stream(status: Status) -> Status {
    reworded(&status, IN_STREAM).unwrap_or(status)
}

fn reworded(status: &Status, malformed: &str) -> Option<Status> {
    let message = status.message();
    let between = |start: &str, end: &str| Some(message.strip_prefix(start)?.split_once(end)?.0);
    if message.starts_with("failed to decode Protobuf message: ") {
        let text = format!("{malformed}: proto: cannot parse invalid wire-format data");
        return Some(Status::internal(text));
    }
    if message == "Unexpected EOF decoding stream." {
        return Some(Status::unknown("unexpected EOF"));
    }
    if message.starts_with("protocol error: received message with compressed-flag but no") {
        let text = "grpc: compressed flag set with identity or empty encoding";
        return Some(Status::internal(text));
    }
    let flag = between("protocol error: received message with invalid compression flag: ", " ");
    if let Some(flag) = flag {
        return Some(Status::internal(format!("grpc: received unexpected payload format {flag}")));
    }
    if let Some(encoding) = between("Content is compressed with `", "`") {
        let text = format!("grpc: Decompressor is not installed for grpc-encoding {encoding:?}");
        return Some(Status::unimplemented(text));
    }
    let found = between("Error, decoded message length too large: found ", " bytes")?;
    let limit = message.rsplit_once(": ")?.1.strip_suffix(" bytes")?;
    let text = format!("grpc: received message larger than max ({found} vs. {limit})");
    Some(Status::resource_exhausted(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_messages_is_told_in_go_words() {
        let text = "Error, decoded message length too large: found 9 bytes, the limit is: 8 bytes";
        let told = of_stream(Status::out_of_range(text));
        assert_eq!(told.code(), Code::ResourceExhausted);
        assert_eq!(told.message(), "grpc: received message larger than max (9 vs. 8)");
        assert_eq!(of_stream(Status::internal("something else")).message(), "something else");
    }

    #[test]
    fn timeouts_are_read_as_go_reads_them() {
        let check = |text: &str, want: Result<bool, &str>| {
            assert_eq!(is_over(text.as_bytes()), want.map_err(str::to_owned), "{text}");
        };
        check("1S", Ok(false));
        check("00000000n", Ok(true));
        check("99999999H", Ok(false));
        check("n", Err("transport: timeout string is too short: \"n\""));
        check("123456789S", Err("transport: timeout string is too long: \"123456789S\""));
        check("1s", Err("transport: timeout unit is not recognized: \"1s\""));
        check("-1S", Err("strconv.ParseUint: parsing \"-1\": invalid syntax"));
    }

    #[test]
    fn what_is_not_known_is_named() {
        let check = |path: &str, want: &str| assert_eq!(unknown(path), want);
        check("/etcdserverpb.KV/Get", "unknown method Get for service etcdserverpb.KV");
        check("/etcdserverpb.V/Get", "unknown service etcdserverpb.V");
        check("/", "malformed method name: \"/\"");
    }
}
