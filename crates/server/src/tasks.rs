//! What a member does by itself: say who it is, hasten its first election, compact, end leases,
//! raise the alarm.

use crate::compactor::{AutoCompaction, Compactor};
use crate::driver::Input;
use crate::shared::Shared;
use crate::start::no_space_alarm;
use crate::{Server, go_duration};
use api::etcdserverpb::{CompactionRequest, InternalRaftRequest, LeaseRevokeRequest};
use api::membershippb::{Attributes, ClusterMemberAttrSetRequest};
use futures_util::future::join_all;
use lease::REVOKE_BATCH;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How often leases are looked at.
const EXPIRY_PERIOD: Duration = Duration::from_millis(500);

/// How often those who wait are looked at: a request may take this much longer than it should.
const WAITERS_PERIOD: Duration = Duration::from_millis(200);

/// How soon the next batch of revocations follows one that was full: at most 16,000 leases a second
/// end, which leaves the log's greater part to clients. (etcd: 1,000, so that a hundred thousand
/// take it two minutes.)
const REVOKE_PAUSE: Duration = Duration::from_millis(31);

/// How long a member waits before it says again who it is.
const PUBLISH_PERIOD: Duration = Duration::from_millis(100);

/// How long others are waited for before the first election takes its time after all, and how
/// often they are counted meanwhile (etcd `adjustTicks`).
const PEERS_WAIT: Duration = Duration::from_secs(5);
const PEERS_PERIOD: Duration = Duration::from_millis(50);

/// Says until it is heard what the member is called and where clients find it.
pub(crate) async fn publish(server: Server) {
    let attributes = Attributes {
        name: server.shared.config.name.clone(),
        client_urls: server.shared.config.advertise_client_urls.clone(),
    };
    let set = ClusterMemberAttrSetRequest {
        member_id: server.shared.id,
        member_attributes: Some(attributes),
    };
    let mut applied = server.shared.applied.subscribe();
    loop {
        let request = InternalRaftRequest {
            cluster_member_attr_set: Some(set.clone()),
            ..InternalRaftRequest::default()
        };
        match server.propose(request).await {
            Ok(_) => break,
            Err(crate::Error::Api(api::Error::Stopped)) => return,
            Err(error) => {
                tracing::warn!(%error, "failed to publish local member to cluster through raft")
            }
        }
        // One that has much to apply again refuses requests until it has.
        tokio::select! {
            _ = applied.changed() => {}
            () = tokio::time::sleep(PUBLISH_PERIOD) => {}
        }
    }
    // A cluster of one decides its version at once: whoever is told that it serves finds one.
    while server.cluster().members().len() == 1 && server.cluster().version().is_none() {
        if applied.changed().await.is_err() {
            return;
        }
    }
    server.shared.published.send_replace(true);
    let config = &server.shared.config;
    tracing::info!(
        local_member_id = peer::identity::format_id(server.shared.id),
        local_member_attributes = format!(
            "{{Name:{} ClientURLs:[{}]}}",
            config.name,
            config.advertise_client_urls.join(" ")
        ),
        cluster_id = peer::identity::format_id(server.shared.cluster_id),
        publish_timeout = go_duration(config.request_timeout()),
        "published local member to cluster through raft"
    );
}

/// Tells those who wait too long that it took too long.
pub(crate) async fn expire_waiters(server: Server) {
    let shared = &server.shared;
    let timeout = shared.config.request_timeout();
    let mut period = tokio::time::interval(WAITERS_PERIOD);
    let mut told = None;
    loop {
        period.tick().await;
        let now = shared.now();
        let reads = shared.waiters.expire(now);
        // Of all reads that wait for one answer and give up, one counts and is logged.
        if reads && told.is_none_or(|told| told + timeout <= now) {
            told = Some(now);
            shared.metrics.reads_slow.inc();
            tracing::warn!(
                timeout = go_duration(timeout),
                "timed out waiting for read index response (local node might have slow network)"
            );
        }
    }
}

/// Lets a member that has found others wait less than an election timeout for its first election:
/// if there is a leader, it is heard of before that; if not, there is one sooner.
pub(crate) async fn advance_ticks(server: Server) {
    let config = &server.shared.config;
    let (id, all) = (peer::identity::format_id(server.shared.id), config.election_ticks);
    let log = |ticks: u32, peers: Option<usize>, message: &str| {
        tracing::info!(
            local_member_id = id,
            forward_ticks = ticks,
            forward_duration = go_duration(config.heartbeat_interval * ticks),
            election_ticks = all,
            election_timeout = go_duration(config.election_timeout()),
            active_remote_members = peers,
            "{message}"
        );
    };
    if server.cluster().members().len() <= 1 {
        // The driver has begun the election already.
        return log(all - 1, None, "started as single-node; fast-forwarding election ticks");
    }
    if !config.initial_election_tick_advance {
        tracing::info!(election_ticks = all, "skipping initial election tick advance");
        return;
    }
    tracing::info!(election_ticks = all, "starting initial election tick advance");
    let (mut period, deadline) = (tokio::time::interval(PEERS_PERIOD), Instant::now() + PEERS_WAIT);
    while period.tick().await < deadline {
        let peers = server.transport.active_peers();
        if peers > 1 {
            let ticks = all.saturating_sub(2);
            log(ticks, Some(peers), "initialized peer connections; fast-forwarding election ticks");
            // A driver that is too busy to listen has better things to do than an election.
            let _ = server.tell(Input::Advance(ticks));
            return;
        }
    }
}

