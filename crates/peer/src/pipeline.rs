//! Messages posted one by one: while a stream is not there, and for snapshots inside a message,
//! which would hold a stream up.

use crate::local::{CLUSTER_ID_MISMATCH, INCOMPATIBLE_VERSION};
use crate::member::Member;
use crate::seam::{SnapshotOutcome, Traffic};
use crate::url::PeerUrl;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Body;
use hyper::{Request, Response, StatusCode, header};
use prost::Message as _;
use raftpb::{Message, MessageType};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Messages waiting to be posted, at most.
pub(crate) const PIPELINE_MESSAGES_MAX: usize = 64;

/// Posts under way to one member, at most.
const POSTS_MAX: usize = 4;

/// Why a post failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PostError {
    #[error("the peer says that its version and this member's are too far apart")]
    IncompatibleVersion,
    #[error("the peer is of another cluster")]
    ClusterIdMismatch,
    #[error("this member was removed from the cluster")]
    Removed,
    #[error("the peer answered {0}")]
    Status(StatusCode),
    #[error("{0}")]
    Failed(String),
}

/// Posts queued messages, a few at a time, until the queue is closed.
pub(crate) async fn run_pipeline(member: Arc<Member>, mut queue: mpsc::Receiver<Message>) {
    let mut posts = JoinSet::new();
    loop {
        tokio::select! {
            message = queue.recv(), if posts.len() < POSTS_MAX => match message {
                Some(message) => {
                    posts.spawn(post_and_report(member.clone(), message));
                }
                None => break,
            },
            Some(_) = posts.join_next() => {}
        }
    }
    while posts.join_next().await.is_some() {}
}

async fn post_and_report(member: Arc<Member>, message: Message) {
    let snapshot = message.r#type() == MessageType::MsgSnap;
    let Some(url) = member.pick_url() else { return member.drop_messages(1, snapshot) };
    let body = Bytes::from(message.encode_to_vec());
    let bytes = body.len() as u64;
    let result = post(&member, &url, body).await;
    match result {
        Ok(()) => {
            member.activate();
            member.note(Traffic::Sent { bytes });
            if snapshot {
                member.raft.report_snapshot(member.id, SnapshotOutcome::Finished);
            }
        }
        Err(error) => {
            member.deactivate(&url, &error);
            member.drop_messages(1, snapshot);
            if matches!(error, PostError::Removed) {
                member.raft.removed();
            }
        }
    }
}

async fn post(member: &Member, url: &PeerUrl, body: Bytes) -> Result<(), PostError> {
    let request = Request::post("/raft").body(Full::new(body));
    let mut request = request.map_err(|error| PostError::Failed(error.to_string()))?;
    *request.headers_mut() = member.local.request_headers();
    let protobuf = header::HeaderValue::from_static("application/protobuf");
    request.headers_mut().insert(header::CONTENT_TYPE, protobuf);
    let response = member.pool.ask(member, url, request).await.map_err(PostError::Failed)?;
    check_answer(response.map(Full::new)).await
}

/// What an answer to a posted message or snapshot means.
pub(crate) async fn check_answer<B: Body<Data = Bytes> + Unpin>(
    response: Response<B>,
) -> Result<(), PostError>
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let status = response.status();
    let body = Limited::new(response.into_body(), 1024).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let text = String::from_utf8_lossy(&body);
    match (status, text.trim_end()) {
        (StatusCode::NO_CONTENT, _) => Ok(()),
        (StatusCode::PRECONDITION_FAILED, INCOMPATIBLE_VERSION) => {
            Err(PostError::IncompatibleVersion)
        }
        (StatusCode::PRECONDITION_FAILED, CLUSTER_ID_MISMATCH) => Err(PostError::ClusterIdMismatch),
        (StatusCode::FORBIDDEN, _) => Err(PostError::Removed),
        _ => Err(PostError::Status(status)),
    }
}
