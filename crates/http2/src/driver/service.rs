//! Requests for the service: from heads to `http::Request`, and tasks that answer them.

use super::calls::line;
use super::{Driver, Owner};
use crate::answers::{Answers, Line};
use crate::body::{Body, End, Inbound, Window};
use crate::error::Reason;
use crate::handler::Handler;
use crate::hpack::fields::Fields;
use crate::hpack::name::Name;
use crate::respond::respond;
use crate::streams::Key;
use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version};
use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// What requests are given to that are no fast calls: any function from a request to a future
/// response. The future runs in a task of its own, and is dropped when the client cancels.
pub trait Service: Send + 'static {
    /// The body of a response.
    type Body: http_body::Body<Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static;
    /// A response to come.
    type Future: Future<Output = Response<Self::Body>> + Send + 'static;

    /// Begins to answer a request.
    fn call(&mut self, request: Request<Body>) -> Self::Future;
}

impl<F, R, B> Service for F
where
    F: FnMut(Request<Body>) -> R + Send + 'static,
    R: Future<Output = Response<B>> + Send + 'static,
    B: http_body::Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    type Body = B;
    type Future = R;

    fn call(&mut self, request: Request<Body>) -> R {
        self(request)
    }
}

/// A request at the service.
pub(super) struct Served<A> {
    /// None if the request has no body.
    inbound: Option<Arc<Inbound>>,
    pub(super) line: Arc<Line<A>>,
    pub(super) has_deadline: bool,
}

impl<A> Served<A> {
    /// A part of the body. Returns false if the service does not want it.
    pub(super) fn push(&self, data: Bytes, end: bool) -> bool {
        let Some(inbound) = &self.inbound else { return false };
        let wanted = data.is_empty() || inbound.push(data);
        if end {
            inbound.end(End::Plain);
        }
        wanted
    }

    pub(super) fn end_with(&self, trailers: &Fields) {
        if let Some(inbound) = &self.inbound {
            inbound.end(headers(trailers).map_or(End::Plain, End::Trailers));
        }
    }

    /// The stream is over.
    pub(super) fn close(&self, reason: Reason) {
        self.line.close();
        if let Some(inbound) = &self.inbound {
            inbound.end(End::Broken(reason));
        }
    }
}

impl<S, H, F> Driver<S, H, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
    F: Service,
{
    /// Gives a request to the service.
    pub(super) fn serve(&mut self, key: Key, end: bool, timeout: Option<Duration>) {
        let Some(request) = request(&self.connection.fields) else {
            self.connection.reset(key, Reason::PROTOCOL_ERROR);
            return self.reap();
        };
        let line = line(&mut self.lines, &self.outbox, key);
        let promised = self.connection.stream(key).and_then(|stream| stream.promised);
        let (inbound, body) = if end {
            (None, Body::empty())
        } else {
            let window = Arc::clone(&line) as Arc<dyn Window>;
            let inbound = Arc::new(Inbound::new(window));
            (Some(Arc::clone(&inbound)), Body::new(inbound, promised))
        };
        let answers = Answers::new(Arc::clone(&line));
        let has_deadline = self.set_deadline(key, timeout);
        let owner = self.connection.owner(key).expect("the stream has just begun");
        *owner = Owner::Service(Served { inbound, line, has_deadline });
        let head_only = request.method() == Method::HEAD;
        let response = self.service.call(request.map(|()| body));
        self.tasks.spawn(respond(response, answers, head_only));
    }
}

/// The head of a request; none if its texts do not make one.
fn request(fields: &Fields) -> Option<Request<()>> {
    let value = |name| fields.value(name).unwrap_or_default();
    let method = Method::from_bytes(value(Name::METHOD)).ok()?;
    let path = PathAndQuery::try_from(value(Name::PATH)).ok()?;
    let mut uri = Uri::builder().path_and_query(path);
    if fields.has(Name::AUTHORITY) && !value(Name::AUTHORITY).is_empty() {
        uri = uri
            .scheme(Scheme::try_from(value(Name::SCHEME)).ok()?)
            .authority(Authority::try_from(value(Name::AUTHORITY)).ok()?);
    }
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri.build().ok()?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers(fields)?;
    Some(request)
}

/// All fields but the pseudo-fields.
fn headers(fields: &Fields) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, text, value) in fields.iter() {
        if !name.is_pseudo() {
            let text = HeaderName::from_bytes(text).ok()?;
            headers.append(text, HeaderValue::from_bytes(value).ok()?);
        }
    }
    Some(headers)
}
