//! What a member says of itself, and the requests that are more than one proposal.

use crate::metrics::Metrics;
use crate::{Config, Error, Server};
use api::etcdserverpb::{
    AlarmMember, CompactionRequest, CompactionResponse, InternalRaftRequest, ResponseHeader,
};
use apply::Reply;
use member::Cluster;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// How a member is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The leader's id; 0 for none.
    pub lead: u64,
    /// Raft's term.
    pub term: u64,
    /// Index of the last entry known to be committed.
    pub committed: u64,
    /// Index of the last entry applied.
    pub applied: u64,
    /// Bytes the store takes.
    pub size_bytes: u64,
    /// Bytes of it that are not dead, about.
    pub in_use_bytes: u64,
    /// Whether it has no vote.
    pub is_learner: bool,
}

impl Server {
    /// The member's id.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.shared.id
    }

    /// The cluster's id.
    #[must_use]
    pub fn cluster_id(&self) -> u64 {
        self.shared.cluster_id
    }

    /// What it was started with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Its numbers.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// The hash of all keys at a revision, 0 for the present one ([`mvcc::View::hash_by_revision`]);
    /// `None` if it is cut short.
    pub async fn hash_by_revision(&self, revision: i64) -> Option<mvcc::Result<mvcc::KeyHash>> {
        let (view, shared) = (self.view(), Arc::clone(&self.shared));
        let hashing = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let hash = view.hash_by_revision(revision);
            shared.metrics.hashes.took(began.elapsed());
            hash
        });
        hashing.await.ok()
    }

    /// How many requests wait to be applied.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.shared.waiters.pending()
    }

    /// The other members that it talks to, and whether each answers.
    #[must_use]
    pub fn peers(&self) -> Vec<(u64, bool)> {
        self.transport.peers()
    }

    /// Whether it leads.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.shared.leads()
    }

    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        let usage = self.shared.usage();
        let size_bytes = usage.file_bytes + usage.overlay_bytes;
        Status {
            lead: *self.shared.lead.borrow(),
            term: self.shared.term(),
            committed: self.shared.committed(),
            applied: self.shared.applied_index(),
            size_bytes,
            in_use_bytes: usage.in_use_bytes().min(size_bytes),
            is_learner: self.is_learner(),
        }
    }

    /// Whether it has no vote.
    #[must_use]
    pub fn is_learner(&self) -> bool {
        self.shared.learner.load(Ordering::Acquire)
    }

    /// The members, as last applied here.
    #[must_use]
    pub fn cluster(&self) -> Arc<Cluster> {
        self.shared.cluster()
    }

    /// The alarms that are on, as last applied here.
    #[must_use]
    pub fn alarms(&self) -> Arc<Vec<AlarmMember>> {
        self.shared.alarms()
    }

    /// Waits until the member has said who it is through the log, and so serves; false if it
    /// stops before.
    pub async fn ready(&self) -> bool {
        let (mut published, mut stopping) =
            (self.shared.published.subscribe(), self.shared.stopping.subscribe());
        tokio::select! {
            ready = published.wait_for(|published| *published) => ready.is_ok(),
            _ = stopping.wait_for(|stopping| *stopping) => false,
        }
    }

    /// Waits until the member is asked to stop, by itself or by whoever started it.
    pub async fn stopping(&self) {
        // The sender lives as long as this handle.
        let _ = self.shared.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    /// Refuses what would outgrow the quota, and raises the alarm.
    ///
    /// # Errors
    /// [`api::Error::NoSpace`].
    pub fn check_quota(&self, cost: i64) -> Result<(), Error> {
        let Some(quota) = self.shared.config.quota_bytes else { return Ok(()) };
        let size = self.shared.file_bytes();
        if size.saturating_add(u64::try_from(cost).unwrap_or_default()) < quota {
            return Ok(());
        }
        self.raise_no_space();
        Err(api::Error::NoSpace.into())
    }

    fn raise_no_space(&self) {
        let member = self.shared.id;
        let kind = api::etcdserverpb::AlarmType::Nospace as i32;
        let is_on = self.alarms().iter().any(|its| its.member_id == member && its.alarm == kind);
        if !is_on {
            // If there is no room, the alarm is on its way already.
            let _ = self.no_space.try_send(());
        }
    }

    /// Makes revisions before one unreadable; with `physical`, waits until they are dropped.
    ///
    /// # Errors
    /// As [`Server::propose`]; [`api::Error::Compacted`], [`api::Error::FutureRev`].
    pub async fn compact(&self, request: CompactionRequest) -> Result<CompactionResponse, Error> {
        let mut compacted = self.shared.compacted.subscribe();
        let compaction = Some(request);
        let reply =
            self.propose(InternalRaftRequest { compaction, ..InternalRaftRequest::default() });
        let reply = reply.await;
        // Compat: the drop is waited for also if another request began it.
        let under_way = match &reply {
            Ok(_) => true,
            Err(error) => matches!(error, Error::Api(api::Error::Compacted)),
        };
        if request.physical && under_way {
            let done = compacted.wait_for(|revision| *revision >= request.revision).await;
            done.map_err(|_| api::Error::Stopped)?;
        }
        let Reply::Compaction(mut response) = reply? else {
            return Err(Error::Other("a compaction was answered as something else".to_owned()));
        };
        // Compat: the revision when it is done, not when it was applied.
        let revision = mvcc::Read::revision(&self.view());
        response.header = Some(ResponseHeader { revision, ..ResponseHeader::default() });
        Ok(response)
    }
}
