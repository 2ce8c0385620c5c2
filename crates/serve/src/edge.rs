//! The client port: gRPC and HTTP on the same connections.
//!
//! One task for each connection, which ends with the client, with an error, or with the server:
//! then it is asked to finish what is under way, and joined.

use crate::budget::{Connection, hold_until_sent};
use crate::go_words::{self, Asked};
use crate::limits::ClientRoom;
use crate::patience::Impatient;
use axum::Router;
use axum::extract::Request;
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

/// Serves a listener until `stopping` turns true. While `room` has none, clients wait to be
/// accepted.
pub async fn run(
    listener: TcpListener,
    room: ClientRoom,
    routes: Routes,
    http: Router,
    mut stopping: watch::Receiver<bool>,
) {
    let grpc = routes.into_axum_router();
    let router = http.fallback(move |request: Request| {
        let mut grpc = grpc.clone();
        async move {
            if let Some(refused) = go_words::refuse(&request) {
                return refused;
            }
            let asked = Asked::of(&request);
            let answered: Result<Response, Infallible> = grpc.call(request).await;
            asked.reword(answered.unwrap_or_else(|never| match never {}))
        }
    });
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let place = room.enter().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            next = next => next,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        while connections.try_join_next().is_some() {}
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: others may go meanwhile.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let uses = Arc::<Connection>::default();
        let (router, of_request) = (router.clone(), Arc::clone(&uses));
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(Arc::clone(&of_request));
            let answering = router.clone().call(request);
            async move { answering.await.map(hold_until_sent) }
        });
        let mut stopping = stopping.clone();
        connections.spawn(async move {
            let _place = place;
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "cannot set TCP_NODELAY");
            }
            let mut builder = Builder::new(TokioExecutor::new());
            builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
            builder
                .http2()
                .timer(TokioTimer::new())
                .keep_alive_interval(PING_PERIOD)
                .keep_alive_timeout(PING_TIMEOUT)
                .adaptive_window(true);
            let stream = TokioIo::new(Impatient::new(stream));
            let connection = builder.serve_connection_with_upgrades(stream, service);
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
