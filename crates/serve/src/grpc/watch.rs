//! Watches: a stream of requests in, a stream of responses out.

use crate::edge::too_large;
use crate::grpc::OVERHEAD_BYTES;
use api::etcdserverpb::watch_create_request::FilterType;
use api::etcdserverpb::watch_request::RequestUnion;
use api::etcdserverpb::watch_server;
use api::etcdserverpb::{ResponseHeader, WatchCreateRequest, WatchRequest, WatchResponse};
use api::mvccpb::{Event, event::EventType};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use prost::Message as _;
use server::{Server, WatchCommands, WatchEvent, WatchItem, WatchOptions, WatchStream};
use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};
use tokio::time::{Interval, MissedTickBehavior};
use tonic::{Code, Request, Response, Status, Streaming};

pub(crate) struct Watch {
    server: Server,
}

impl Watch {
    pub(crate) fn new(server: Server) -> Self {
        Self { server }
    }
}

#[tonic::async_trait]
impl watch_server::Watch for Watch {
    type WatchStream = BoxStream<'static, Result<WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let conversation = Conversation::new(&self.server, request.into_inner());
        let answers = stream::unfold(conversation, |mut conversation| async {
            let answer = conversation.next().await?;
            Some((answer, conversation))
        });
        Ok(Response::new(answers.boxed()))
    }
}

/// One client's stream.
struct Conversation {
    server: Server,
    /// `None` once the client has said all; its watchers stay.
    requests: Option<Streaming<WatchRequest>>,
    items: WatchStream,
    commands: WatchCommands,
    /// Whether the watchers that are being made want fragments, in the order of their requests.
    asked: VecDeque<bool>,
    fragmented: HashSet<i64>,
    ready: VecDeque<WatchResponse>,
    progress: Interval,
    ended: bool,
}

/// The id in answers that are about no watcher.
const NO_WATCHER: i64 = -1;

impl Conversation {
    fn new(server: &Server, requests: Streaming<WatchRequest>) -> Self {
        let items = server.watch_stream();
        let period = server.config().watch_progress_interval;
        // Compat: up to a tenth more, so that not all streams are told at once.
        let jitter = period / 1000 * (items.number() % 100);
        let mut progress = tokio::time::interval_at(
            tokio::time::Instant::now() + period + jitter,
            (period + jitter).max(Duration::from_millis(1)),
        );
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            server: server.clone(),
            requests: Some(requests),
            commands: items.commands(),
            items,
            asked: VecDeque::new(),
            fragmented: HashSet::new(),
            ready: VecDeque::new(),
            progress,
            ended: false,
        }
    }

    /// The next answer; `None` once there are no more.
    async fn next(&mut self) -> Option<Result<WatchResponse, Status>> {
        loop {
            if let Some(response) = self.ready.pop_front() {
                return Some(Ok(response));
            }
            if self.ended {
                return None;
            }
            tokio::select! {
                item = self.items.next() => match item {
                    Some(item) => self.timed_answer(item),
                    None => {
                        self.ended = true;
                        return Some(Err(api::Error::Stopped.into()));
                    }
                },
                request = next_request(&mut self.requests) => match request {
                    Ok(Some(request)) => self.ask(request),
                    // Compat: a client that says no more is told on.
                    Ok(None) => self.requests = None,
                    Err(status) => {
                        self.ended = true;
                        if status.code() != Code::Cancelled {
                            self.server.metrics().watches.receive_failures.inc();
                        }
                        return Some(Err(too_large(status.message()).unwrap_or(status)));
                    }
                },
                _ = self.progress.tick() => self.commands.tick(),
            }
        }
    }

    fn ask(&mut self, request: WatchRequest) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => {
                self.asked.push_back(create.fragment);
                self.commands.create(options(create));
            }
            Some(RequestUnion::CancelRequest(cancel)) => self.commands.cancel(cancel.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => self.commands.progress(),
            // Compat: what is not known is passed over.
            None => {}
        }
    }

    fn timed_answer(&mut self, item: WatchItem) {
        let events = match &item {
            WatchItem::Events { events, .. } => u32::try_from(events.len()).unwrap_or(u32::MAX),
            _ => 0,
        };
        let progress = matches!(item, WatchItem::Progress { .. });
        let began = Instant::now();
        self.answer(item);
        let (took, watches) = (began.elapsed(), &self.server.metrics().watches);
        if events > 0 {
            watches.event_sends.took(took);
            watches.event_sends_each.took(took / events);
        } else if progress {
            watches.progress_sends.took(took);
        } else {
            watches.control_sends.took(took);
        }
    }

    fn answer(&mut self, item: WatchItem) {
        let header = |revision| Some(ResponseHeader { revision, ..self.server.header() });
        let response = match item {
            WatchItem::Created { watch_id, revision } => {
                if self.asked.pop_front().unwrap_or_default() {
                    self.fragmented.insert(watch_id);
                }
                let header = header(revision);
                WatchResponse { header, watch_id, created: true, ..WatchResponse::default() }
            }
            WatchItem::Refused { revision, reason } => {
                self.asked.pop_front();
                WatchResponse {
                    header: header(revision),
                    watch_id: NO_WATCHER,
                    created: true,
                    canceled: true,
                    cancel_reason: reason.to_owned(),
                    ..WatchResponse::default()
                }
            }
            WatchItem::Events { watch_id, revision, events } => {
                let events = events.into_iter().map(event).collect();
                let header = header(revision);
                let response = WatchResponse { header, watch_id, events, ..Default::default() };
                if self.fragmented.contains(&watch_id) {
                    let limit = self.server.config().max_request_bytes + OVERHEAD_BYTES;
                    self.ready.extend(fragments(response, limit));
                    return;
                }
                response
            }
            WatchItem::Canceled { watch_id, revision, compact_revision } => {
                self.fragmented.remove(&watch_id);
                WatchResponse {
                    header: header(revision),
                    watch_id,
                    canceled: true,
                    compact_revision,
                    ..WatchResponse::default()
                }
            }
            WatchItem::Progress { watch_id, revision } => {
                WatchResponse { header: header(revision), watch_id, ..WatchResponse::default() }
            }
        };
        self.ready.push_back(response);
    }
}

