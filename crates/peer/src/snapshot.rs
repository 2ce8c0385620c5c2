//! Sends a snapshot: the message that announces it, then its bytes, as one request body.
//!
//! The receiver cannot know how many bytes there are, so a body that ends means that they were
//! all: when the source fails, the connection is broken instead.

use crate::member::Member;
use crate::pipeline::{PostError, check_answer};
use crate::request;
use crate::seam::{SnapshotBody, SnapshotOutcome, Traffic};
use crate::transfer::Transfer;
use crate::url::PeerUrl;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper::{Request, header};
use raftpb::Message;
use std::io;
use std::sync::Arc;
use tracing::{info, warn};

/// Sends a snapshot and reports how that ended.
pub(crate) async fn send_snapshot(member: Arc<Member>, message: Message, body: SnapshotBody) {
    let index = message.snapshot.as_ref().map_or(0, |snapshot| snapshot.index());
    let peer = crate::identity::format_id(member.id);
    info!(peer, index, "sending database snapshot");
    let transfer = Transfer::sending(&member.raft, member.id);
    let outcome = match member.pick_url() {
        None => SnapshotOutcome::Failed,
        Some(url) => match post(&member, &url, &message, body).await {
            Ok(()) => {
                member.activate();
                info!(peer, index, "sent database snapshot");
                SnapshotOutcome::Finished
            }
            Err(error) => {
                warn!(peer, index, %error, "failed to send database snapshot");
                member.deactivate(&url, &error);
                if matches!(error, PostError::Removed) {
                    member.raft.removed();
                }
                SnapshotOutcome::Failed
            }
        },
    };
    let good = outcome == SnapshotOutcome::Finished;
    transfer.end(good);
    if !good {
        member.raft.report_unreachable(member.id);
    }
    member.raft.report_snapshot(member.id, outcome);
}

async fn post(
    member: &Member,
    url: &PeerUrl,
    message: &Message,
    body: SnapshotBody,
) -> Result<(), PostError> {
    let failed = |error: &dyn std::fmt::Display| PostError::Failed(error.to_string());
    let mut envelope = BytesMut::new();
    crate::codec::message::encode(&mut envelope, message);
    let head = stream::iter([io::Result::Ok(envelope.freeze())]);
    let (raft, id) = (member.raft.clone(), member.id);
    let frames = head.chain(body).map(move |part: io::Result<Bytes>| {
        let part = part?;
        raft.note(id, Traffic::Sent { bytes: part.len() as u64 });
        io::Result::Ok(Frame::data(part))
    });
    let mut request = Request::post("/raft/snapshot")
        .body(StreamBody::new(frames))
        .map_err(|error| failed(&error))?;
    *request.headers_mut() = member.local.request_headers();
    let octets = header::HeaderValue::from_static("application/octet-stream");
    request.headers_mut().insert(header::CONTENT_TYPE, octets);
    let host = header::HeaderValue::from_str(url.host_header()).map_err(|error| failed(&error))?;
    request.headers_mut().insert(header::HOST, host);
    let exchange = request::send(member, url, request).await;
    let mut exchange = exchange.map_err(|error| PostError::Failed(request::told(&error)))?;
    let (parts, body) = {
        let response = &mut exchange.response;
        let mut answer = hyper::Response::new(());
        *answer.status_mut() = response.status();
        (answer.into_parts().0, response.body_mut())
    };
    check_answer(hyper::Response::from_parts(parts, body)).await
}
