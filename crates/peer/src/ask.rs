//! Questions to a peer's port outside of the peer protocol: leases, promotions, versions, hashes.
//!
//! They go over the connections that are kept to the peer (`pool.rs`). Whoever asks says how long
//! it waits. What it is not: a question to somebody who is no peer yet (`get.rs`).

use crate::member::Member;
use crate::transport::Transport;
use crate::url::PeerUrl;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request};

/// What a peer is asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// GET or POST.
    pub method: Method,
    /// The path on its port.
    pub path: String,
    /// The kind of the body, if there is one.
    pub content_type: Option<&'static str>,
    /// The body.
    pub body: Bytes,
    /// Bytes of the answer, at most.
    pub answer_bytes_max: usize,
}

impl Question {
    /// A GET without a body.
    #[must_use]
    pub fn get(path: &str, answer_bytes_max: usize) -> Self {
        let (method, path) = (Method::GET, path.to_owned());
        Self { method, path, content_type: None, body: Bytes::new(), answer_bytes_max }
    }

    /// A POST of a protobuf message.
    #[must_use]
    pub fn post_protobuf(path: &str, body: Bytes, answer_bytes_max: usize) -> Self {
        let (method, path) = (Method::POST, path.to_owned());
        let content_type = Some("application/protobuf");
        Self { method, path, content_type, body, answer_bytes_max }
    }
}

/// What a peer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status of HTTP.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

/// Why a peer says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// It is no peer, or none any more.
    #[error("member {0:x} is no peer")]
    Unknown(u64),
    /// None of its URLs answered; why the last did not.
    #[error("{0}")]
    Failed(String),
}

impl Transport {
    /// Asks a peer at one of its URLs after the other, until it answers: whatever it says.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask(&self, to: u64, question: &Question) -> Result<Reply, AskError> {
        let member = self.shared.member(to).ok_or(AskError::Unknown(to))?;
        let mut failed = AskError::Failed("it has no URLs".to_owned());
        for url in member.urls() {
            match ask(&member, &url, question).await {
                Ok(reply) => return Ok(reply),
                Err(error) => failed = AskError::Failed(format!("{url}: {error}")),
            }
        }
        Err(failed)
    }
}

async fn ask(member: &Member, url: &PeerUrl, question: &Question) -> Result<Reply, String> {
    let mut request = Request::new(Full::new(question.body.clone()));
    *request.method_mut() = question.method.clone();
    let target = question.path.parse();
    *request.uri_mut() = target.map_err(|error| format!("{}: {error}", question.path))?;
    *request.headers_mut() = member.local.request_headers();
    if let Some(kind) = question.content_type {
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    let most = question.answer_bytes_max;
    let response = member.pool.ask_much(member, url, request, most).await?;
    Ok(Reply { status: response.status().as_u16(), body: response.into_body() })
}
