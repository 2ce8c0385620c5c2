//! Watches: a stream of requests in, a stream of responses out, told by the watches' thread itself.
//!
//! A client that does not take what it is told has so many bytes waiting, and no more: its
//! watchers fall behind then, and go on from the files.

use super::encode::{EventsAnswer, events_bytes};
use super::{Answer, malformed_on_stream, refusal};
use crate::grpc::watch::{fragments, options, response};
use api::etcdserverpb::WatchRequest;
use api::etcdserverpb::watch_request::RequestUnion;
use bytes::Bytes;
use http2::Answers;
use prost::Message as _;
use server::{Headers, Server, WatchHandle, WatchItem, WatchOutbox};
use std::time::Duration;
use tokio::task::AbortHandle;

/// Bytes waiting for a stream's client; with as many, its watchers fall behind.
const QUEUED_BYTES_MAX: usize = 1 << 20;

/// A stream of watchers.
pub(crate) struct Watch {
    handle: WatchHandle,
    answers: Answers<Answer>,
    /// Tells from time to time that nothing happened.
    ticking: AbortHandle,
}

impl Watch {
    pub(crate) fn new(server: &Server, answers: Answers<Answer>) -> Self {
        let config = server.config();
        let outbox = Outbox {
            headers: server.headers(),
            answers: Some(answers.clone()),
            fragment_bytes: config.max_request_bytes + crate::grpc::OVERHEAD_BYTES,
        };
        let handle = server.watch_to(Box::new(outbox));
        // Compat: up to a tenth more, so that not all streams are told at once.
        let period = config.watch_progress_interval;
        let period = period + period / 1000 * (handle.number() % 100);
        let period = period.max(Duration::from_millis(1));
        let commands = handle.commands().clone();
        let ticking = tokio::spawn(async move {
            loop {
                tokio::time::sleep(period).await;
                commands.tick();
            }
        });
        Self { handle, answers, ticking: ticking.abort_handle() }
    }

    pub(crate) fn message(&mut self, message: Bytes) {
        let Ok(request) = WatchRequest::decode(message) else {
            return self.answers.clone().finish(malformed_on_stream());
        };
        let commands = self.handle.commands();
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => commands.create(options(create)),
            Some(RequestUnion::CancelRequest(cancel)) => commands.cancel(cancel.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => commands.progress(),
            // Compat: what is not known is passed over.
            None => {}
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ticking.abort();
    }
}

/// The way of a stream's items to its client.
struct Outbox {
    headers: Headers,
    /// `None` once the stream has ended.
    answers: Option<Answers<Answer>>,
    /// Above so many bytes events are told in pieces, to those who want that.
    fragment_bytes: usize,
}

impl WatchOutbox for Outbox {
    fn try_send(&mut self, item: WatchItem) -> Result<(), WatchItem> {
        let Some(answers) = self.answers.as_ref().filter(|answers| !answers.is_closed()) else {
            // Nobody is told any more; the stream is about to be closed.
            return Ok(());
        };
        if answers.queued_bytes() >= QUEUED_BYTES_MAX {
            return Err(item);
        }
        let WatchItem::Events { watch_id, revision, events, fragment } = &item else {
            answers.push(Answer::Watch(response(&self.headers, &item)));
            return Ok(());
        };
        if *fragment && events.bytes() >= self.fragment_bytes / 2 {
            let whole = response(&self.headers, &item);
            for piece in fragments(whole, self.fragment_bytes) {
                answers.push(Answer::Watch(piece));
            }
            return Ok(());
        }
        let (header, events) = (self.headers.at(*revision), events_bytes(events));
        answers.push(Answer::Events(EventsAnswer { header, watch_id: *watch_id, events }));
        Ok(())
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        // The member stops, or cuts off a client that asks on and does not listen.
        if let Some(answers) = self.answers.take() {
            answers.finish(refusal(api::Error::Stopped.into()));
        }
    }
}
