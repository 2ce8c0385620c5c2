//! The replicated part: which leases there are, and which keys are attached to them.
//!
//! Invariants:
//! - a key is attached to one lease at most, and both sides say the same;
//! - what is stored of a lease is in its bucket (`leasepb.Lease`); what is attached follows from
//!   the keys, and is rebuilt from them at the start.
//!
//! Source: etcd server/lease/lessor.go.

use api::leasepb;
use backend::{Bucket, Buckets, Store};
use bytes::Bytes;
use prost::Message as _;
use std::collections::{BTreeMap, BTreeSet};

/// The longest time to live there is, in seconds.
pub const TTL_MAX: i64 = 9_000_000_000;

/// Why a lease is not granted or revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such lease, or no lease can have the id.
    #[error("requested lease not found")]
    NotFound,
    /// There is one with the id.
    #[error("lease already exists")]
    Exists,
    /// Above [`TTL_MAX`].
    #[error("too large lease TTL")]
    TtlTooLarge,
}

/// All leases of a cluster.
#[derive(Debug, Default)]
pub struct Lessor {
    leases: BTreeMap<i64, Lease>,
    by_key: BTreeMap<Bytes, i64>,
}

#[derive(Debug, Default)]
struct Lease {
    /// Seconds it was granted.
    ttl: i64,
    /// Seconds left at the last checkpoint; 0 for none.
    remaining_ttl: i64,
    keys: BTreeSet<Bytes>,
}

impl Lessor {
    /// The leases in their bucket, without keys; see [`Lessor::attach`].
    #[must_use]
    pub fn load(buckets: &Buckets) -> Self {
        let mut lessor = Self::default();
        for value in buckets.bucket(Bucket::Lease).values() {
            // Compat: what cannot be read is skipped; etcd would stop.
            if let Ok(stored) = leasepb::Lease::decode(value.clone()) {
                let (ttl, remaining_ttl) = (stored.ttl, stored.remaining_ttl);
                lessor.leases.insert(stored.id, Lease { ttl, remaining_ttl, ..Lease::default() });
            }
        }
        lessor
    }

    /// Adds a lease; its time to live is raised to `min_ttl` seconds, and returned.
    ///
    /// # Errors
    /// [`Error`]; nothing has changed then.
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
        if ttl > TTL_MAX {
            return Err(Error::TtlTooLarge);
        }
        if self.leases.contains_key(&id) {
            return Err(Error::Exists);
        }
        let lease = Lease { ttl: ttl.max(min_ttl), ..Lease::default() };
        save(store, id, &lease);
        let ttl = lease.ttl;
        self.leases.insert(id, lease);
        Ok(ttl)
    }

    /// Takes a lease out, and returns the keys attached, ascending: they are to be deleted in the
    /// same frame of the store.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn revoke(&mut self, store: &mut Store, id: i64) -> Result<Vec<Bytes>, Error> {
        let lease = self.leases.remove(&id).ok_or(Error::NotFound)?;
        store.delete(Bucket::Lease, &id.to_be_bytes());
        for key in &lease.keys {
            self.by_key.remove(key);
        }
        Ok(lease.keys.into_iter().collect())
    }

    /// Notes what remains of a lease, for the next leader; stored if `persist`. Whether there is
    /// such a lease.
    pub fn checkpoint(
        &mut self,
        store: &mut Store,
        id: i64,
        remaining_ttl: i64,
        persist: bool,
    ) -> bool {
        let Some(lease) = self.leases.get_mut(&id) else { return false };
        lease.remaining_ttl = remaining_ttl;
        if persist {
            save(store, id, lease);
        }
        true
    }

    /// A key was put, with a lease or, with 0, without one.
    pub fn put(&mut self, key: &Bytes, id: i64) {
        // Most stores have no leases at all.
        if self.by_key.is_empty() && id == 0 {
            return;
        }
        if self.by_key.get(key) == Some(&id) {
            return;
        }
        self.delete(key);
        self.attach(key, id);
    }

    /// A key was deleted.
    pub fn delete(&mut self, key: &Bytes) {
        if let Some(id) = self.by_key.remove(key)
            && let Some(lease) = self.leases.get_mut(&id)
        {
            lease.keys.remove(key);
        }
    }

    /// A key has this lease; with 0, or one that is not there, it has none.
    pub fn attach(&mut self, key: &Bytes, id: i64) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.keys.insert(key.clone());
            self.by_key.insert(key.clone(), id);
        }
    }

    /// Whether there is such a lease.
    #[must_use]
    pub fn contains(&self, id: i64) -> bool {
        self.leases.contains_key(&id)
    }

    /// Seconds a lease was granted.
    #[must_use]
    pub fn ttl(&self, id: i64) -> Option<i64> {
        self.leases.get(&id).map(|lease| lease.ttl)
    }

    /// The keys attached to a lease, ascending.
    #[must_use]
    pub fn keys(&self, id: i64) -> Vec<Bytes> {
        self.leases.get(&id).map(|lease| lease.keys.iter().cloned().collect()).unwrap_or_default()
    }

    /// All ids, ascending.
    #[must_use]
    pub fn ids(&self) -> Vec<i64> {
        self.leases.keys().copied().collect()
    }

    /// Id, granted and remaining seconds of each lease, for a leader's clock to begin with.
    pub fn times(&self) -> impl Iterator<Item = (i64, i64, i64)> {
        self.leases.iter().map(|(id, lease)| (*id, lease.ttl, lease.remaining_ttl))
    }
}

fn save(store: &mut Store, id: i64, lease: &Lease) {
    let stored = leasepb::Lease { id, ttl: lease.ttl, remaining_ttl: lease.remaining_ttl };
    store.set(Bucket::Lease, &id.to_be_bytes(), &stored.encode_to_vec());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::sync::Arc;

    fn store() -> Store {
        let fs = Arc::new(vfs::MemFs::new());
        let options = backend::Options::default();
        backend::open(fs, Path::new("store"), options).expect("memory").store
    }

    #[test]
    fn a_key_has_one_lease() {
        let (mut store, mut lessor) = (store(), Lessor::default());
        let key = Bytes::from_static(b"k");
        assert_eq!(lessor.grant(&mut store, 1, 10, 2), Ok(10));
        assert_eq!(lessor.grant(&mut store, 2, 0, 2), Ok(2));
        lessor.put(&key, 1);
        lessor.put(&key, 2);
        assert_eq!((lessor.keys(1), lessor.keys(2)), (vec![], vec![key.clone()]));
        lessor.put(&key, 0);
        assert_eq!(lessor.keys(2), Vec::<Bytes>::new());
        lessor.put(&key, 1);
        assert_eq!(lessor.revoke(&mut store, 1), Ok(vec![key]));
        assert_eq!(lessor.revoke(&mut store, 1), Err(Error::NotFound));
        let loaded = Lessor::load(store.buckets());
        assert_eq!(loaded.ids(), [2]);
    }

    #[test]
    fn refused_grants() {
        let (mut store, mut lessor) = (store(), Lessor::default());
        assert_eq!(lessor.grant(&mut store, 0, 10, 2), Err(Error::NotFound));
        assert_eq!(lessor.grant(&mut store, 1, TTL_MAX + 1, 2), Err(Error::TtlTooLarge));
        assert_eq!(lessor.grant(&mut store, -1, TTL_MAX, 2), Ok(TTL_MAX));
        assert_eq!(lessor.grant(&mut store, -1, 1, 2), Err(Error::Exists));
    }
}
