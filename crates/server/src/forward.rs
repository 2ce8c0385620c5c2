//! What only the leader can answer, asked of it by the other members.
//!
//! A leader is waited for, and asked again while it says nothing that counts or another takes its
//! place, until the request's time is over. The paths and statuses are those of Go members, which
//! ask and answer here too.
//!
//! Source: etcd `server/etcdserver/v3_server.go` (`LeaseRenew`, `LeaseTimeToLive`, `waitLeader`),
//! `cluster_util.go` (`promoteMemberHTTP`), `server/lease/leasehttp/http.go`.

use crate::leases::LeaseTimes;
use crate::{Error, Server};
use api::etcdserverpb::{LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseTimeToLiveRequest};
use api::leasepb::{LeaseInternalRequest, LeaseInternalResponse};
use member::Member;
use peer::{Question, Reply};
use prost::Message as _;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// Before a leader that said nothing that counts is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// A leader that says nothing for so long, beyond an election timeout, may be none any more: it
/// waits for its own log for a second.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of an answer about a renewal, at most.
const RENEWAL_BYTES_MAX: usize = 4096;

/// Bytes of an answer with all keys of a lease or all members, at most, as in etcd.
const ANSWER_BYTES_MAX: usize = 100 << 20;

impl Server {
    /// Renews a lease at the leader; `None` if that is this member.
    pub(crate) async fn renew_at_leader(
        &self,
        id: i64,
        deadline: Instant,
    ) -> Result<Option<i64>, Error> {
        let body = LeaseKeepAliveRequest { id }.encode_to_vec().into();
        let question = Question::post_protobuf("/leases", body, RENEWAL_BYTES_MAX);
        self.ask_leader(&question, deadline, |reply| match reply.status {
            200 => {
                let renewed = LeaseKeepAliveResponse::decode(reply.body.clone()).ok()?;
                (renewed.id == id).then_some(Ok(renewed.ttl))
            }
            404 => Some(Err(api::Error::LeaseNotFound.into())),
            _ => None,
        })
        .await
    }

    /// Looks at a lease at the leader; `None` if that is this member, `Some(None)` if there is no
    /// such lease.
    pub(crate) async fn times_at_leader(
        &self,
        id: i64,
        keys: bool,
        deadline: Instant,
    ) -> Result<Option<Option<LeaseTimes>>, Error> {
        let request = Some(LeaseTimeToLiveRequest { id, keys });
        let request = LeaseInternalRequest { lease_time_to_live_request: request };
        let body = request.encode_to_vec().into();
        let question = Question::post_protobuf("/leases/internal", body, ANSWER_BYTES_MAX);
        self.ask_leader(&question, deadline, |reply| match reply.status {
            200 => {
                let told = LeaseInternalResponse::decode(reply.body.clone()).ok()?;
                let times = told.lease_time_to_live_response.filter(|times| times.id == id)?;
                let (granted_ttl, ttl, keys) = (times.granted_ttl, times.ttl, times.keys);
                Some(Ok(Some(LeaseTimes { granted_ttl, ttl, keys })))
            }
            404 => Some(Ok(None)),
            _ => None,
        })
        .await
    }

    /// Has the leader promote a learner; all members, `None` if the leader is this member.
    pub(crate) async fn promote_at_leader(
        &self,
        id: u64,
        deadline: Instant,
    ) -> Result<Option<Vec<Member>>, Error> {
        let question = Question {
            content_type: None,
            ..Question::post_protobuf(
                // Compat: the one id that is decimal.
                &format!("/members/promote/{id}"),
                bytes::Bytes::new(),
                ANSWER_BYTES_MAX,
            )
        };
        self.ask_leader(&question, deadline, |reply| match reply.status {
            200 => member::parse_members(&reply.body).ok().map(Ok),
            404 => Some(Err(api::Error::MemberNotFound.into())),
            412 => {
                let text = String::from_utf8_lossy(&reply.body);
                let known = [
                    (api::Error::LearnerNotReady.text(), api::Error::LearnerNotReady),
                    (crate::members::NOT_A_LEARNER, api::Error::MemberNotLearner),
                ];
                let found = known.into_iter().find(|(known, _)| text.contains(known));
                found.map(|(_, error)| Err(error.into()))
            }
            _ => None,
        })
        .await
    }

    /// When a request that begins now has taken too long.
    pub(crate) fn request_deadline(&self) -> Instant {
        Instant::now() + self.shared.config.request_timeout()
    }

    /// Asks whoever leads until `read` makes something of what it says; `None` if that is this
    /// member.
    async fn ask_leader<T>(
        &self,
        question: &Question,
        deadline: Instant,
        read: impl Fn(&Reply) -> Option<Result<T, Error>>,
    ) -> Result<Option<T>, Error> {
        let mut stopping = self.shared.stopping.subscribe();
        let asking = async {
            loop {
                let leader = self.wait_for_leader(deadline).await?;
                if leader == self.shared.id {
                    // It may not know yet all that it is to answer from.
                    sleep(PAUSE).await;
                    return if Instant::now() < deadline { Ok(None) } else { Err(timed_out()) };
                }
                let patience = self.shared.config.election_timeout() + PATIENCE;
                let patience = patience.min(deadline.saturating_duration_since(Instant::now()));
                let leader_id = peer::identity::format_id(leader);
                match timeout(patience, self.transport.ask(leader, question)).await {
                    Ok(Ok(reply)) => match read(&reply) {
                        Some(answer) => return answer.map(Some),
                        None => {
                            let (path, status) = (&question.path, reply.status);
                            tracing::debug!(leader_id, path, status, "the leader refused");
                        }
                    },
                    Ok(Err(error)) => tracing::debug!(leader_id, %error, "cannot ask the leader"),
                    Err(_) => tracing::debug!(leader_id, "the leader says nothing"),
                }
                if Instant::now() + PAUSE >= deadline {
                    return Err(timed_out());
                }
                sleep(PAUSE).await;
            }
        };
        tokio::select! {
            answer = asking => answer,
            _ = stopping.wait_for(|stopping| *stopping) => Err(api::Error::Stopped.into()),
        }
    }

    async fn wait_for_leader(&self, deadline: Instant) -> Result<u64, Error> {
        let mut lead = self.shared.lead.subscribe();
        match timeout_at(deadline, lead.wait_for(|lead| *lead != 0)).await {
            Ok(Ok(lead)) => Ok(*lead),
            Ok(Err(_)) => Err(api::Error::Stopped.into()),
            Err(_) => Err(api::Error::NoLeader.into()),
        }
    }
}

fn timed_out() -> Error {
    api::Error::Timeout.into()
}
