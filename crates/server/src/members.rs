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
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::oneshot;

/// What a leader says that could not hand over.
const TRANSFER_TIMEOUT: &str = "etcdserver: request timed out, leader transfer took too long";

/// What Go members say of promoting a voter, to one another.
pub const NOT_A_LEARNER: &str = "membership: can only promote a learner member";

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
    /// leader knows that, and is asked by the others.
    ///
    /// # Errors
    /// [`api::Error::MemberNotFound`], `MemberNotLearner`, `LearnerNotReady`,
    /// `MemberNotEnoughStarted`, `NoLeader`, and those of [`Server::propose`].
    pub async fn promote_member(&self, id: u64) -> Result<Vec<Member>, Error> {
        let deadline = self.request_deadline();
        loop {
            match self.promote_here(id).await {
                Err(Error::Api(api::Error::NotLeader)) => {}
                promoted => return Ok(promoted?.members().cloned().collect()),
            }
            if let Some(members) = self.promote_at_leader(id, deadline).await? {
                return Ok(members);
            }
        }
    }

    async fn promote_here(&self, id: u64) -> Result<Arc<Cluster>, Error> {
        let promoted = self.promote(id).await;
        match &promoted {
            Ok(_) => self.shared.metrics.promotions.inc(),
            // The leader's to count.
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

    /// Before a leader stops it hands over to the voter that has been there for longest: then
    /// nobody has to find out that it is gone. If that fails, they do.
    pub(crate) async fn hand_over(&self) {
        let shared = &self.shared;
        if !shared.leads() || *shared.stopping.borrow() {
            return;
        }
        let cluster = self.cluster();
        let others = cluster.voters().filter(|voter| voter.id != shared.id);
        let active =
            others.filter_map(|voter| Some((self.transport.active_since(voter.id)?, voter.id)));
        let Some((_, to)) = active.min() else {
            if cluster.voters().count() > 1 {
                tracing::warn!("leadership transfer failed: no other voter answers");
            }
            return;
        };
        match self.move_leader(to).await {
            // What others still send here is passed on, until they know who leads.
            Ok(()) => tokio::time::sleep(shared.config.heartbeat_interval).await,
            Err(error) => tracing::warn!(%error, "leadership transfer failed"),
        }
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
        let (began, local_member_id) = (Instant::now(), peer::identity::format_id(self.shared.id));
        let transferee_member_id = peer::identity::format_id(to);
        tracing::info!(local_member_id, transferee_member_id, "leadership transfer starting");
        self.tell(Input::TransferLead { to })?;
        let moved = lead.wait_for(|lead| *lead == to);
        match tokio::time::timeout(self.shared.config.request_timeout(), moved).await {
            Ok(Ok(_)) => {
                let took = format!("{:?}", began.elapsed());
                tracing::info!(
                    local_member_id,
                    transferee_member_id,
                    took,
                    "leadership transfer finished"
                );
                Ok(())
            }
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
