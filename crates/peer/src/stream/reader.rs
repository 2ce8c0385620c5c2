//! The receiving end of one stream: dials the peer, and takes messages from the response until it
//! breaks; then dials again.

use super::{Decoder, StreamKind};
use crate::codec::{is_link_heartbeat, msgappv2};
use crate::identity::format_id;
use crate::local::{CLUSTER_ID_MISMATCH, RAFT_TO, serves_streams};
use crate::member::Member;
use crate::receive::Receiver;
use crate::request::{self, Exchange, told};
use crate::seam::Traffic;
use crate::url::PeerUrl;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, info, warn};

/// Between two attempts to dial.
const REDIAL_INTERVAL: Duration = Duration::from_millis(100);

/// Keeps a stream of `kind` from the member open for ever.
pub(crate) async fn read_streams(member: Arc<Member>, kind: StreamKind, receiver: Receiver) {
    let mut redial = interval(REDIAL_INTERVAL);
    redial.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let peer = format_id(member.id);
    let silence_max = member.settings.read_timeout;
    loop {
        redial.tick().await;
        let Some(url) = member.pick_url() else { continue };
        let exchange =
            match timeout(silence_max + member.settings.dial_timeout, dial(&member, kind, &url))
                .await
            {
                Ok(Ok(exchange)) => exchange,
                Ok(Err(error)) => {
                    debug!(peer, stream = kind.path(), %url, error, "cannot open stream from peer");
                    member.deactivate(&url, &error);
                    continue;
                }
                Err(_) => {
                    member.deactivate(&url, &"no answer in time");
                    continue;
                }
            };
        info!(peer, stream = kind.path(), "opened stream from peer");
        member.activate();
        let error = read(&member, kind, exchange, &receiver).await;
        warn!(peer, stream = kind.path(), error, "lost stream from peer");
        member.deactivate(&url, &error);
    }
}

/// Asks for the stream. The error is for a log line: whatever it is, the answer is to try again.
async fn dial(member: &Member, kind: StreamKind, url: &PeerUrl) -> Result<Exchange, String> {
    let local = &member.local;
    let path = format!("/raft/stream/{}/{}", kind.path(), format_id(local.id));
    let mut request = Request::get(path).body(Empty::<Bytes>::new()).map_err(text)?;
    *request.headers_mut() = local.request_headers();
    let to = format_id(member.id).parse().map_err(text)?;
    request.headers_mut().insert(RAFT_TO, to);
    request.headers_mut().insert(hyper::header::HOST, url.host_header().parse().map_err(text)?);
    let mut exchange = request::send(member, url, request).await.map_err(|error| told(&error))?;
    if !serves_streams(exchange.response.headers()) {
        return Err("the peer is too old to serve streams".to_owned());
    }
    match exchange.response.status() {
        StatusCode::OK => Ok(exchange),
        StatusCode::GONE => {
            member.raft.removed();
            Err("this member was removed from the cluster".to_owned())
        }
        StatusCode::PRECONDITION_FAILED => {
            let body = Limited::new(exchange.response.body_mut(), 1024).collect().await;
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            let why = String::from_utf8_lossy(&body).trim().to_owned();
            let remote = exchange.response.headers().get(&crate::local::CLUSTER_ID).cloned();
            if why == CLUSTER_ID_MISMATCH {
                warn!(?remote, local = format_id(local.cluster_id), "peer is of another cluster");
            }
            Err(why)
        }
        status => Err(format!("the peer answered {status}")),
    }
}

/// Takes messages until the stream ends; says why it did.
async fn read(
    member: &Member,
    kind: StreamKind,
    mut exchange: Exchange,
    receiver: &Receiver,
) -> String {
    let mut decoder = match kind {
        StreamKind::Append => Decoder::Append(msgappv2::Decoder::new(member.id, member.local.id)),
        StreamKind::Message => Decoder::Message,
    };
    let mut buffer = BytesMut::new();
    let silence_max = member.settings.read_timeout;
    loop {
        let frame = match timeout(silence_max, exchange.response.body_mut().frame()).await {
            Err(_) => return format!("nothing heard for {silence_max:?}"),
            Ok(None) => return "the peer closed it".to_owned(),
            Ok(Some(Err(error))) => return error.to_string(),
            Ok(Some(Ok(frame))) => frame,
        };
        let Some(data) = frame.data_ref() else { continue };
        member.note(Traffic::Received { bytes: data.len() as u64 });
        buffer.extend_from_slice(data);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(message)) if is_link_heartbeat(&message) => {}
                Ok(Some(message)) => receiver.take(message),
                Ok(None) => break,
                Err(error) => return error.to_string(),
            }
        }
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
