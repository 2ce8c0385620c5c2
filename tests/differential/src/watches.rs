//! A watch stream to one server, and what its watchers were told.
//!
//! Servers are free in how they batch events, so what is compared is the sequence of events of
//! each watcher, not the messages. They are not free to split a revision among messages unless the
//! watcher asked for fragments; a split is noted as an item of its own.
//!
//! Nothing says when a watcher has been told everything, so a barrier does: a progress request is
//! answered once all watchers of the stream have caught up. A stream therefore never has a watcher
//! that starts in the far future, and always has one, the anchor, that is never canceled.

use api::etcdserverpb::watch_client::WatchClient;
use api::etcdserverpb::watch_request::RequestUnion;
use api::etcdserverpb::{
    WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};
use api::mvccpb::Event;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// What one watcher was told, in order.
pub(crate) type Items = Vec<Item>;

/// One thing that a watcher was told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Item {
    Created {
        id: i64,
        revision: i64,
        refused: Option<String>,
    },
    Canceled {
        compact_revision: i64,
        reason: String,
    },
    Event(Box<Event>),
    /// The revision of the last event goes on in the next message.
    Split,
}

/// A watch stream.
#[derive(Debug)]
pub(crate) struct Stream {
    requests: mpsc::Sender<WatchRequest>,
    responses: Streaming<WatchResponse>,
    told: BTreeMap<i64, Items>,
    /// By watcher: the revision of the last event, unless more of the message is to come.
    last: BTreeMap<i64, i64>,
    /// Watchers that compaction canceled, and that were not canceled by us yet.
    compacted: Vec<i64>,
    /// The greatest revision at which a watcher starts.
    ahead: i64,
    /// A watcher with a start in the past was created after the last barrier.
    lags: bool,
}

/// The watcher that keeps barriers answered.
const ANCHOR: i64 = 900;

/// A key that only anchors watch.
const ANCHOR_KEY: &[u8] = b"~anchor";

/// After this time a barrier is asked for again: the request is dropped while a watcher lags, and
/// etcd lets watchers catch up every 100 ms.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// How long the reply to a cancellation is waited for: for an unknown watcher there is none.
const CANCEL_WAIT: Duration = Duration::from_millis(30);

/// How long all else may take.
const REPLY_MAX: Duration = Duration::from_secs(10);

/// Requests that wait for the connection; one is sent at a time.
const REQUESTS_WAITING: usize = 16;

impl Stream {
    /// Opens a stream with its anchor.
    pub(crate) async fn open(channel: Channel) -> Result<Self, Status> {
        let (requests, mut taken) = mpsc::channel(REQUESTS_WAITING);
        let anchor = WatchCreateRequest {
            key: Bytes::from_static(ANCHOR_KEY),
            watch_id: ANCHOR,
            ..WatchCreateRequest::default()
        };
        // etcd answers nothing, not even headers, before it was asked something.
        send(&requests, RequestUnion::CreateRequest(anchor)).await?;
        let outgoing = futures_util::stream::poll_fn(move |context| taken.poll_recv(context));
        let client = WatchClient::new(channel);
        let mut client = client.max_decoding_message_size(usize::MAX);
        let responses = client.watch(outgoing).await?.into_inner();
        let (told, last) = (BTreeMap::new(), BTreeMap::new());
        let compacted = Vec::new();
        let mut stream = Self { requests, responses, told, last, compacted, ahead: 0, lags: false };
        stream.wait_created().await?;
        Ok(stream)
    }

