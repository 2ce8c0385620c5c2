//! The client port: gRPC and HTTP on the same connections.
//!
//! One task for each connection, which ends with the client, with an error, or with the server:
//! then it is asked to finish what is under way, and joined. What a client's certificate says of
//! it is with each of its requests, as a [`net::ClientCertificate`] among the extensions.

use crate::budget::{Connection, hold_until_sent};
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use net::Listener;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
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

/// Serves a listener until `stopping` turns true.
pub async fn run(
    listener: Listener,
    routes: Routes,
    http: Router,
    mut stopping: watch::Receiver<bool>,
) {
    let grpc = routes.into_axum_router();
    let router = http.fallback(move |request: Request| {
        let mut grpc = grpc.clone();
        async move {
            if is_grpc(&request) {
                let answered: Result<Response, Infallible> = grpc.call(request).await;
                return in_go_words(answered.unwrap_or_else(|never| match never {}));
            }
            (StatusCode::NOT_FOUND, "404 page not found\n").into_response()
        }
    });
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        while connections.try_join_next().is_some() {}
        let incoming = match accepted {
            Ok(incoming) => incoming,
            Err(error) => {
                // Out of file descriptors, most likely: others may go meanwhile.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let uses = Arc::<Connection>::default();
        let (router, of_request) = (router.clone(), Arc::clone(&uses));
        let mut stopping = stopping.clone();
        connections.spawn(async move {
            let opened = tokio::select! {
                opened = incoming.open() => opened.ok(),
                _ = stopping.wait_for(|stopping| *stopping) => None,
            };
            let Some(stream) = opened else { return };
            let certificate = stream.client_certificate().cloned();
            let service = service_fn(move |mut request: hyper::Request<Incoming>| {
                request.extensions_mut().insert(Arc::clone(&of_request));
                if let Some(certificate) = &certificate {
                    request.extensions_mut().insert(certificate.clone());
                }
                let answering = router.clone().call(request);
                async move { answering.await.map(hold_until_sent) }
            });
            let mut builder = Builder::new(TokioExecutor::new());
            builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
            builder
                .http2()
                .timer(TokioTimer::new())
                .keep_alive_interval(PING_PERIOD)
                .keep_alive_timeout(PING_TIMEOUT)
                .adaptive_window(true);
            let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
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

fn is_grpc(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
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
