//! The body of a request on its way to the service.
//!
//! - The client's window opens again as frames are taken out of the body, not as they come: what a
//!   slow service has not read stays with the client.
//! - A body that is dropped takes everything and keeps nothing.

use crate::error::Reason;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The body of a request.
pub struct Body {
    /// None if there is no body.
    inbound: Option<Arc<Inbound>>,
    promised: Option<u64>,
}

/// The request ended before its body did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client did not end its request ({reason})")]
pub struct BodyError {
    /// What the client said, or `CANCEL` if it is gone.
    pub reason: Reason,
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self { inbound: None, promised: Some(0) }
    }

    pub(crate) fn new(inbound: Arc<Inbound>, promised: Option<u64>) -> Self {
        Self { inbound: Some(inbound), promised }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(inbound) = &self.inbound else { return Poll::Ready(None) };
        let mut inside = inbound.inside();
        if let Some(data) = inside.queue.pop_front() {
            drop(inside);
            inbound.window.open(data.len());
            if let Some(promised) = &mut self.promised {
                *promised = promised.saturating_sub(data.len() as u64);
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let ended = match inside.end.take() {
            None => {
                inside.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Some(End::Plain) => None,
            Some(End::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Some(End::Broken(reason)) => Some(Err(BodyError { reason })),
        };
        drop(inside);
        self.inbound = None;
        Poll::Ready(ended)
    }

    fn is_end_stream(&self) -> bool {
        self.inbound.as_ref().is_none_or(|inbound| {
            let inside = inbound.inside();
            inside.queue.is_empty() && inside.end == Some(End::Plain)
        })
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.inbound, self.promised) {
            (None, _) => SizeHint::with_exact(0),
            (_, Some(promised)) => SizeHint::with_exact(promised),
            _ => SizeHint::default(),
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let Some(inbound) = &self.inbound else { return };
        let mut inside = inbound.inside();
        inside.unwanted = true;
        let left = inside.queue.drain(..).map(|data| data.len()).sum();
        drop(inside);
        inbound.window.open(left);
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("ended", &self.inbound.is_none()).finish_non_exhaustive()
    }
}

/// Opens a stream's window again.
pub(crate) trait Window: Send + Sync {
    fn open(&self, bytes: usize);
}

/// What has come of a body and is not taken.
pub(crate) struct Inbound {
    inside: Mutex<Inside>,
    window: Arc<dyn Window>,
}

#[derive(Default)]
struct Inside {
    queue: VecDeque<Bytes>,
    end: Option<End>,
    unwanted: bool,
    waker: Option<Waker>,
}

/// How a body ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    Plain,
    Trailers(HeaderMap),
    Broken(Reason),
}

impl Inbound {
    pub(crate) fn new(window: Arc<dyn Window>) -> Self {
        Self { inside: Mutex::default(), window }
    }

    /// Bytes came. Returns false if nobody wants them: they are taken already.
    pub(crate) fn push(&self, data: Bytes) -> bool {
        let mut inside = self.inside();
        if inside.unwanted {
            return false;
        }
        inside.queue.push_back(data);
        Self::wake(inside);
        true
    }

    /// The body is over. The first end counts.
    pub(crate) fn end(&self, end: End) {
        let mut inside = self.inside();
        if inside.end.is_none() {
            inside.end = Some(end);
        }
        Self::wake(inside);
    }

    fn wake(mut inside: MutexGuard<'_, Inside>) {
        let waker = inside.waker.take();
        drop(inside);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
