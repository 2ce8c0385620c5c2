//! Leases as clients see them: kept alive, looked at, listed.
//!
//! Only the leader counts their time; other members ask it (`forward.rs`). It answers nobody's
//! renewal before it has made sure, by a round of reads, that it still leads: whoever leads after
//! that gives every lease its whole time from then on. etcd (3.5.14 and later) does without the
//! round if its raft loop went on lately; a leader that stood still may then answer for another.
//! What cannot be made sure of is `not a primary lessor`, for the client to go elsewhere.

use crate::apply_loop::ApplyInput;
use crate::shared::Shared;
use crate::waiters::{Told, Waiter};
use crate::{Error, Server};
use api::etcdserverpb::{InternalRaftRequest, LeaseCheckpoint, LeaseCheckpointRequest};
use bytes::Bytes;
use lease::{Refused, Remaining, Renewal};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a lease that is not known here is waited for.
const APPLY_WAIT: Duration = Duration::from_secs(1);

/// How long to wait before a lease that ran out is looked at again.
const EXPIRED_POLL: Duration = Duration::from_millis(50);

/// What is known of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseTimes {
    /// Seconds it was granted.
    pub granted_ttl: i64,
    /// Seconds left, rounded down.
    pub ttl: i64,
    /// The keys attached, ascending, if asked for.
    pub keys: Vec<Bytes>,
}

impl Server {
    /// Gives a lease its whole time again if that can be done without asking anybody and without
    /// waiting for anything; its seconds.
    #[must_use]
    pub fn lease_renew_now(&self, id: i64) -> Option<i64> {
        if !self.decides_alone() {
            return None;
        }
        let now = self.shared.now();
        match self.shared.expiry().renew(id, now) {
            Ok(Renewal::Renewed(ttl)) => {
                self.shared.metrics.leases.renewed.inc();
                Some(ttl)
            }
            _ => None,
        }
    }

    /// Gives a lease its whole time again; its seconds.
    ///
    /// # Errors
    /// [`api::Error::LeaseNotFound`], `NoLeader`, `Timeout`; that it is not certain whether this
    /// member still leads, as text.
    pub async fn lease_renew(&self, id: i64) -> Result<i64, Error> {
        let deadline = self.request_deadline();
        loop {
            if self.shared.leads() {
                self.make_sure_to_lead().await?;
                if let Some(ttl) = self.renew_here(id).await? {
                    return Ok(ttl);
                }
            }
            if let Some(ttl) = self.renew_at_leader(id, deadline).await? {
                return Ok(ttl);
            }
        }
    }

    /// The same for another member, which asks because this one leads.
    ///
    /// # Errors
    /// [`api::Error::LeaseNotFound`], `TimeoutWaitAppliedIndex`; that this member does not lead, as
    /// text.
    pub async fn lease_renew_for_peer(&self, id: i64) -> Result<i64, Error> {
        self.make_sure_to_lead().await?;
        self.renew_here(id).await?.ok_or_else(not_primary)
    }

    /// `None` if this member does not count the time of leases.
    async fn renew_here(&self, id: i64) -> Result<Option<i64>, Error> {
        let mut waited = false;
        loop {
            match self.shared.renew(id) {
                Ok(Renewal::Renewed(ttl)) => {
                    self.shared.metrics.leases.renewed.inc();
                    return Ok(Some(ttl));
                }
                Ok(Renewal::ForgetCheckpoint) => {
                    let checkpoints = vec![LeaseCheckpoint { id, remaining_ttl: 0 }];
                    let lease_checkpoint = Some(LeaseCheckpointRequest { checkpoints });
                    let request = InternalRaftRequest { lease_checkpoint, ..Default::default() };
                    self.propose(request).await?;
                }
                // It may be about to be granted.
                Err(Refused::NotFound) if !waited => {
                    self.wait_committed_applied().await?;
                    waited = true;
                }
                Err(Refused::NotFound) => return Err(api::Error::LeaseNotFound.into()),
                Err(Refused::NotPrimary) => return Ok(None),
                // Its revocation is on its way; only then can be said that it is gone.
                Err(Refused::Expired) => tokio::time::sleep(EXPIRED_POLL).await,
            }
        }
    }

