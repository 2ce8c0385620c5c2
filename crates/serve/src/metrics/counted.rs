//! Counts gRPC as it passes through HTTP bodies, for a server that hands over bodies.
//!
//! A request's body is counted as it is read, and an answer's as it is sent; an answer that its
//! client gives up is one that was canceled.
//!
//! Invariant: nothing is changed, copied or held back.

use super::requests::{Method, RequestMetrics};
use crate::budget::Connection;
use crate::go_words::is_call;
use crate::slow::{Slow, Stats};
use axum::body::Bytes;
use axum::http::{HeaderMap, Request, Response};
use hyper::body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tonic::{Code, Status};

/// What counts, and what is logged.
#[derive(Debug, Clone)]
pub(crate) struct Counting {
    pub metrics: Arc<RequestMetrics>,
    /// A request that takes longer is logged.
    pub warning: Duration,
}

/// A request under way. Dropping it unfinished counts it as canceled.
#[derive(Debug)]
pub(crate) struct Call {
    counting: Counting,
    connection: Arc<Connection>,
    method: Method,
    /// For those that are timed here.
    began: Option<Instant>,
    finished: bool,
}

impl Counting {
    /// Begins to count a request, if it is for a method that is served. Compat: what a learner
    /// refuses does not count.
    pub(crate) fn begin<B>(
        &self,
        request: Request<B>,
        connection: &Arc<Connection>,
        learner: bool,
    ) -> (Request<Counted<B>>, Option<Call>) {
        let method = if is_call(&request) { Method::of_path(request.uri().path()) } else { None };
        let method = method.filter(|method| !learner || method.serves_learners());
        let Some(method) = method else { return (request.map(Counted::not), None) };
        let version = request.headers().get("client-api-version");
        self.metrics.started(method, version.and_then(|version| version.to_str().ok()));
        let timed = self.metrics.times() || method.is_unary();
        let call = Call {
            counting: self.clone(),
            connection: Arc::clone(connection),
            method,
            began: timed.then(Instant::now),
            finished: false,
        };
        let side = Side::Request(Arc::clone(&self.metrics), method);
        (request.map(|body| Counted { body, frames: Frames::default(), side }), Some(call))
    }
}

impl Call {
    /// Counts the answer of a request as it is sent.
    pub(crate) fn answer<B>(mut self, response: Response<B>) -> Response<Counted<B>> {
        if let Some(code) = code_of(response.headers()) {
            self.finish(code);
        }
        let side = Side::Answer(self);
        response.map(|body| Counted { body, frames: Frames::default(), side })
    }

    fn finish(&mut self, code: Code) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        let (metrics, method) = (&self.counting.metrics, self.method);
        // Compat: one call is one message each way, however it ends.
        if method.is_unary() {
            metrics.received(method, 1, 0);
            metrics.sent(method, 1, 0);
        }
        metrics.finished(method, code, self.began);
        if let Some(began) = self.began.filter(|_| method.is_unary()) {
            let slow = Slow::new(method.name(), self.counting.warning, &self.connection);
            slow.log(began.elapsed(), || Stats::UNKNOWN);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.finish(Code::Cancelled);
    }
}

fn code_of(headers: &HeaderMap) -> Option<Code> {
    let status = headers.get(Status::GRPC_STATUS)?;
    Some(Code::from_bytes(status.as_bytes()))
}

/// A body whose frames are counted.
pub(crate) struct Counted<B> {
    body: B,
    frames: Frames,
    side: Side,
}

enum Side {
    /// Of no gRPC.
    Not,
    Request(Arc<RequestMetrics>, Method),
    Answer(Call),
}

impl<B> Counted<B> {
    /// A body that is not counted.
    pub(crate) fn not(body: B) -> Self {
        Self { body, frames: Frames::default(), side: Side::Not }
    }
}

impl<B> Body for Counted<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        let this = &mut *self;
        let data = polled.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
        let (messages, bytes) = data.map_or((0, 0), |data| this.frames.count(data));
        match &mut this.side {
            Side::Not => {}
            Side::Request(metrics, method) => {
                // Compat: the end of a stream counts as one that was received.
                let end = polled.is_none() && method.reads_on();
                let messages = if method.is_unary() { 0 } else { messages + u64::from(end) };
                metrics.received(*method, messages, bytes);
            }
            Side::Answer(call) => {
                let messages = if call.method.is_unary() { 0 } else { messages };
                call.counting.metrics.sent(call.method, messages, bytes);
                let trailers =
                    polled.as_ref().and_then(|frame| frame.as_ref().ok()?.trailers_ref());
                if let Some(code) = trailers.and_then(code_of) {
                    call.finish(code);
                }
            }
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Finds messages in a stream of bytes: a flag, a length of four bytes, and so many bytes.
#[derive(Debug, Default)]
struct Frames {
    head: [u8; HEAD_BYTES],
    head_len: usize,
    /// Bytes of the present message that are to come.
    left: u64,
}

/// Bytes before each message.
const HEAD_BYTES: usize = 5;

impl Frames {
    /// How many messages begin in `data`, and how many bytes of messages are in it.
    fn count(&mut self, mut data: &[u8]) -> (u64, u64) {
        let (mut messages, mut bytes) = (0, 0);
        while !data.is_empty() {
            if self.left > 0 {
                let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(data.len());
                self.left -= taken as u64;
                bytes += taken as u64;
                data = &data[taken..];
                continue;
            }
            let taken = (HEAD_BYTES - self.head_len).min(data.len());
            self.head[self.head_len..self.head_len + taken].copy_from_slice(&data[..taken]);
            self.head_len += taken;
            data = &data[taken..];
            if self.head_len == HEAD_BYTES {
                let [_, length @ ..] = self.head;
                self.left = u64::from(u32::from_be_bytes(length));
                self.head_len = 0;
                messages += 1;
            }
        }
        (messages, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_however_they_are_cut() {
        let stream = [&[0, 0, 0, 0, 3][..], b"abc", &[0, 0, 0, 0, 0], &[1, 0, 0, 0, 2], b"de"];
        let stream = stream.concat();
        for size in 1..=stream.len() {
            let mut frames = Frames::default();
            let counts: Vec<_> = stream.chunks(size).map(|part| frames.count(part)).collect();
            let sum = counts.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            assert_eq!(sum, (3, 5), "in pieces of {size}");
        }
    }
}
