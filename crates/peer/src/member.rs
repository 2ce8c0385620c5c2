//! What is shared by all that talk to one member: where it is, since when it answers, what was
//! dropped on the way to it.

use crate::local::Local;
use crate::pool::Pool;
use crate::seam::{Raft, SnapshotOutcome, Traffic};
use crate::settings::Settings;
use crate::url::{PeerUrl, UrlPicker};
use raftpb::{Message, MessageType};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tracing::{info, warn};

/// One member as seen from here. Locks are held for a few instructions and never while waiting.
pub(crate) struct Member {
    pub(crate) id: u64,
    pub(crate) local: Arc<Local>,
    pub(crate) raft: Arc<dyn Raft>,
    pub(crate) settings: Settings,
    /// Kept for short requests.
    pub(crate) pool: Pool,
    urls: Mutex<UrlPicker>,
    active_since: Mutex<Option<SystemTime>>,
    dropped: AtomicU64,
}

impl Member {
    pub(crate) fn new(
        id: u64,
        urls: Vec<PeerUrl>,
        local: Arc<Local>,
        raft: Arc<dyn Raft>,
        settings: Settings,
    ) -> Member {
        Member {
            id,
            local,
            raft,
            settings,
            pool: Pool::default(),
            urls: Mutex::new(UrlPicker::new(urls)),
            active_since: Mutex::new(None),
            dropped: AtomicU64::new(0),
        }
    }

    pub(crate) fn pick_url(&self) -> Option<PeerUrl> {
        lock(&self.urls).pick()
    }

    /// Every URL, the one in use first.
    pub(crate) fn urls(&self) -> Vec<PeerUrl> {
        lock(&self.urls).all()
    }

    pub(crate) fn update_urls(&self, urls: Vec<PeerUrl>) {
        lock(&self.urls).update(urls);
    }

    pub(crate) fn active_since(&self) -> Option<SystemTime> {
        *lock(&self.active_since)
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Tells whoever counts what goes to the member or comes from it.
    pub(crate) fn note(&self, traffic: Traffic) {
        self.raft.note(self.id, traffic);
    }

    /// Notes that the member answered.
    pub(crate) fn activate(&self) {
        let mut since = lock(&self.active_since);
        if since.is_none() {
            info!(peer = format_args!("{:x}", self.id), "peer became active");
            *since = Some(SystemTime::now());
        }
    }

    /// Notes that the member could not be reached at `url`.
    pub(crate) fn deactivate(&self, url: &PeerUrl, error: &dyn std::fmt::Display) {
        lock(&self.urls).unreachable(url);
        if lock(&self.active_since).take().is_some() {
            let peer = format_args!("{:x}", self.id);
            warn!(peer, %url, %error, "peer became inactive");
            self.note(Traffic::Lost);
        }
    }

    /// Notes that a message was not sent, and tells raft, which would otherwise wait for the
    /// answer.
    pub(crate) fn drop_message(&self, message: &Message) {
        self.drop_messages(1, message.r#type() == MessageType::MsgSnap);
    }

    /// Likewise for several messages.
    pub(crate) fn drop_messages(&self, count: u64, with_snapshot: bool) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
        if count > 0 {
            self.note(Traffic::SendFailed { messages: count });
        }
        self.raft.report_unreachable(self.id);
        if with_snapshot {
            self.raft.report_snapshot(self.id, SnapshotOutcome::Failed);
        }
    }
}

/// Locks, whatever became of the last holder: what is guarded here has no invariant that a panic
/// could break.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
