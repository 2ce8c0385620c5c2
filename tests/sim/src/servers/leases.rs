//! What clients may count on of leases: one that was granted or renewed lives its whole time from
//! when that was asked for, unless somebody revokes it.

use crate::plan::Millis;
use api::etcdserverpb::InternalRaftRequest;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(crate) struct LeaseBook {
    /// Seconds each lease was granted.
    pub(crate) granted: BTreeMap<i64, i64>,
    /// When each was last given its whole time, that clients know of.
    alive: BTreeMap<i64, Millis>,
    /// Requests by which members revoke what ran out, and of which lease.
    revoking: BTreeMap<u64, i64>,
    pub(crate) gone: BTreeSet<i64>,
    /// Ids given out.
    pub(crate) ids: i64,
}

impl LeaseBook {
    pub(crate) fn granted(&mut self, id: i64, ttl: i64) {
        self.granted.insert(id, ttl);
    }

    /// A client was told that its write is in.
    pub(crate) fn acknowledged(&mut self, request: &InternalRaftRequest, asked_at: Millis) {
        if let Some(grant) = &request.lease_grant
            && self.granted.contains_key(&grant.id)
        {
            let alive = self.alive.entry(grant.id).or_default();
            *alive = asked_at.max(*alive);
        }
    }

    /// A client was told that a lease has its whole time again.
    pub(crate) fn renewed(&mut self, id: i64, ttl: i64, asked_at: Millis) -> Result<(), String> {
        let granted = self.granted.get(&id).copied();
        if granted != Some(ttl) {
            return Err(format!("lease {id:x} has {ttl} s for {granted:?}"));
        }
        let alive = self.alive.entry(id).or_default();
        *alive = asked_at.max(*alive);
        Ok(())
    }

    /// A member wants to revoke a lease that ran out.
    pub(crate) fn revoking(&mut self, request: u64, id: i64) {
        self.revoking.insert(request, id);
    }

    /// A lease is revoked, as the log says. Whether it had run out.
    pub(crate) fn gone(&mut self, request: u64, id: i64, now: Millis) -> Result<bool, String> {
        if !self.gone.insert(id) {
            return Err(format!("lease {id:x} is revoked twice"));
        }
        if !self.revoking.contains_key(&request) {
            return Ok(false);
        }
        let seconds = self.granted.get(&id).copied().unwrap_or_default();
        let ttl = Millis::try_from(seconds).unwrap_or_default() * 1000;
        match self.alive.get(&id) {
            Some(alive) if alive + ttl > now => {
                Err(format!("lease {id:x} of {seconds} s is gone at {now}, given time at {alive}"))
            }
            _ => Ok(true),
        }
    }
}