    /// What is known of a lease; `None` if there is none.
    ///
    /// # Errors
    /// [`api::Error::TimeoutWaitAppliedIndex`], `LeaderChanged`, `NoLeader`, `Timeout`.
    pub async fn lease_times(&self, id: i64, keys: bool) -> Result<Option<LeaseTimes>, Error> {
        let deadline = self.request_deadline();
        loop {
            if self.shared.leads() {
                return match self.lease_times_for_peer(id, keys).await {
                    // Compat: a client asks again for this one.
                    Err(error) if error == not_primary() => Err(api::Error::LeaderChanged.into()),
                    answer => answer,
                };
            }
            if let Some(times) = self.times_at_leader(id, keys, deadline).await? {
                return Ok(times);
            }
        }
    }

    /// The same for another member, which asks because this one leads.
    ///
    /// # Errors
    /// [`api::Error::TimeoutWaitAppliedIndex`]; that this member does not lead, as text.
    pub async fn lease_times_for_peer(
        &self,
        id: i64,
        keys: bool,
    ) -> Result<Option<LeaseTimes>, Error> {
        self.wait_committed_applied().await?;
        let (answer, found) = oneshot::channel();
        self.ask(ApplyInput::Lease { id, answer })?;
        let Some(attached) = found.await.map_err(|_| api::Error::Stopped)? else {
            return Ok(None);
        };
        let remaining = self.shared.expiry().remaining(id, self.shared.now());
        let Remaining { granted, left } = match remaining {
            Ok(remaining) => remaining,
            Err(Refused::NotPrimary) => return Err(not_primary()),
            Err(Refused::NotFound | Refused::Expired) => return Ok(None),
        };
        let keys = if keys { attached } else { Vec::new() };
        Ok(Some(LeaseTimes { granted_ttl: granted, ttl: left, keys }))
    }

    /// The ids of all leases, as this member has applied them.
    ///
    /// # Errors
    /// [`api::Error::Stopped`].
    pub async fn leases(&self) -> Result<Vec<i64>, Error> {
        let (answer, ids) = oneshot::channel();
        self.ask(ApplyInput::Leases { answer })?;
        Ok(ids.await.map_err(|_| api::Error::Stopped)?)
    }

    /// An id for a lease whose client names none: positive.
    #[must_use]
    pub fn new_lease_id(&self) -> i64 {
        loop {
            let id = self.shared.ids.next() & (u64::MAX >> 1);
            if id != 0 {
                return i64::try_from(id).expect("the highest bit is clear");
            }
        }
    }

    async fn make_sure_to_lead(&self) -> Result<(), Error> {
        self.still_leads().await.map_err(|_| not_primary())?;
        if self.shared.leads() { Ok(()) } else { Err(not_primary()) }
    }

    async fn wait_committed_applied(&self) -> Result<(), Error> {
        let committed = self.shared.committed();
        let waited = tokio::time::timeout(APPLY_WAIT, self.shared.wait_applied(committed)).await;
        waited.map_err(|_| api::Error::TimeoutWaitAppliedIndex)?
    }

    pub(crate) fn ask(&self, question: ApplyInput) -> Result<(), Error> {
        self.shared.apply.try_send(question).map_err(|_| api::Error::TooManyRequests.into())
    }
}

impl Shared {
    /// Tells the waiter once it is sure that this member led after this call.
    pub(crate) fn confirm_lead(&self, waiter: Waiter) {
        if !self.leads() {
            return waiter(Told::at_once(Err(not_primary())));
        }
        self.confirm(waiter);
    }

    /// Gives a lease its whole time again, if this member counts its time.
    pub(crate) fn renew(&self, id: i64) -> Result<Renewal, Refused> {
        let now = self.now();
        self.expiry().renew(id, now)
    }
}

fn not_primary() -> Error {
    Error::Other("not a primary lessor".to_owned())
}
