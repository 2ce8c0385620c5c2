//! One client's connection, over whatever stream it came: HTTP/2 or HTTP/1, told apart by its
//! first bytes.
//!
//! HTTP/2 is our own (`http2`): its frequent calls go straight to the member (`calls`), all others
//! to the services and the HTTP paths, as every request over HTTP/1 does.

use crate::budget::{Connection, hold_until_sent};
use crate::calls::{Calls, NAMES};
use crate::config::Http2Limits;
use crate::go_words::{self, Asked};
use crate::grpc;
use crate::grpc::kv::Kv;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Extensions;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use net::ClientCertificate;
use std::convert::Infallible;
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

/// All that clients are served. Clones are cheap.
#[derive(Clone)]
pub struct Api {
    kv: Kv,
    router: Router,
    options: Arc<http2::Options>,
}

impl Api {
    /// The API of a member, with these paths beside gRPC, on connections with these limits.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn new(server: &server::Server, http: Router, limits: Http2Limits) -> Self {
        let kv = Kv::new(server.clone(), crate::budget::Budget::new(crate::budget::BUDGET_BYTES));
        let services = grpc::routes(&kv).into_axum_router();
        let router = http.fallback(move |request: Request| {
            let mut services = services.clone();
            async move {
                if let Some(refused) = go_words::refuse(&request) {
                    return refused;
                }
                let asked = Asked::of(&request);
                let answered: Result<Response, Infallible> = services.call(request).await;
                asked.reword(answered.unwrap_or_else(|never| match never {}))
            }
        });
        let options = http2::Options {
            message_bytes_max: server.config().max_request_bytes + grpc::OVERHEAD_BYTES,
            concurrent_streams_max: limits.max_concurrent_streams,
            keepalive_interval: limits.keepalive_interval,
            keepalive_timeout: limits.keepalive_timeout,
            ping_interval_min: limits.keepalive_min_time,
            handshake_timeout: OPENING_TIMEOUT,
            names: NAMES,
            ..http2::Options::default()
        };
        Self { kv, router, options: Arc::new(options) }
    }

    /// Serves a connection until it ends, or `stopping` turns true and what was under way is done.
    pub async fn serve<S>(
        &self,
        stream: S,
        certificate: Option<ClientCertificate>,
        mut stopping: watch::Receiver<bool>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let uses = Arc::<Connection>::default();
        let client = Client { uses: Arc::clone(&uses), certificate };
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
            if first[..] == *PREFACE {
                self.serve_http2(stream, first, client, stopping).await;
            } else {
                stream.first = first;
                self.serve_http1(stream, client, stopping).await;
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
        client: Client,
        mut stopping: watch::Receiver<bool>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let calls = Calls::new(self.kv.clone(), Arc::clone(&client.uses));
        let router = self.router.clone();
        let service = move |request: axum::http::Request<http2::Body>| {
            let mut request = request.map(Body::new);
            client.introduce(request.extensions_mut());
            let mut router = router.clone();
            async move {
                let answered: Result<Response, Infallible> = router.call(request).await;
                hold_until_sent(answered.unwrap_or_else(|never| match never {}))
            }
        };
        let mut stopped = stopping.clone();
        let shutdown = async move {
            // A sender that is gone stops as well.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        };
        let options = Arc::clone(&self.options);
        let serving = http2::serve(stream, first, options, calls, service, shutdown);
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

    async fn serve_http1<S>(
        &self,
        stream: Watched<S>,
        client: Client,
        mut stopping: watch::Receiver<bool>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let router = self.router.clone();
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            client.introduce(request.extensions_mut());
            let answering = router.clone().call(request.map(Body::new));
            async move { answering.await.map(hold_until_sent) }
        });
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
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
}

/// Whose requests a connection brings.
struct Client {
    uses: Arc<Connection>,
    certificate: Option<ClientCertificate>,
}

impl Client {
    /// Says so to whoever answers a request.
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
