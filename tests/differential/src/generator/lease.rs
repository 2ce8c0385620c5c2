//! Leases, and what stands on them: locks and elections without anybody to wait for.

use super::{Generator, KEYS, LEASES, NO_LEASE};
use crate::{NOW, Request, Step};
use api::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseLeasesRequest, LeaseRevokeRequest,
    LeaseTimeToLiveRequest, PutRequest, RangeRequest,
};
use api::v3electionpb::{
    CampaignRequest, LeaderKey, LeaderRequest, ProclaimRequest, ResignRequest,
};
use api::v3lockpb::{LockRequest, UnlockRequest};
use bytes::Bytes;

/// Far longer than a run: nothing expires while answers are compared.
const TTLS: [i64; 3] = [100_000, 200_000, 9_000_000_000];

/// A lease that is revoked as soon as it is granted.
const SHORT: i64 = 5050;

impl Generator {
    pub(super) fn lease(&mut self) {
        let id = self.granted();
        match self.rng.below(20) {
            0..6 => {
                let ttl = self.rng.pick(&TTLS);
                self.push(Request::Grant(LeaseGrantRequest { id, ttl }));
            }
            6..8 => self.push(Request::Revoke(LeaseRevokeRequest { id })),
            8..11 => self.program.push(Step::KeepAlive(LeaseKeepAliveRequest { id })),
            11..15 => {
                let keys = self.rng.one_in(2);
                self.push(Request::TimeToLive(LeaseTimeToLiveRequest { id, keys }));
            }
            15..17 => self.push(Request::Leases(LeaseLeasesRequest {})),
            17 => self.short(),
            18 => {
                let ttl = self.rng.pick(&[9_000_000_001, i64::MAX]);
                self.push(Request::Grant(LeaseGrantRequest { id: SHORT, ttl }));
            }
            _ => self.attach(id),
        }
    }

    /// A lease whose time is less than the least one, which is then given. It has no keys, so that
    /// nothing happens if it expires before it is revoked.
    fn short(&mut self) {
        let ttl = self.rng.pick(&[0, -5, 1, i64::MIN]);
        self.push(Request::Grant(LeaseGrantRequest { id: SHORT, ttl }));
        self.push(Request::Revoke(LeaseRevokeRequest { id: SHORT }));
    }

    /// Several keys on one lease.
    fn attach(&mut self, lease: i64) {
        let ttl = TTLS[0];
        self.push(Request::Grant(LeaseGrantRequest { id: lease, ttl }));
        for _ in 0..self.rng.between(1, 5) {
            let key = Bytes::from_static(self.rng.pick(&KEYS));
            self.push(Request::Put(PutRequest { key, lease, ..PutRequest::default() }));
        }
        if self.rng.one_in(2) {
            self.push(Request::Revoke(LeaseRevokeRequest { id: lease }));
        }
    }

    /// Each lease has names of its own, so that nobody waits for anybody.
    pub(super) fn lock_or_election(&mut self) {
        let lease = if self.rng.one_in(8) { NO_LEASE } else { self.rng.pick(&LEASES) };
        self.push(Request::Grant(LeaseGrantRequest { id: lease, ttl: TTLS[0] }));
        if lease == NO_LEASE || self.rng.one_in(4) {
            self.push(Request::Revoke(LeaseRevokeRequest { id: lease }));
        }
        if self.rng.one_in(2) { self.lock(lease) } else { self.election(lease) }
    }

    fn lock(&mut self, lease: i64) {
        let name = Bytes::from(format!("~lock{lease:x}"));
        let key = Bytes::from(format!("~lock{lease:x}/{lease:x}"));
        for _ in 0..self.rng.between(1, 2) {
            self.push(Request::Lock(LockRequest { name: name.clone(), lease }));
        }
        let owner = RangeRequest { key: key.clone(), ..RangeRequest::default() };
        self.push(Request::Range(owner));
        for _ in 0..self.rng.between(1, 2) {
            self.push(Request::Unlock(UnlockRequest { key: key.clone() }));
        }
        if self.rng.one_in(4) {
            self.push(Request::Unlock(UnlockRequest { key: Bytes::new() }));
        }
    }

    fn election(&mut self, lease: i64) {
        let name = Bytes::from(format!("~vote{lease:x}"));
        let key = Bytes::from(format!("~vote{lease:x}/{lease:x}"));
        self.push(Request::Leader(LeaderRequest { name: name.clone() }));
        let value = Bytes::from_static(b"first");
        self.push(Request::Campaign(CampaignRequest { name: name.clone(), lease, value }));
        // Who campaigned just now leads with the revision of that moment; others do not.
        let rev = self.rng.pick(&[NOW, NOW, NOW - 1, 0]);
        let leader = Some(LeaderKey { name: name.clone(), key, rev, lease });
        let leader = if self.rng.one_in(8) { None } else { leader };
        self.push(Request::Leader(LeaderRequest { name: name.clone() }));
        let value = Bytes::from_static(b"second");
        self.push(Request::Proclaim(ProclaimRequest { leader: leader.clone(), value }));
        let again = CampaignRequest { name: name.clone(), lease, value: "third".into() };
        if self.rng.one_in(3) {
            self.push(Request::Campaign(again));
        }
        self.push(Request::Resign(ResignRequest { leader }));
        self.push(Request::Leader(LeaderRequest { name }));
        self.push(Request::Revoke(LeaseRevokeRequest { id: lease }));
    }
}
