//! One question to a member's peer port outside of the peer protocol: who the members are, what
//! version they have.

use crate::identity::parse_id;
use crate::local::CLUSTER_ID;
use crate::request::{dial, told};
use crate::settings::Settings;
use crate::url::PeerUrl;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, header};
use net::Dialer;
use std::time::Duration;

/// What a member answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The cluster's id, if its headers tell.
    pub cluster_id: Option<u64>,
    /// The body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// There was none in time.
    #[error("no answer in {0:?}")]
    Timeout(Duration),
    /// The connection was not made, or broke.
    #[error("{0}")]
    Failed(String),
    /// It was refused.
    #[error("the peer answered {0}")]
    Status(u16),
}

/// Asks for `path`, on a connection of its own; an answer is as long as `bytes_max` at most.
///
/// # Errors
/// [`GetError`].
pub async fn get(
    dialer: &Dialer,
    url: &PeerUrl,
    path: &str,
    patience: Duration,
    bytes_max: usize,
) -> Result<Answer, GetError> {
    let settings = Settings {
        dial_timeout: patience,
        dialer: dialer.clone(),
        ..Settings::plain(Duration::ZERO)
    };
    let asked = tokio::time::timeout(patience, ask(&settings, url, path, bytes_max));
    asked.await.map_err(|_| GetError::Timeout(patience))?
}

async fn ask(
    settings: &Settings,
    url: &PeerUrl,
    path: &str,
    bytes_max: usize,
) -> Result<Answer, GetError> {
    let failed = |error: &dyn std::error::Error| GetError::Failed(told(error));
    let (mut sender, connection) = dial(settings, url).await.map_err(|error| failed(&error))?;
    let request = Request::get(path)
        .header(header::HOST, url.host_header())
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(&error))?;
    let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
    if response.status() != StatusCode::OK {
        return Err(GetError::Status(response.status().as_u16()));
    }
    let told = response.headers().get(CLUSTER_ID);
    let cluster_id = told.and_then(|id| parse_id(id.to_str().ok()?));
    let body = Limited::new(response.into_body(), bytes_max).collect().await;
    let body = body.map_err(|error| failed(&*error))?.to_bytes();
    drop(connection);
    Ok(Answer { cluster_id, body })
}
