//! Serves the peer protocol over HTTP/1.1. Source: etcd rafthttp/http.go.
//!
//! Order of the checks, and every status and text, are etcd's; a Go dialler reads them.

use crate::codec;
use crate::identity::parse_id;
use crate::local::{PEER_URLS, RAFT_TO, SERVER_FROM};
use crate::receive::refuse;
use crate::seam::{SnapshotBody, Traffic};
use crate::stream::StreamKind;
use crate::transfer::Transfer;
use crate::transport::{Shared, Transport};
use crate::url::PeerUrl;
use bytes::{Bytes, BytesMut};
use futures_util::{TryStreamExt, stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use prost::Message as _;
use raftpb::{Message, MessageType};
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::time::timeout;
use tracing::{info, warn};

/// The body of an answer. An error breaks the connection.
pub type ResponseBody = BoxBody<Bytes, io::Error>;

/// The largest message in a post, in bytes. Compat: etcd has no limit; what a member posts is
/// little more than one request of a client, as appends go by stream.
const POSTED_BYTES_MAX: usize = 64 << 20;

/// From here on a posted message is large, in bytes.
const LARGE_BYTES: usize = 1 << 20;

/// Large messages being read at once: strangers must not fill the memory.
pub(crate) const LARGE_AT_ONCE: usize = 2;

impl Transport {
    /// Answers one request on the peer port, if it belongs to the peer protocol; gives it back if
    /// not, so that a server can have other paths there.
    ///
    /// # Errors
    /// The request, if its path is not one of this protocol's.
    pub async fn handle(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, Box<Request<Incoming>>> {
        let shared = &self.shared;
        let path = request.uri().path().to_owned();
        let mut response = match &*path {
            "/raft/probing" => probing(),
            "/raft" => self.pipeline(request).await,
            "/raft/snapshot" => self.snapshot(request).await,
            _ => match path.strip_prefix("/raft/stream/") {
                Some(stream) => self.stream(stream, request.headers(), request.method()).await,
                None => return Err(Box::new(request)),
            },
        };
        shared.local.response_headers(response.headers_mut());
        Ok(response)
    }

    async fn stream(
        &self,
        path: &str,
        headers: &HeaderMap,
        method: &Method,
    ) -> Response<ResponseBody> {
        if method != Method::GET {
            return method_not_allowed("GET");
        }
        let shared = &self.shared;
        if let Some(why) = shared.local.incompatibility(headers) {
            return error(StatusCode::PRECONDITION_FAILED, why);
        }
        let (kind, from) = path.rsplit_once('/').unwrap_or(("", path));
        let Some(kind) = StreamKind::of_path(kind) else {
            return error(StatusCode::NOT_FOUND, "invalid path");
        };
        let Some(from) = parse_id(from) else {
            return error(StatusCode::NOT_FOUND, "invalid from");
        };
        if shared.raft.is_id_removed(from) {
            return error(StatusCode::GONE, "removed member");
        }
        if !shared.is_peer(from) {
            // It may be a member that this one has not heard of yet; it will ask again.
            self.learn_remote(from, headers);
            return error(StatusCode::NOT_FOUND, "error sender not found");
        }
        let to = headers.get(RAFT_TO).and_then(|to| to.to_str().ok()).and_then(parse_id);
        if to != Some(shared.local.id) {
            return error(StatusCode::PRECONDITION_FAILED, "to field mismatch");
        }
        let (connection, buffers) = mpsc::channel(1);
        if !shared.attach(from, kind, connection).await {
            return error(StatusCode::NOT_FOUND, "error sender not found");
        }
        let frames = stream::unfold(buffers, |mut buffers: mpsc::Receiver<Bytes>| async {
            let buffer = buffers.recv().await?;
            Some((io::Result::Ok(Frame::data(buffer)), buffers))
        });
        Response::new(BodyExt::boxed(StreamBody::new(frames)))
    }

    async fn pipeline(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        if let Some(refusal) = self.refuse_post(&request) {
            return refusal;
        }
        let from = request.headers().get(SERVER_FROM).cloned();
        let silence_max = self.shared.settings.read_timeout;
        let body = match read_body(request.into_body(), silence_max, &self.shared.large).await {
            Ok(body) => body,
            Err(why) => {
                warn!(?from, why, "failed to read a raft message");
                return error(StatusCode::BAD_REQUEST, "error reading raft message");
            }
        };
        let bytes = body.len() as u64;
        let Ok(message) = Message::decode(body) else {
            warn!(?from, "failed to unmarshal a raft message");
            return error(StatusCode::BAD_REQUEST, "error unmarshalling raft message");
        };
        self.note(message.from(), Traffic::Received { bytes });
        self.process(message).await
    }

    async fn snapshot(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        if let Some(refusal) = self.refuse_post(&request) {
            return refusal;
        }
        let mut body = request.into_body();
        let silence_max = self.shared.settings.read_timeout;
        let large = &self.shared.large;
        let (message, rest) = match read_envelope(&mut body, silence_max, large).await {
            Ok(read) => read,
            Err(why) => {
                warn!(why, "failed to read a snapshot's message");
                let text = format!("failed to decode raft message ({why})");
                return error(StatusCode::BAD_REQUEST, &text);
            }
        };
        if message.r#type() != MessageType::MsgSnap {
            return error(StatusCode::BAD_REQUEST, "wrong raft message type");
        }
        if let Some(refusal) = self.refuse_message(&message) {
            return refusal;
        }
        let index = message.snapshot.as_ref().map_or(0, |snapshot| snapshot.index());
        info!(from = format_args!("{:x}", message.from()), index, "receiving database snapshot");
        let (from, raft) = (message.from(), self.shared.raft.clone());
        let known = self.shared.is_peer(from);
        let transfer = known.then(|| Transfer::receiving(&raft, from));
        let body = snapshot_body(rest, body, silence_max).inspect_ok(move |part| {
            if known {
                raft.note(from, Traffic::Received { bytes: part.len() as u64 });
            }
        });
        let saved = self.shared.raft.save_snapshot(&message, Box::pin(body)).await;
        if let Some(transfer) = transfer {
            transfer.end(saved.is_ok());
        }
        if let Err(why) = saved {
            warn!(index, %why, "failed to save a received snapshot");
            let text = format!("failed to save KV snapshot ({why})");
            return error(StatusCode::INTERNAL_SERVER_ERROR, &text);
        }
        self.process(message).await
    }

    /// Counts what comes from a member that is known.
    fn note(&self, from: u64, traffic: Traffic) {
        if self.shared.is_peer(from) {
            self.shared.raft.note(from, traffic);
        }
    }

    fn refuse_post(&self, request: &Request<Incoming>) -> Option<Response<ResponseBody>> {
        if request.method() != Method::POST {
            return Some(method_not_allowed("POST"));
        }
        let headers = request.headers();
        if let Some(why) = self.shared.local.incompatibility(headers) {
            return Some(error(StatusCode::PRECONDITION_FAILED, why));
        }
        let from = headers.get(SERVER_FROM).and_then(|from| from.to_str().ok()).and_then(parse_id);
        if let Some(from) = from {
            if self.shared.raft.is_id_removed(from) {
                return Some(error(StatusCode::FORBIDDEN, "removed member"));
            }
            self.learn_remote(from, headers);
        }
        None
    }

    fn refuse_message(&self, message: &Message) -> Option<Response<ResponseBody>> {
        if self.shared.raft.is_id_removed(message.from()) {
            return Some(error(StatusCode::FORBIDDEN, "removed member"));
        }
        let why = refuse(message, self.shared.local.id)?;
        warn!(from = message.from(), why, "refused a message");
        Some(error(StatusCode::INTERNAL_SERVER_ERROR, "error processing raft message"))
    }

    async fn process(&self, message: Message) -> Response<ResponseBody> {
        // An unknown type would read as a local one.
        let kind = message.r#type.and_then(|kind| MessageType::try_from(kind).ok());
        let local = kind.is_some_and(MessageType::is_local);
        if message.to() == self.shared.local.id && local {
            // Compat: passed over, and not refused.
            warn!(from = message.from(), "ignored a message of a type that is not for the network");
            return no_content();
        }
        if let Some(refusal) = self.refuse_message(&message) {
            return refusal;
        }
        match self.shared.raft.process(message).await {
            Ok(()) => no_content(),
            Err(why) => {
                warn!(%why, "failed to process a raft message");
                error(StatusCode::INTERNAL_SERVER_ERROR, "error processing raft message")
            }
        }
    }

    fn learn_remote(&self, id: u64, headers: &HeaderMap) {
        let urls = headers.get(PEER_URLS).and_then(|urls| urls.to_str().ok()).unwrap_or_default();
        let urls: Result<Vec<_>, _> = urls.split(',').map(PeerUrl::parse).collect();
        if let Ok(urls) = urls {
            self.add_remote(id, urls);
        }
    }
}

/// Reads a body to its end, as long as it keeps coming.
async fn read_body(
    mut body: Incoming,
    silence_max: Duration,
    large: &Semaphore,
) -> Result<Bytes, String> {
    let (mut read, mut permit) = (BytesMut::new(), None);
    while let Some(data) = next_part(&mut body, silence_max).await? {
        let bytes = read.len() + data.len();
        if bytes > POSTED_BYTES_MAX {
            return Err(format!("it is longer than {POSTED_BYTES_MAX} bytes"));
        }
        wait_if_large(bytes, large, &mut permit).await;
        read.extend_from_slice(&data);
    }
    Ok(read.freeze())
}

/// Reads the message at the start of a snapshot's body, and what came behind it already.
async fn read_envelope(
    body: &mut Incoming,
    silence_max: Duration,
    large: &Semaphore,
) -> Result<(Message, Bytes), String> {
    let (mut read, mut permit) = (BytesMut::new(), None);
    loop {
        if let Some(head) = read.get(..8) {
            let length = u64::from_be_bytes(head.try_into().expect("eight bytes"));
            if length > POSTED_BYTES_MAX as u64 {
                return Err("rafthttp: error limit exceeded".to_owned());
            }
        }
        match codec::message::decode(&mut read) {
            Ok(Some(message)) => return Ok((message, read.freeze())),
            Ok(None) => {}
            Err(error) => return Err(error.to_string()),
        }
        match next_part(body, silence_max).await? {
            Some(data) => {
                wait_if_large(read.len() + data.len(), large, &mut permit).await;
                read.extend_from_slice(&data);
            }
            None if read.is_empty() => return Err("EOF".to_owned()),
            None => return Err("unexpected EOF".to_owned()),
        }
    }
}

/// Waits for its turn with a message that has become large.
async fn wait_if_large<'a>(
    bytes: usize,
    large: &'a Semaphore,
    permit: &mut Option<SemaphorePermit<'a>>,
) {
    if bytes > LARGE_BYTES && permit.is_none() {
        *permit = large.acquire().await.ok();
    }
}