    /// Says one thing. What comes of it at once is given back.
    pub(crate) async fn say(
        &mut self,
        request: WatchRequest,
        revision: i64,
    ) -> Result<Items, Status> {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => {
                let start = create.start_revision;
                send(&self.requests, RequestUnion::CreateRequest(create)).await?;
                let created = self.wait_created().await?;
                if matches!(created, Item::Created { refused: None, .. }) {
                    self.ahead = self.ahead.max(start);
                    self.lags |= start != 0 && start <= revision;
                }
                Ok(vec![created])
            }
            Some(RequestUnion::CancelRequest(WatchCancelRequest { watch_id })) => {
                let cancel = RequestUnion::CancelRequest(WatchCancelRequest { watch_id });
                send(&self.requests, cancel).await?;
                let deadline = Instant::now() + CANCEL_WAIT;
                while let Some(response) = self.next(deadline).await? {
                    let ends = response.canceled && response.watch_id == watch_id;
                    self.note(response);
                    if ends {
                        break;
                    }
                }
                Ok(Vec::new())
            }
            Some(other) => send(&self.requests, other).await.map(|()| Vec::new()),
            None => {
                let sent = self.requests.send(WatchRequest { request_union: None }).await;
                sent.map(|()| Vec::new()).map_err(|_| ended())
            }
        }
    }

    /// Waits until all watchers were told everything up to `revision`.
    pub(crate) async fn settle(&mut self, revision: i64) -> Result<(), Status> {
        let deadline = Instant::now() + REPLY_MAX;
        loop {
            // Compat: etcd goes on counting a watcher that it canceled itself, as one that lags;
            // progress is not told on such a stream until the client cancels it once more.
            for watch_id in std::mem::take(&mut self.compacted) {
                let cancel = RequestUnion::CancelRequest(WatchCancelRequest { watch_id });
                send(&self.requests, cancel).await?;
            }
            let progress = RequestUnion::ProgressRequest(WatchProgressRequest {});
            send(&self.requests, progress).await?;
            let again = Instant::now() + ASK_AGAIN;
            while let Some(response) = self.next(again).await? {
                let reached = response.header.map_or(0, |header| header.revision) >= revision;
                if is_barrier(&response) {
                    if reached {
                        self.lags = false;
                        return Ok(());
                    }
                } else {
                    self.note(response);
                }
            }
            if Instant::now() > deadline {
                return Err(Status::deadline_exceeded("watchers do not catch up"));
            }
        }
    }

    /// What each watcher was told so far.
    pub(crate) fn told(&self) -> &BTreeMap<i64, Items> {
        &self.told
    }

    pub(crate) fn ahead(&self) -> i64 {
        self.ahead
    }

    pub(crate) fn lags(&self) -> bool {
        self.lags
    }

    async fn wait_created(&mut self) -> Result<Item, Status> {
        let deadline = Instant::now() + REPLY_MAX;
        while let Some(response) = self.next(deadline).await? {
            if !response.created {
                self.note(response);
                continue;
            }
            return Ok(Item::Created {
                id: response.watch_id,
                revision: response.header.map_or(0, |header| header.revision),
                refused: response.canceled.then_some(response.cancel_reason),
            });
        }
        Err(Status::deadline_exceeded("a watcher is not created"))
    }

    /// The next message before the deadline.
    async fn next(&mut self, deadline: Instant) -> Result<Option<WatchResponse>, Status> {
        match tokio::time::timeout_at(deadline.into(), self.responses.message()).await {
            Ok(Ok(Some(response))) => Ok(Some(response)),
            Ok(Ok(None)) => Err(ended()),
            Ok(Err(status)) => Err(status),
            Err(_late) => Ok(None),
        }
    }

    fn note(&mut self, response: WatchResponse) {
        if is_barrier(&response) {
            return;
        }
        let id = response.watch_id;
        let items = self.told.entry(id).or_default();
        if response.canceled {
            let (compact_revision, reason) = (response.compact_revision, response.cancel_reason);
            if compact_revision != 0 {
                self.compacted.push(id);
            }
            items.push(Item::Canceled { compact_revision, reason });
            self.last.remove(&id);
            return;
        }
        let revision = |event: Option<&Event>| Some(event?.kv.as_ref()?.mod_revision);
        let (first, last) = (revision(response.events.first()), revision(response.events.last()));
        if first.is_some() && self.last.get(&id).copied() == first {
            items.push(Item::Split);
        }
        items.extend(response.events.into_iter().map(|event| Item::Event(Box::new(event))));
        if response.fragment {
            self.last.remove(&id);
        } else if let Some(last) = last {
            self.last.insert(id, last);
        }
    }
}

/// The answer to a progress request.
fn is_barrier(response: &WatchResponse) -> bool {
    response.watch_id == -1 && !response.created && !response.canceled
}

async fn send(to: &mpsc::Sender<WatchRequest>, request: RequestUnion) -> Result<(), Status> {
    let sent = to.send(WatchRequest { request_union: Some(request) }).await;
    sent.map_err(|_| ended())
}

fn ended() -> Status {
    Status::aborted("the stream ended")
}
