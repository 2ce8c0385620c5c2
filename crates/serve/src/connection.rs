//! One client's connection, over whatever stream it came: HTTP/2 or HTTP/1, told apart by its
//! first bytes.
//!
//! HTTP/2 is our own (`http2`): its frequent calls go straight to the member (`calls`), all others
//! to the services (`grpc`) and the HTTP paths (`http`), as every request over HTTP/1 does. A port
//! serves gRPC, HTTP, or both; one that serves one of them hangs up on the other.

use crate::budget::{Connection, hold_until_sent};
use crate::calls::{Calls, NAMES};
use crate::config::Http2Limits;
use crate::go_words::{self, Asked};
use crate::grpc;
use crate::grpc::kv::Kv;
use crate::http::Http;
use crate::metrics::RequestMetrics;
use crate::metrics::counted::Counting;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Extensions, StatusCode, Version};
use axum::response::{IntoResponse as _, Response};
use bytes::{Bytes, BytesMut};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use net::ClientCertificate;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tonic::codegen::Service as _;

/// How long a client may take to say what it speaks (Go's HTTP/2 server).
const OPENING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the head of an HTTP/1 request may take.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long requests under way may take once the server ends.
const GRACE: Duration = Duration::from_secs(1);

/// What every HTTP/2 connection begins with (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What clients are served on a port. Clones are cheap.
#[derive(Clone)]
pub struct Api {
    grpc: Option<Grpc>,
    http: Option<Http>,
    options: Arc<http2::Options>,
}

/// The calls.
#[derive(Clone)]
struct Grpc {
    kv: Kv,
    services: Router,
    metrics: Arc<RequestMetrics>,
}

/// Who is at the other end of a connection.
#[derive(Debug, Default)]
pub struct Client {
    /// Where; `None` on a unix socket.
    pub address: Option<SocketAddr>,
    /// Whether it speaks TLS.
    pub secure: bool,
    /// What it says of itself with it.
    pub certificate: Option<ClientCertificate>,
}

impl Api {
    /// The calls of a member, counted by `metrics`, and no HTTP, on connections with these limits.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn grpc(
        server: &server::Server,
        metrics: Arc<RequestMetrics>,
        limits: Http2Limits,
    ) -> Self {
        let kv = Kv::new(server.clone(), crate::budget::Budget::new(crate::budget::BUDGET_BYTES));
        let services = grpc::routes(&kv).into_axum_router();
        let grpc = Some(Grpc { kv, services, metrics });
        Self {
            grpc,
            http: None,
            options: Arc::new(options(server.config().max_request_bytes, limits)),
        }
    }

    /// HTTP, and no calls, on connections with these limits.
    #[must_use]
    pub fn http(http: Http, limits: Http2Limits) -> Self {
        Self { grpc: None, http: Some(http), options: Arc::new(options(0, limits)) }
    }

    /// The same calls with HTTP beside them.
    #[must_use]
    pub fn with(&self, http: Http) -> Self {
        Self { http: Some(http), ..self.clone() }
    }

    /// Compat: what etcd calls it in its log.
    #[must_use]
    pub fn traffic(&self) -> &'static str {
        match (&self.grpc, &self.http) {
            (Some(_), Some(_)) => "grpc+http",
            (Some(_), None) => "grpc",
            (None, _) => "http",
        }
    }

    /// Serves a connection until it ends, or `stopping` turns true and what was under way is done.
    pub async fn serve<S>(&self, stream: S, client: Client, mut stopping: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let uses = Arc::new(Connection::from(client.address));
        let (secure, certificate) = (client.secure, client.certificate);
        let door = Door { api: self.clone(), uses: Arc::clone(&uses), secure, certificate };
        let mut stream = Watched { stream, uses: Arc::clone(&uses), first: Bytes::new() };
        let begun = tokio::select! {
            begun = tokio::time::timeout(OPENING_TIMEOUT, first_bytes(&mut stream)) => begun,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        let Ok(Ok(first)) = begun else { return };
        if first.is_empty() {
            return;
        }
        let served = async {
            // Compat: without TLS, HTTP/2 is for calls alone.
            if first[..] == *PREFACE && (self.grpc.is_some() || secure) {
                self.serve_http2(stream, first, door, stopping).await;
            } else if self.http.is_some() {
                stream.first = first;
                serve_http1(stream, door, stopping).await;
            }
        };
        tokio::select! {
            () = served => {}
            () = uses.must_give_way() => {
                tracing::warn!("closed a connection whose client does not take its answers");
            }
        }
    }

    async fn serve_http2<S>(
        &self,
        stream: Watched<S>,
        first: Bytes,
        door: Door,
        mut stopping: watch::Receiver<bool>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut stopped = stopping.clone();
        let shutdown = async move {
            // A sender that is gone stops as well.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        };
        let options = Arc::clone(&self.options);
        let calls = self.grpc.as_ref().map(|grpc| {
            Calls::new(grpc.kv.clone(), Arc::clone(&door.uses), Arc::clone(&grpc.metrics))
        });
        let service = move |request: axum::http::Request<http2::Body>| door.clone().answer(request);
        let serving = async {
            match calls {
                Some(calls) => http2::serve(stream, first, options, calls, service, shutdown).await,
                None => {
                    let calls = http2::NoFastCalls;
                    http2::serve(stream, first, options, calls, service, shutdown).await
                }
            }
        };
        let grace = async {
            let _ = stopped.wait_for(|stopping| *stopping).await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            ended = serving => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a client's connection ended");
                }
            }
            () = grace => {}
        }
    }
}

