//! gRPC by hand, over HTTP/2: what no client's library would send can be sent.

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What HTTP/2 lets a server send before the client has read any of it, if nobody says more.
const WINDOW: u32 = 65_535;

/// One connection.
#[derive(Clone, Debug)]
pub struct Wire {
    address: SocketAddr,
    requests: SendRequest<Full<Bytes>>,
}

/// A request, changed as one likes.
#[derive(Clone, Debug)]
pub struct Call {
    /// `POST`.
    pub method: Method,
    /// `/package.Service/Method`.
    pub path: String,
    /// Those of gRPC.
    pub headers: Vec<(&'static str, String)>,
    /// Frames of messages.
    pub body: Bytes,
}

/// What came back, as far as gRPC says what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Of HTTP.
    pub status: u16,
    /// Its beginning, without what comes after a semicolon.
    pub content_type: String,
    /// Of gRPC, from headers or trailers.
    pub code: Option<i32>,
    /// Of gRPC, unescaped.
    pub message: String,
    /// Messages that came.
    pub messages: usize,
}

/// Bytes as one message.
#[must_use]
pub fn frame(message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(5 + message.len());
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.len()).expect("messages are small"));
    bytes.put_slice(message);
    bytes.freeze()
}

impl Call {
    /// A call as a client's library makes it.
    #[must_use]
    pub fn new(path: &str, message: &[u8]) -> Self {
        let headers = [("content-type", "application/grpc"), ("te", "trailers")];
        Self {
            method: Method::POST,
            path: path.to_owned(),
            headers: headers.map(|(name, value)| (name, value.to_owned())).to_vec(),
            body: frame(message),
        }
    }

    /// With another value of a header, or none.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: Option<&str>) -> Self {
        self.headers.retain(|(its, _)| *its != name);
        self.headers.extend(value.map(|value| (name, value.to_owned())));
        self
    }
}

impl Wire {
    /// Connects.
    ///
    /// # Panics
    /// If nobody is there.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, WINDOW).await
    }

    /// Connects, and lets the server send so many bytes ahead.
    ///
    /// # Panics
    /// If nobody is there.
    pub async fn connect_with(address: SocketAddr, window: u32) -> Self {
        let stream = TcpStream::connect(address).await.expect("somebody listens");
        let mut builder = Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(window).initial_connection_window_size(window);
        let connected = builder.handshake(TokioIo::new(stream)).await;
        let (requests, connection) = connected.expect("they speak HTTP/2");
        tokio::spawn(connection);
        Self { address, requests }
    }

    /// Asks, and waits for all of the answer; an error says how it broke off.
    ///
    /// # Errors
    /// If the connection or the stream ends first.
    ///
    /// # Panics
    /// If a path is none.
    pub async fn call(&mut self, call: Call) -> Result<Answer, String> {
        tokio::time::timeout(PATIENCE, self.ask(call)).await.map_err(|_| "silence".to_owned())?
    }

    /// Asks, and leaves all of the answer but its head to the caller.
    ///
    /// # Errors
    /// If the connection or the stream ends first.
    ///
    /// # Panics
    /// If a path is none.
    pub async fn begin(&mut self, call: Call) -> Result<Response<Incoming>, String> {
        let uri = format!("http://{}{}", self.address, call.path);
        let uri: Uri = uri.parse().expect("a path");
        let mut request = Request::builder().method(call.method).uri(uri);
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(call.body)).expect("headers are headers");
        self.requests.send_request(request).await.map_err(|e| e.to_string())
    }

    async fn ask(&mut self, call: Call) -> Result<Answer, String> {
        let (parts, body) = self.begin(call).await?.into_parts();
        let body = body.collect().await.map_err(|e| e.to_string())?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        let told = |name: &str| text(&trailers, name).or_else(|| text(&parts.headers, name));
        let kind = text(&parts.headers, CONTENT_TYPE.as_str()).unwrap_or_default();
        let kind = kind.split_once(';').map_or(&*kind, |(kind, _)| kind).to_owned();
        Ok(Answer {
            status: parts.status.as_u16(),
            content_type: kind,
            code: told("grpc-status").and_then(|code| code.parse().ok()),
            message: unescape(&told("grpc-message").unwrap_or_default()),
            messages: count(&body.to_bytes()),
        })
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Percent signs as gRPC means them.
fn unescape(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, left @ ..] = rest {
        let escaped = left.get(..2).filter(|_| *first == b'%');
        let escaped = escaped.and_then(|hex| std::str::from_utf8(hex).ok());
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &left[2..];
            }
            None => {
                bytes.push(*first);
                rest = left;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn count(mut body: &[u8]) -> usize {
    let mut messages = 0;
    while let [_, a, b, c, d, rest @ ..] = body {
        let bytes = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let Some(left) = rest.get(bytes..) else { break };
        (messages, body) = (messages + 1, left);
    }
    messages
}
