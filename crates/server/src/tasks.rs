//! What a member does by itself: say who it is, end leases, raise the alarm.

use crate::driver::Input;
use crate::start::no_space_alarm;
use crate::{Server, describe};
use api::etcdserverpb::{InternalRaftRequest, LeaseRevokeRequest};
use api::membershippb::{Attributes, ClusterMemberAttrSetRequest};
use lease::REVOKE_BATCH;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// For how long others are waited for after the start, and how often they are looked at.
const PEERS_PATIENCE: Duration = Duration::from_secs(5);
const PEERS_PERIOD: Duration = Duration::from_millis(50);

/// How often leases are looked at.
const EXPIRY_PERIOD: Duration = Duration::from_millis(500);

/// How often those who wait are looked at: a request may take this much longer than it should.
const WAITERS_PERIOD: Duration = Duration::from_millis(200);

/// Revocations on their way at once.
const REVOKES_AT_ONCE: usize = 16;

/// How long a member waits before it says again who it is.
const PUBLISH_PERIOD: Duration = Duration::from_millis(100);

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
    tracing::info!(
        local_member_id = peer::identity::format_id(server.shared.id),
        cluster_id = peer::identity::format_id(server.shared.cluster_id),
        "published local member to cluster through raft"
    );
}

/// A member that starts where others answer hears of a leader soon, if there is one: all but two
/// ticks of its first election timeout are taken off. Where nobody answers, there is nobody to
/// elect it.
pub(crate) async fn advance_ticks(server: Server) {
    if !server.shared.config.initial_election_tick_advance {
        return;
    }
    let since = tokio::time::Instant::now();
    while since.elapsed() < PEERS_PATIENCE {
        tokio::time::sleep(PEERS_PERIOD).await;
        // Compat: one other alone does not count.
        if server.transport.active_peers() > 1 {
            for _ in 2..server.shared.config.election_ticks {
                // One that has so much to do needs no ticks.
                let _ = server.tell(Input::Tick);
            }
            return;
        }
    }
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
                timeout = describe::duration(timeout),
                "timed out waiting for read index response (local node might have slow network)"
            );
        }
    }
}

/// On the leader, proposes to revoke what has run out. A term begins with all leases extended.
pub(crate) async fn expire_leases(server: Server, mut terms: mpsc::Receiver<()>) {
    let shared = &server.shared;
    let mut period = tokio::time::interval(EXPIRY_PERIOD);
    loop {
        tokio::select! {
            began = terms.recv() => {
                if began.is_none() {
                    return;
                }
                let extend = shared.config.election_timeout();
                let (leads, now, mut expiry) = (shared.leads(), shared.now(), shared.expiry());
                if leads && !expiry.is_primary() {
                    expiry.promote(extend, now);
                }
            }
            _ = period.tick() => {
                let due = loop {
                    let (now, mut expiry) = (shared.now(), shared.expiry());
                    let due = expiry.due(now, REVOKE_BATCH);
                    // One pass does so much work at most, so that renewals need not wait for it.
                    if !due.is_empty() || expiry.next_wake().is_none_or(|next| next > now) {
                        break due;
                    }
                };
                revoke(&server, due).await;
            }
        }
    }
}

async fn revoke(server: &Server, due: Vec<i64>) {
    let mut revokes = JoinSet::new();
    for id in due {
        if revokes.len() >= REVOKES_AT_ONCE {
            // What failed is due again later.
            let _ = revokes.join_next().await;
        }
        let server = server.clone();
        revokes.spawn(async move {
            let lease_revoke = Some(LeaseRevokeRequest { id });
            let request = InternalRaftRequest { lease_revoke, ..InternalRaftRequest::default() };
            if let Err(error) = server.propose(request).await {
                tracing::warn!(lease_id = format!("{id:016x}"), %error, "failed to revoke lease");
            } else {
                server.shared.metrics.leases.expired.inc();
            }
        });
    }
    while revokes.join_next().await.is_some() {}
}

/// Turns the alarm on when a reply said that there is no room.
pub(crate) async fn raise_no_space(server: Server, mut nospace: mpsc::Receiver<()>) {
    while nospace.recv().await.is_some() {
        if let Err(error) = server.propose(no_space_alarm(server.shared.id)).await {
            tracing::warn!(%error, "failed to raise the NOSPACE alarm");
        }
    }
}
