//! Changes of members: what a proposer checks before the log decides, and the proposals.
//!
//! With `strict_reconfig_check` a change is refused that could cost the cluster its quorum. The
//! checks are this member's view and decide nothing: what may be applied is the state machine's.
//!
//! Source: etcd `server/etcdserver/server.go` (`AddMember` to `configure`), `util.go`.

use crate::driver::Input;
use crate::waiters::Asked;
use crate::{Error, Server};
use member::{Cluster, Member};
use raftpb::{ConfChange, ConfChangeType};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;

/// What a leader says that could not hand over.
const TRANSFER_TIMEOUT: &str = "etcdserver: request timed out, leader transfer took too long";

/// How long a peer must have answered to count as healthy.
const HEALTHY_FOR: Duration = Duration::from_secs(5);

impl Server {
    /// Adds a member, as a learner if it says so; gives all members.
    ///
    /// # Errors
    /// [`api::Error::MemberNotEnoughStarted`], `Unhealthy`, `MemberExist`, `PeerUrlExist`,
    /// `TooManyLearners`, and those of [`Server::propose`].
    pub async fn add_member(&self, member: &Member) -> Result<Arc<Cluster>, Error> {
        if self.shared.config.strict_reconfig_check {
            let cluster = self.cluster();
            if !member.is_learner && !cluster.ready_to_add_voter() {
                return Err(api::Error::MemberNotEnoughStarted.into());
            }
            let voters = cluster.voters().count();
            // One alone may always get a second.
            if voters != 1 && self.connected(&cluster) < quorum(voters + 1) {
                return Err(api::Error::Unhealthy.into());
            }
        }
        let kind = match member.is_learner {
            true => ConfChangeType::ConfChangeAddLearnerNode,
            false => ConfChangeType::ConfChangeAddNode,
        };
        self.configure(kind, member.id, Some(member.to_json().into())).await
    }

    /// Removes a member; gives all others.
    ///
    /// # Errors
    /// [`api::Error::MemberNotFound`], `MemberNotEnoughStarted`, `Unhealthy`, and those of
    /// [`Server::propose`].
    pub async fn remove_member(&self, id: u64) -> Result<Arc<Cluster>, Error> {
        let cluster = self.cluster();
        let learner = cluster.member(id).is_some_and(|member| member.is_learner);
        if self.shared.config.strict_reconfig_check && !learner {
            self.check_remove(&cluster, id)?;
        }
        self.configure(ConfChangeType::ConfChangeRemoveNode, id, None).await
    }

    fn check_remove(&self, cluster: &Cluster, id: u64) -> Result<(), Error> {
        if !cluster.ready_to_remove_voter(id) {
            return Err(api::Error::MemberNotEnoughStarted.into());
        }
        // One that is down is no part of the quorum that works.
        if id != self.shared.id && self.transport.active_since(id).is_none() {
            return Ok(());
        }
        let voters = cluster.voters().count();
        if self.connected(cluster) < 2 + voters.saturating_sub(1) / 2 {
            return Err(api::Error::Unhealthy.into());
        }
        Ok(())
    }

    /// Gives a member other peer URLs; gives all members.
    ///
    /// # Errors
    /// [`api::Error::MemberNotFound`], `PeerUrlExist`, and those of [`Server::propose`].
    pub async fn update_member(
        &self,
        id: u64,
        peer_urls: Vec<String>,
    ) -> Result<Arc<Cluster>, Error> {
        let member = Member { id, peer_urls, ..Member::default() };
        let context = Some(member.to_json().into());
        self.configure(ConfChangeType::ConfChangeUpdateNode, id, context).await
    }

    /// Gives a learner its vote, if it has nearly all of the log; gives all members. Only the
    /// leader knows that.
    ///
    /// # Errors
    /// [`api::Error::NotLeader`], `MemberNotFound`, `MemberNotLearner`, `LearnerNotReady`,
    /// `MemberNotEnoughStarted`, and those of [`Server::propose`].
    pub async fn promote_member(&self, id: u64) -> Result<Arc<Cluster>, Error> {
        let promoted = self.promote(id).await;
        match &promoted {
            Ok(_) => self.shared.metrics.promotions.inc(),
            // Somebody else's to count.
            Err(Error::Api(api::Error::NotLeader)) => {}
            Err(error) => self.shared.metrics.promotion_failed(error.to_string()),
        }
        promoted
    }

    async fn promote(&self, id: u64) -> Result<Arc<Cluster>, Error> {
        let (answer, found) = oneshot::channel();
        self.tell(Input::Matches { id, answer })?;
        let found = found.await.map_err(|_| api::Error::Stopped)?;
        let (matched, own) = found.ok_or(api::Error::NotLeader)?;
        let matched = matched.ok_or(api::Error::MemberNotFound)?;
        // Nine parts of ten, as in etcd.
        if u128::from(matched) * 10 < u128::from(own) * 9 {
            return Err(api::Error::LearnerNotReady.into());
        }
        if self.shared.config.strict_reconfig_check && !self.cluster().ready_to_promote() {
            return Err(api::Error::MemberNotEnoughStarted.into());
        }
        let context = Some(member::promote_context(id));
        self.configure(ConfChangeType::ConfChangeAddNode, id, context).await
    }

    /// Hands the lead to another voter, and waits until it has it.
    ///
    /// # Errors
    /// [`api::Error::NotLeader`], `BadLeaderTransferee`; that it took too long.
    pub async fn move_leader(&self, to: u64) -> Result<(), Error> {
        let mut lead = self.shared.lead.subscribe();
        if *lead.borrow() != self.shared.id {
            return Err(api::Error::NotLeader.into());
        }
        if self.cluster().member(to).is_none_or(|member| member.is_learner) {
            return Err(api::Error::BadLeaderTransferee.into());
        }
        self.tell(Input::TransferLead { to })?;
        let moved = lead.wait_for(|lead| *lead == to);
        match tokio::time::timeout(self.shared.config.request_timeout(), moved).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(api::Error::Stopped.into()),
            // Compat: the table of errors does not have this one.
            Err(_) => Err(Error::Other(TRANSFER_TIMEOUT.to_owned())),
        }
    }

    /// Proposes a change and waits until raft has it in force: before that, the next one would be
    /// refused.
    async fn configure(
        &self,
        kind: ConfChangeType,
        member: u64,
        context: Option<bytes::Bytes>,
    ) -> Result<Arc<Cluster>, Error> {
        let id = self.shared.ids.next();
        let change =
            ConfChange { id: Some(id), r#type: Some(kind.into()), node_id: Some(member), context };
        self.wait_for(id, Asked::Change, Input::Configure { id, change }).await?;
        tracing::info!(
            local_member_id = peer::identity::format_id(self.shared.id),
            raft_conf_change = kind.as_str_name(),
            raft_conf_change_node_id = peer::identity::format_id(member),
            "applied a configuration change through raft"
        );
        Ok(self.cluster())
    }

    /// Voters that have been there for a while, this member among them.
    fn connected(&self, cluster: &Cluster) -> usize {
        let since = SystemTime::now() - HEALTHY_FOR;
        let healthy = |id| self.transport.active_since(id).is_some_and(|active| active < since);
        cluster.voters().filter(|voter| voter.id == self.shared.id || healthy(voter.id)).count()
    }
}

fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}
