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
use server::metrics::StreamEvents;
use server::{Headers, Server, WatchHandle, WatchItem, WatchOutbox};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;

/// Bytes waiting for a stream's client; with as many, its watchers fall behind.
const QUEUED_BYTES_MAX: usize = 1 << 20;

/// A stream of watchers.
pub(crate) struct Watch {
    handle: WatchHandle,
    answers: Answers<Answer>,
    numbers: Arc<StreamEvents>,
    /// Tells from time to time that nothing happened.
    ticking: AbortHandle,
}

impl Watch {
    pub(crate) fn new(server: &Server, answers: Answers<Answer>) -> Self {
        let (config, numbers) = (server.config(), server.stream_events());
        let outbox = Outbox {
            numbers: Arc::clone(&numbers),
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
        Self { handle, answers, numbers, ticking: ticking.abort_handle() }
    }

    pub(crate) fn message(&mut self, message: Bytes) {
        let Ok(request) = WatchRequest::decode(message) else {
            self.numbers.watches().receive_failures.inc();
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

    /// So many events go to the client.
    pub(crate) fn sent(&self, events: usize) {
        self.numbers.sent(events);
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
    numbers: Arc<StreamEvents>,
    /// Above so many bytes events are told in pieces, to those who want that.
    fragment_bytes: usize,
}

impl WatchOutbox for Outbox {
    fn has_room(&self) -> bool {
        let queued = |answers: &Answers<Answer>| answers.queued_bytes();
        self.answers.as_ref().map_or(0, queued) < QUEUED_BYTES_MAX
    }

    fn try_send(&mut self, item: WatchItem) -> Result<(), WatchItem> {
        let Some(answers) = self.answers.as_ref().filter(|answers| !answers.is_closed()) else {
            // Nobody is told any more; the stream is about to be closed.
            return Ok(());
        };
        if !self.has_room() {
            return Err(item);
        }
        let (began, count) = (Instant::now(), item.events());
        self.tell(answers, &item);
        self.numbers.offered(count);
        let progress = matches!(item, WatchItem::Progress { .. });
        self.numbers.watches().made(began.elapsed(), count, progress);
        Ok(())
    }
}

impl Outbox {
    fn tell(&self, answers: &Answers<Answer>, item: &WatchItem) {
        let WatchItem::Events { watch_id, revision, events, fragment } = item else {
            return answers.push(Answer::Watch(response(&self.headers, item)));
        };
        if *fragment && events.bytes() >= self.fragment_bytes / 2 {
            let whole = response(&self.headers, item);
            for piece in fragments(whole, self.fragment_bytes) {
                answers.push(Answer::Watch(piece));
            }
            return;
        }
        let (header, count) = (self.headers.at(*revision), events.list().len());
        let events = events_bytes(events);
        answers.push(Answer::Events(EventsAnswer { header, watch_id: *watch_id, events, count }));
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
