//! The client port: gRPC and HTTP on the same connections.
//!
//! One task for each connection, which ends with the client, with an error, or with the server:
//! then it is asked to finish what is under way, and joined.

use crate::budget::{Connection, hold_until_sent};
use crate::http::Http;
use crate::metrics::RequestMetrics;
use crate::metrics::counted::{Counted, Counting, is_grpc};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::Status;
use tonic::codegen::Service as _;
use tonic::service::Routes;

/// How long the head of an HTTP/1 request may take.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// How often an idle HTTP/2 connection is asked whether somebody is there (etcd's default).
const PING_PERIOD: Duration = Duration::from_secs(2 * 60 * 60);

/// How long the answer may take.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// How long requests under way may take once the server ends.
const GRACE: Duration = Duration::from_secs(1);

/// What a port serves: gRPC, HTTP, or both on the same connections.
#[derive(Debug, Clone)]
pub struct Serves {
    /// The services and their numbers.
    pub grpc: Option<(Routes, Arc<RequestMetrics>)>,
    /// The paths.
    pub http: Option<Http>,
    /// A request that takes longer is logged.
    pub warning: Duration,
}

impl Serves {
    /// Compat: what etcd calls it in its log.
    #[must_use]
    pub fn traffic(&self) -> &'static str {
        match (&self.grpc, &self.http) {
            (Some(_), Some(_)) => "grpc+http",
            (Some(_), None) => "grpc",
            (None, _) => "http",
        }
    }

    fn door(&self) -> Door {
        let grpc = self.grpc.clone().map(|(routes, _)| routes.into_axum_router());
        Door { grpc, http: self.http.clone() }
    }

    /// Compat: a port that serves one of them hangs up on the other.
    fn builder(&self) -> Builder<TokioExecutor> {
        let builder = Builder::new(TokioExecutor::new());
        match (&self.grpc, &self.http) {
            (Some(_), None) => builder.http2_only(),
            (None, _) => builder.http1_only(),
            _ => builder,
        }
    }
}

/// Where a port's requests go.
#[derive(Clone)]
struct Door {
    grpc: Option<Router>,
    http: Option<Http>,
}

impl Door {
    async fn answer(self, request: Request) -> Response {
        match (self.grpc, self.http) {
            (Some(mut grpc), http) if http.is_none() || is_grpc(&request) => {
                let answered: Result<Response, Infallible> = grpc.call(request).await;
                in_go_words(answered.unwrap_or_else(|never| match never {}))
            }
            (_, Some(http)) => http.answer(request.into_parts().0, false).await,
            // There is no such port.
            (_, None) => Response::default(),
        }
    }
}

/// Serves a listener until `stopping` turns true.
pub async fn run(listener: TcpListener, serves: Serves, mut stopping: watch::Receiver<bool>) {
    let door = serves.door();
    let metrics = serves.grpc.as_ref().map(|(_, metrics)| Arc::clone(metrics));
    let counting = metrics.map(|metrics| Counting { metrics, warning: serves.warning });
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        while connections.try_join_next().is_some() {}
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: others may go meanwhile.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let uses = Arc::new(Connection::from(remote));
        let (door, of_request) = (door.clone(), Arc::clone(&uses));
        let (counting, mut builder) = (counting.clone(), serves.builder());
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(Arc::clone(&of_request));
            let (request, call) = match &counting {
                Some(counting) => counting.begin(request, &of_request),
                None => (request.map(Counted::not), None),
            };
            let answering = door.clone().answer(request.map(Body::new));
            async move {
                let response = hold_until_sent(answering.await);
                Ok::<_, Infallible>(match call {
                    Some(call) => call.answer(response),
                    None => response.map(Counted::not),
                })
            }
        });
        let mut stopping = stopping.clone();
        connections.spawn(async move {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "cannot set TCP_NODELAY");
            }
            builder
                .http1()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                // Compat: scripts look for headers as Go spells them.
                .title_case_headers(true);
            builder
                .http2()
                .timer(TokioTimer::new())
                .keep_alive_interval(PING_PERIOD)
                .keep_alive_timeout(PING_TIMEOUT)
                .adaptive_window(true);
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            tokio::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => Some(ended),
                () = uses.must_give_way() => {
                    tracing::warn!("closed a connection whose client does not take its answers");
                    return;
                }
                _ = stopping.wait_for(|stopping| *stopping) => None,
            };
            let ended = match ended {
                Some(ended) => ended,
                None => {
                    connection.as_mut().graceful_shutdown();
                    let finished = tokio::time::timeout(GRACE, connection).await;
                    finished.unwrap_or(Ok(()))
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a client's connection ended");
            }
        });
    }
    while connections.join_next().await.is_some() {}
}

/// Compat: clients know a message that is too large by code and text of Go's library.
fn in_go_words(mut response: Response) -> Response {
    let headers = response.headers();
    let message = headers.get(Status::GRPC_MESSAGE).and_then(|text| text.to_str().ok());
    if let Some(status) = message.and_then(too_large) {
        let code = HeaderValue::from(i32::from(status.code()));
        response.headers_mut().insert(Status::GRPC_STATUS, code);
        // Spaces and parentheses are not escaped in it.
        if let Ok(text) = HeaderValue::from_str(status.message()) {
            response.headers_mut().insert(Status::GRPC_MESSAGE, text);
        }
    }
    response
}

/// What Go's library says where tonic says this, escaped or not.
pub(crate) fn too_large(message: &str) -> Option<Status> {
    let message = message.replace("%20", " ");
    let sizes = message.strip_prefix("Error, decoded message length too large: found ")?;
    let (found, limit) = sizes.split_once(" bytes, the limit is: ")?;
    let limit = limit.strip_suffix(" bytes")?;
    let text = format!("grpc: received message larger than max ({found} vs. {limit})");
    Some(Status::resource_exhausted(text))
}

#[cfg(test)]
mod tests {
    use super::too_large;

    #[test]
    fn the_size_of_messages_is_told_in_go_words() {
        let text = "Error, decoded message length too large: found 9 bytes, the limit is: 8 bytes";
        let told = too_large(text).map(|status| status.message().to_owned());
        assert_eq!(told.as_deref(), Some("grpc: received message larger than max (9 vs. 8)"));
        assert!(too_large("something else").is_none());
    }
}