async fn serve_http1<S>(stream: Watched<S>, door: Door, mut stopping: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let answering = door.clone().answer(request);
        async move { Ok::<_, Infallible>(answering.await) }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        // Compat: scripts look for headers as Go spells them.
        .title_case_headers(true);
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        _ = stopping.wait_for(|stopping| *stopping) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(GRACE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a client's connection ended");
    }
}

fn options(max_request_bytes: usize, limits: Http2Limits) -> http2::Options {
    http2::Options {
        message_bytes_max: max_request_bytes + grpc::OVERHEAD_BYTES,
        concurrent_streams_max: limits.max_concurrent_streams,
        keepalive_interval: limits.keepalive_interval,
        keepalive_timeout: limits.keepalive_timeout,
        ping_interval_min: limits.keepalive_min_time,
        handshake_timeout: OPENING_TIMEOUT,
        names: NAMES,
        ..http2::Options::default()
    }
}

/// Where one connection's requests go, those that are no fast calls.
#[derive(Clone)]
struct Door {
    api: Api,
    uses: Arc<Connection>,
    secure: bool,
    certificate: Option<ClientCertificate>,
}

impl Door {
    async fn answer<B>(self, request: axum::http::Request<B>) -> Response
    where
        B: axum::body::HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let two = request.version() == Version::HTTP_2;
        match (&self.api.grpc, &self.api.http) {
            // Compat: without TLS, HTTP/2 is for calls alone.
            (Some(grpc), _) if two && (!self.secure || go_words::is_call(&request)) => {
                self.call(grpc, request).await
            }
            (_, Some(http)) => http.answer(request.into_parts().0, self.secure).await,
            _ => (StatusCode::NOT_FOUND, "404 page not found\n").into_response(),
        }
    }

    /// Gives a call to its service.
    async fn call<B>(&self, grpc: &Grpc, request: axum::http::Request<B>) -> Response
    where
        B: axum::body::HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let server = grpc.kv.server();
        let warning = server.config().warning_request;
        let counting = Counting { metrics: Arc::clone(&grpc.metrics), warning };
        let refuses = server.is_learner();
        let (request, call) = counting.begin(request, &self.uses, refuses);
        let mut request: Request = request.map(Body::new);
        self.introduce(request.extensions_mut());
        if let Some(refused) = go_words::refuse(&request) {
            return refused;
        }
        let asked = Asked::of(&request);
        let answered: Result<Response, Infallible> = grpc.services.clone().call(request).await;
        let response = asked.reword(answered.unwrap_or_else(|never| match never {}));
        let response = hold_until_sent(response);
        match call {
            Some(call) => call.answer(response).map(Body::new),
            None => response,
        }
    }

    /// Says to whoever answers a request whose it is.
    fn introduce(&self, extensions: &mut Extensions) {
        extensions.insert(Arc::clone(&self.uses));
        if let Some(certificate) = &self.certificate {
            extensions.insert(certificate.clone());
        }
    }
}

/// The preface of HTTP/2, or what came that does not begin it.
async fn first_bytes(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Bytes> {
    let mut first = BytesMut::with_capacity(PREFACE.len());
    while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
        let mut rest = (&mut *stream).take((PREFACE.len() - first.len()) as u64);
        if rest.read_buf(&mut first).await? == 0 {
            break;
        }
    }
    Ok(first.freeze())
}

/// A stream that notes that its client takes what it is sent.
struct Watched<S> {
    stream: S,
    uses: Arc<Connection>,
    /// What was read to find out what the client speaks, to be read again.
    first: Bytes,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let bytes = self.first.len().min(buffer.remaining());
        buffer.put_slice(&self.first.split_to(bytes));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S> Watched<S> {
    fn note(&self, written: &Poll<std::io::Result<usize>>) {
        if let Poll::Ready(Ok(1..)) = written {
            self.uses.moved();
        }
    }
}
