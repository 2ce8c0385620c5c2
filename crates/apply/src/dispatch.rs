//! From the payload of an entry to what it asks for, through the gates.

use crate::gate;
use crate::kv::{self, Failure};
use crate::machine::StateMachine;
use crate::op::Operations;
use crate::planted::{self, Bug};
use crate::reply::{Reply, header};
use crate::txn;
use api::Error;
use api::etcdserverpb::alarm_request::AlarmAction;
use api::etcdserverpb::{
    AlarmRequest, AlarmResponse, AlarmType, CompactionRequest, CompactionResponse,
    InternalRaftRequest,
};
use mvcc::Changes;

impl StateMachine {
    /// Applies one request; `waits` says whether its reply is of use to anybody here.
    pub(crate) fn dispatch(
        &mut self,
        request: &InternalRaftRequest,
        waits: impl FnOnce() -> bool,
    ) -> Result<Reply, Failure> {
        if self.alarms.is_on(AlarmType::Corrupt) && gate::writes_keys(request) {
            return Err(Error::Corrupt.into());
        }
        if self.alarms.is_on(AlarmType::Nospace) && gate::needs_space(request) {
            return Err(Error::NoSpace.into());
        }
        let over_quota = gate::needs_space(request) && !self.has_room(request);
        let reply = self.route(request, waits)?;
        if over_quota {
            // Compat: what is applied stays applied, and yet the client is told that there was
            // no room: a quota is local, and must not change what members agree on.
            self.no_space = true;
            return Err(Error::NoSpace.into());
        }
        Ok(reply)
    }

    fn route(
        &mut self,
        request: &InternalRaftRequest,
        waits: impl FnOnce() -> bool,
    ) -> Result<Reply, Failure> {
        if let Some(put) = &request.put {
            return self.write(|txn, lessor, total| {
                let mut done = Operations::default();
                let checked = kv::check_put(txn, lessor, put, &mut done);
                let reply = checked.and_then(|()| kv::put(txn, put, &mut done));
                total.end(done);
                reply.map(Reply::Put)
            });
        }
        if let Some(request) = &request.txn {
            let waits = waits();
            return self.write(|txn, lessor, total| {
                txn::apply(txn, lessor, request, !waits, total).map(Reply::Txn)
            });
        }
        if let Some(delete) = &request.delete_range {
            return self.write(|txn, _, total| {
                let mut done = Operations::default();
                let reply = kv::delete_range(txn, delete, &mut done);
                total.end(done);
                reply.map(Reply::DeleteRange)
            });
        }
        if let Some(range) = &request.range {
            if !waits() {
                return Ok(Reply::Done);
            }
            return self.write(|txn, _, total| {
                total.end(Operations { ranges: 1, ..Operations::default() });
                kv::range(txn, range).map(Reply::Range)
            });
        }
        if let Some(compaction) = &request.compaction {
            return self.compact(compaction).map(Reply::Compaction);
        }
        if let Some(grant) = &request.lease_grant {
            return self.lease_grant(grant).map(Reply::LeaseGrant);
        }
        if let Some(revoke) = &request.lease_revoke {
            return self.lease_revoke(revoke).map(Reply::LeaseRevoke);
        }
        if let Some(checkpoint) = &request.lease_checkpoint {
            self.lease_checkpoint(checkpoint);
        } else if let Some(alarm) = &request.alarm {
            return Ok(Reply::Alarm(self.alarm(alarm)));
        } else if let Some(version) = &request.cluster_version_set {
            self.set_version(version)?;
        } else if let Some(attributes) = &request.cluster_member_attr_set {
            self.set_attributes(attributes)?;
        } else if let Some(downgrade) = &request.downgrade_info_set {
            self.set_downgrade(downgrade)?;
        } else if request.downgrade_version_test.is_none() && request.auth_status.is_none() {
            // The two are asked and change nothing.
            return Err(Failure::Unknown);
        }
        Ok(Reply::Done)
    }

    /// Runs one transaction of the store, and hands on what it changed.
    fn write(
        &mut self,
        run: impl FnOnce(&mut mvcc::Txn<'_>, &lease::Lessor, &mut Operations) -> Result<Reply, Failure>,
    ) -> Result<Reply, Failure> {
        let mut txn = self.mvcc.begin(&mut self.store);
        let reply = run(&mut txn, &self.lessor, &mut self.operations);
        let changes = txn.end();
        self.changed(changes);
        reply
    }

    /// Attaches and detaches leases as keys come and go, and keeps the changes for watchers.
    pub(crate) fn changed(&mut self, changes: Option<Changes>) {
        let Some(changes) = changes else { return };
        for change in &changes.list {
            if change.tombstone {
                self.lessor.delete(&change.key);
            } else {
                // A store whose lease is gone keeps the number in the key; it attaches nothing.
                let forgotten = planted::is(Bug::LeaseKeysForgotten) && change.version == 1;
                let there = self.lessor.contains(change.lease) && !forgotten;
                self.lessor.put(&change.key, if there { change.lease } else { 0 });
            }
        }
        self.changes.push(std::sync::Arc::new(changes));
    }

    fn compact(&mut self, request: &CompactionRequest) -> Result<CompactionResponse, Failure> {
        self.mvcc.compact(&mut self.store, request.revision)?;
        // Compat: etcd finds its answer's revision by a range.
        self.operations.end(Operations { ranges: 1, ..Operations::default() });
        Ok(CompactionResponse { header: header(self.mvcc.revision()) })
    }

    fn alarm(&mut self, request: &AlarmRequest) -> AlarmResponse {
        let (member, kind) = (request.member_id, request.alarm);
        let alarms = match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Get) => self.alarms.list(kind),
            Ok(AlarmAction::Activate) if kind != AlarmType::None as i32 => {
                vec![self.alarms.activate(&mut self.store, member, kind)]
            }
            Ok(AlarmAction::Deactivate) => {
                self.alarms.deactivate(&mut self.store, member, kind).into_iter().collect()
            }
            Ok(AlarmAction::Activate) | Err(_) => Vec::new(),
        };
        AlarmResponse { header: None, alarms }
    }

    fn has_room(&self, request: &InternalRaftRequest) -> bool {
        let Some(quota) = self.settings.quota_bytes else { return true };
        let cost = if let Some(put) = &request.put {
            gate::put_cost(put)
        } else if let Some(txn) = &request.txn {
            gate::txn_cost(txn)
        } else {
            gate::GRANT_COST
        };
        self.size_bytes().saturating_add(u64::try_from(cost).unwrap_or_default()) < quota
    }
}