/// Compacts while this member leads, and watches while it does not.
pub(crate) async fn compact(server: Server, keep: AutoCompaction) {
    let shared = &server.shared;
    let revision_now = || mvcc::Read::revision(&server.view());
    let mut compactor = Compactor::new(keep, shared.now(), revision_now());
    loop {
        tokio::time::sleep(compactor.wake_at().saturating_sub(shared.now())).await;
        let Some(revision) = compactor.step(shared.now(), revision_now(), shared.leads()) else {
            continue;
        };
        let (began, keeps) = (shared.now(), compactor.keeps());
        log_compaction(keeps, revision, "starting", None);
        let request = CompactionRequest { revision, physical: false };
        let done = match server.compact(request).await {
            // Another was quicker.
            Ok(_) | Err(crate::Error::Api(api::Error::Compacted)) => {
                let took = shared.now().saturating_sub(began);
                log_compaction(keeps, revision, "completed", Some(took));
                Some(revision)
            }
            Err(error) => {
                let pause = go_duration(compactor.pause());
                match keeps {
                    AutoCompaction::Periodic(period) => tracing::warn!(
                        revision,
                        compact_period = go_duration(period),
                        retry_interval = pause,
                        %error,
                        "failed auto periodic compaction"
                    ),
                    AutoCompaction::Revision(kept) => tracing::warn!(
                        revision,
                        revision_compaction_retention = kept,
                        retry_interval = pause,
                        %error,
                        "failed auto revision compaction"
                    ),
                }
                None
            }
        };
        compactor.compacted(done, shared.now(), revision_now());
    }
}

fn log_compaction(keeps: AutoCompaction, revision: i64, what: &str, took: Option<Duration>) {
    let took = took.map(go_duration);
    match keeps {
        AutoCompaction::Periodic(period) => tracing::info!(
            revision,
            compact_period = go_duration(period),
            took,
            "{what} auto periodic compaction"
        ),
        AutoCompaction::Revision(kept) => tracing::info!(
            revision,
            revision_compaction_retention = kept,
            took,
            "{what} auto revision compaction"
        ),
    }
}

/// On the leader, proposes to revoke what has run out. A term begins with all leases extended.
pub(crate) async fn expire_leases(server: Server, mut terms: mpsc::Receiver<()>) {
    let shared = &server.shared;
    let mut next = Instant::now() + EXPIRY_PERIOD;
    loop {
        tokio::select! {
            began = terms.recv() => {
                if began.is_none() {
                    return;
                }
                begin_term(shared);
            }
            () = tokio::time::sleep_until(next) => {
                let (began, due) = (Instant::now(), due_leases(shared));
                let pause = if due.len() < REVOKE_BATCH { EXPIRY_PERIOD } else { REVOKE_PAUSE };
                revoke(&server, due).await;
                next = began + pause;
            }
        }
    }
}

/// A leader's term has begun: if it is this member's, it counts the time of all leases, extended.
pub(crate) fn begin_term(shared: &Shared) {
    let extend = shared.config.election_timeout();
    let (leads, now, mut expiry) = (shared.leads(), shared.now(), shared.expiry());
    if leads && !expiry.is_primary() {
        expiry.promote(extend, now);
    }
}

/// The leases that have run out.
pub(crate) fn due_leases(shared: &Shared) -> Vec<i64> {
    loop {
        let (now, mut expiry) = (shared.now(), shared.expiry());
        let due = expiry.due(now, REVOKE_BATCH);
        // One pass does so much work at most, so that renewals need not wait for it.
        if !due.is_empty() || expiry.next_wake().is_none_or(|next| next > now) {
            return due;
        }
    }
}

/// The request that revokes a lease.
pub(crate) fn revocation(id: i64) -> InternalRaftRequest {
    let lease_revoke = Some(LeaseRevokeRequest { id });
    InternalRaftRequest { lease_revoke, ..InternalRaftRequest::default() }
}

/// Revokes all at once: they are entries of one append.
async fn revoke(server: &Server, due: Vec<i64>) {
    let revokes = due.into_iter().map(async |id| {
        // Passed on, it would end a lease whose time another member counts by now.
        let revoked = server.propose_as_leader(revocation(id)).await;
        revoked.map_err(|error| (id, error))
    });
    let (mut failed, mut first) = (0, None);
    for revoked in join_all(revokes).await {
        match revoked {
            Ok(_) => server.shared.metrics.leases.expired.inc(),
            // It is due again later.
            Err(error) => {
                failed += 1;
                first = first.or(Some(error));
            }
        }
    }
    if let Some((id, error)) = first {
        let lease_id = format!("{id:016x}");
        tracing::warn!(lease_id, failed, %error, "failed to revoke lease");
    }
}

/// Turns the alarm on when a reply said that there is no room.
pub(crate) async fn raise_no_space(server: Server, mut nospace: mpsc::Receiver<()>) {
    while nospace.recv().await.is_some() {
        if let Err(error) = server.propose(no_space_alarm(server.shared.id)).await {
            tracing::warn!(%error, "failed to raise the NOSPACE alarm");
        }
    }
}