async fn next_request(
    requests: &mut Option<Streaming<WatchRequest>>,
) -> Result<Option<WatchRequest>, Status> {
    match requests {
        Some(requests) => requests.message().await,
        None => std::future::pending().await,
    }
}

fn options(create: WatchCreateRequest) -> WatchOptions {
    let filtered = |filter: FilterType| create.filters.contains(&(filter as i32));
    WatchOptions {
        watch_id: create.watch_id,
        no_put: filtered(FilterType::Noput),
        no_delete: filtered(FilterType::Nodelete),
        key: create.key,
        range_end: create.range_end,
        start_revision: create.start_revision,
        prev_kv: create.prev_kv,
        progress_notify: create.progress_notify,
    }
}

fn event(event: WatchEvent) -> Event {
    let kind = if event.tombstone { EventType::Delete } else { EventType::Put };
    Event {
        r#type: kind as i32,
        kv: Some(apply::decode_record(event.record)),
        prev_kv: event.previous.map(apply::decode_record),
    }
}

/// Cuts a response into pieces smaller than `limit` bytes, or of one event (etcd
/// `sendFragments`).
fn fragments(response: WatchResponse, limit: usize) -> Vec<WatchResponse> {
    if response.encoded_len() < limit || response.events.len() < 2 {
        return vec![response];
    }
    let empty = WatchResponse { events: Vec::new(), fragment: true, ..response.clone() };
    let mut pieces = vec![empty.clone()];
    for event in response.events {
        let piece = pieces.last_mut().expect("there is one from the start");
        piece.events.push(event);
        if piece.events.len() > 1 && piece.encoded_len() >= limit {
            let event = piece.events.pop().expect("it was pushed a moment ago");
            pieces.push(WatchResponse { events: vec![event], ..empty.clone() });
        }
    }
    pieces.last_mut().expect("there is one from the start").fragment = false;
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::mvccpb::KeyValue;

    #[test]
    fn pieces_are_smaller_than_the_limit_and_all_but_the_last_say_so() {
        let event = |size: usize| Event {
            kv: Some(KeyValue { value: vec![0; size].into(), ..KeyValue::default() }),
            ..Event::default()
        };
        let check = |sizes: &[usize], want: &[usize]| {
            let events = sizes.iter().map(|size| event(*size)).collect();
            let pieces = fragments(WatchResponse { events, ..WatchResponse::default() }, 1000);
            let counts: Vec<_> = pieces.iter().map(|piece| piece.events.len()).collect();
            assert_eq!(counts, want, "{sizes:?}");
            let last = pieces.len() - 1;
            assert!(pieces.iter().enumerate().all(|(at, piece)| piece.fragment == (at < last)));
        };
        check(&[10, 10], &[2]);
        check(&[2000], &[1]);
        check(&[400, 400, 400], &[2, 1]);
        check(&[2000, 2000, 10], &[1, 1, 1]);
        check(&[600, 600, 300], &[1, 2]);
    }
}
