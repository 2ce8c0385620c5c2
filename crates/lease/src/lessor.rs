//! The replicated part: leases, and the keys attached to them. One owner, the apply stage.
//!
//! A lease is a record of bucket `lease`; what hangs on it is not stored, but read back from the
//! keys themselves at start (etcd `server/lease/lessor.go`, `server/storage/schema/lease.go`).

use api::leasepb;
use backend::{Bucket, Buckets, Store};
use bytes::Bytes;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};

/// All leases and their keys.
#[derive(Debug, Default)]
pub struct Lessor {
    leases: BTreeMap<i64, Entry>,
    /// The other way round: each attached key's lease.
    attached: BTreeMap<Bytes, i64>,
}

/// A lease as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Never 0; negative if a client chose so.
    pub id: i64,
    /// What was granted, in seconds.
    pub ttl: i64,
    /// Seconds left at the last checkpoint; 0 if there was none since the last renewal.
    pub remaining_ttl: i64,
}

#[derive(Debug)]
struct Entry {
    lease: Lease,
    keys: BTreeSet<Bytes>,
}

/// Why a lease request is refused. Every member refuses the same ones.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such lease. Id 0 is never one, not even for a grant.
    #[error("lease not found")]
    NotFound,

    /// A grant of an id that is taken.
    #[error("lease already exists")]
    Exists,

    /// A grant of more than [`MAX_TTL`].
    #[error("too large lease TTL")]
    TtlTooLarge,

    /// An entry of bucket `lease` that is no lease: the store is not etcd's, or damaged.
    #[error("entry {key:?} of bucket lease is no lease")]
    Corrupt {
        /// The entry's key.
        key: Bytes,
    },
}

/// The longest time to live that is granted, in seconds.
pub const MAX_TTL: i64 = 9_000_000_000;

/// The shortest time to live that is granted, in seconds: one and a half election timeouts, so
/// that a lease outlives a change of leader. `tick` is the heartbeat interval.
///
/// Compat: the number of ticks is rounded down before, and the seconds up after. As the result
/// is stored, members with other election settings would store other leases.
#[must_use]
pub fn min_ttl(election_ticks: u32, tick: std::time::Duration) -> i64 {
    let nanos = tick.as_nanos() * u128::from(u64::from(election_ticks) * 3 / 2);
    i64::try_from(nanos.div_ceil(1_000_000_000)).unwrap_or(MAX_TTL)
}