fn snapshot_body(first: Bytes, body: Incoming, silence_max: Duration) -> SnapshotBody {
    Box::pin(stream::unfold((first, Some(body)), move |(first, body)| async move {
        if !first.is_empty() {
            return Some((Ok(first), (Bytes::new(), body)));
        }
        let mut body = body?;
        match next_part(&mut body, silence_max).await {
            Ok(Some(data)) => Some((Ok(data), (Bytes::new(), Some(body)))),
            Ok(None) => None,
            Err(why) => Some((Err(io::Error::other(why)), (Bytes::new(), None))),
        }
    }))
}

/// The next bytes of a body; `None` at its end. A body must not pause for long.
async fn next_part(body: &mut Incoming, silence_max: Duration) -> Result<Option<Bytes>, String> {
    loop {
        return match timeout(silence_max, body.frame()).await {
            Err(_) => Err(format!("nothing came for {silence_max:?}")),
            Ok(None) => Ok(None),
            Ok(Some(Err(error))) => Err(error.to_string()),
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => Ok(Some(data)),
                Err(_) => continue,
            },
        };
    }
}

fn probing() -> Response<ResponseBody> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let body = format!("{{\"OK\":true,\"Now\":\"{}\"}}\n", rfc3339(now));
    let mut response = Response::new(full(body.into()));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// A moment in UTC as Go prints it: RFC 3339 with nanoseconds.
fn rfc3339(since_epoch: Duration) -> String {
    let (days, second) = (since_epoch.as_secs() / 86_400, since_epoch.as_secs() % 86_400);
    // Civil date from days since 1970-03-01 shifted eras (Howard Hinnant, "chrono-compatible
    // low-level date algorithms").
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let nanos = since_epoch.subsec_nanos();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

fn no_content() -> Response<ResponseBody> {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn method_not_allowed(allow: &'static str) -> Response<ResponseBody> {
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// An error as Go's `http.Error` writes it.
fn error(status: StatusCode, text: &str) -> Response<ResponseBody> {
    let mut response = Response::new(full(format!("{text}\n").into()));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(hyper::header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

/// An answer that no handler made: there is nothing at the path.
pub(crate) fn not_found(shared: &Arc<Shared>) -> Response<ResponseBody> {
    let mut response = error(StatusCode::NOT_FOUND, "404 page not found");
    shared.local.response_headers(response.headers_mut());
    response
}

fn full(body: Bytes) -> ResponseBody {
    Full::new(body).map_err(|never| match never {}).boxed()
}
