//! Leases: granted, revoked with all keys attached, checkpointed.

use crate::kv::Failure;
use crate::machine::{LeaseEvent, StateMachine};
use crate::op::Operations;
use crate::reply::header;
use api::Error;
use api::etcdserverpb::{
    LeaseCheckpointRequest, LeaseGrantRequest, LeaseGrantResponse, LeaseRevokeRequest,
    LeaseRevokeResponse,
};

impl StateMachine {
    pub(crate) fn lease_grant(
        &mut self,
        request: &LeaseGrantRequest,
    ) -> Result<LeaseGrantResponse, Failure> {
        let min_ttl = self.settings.min_lease_ttl;
        let ttl = self
            .lessor
            .grant(&mut self.store, request.id, request.ttl, min_ttl)
            .map_err(client_error)?;
        let lease = lease::Lease { id: request.id, ttl, remaining_ttl: 0 };
        self.lease_events.push(LeaseEvent::Granted(lease));
        let header = header(self.mvcc.revision());
        Ok(LeaseGrantResponse { header, id: request.id, ttl, error: String::new() })
    }

    /// Deletes the keys attached, in the order of their bytes, and the lease, in one frame.
    pub(crate) fn lease_revoke(
        &mut self,
        request: &LeaseRevokeRequest,
    ) -> Result<LeaseRevokeResponse, Failure> {
        let keys = self.lessor.revoke(&mut self.store, request.id).map_err(client_error)?;
        let mut txn = self.mvcc.begin(&mut self.store);
        let deletes = keys.len() as u64;
        for key in keys {
            txn.delete_range(&key, b"");
        }
        let changes = txn.end();
        self.operations.end(Operations { deletes, ..Operations::default() });
        self.changed(changes);
        self.lease_events.push(LeaseEvent::Revoked { id: request.id });
        Ok(LeaseRevokeResponse { header: header(self.mvcc.revision()) })
    }

    pub(crate) fn lease_checkpoint(&mut self, request: &LeaseCheckpointRequest) {
        let persist = self.settings.persist_checkpoints;
        for checkpoint in &request.checkpoints {
            let (id, remaining) = (checkpoint.id, checkpoint.remaining_ttl);
            // Compat: leases that are not there are passed over.
            self.lessor.checkpoint(&mut self.store, id, remaining, persist);
            self.lease_events.push(LeaseEvent::Checkpointed { id, remaining });
        }
    }
}

fn client_error(error: lease::Error) -> Error {
    match error {
        // Only loading finds damage.
        lease::Error::NotFound | lease::Error::Corrupt { .. } => Error::LeaseNotFound,
        lease::Error::Exists => Error::LeaseExist,
        lease::Error::TtlTooLarge => Error::LeaseTtlTooLarge,
    }
}