impl Lessor {
    /// The leases that a store holds, and what is attached to them: `keys` are the live keys
    /// that name a lease, in any order. Gives also the keys whose lease is not there; a store
    /// that etcd wrote has none, and their being there harms nobody but who wonders why they
    /// stay.
    ///
    /// A stored time to live below `min_ttl` counts as that, as for a grant.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn load(
        buckets: &Buckets,
        min_ttl: i64,
        keys: impl IntoIterator<Item = (Bytes, i64)>,
    ) -> Result<(Self, Vec<(Bytes, i64)>), Error> {
        let mut lessor = Self::default();
        for (key, value) in buckets.bucket(Bucket::Lease) {
            let stored = leasepb::Lease::decode(value.as_ref())
                .map_err(|_| Error::Corrupt { key: key.clone() })?;
            if key.as_ref() != stored.id.to_be_bytes() {
                return Err(Error::Corrupt { key: key.clone() });
            }
            let ttl = stored.ttl.max(min_ttl);
            let lease = Lease { id: stored.id, ttl, remaining_ttl: stored.remaining_ttl };
            lessor.leases.insert(lease.id, Entry { lease, keys: BTreeSet::new() });
        }
        let mut orphans = Vec::new();
        for (key, id) in keys {
            if lessor.contains(id) {
                lessor.put(&key, id);
            } else {
                orphans.push((key, id));
            }
        }
        Ok((lessor, orphans))
    }

    /// Grants a lease and gives the time to live it has, at least `min_ttl`, in seconds.
    ///
    /// # Errors
    /// [`Error::NotFound`] for id 0, [`Error::TtlTooLarge`], [`Error::Exists`], in this order.
    pub fn grant(
        &mut self,
        store: &mut Store,
        id: i64,
        ttl: i64,
        min_ttl: i64,
    ) -> Result<i64, Error> {
        if id == 0 {
            return Err(Error::NotFound);
        }
        if ttl > MAX_TTL {
            return Err(Error::TtlTooLarge);
        }
        if self.contains(id) {
            return Err(Error::Exists);
        }
        let lease = Lease { id, ttl: ttl.max(min_ttl), remaining_ttl: 0 };
        save(store, &lease);
        self.leases.insert(id, Entry { lease, keys: BTreeSet::new() });
        Ok(lease.ttl)
    }

    /// Takes a lease and its record away, and gives the keys that were attached, in byte order.
    /// The caller deletes them in this order, and before it commits: lease and keys go together.
    ///
    /// # Errors
    /// [`Error::NotFound`], and nothing has changed.
    pub fn revoke(&mut self, store: &mut Store, id: i64) -> Result<Vec<Bytes>, Error> {
        let entry = self.leases.remove(&id).ok_or(Error::NotFound)?;
        for key in &entry.keys {
            self.attached.remove(key);
        }
        store.delete(Bucket::Lease, &id.to_be_bytes());
        Ok(entry.keys.into_iter().collect())
    }

    /// A key was put, with the lease it names now; 0 detaches it.
    ///
    /// # Panics
    /// If there is no such lease: puts that name one are refused before they write anything.
    pub fn put(&mut self, key: &[u8], lease: i64) {
        if self.lease_of(key) == lease {
            return;
        }
        self.delete(key);
        if lease == 0 {
            return;
        }
        // A copy: the key may be a slice of a request many times its size.
        let key = Bytes::copy_from_slice(key);
        let entry = self.leases.get_mut(&lease).expect("puts are refused if their lease is gone");
        entry.keys.insert(key.clone());
        self.attached.insert(key, lease);
    }

    /// A key was deleted.
    pub fn delete(&mut self, key: &[u8]) {
        if let Some(id) = self.attached.remove(key) {
            let entry = self.leases.get_mut(&id).expect("an attached key's lease is there");
            entry.keys.remove(key);
        }
    }

    /// Notes the seconds that a lease has left, 0 to forget them. An unknown id changes nothing:
    /// the lease was revoked while the checkpoint was on its way.
    ///
    /// With `persist` the record is written too. Compat: etcd does so from cluster version 3.6
    /// on, or with its flag.
    pub fn checkpoint(&mut self, store: &mut Store, id: i64, remaining_ttl: i64, persist: bool) {
        let Some(entry) = self.leases.get_mut(&id) else { return };
        entry.lease.remaining_ttl = remaining_ttl;
        if persist {
            save(store, &entry.lease);
        }
    }

    /// Whether there is such a lease; a put that names another one than 0 asks first.
    #[must_use]
    pub fn contains(&self, id: i64) -> bool {
        self.leases.contains_key(&id)
    }

    /// A lease.
    #[must_use]
    pub fn get(&self, id: i64) -> Option<Lease> {
        self.leases.get(&id).map(|entry| entry.lease)
    }

    /// All leases, by id.
    pub fn list(&self) -> impl Iterator<Item = Lease> {
        self.leases.values().map(|entry| entry.lease)
    }

    /// The keys attached to a lease, in byte order; `None` without such a lease.
    #[must_use]
    pub fn keys(&self, id: i64) -> Option<impl ExactSizeIterator<Item = &Bytes>> {
        self.leases.get(&id).map(|entry| entry.keys.iter())
    }

    /// The lease a key is attached to; 0 for none.
    #[must_use]
    pub fn lease_of(&self, key: &[u8]) -> i64 {
        self.attached.get(key).copied().unwrap_or(0)
    }
}

fn save(store: &mut Store, lease: &Lease) {
    let Lease { id, ttl, remaining_ttl } = *lease;
    let value = leasepb::Lease { id, ttl, remaining_ttl }.encode_to_vec();
    store.set(Bucket::Lease, &id.to_be_bytes(), &value);
}

#[cfg(test)]
mod tests;
