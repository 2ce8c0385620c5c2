//! Servers that form one cluster, each as in [`Server`].

use crate::{Options, PATIENCE, Program, Server};
use api::etcdserverpb::StatusRequest;
use api::etcdserverpb::StatusResponse;
use api::etcdserverpb::maintenance_client::MaintenanceClient;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;

/// How often members are looked at while something is waited for.
const LOOK_PERIOD: Duration = Duration::from_millis(20);

/// How long one may take to say how it is.
const STATUS_MAX: Duration = Duration::from_secs(2);

/// The members, in the order they were given. Dropping it kills them all.
#[derive(Debug)]
pub struct Cluster {
    /// Each of them.
    pub members: Vec<Server>,
}

impl Cluster {
    /// Starts a member of each program, which begin a cluster together, and waits until all are
    /// ready.
    ///
    /// # Panics
    /// If one is not; its log is in the message.
    #[must_use]
    pub fn start(programs: &[Program], options: &Options) -> Self {
        let mut members = Vec::new();
        for (place, program) in programs.iter().enumerate() {
            let options = Options { name: format!("m{place}"), ..options.clone() };
            members.push(Server::prepare(program, options));
        }
        let named = |member: &Server| format!("{}={}", member.name(), member.peer_url());
        let all = members.iter().map(named).collect::<Vec<_>>().join(",");
        for member in &mut members {
            member.begin(&all);
            member.spawn();
        }
        members.iter().for_each(Server::wait_ready);
        Self { members }
    }

    /// Connections to each member.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn channels(&self) -> Vec<Channel> {
        self.members.iter().map(Server::channel).collect()
    }

    /// Waits until one of these leads and the others know it; its place.
    ///
    /// # Panics
    /// If that takes too long.
    pub async fn leader_of(&self, places: &[usize]) -> usize {
        let deadline = Instant::now() + PATIENCE;
        let mut told = Vec::new();
        while Instant::now() < deadline {
            told.clear();
            for place in places {
                told.push(status(&self.members[*place]).await);
            }
            let ids = told.iter().map(|told| told.as_ref()?.header.as_ref().map(|h| h.member_id));
            let leads = told.first().and_then(|told| told.as_ref()).map(|told| told.leader);
            let agreed = told.iter().all(|told| told.as_ref().map(|told| told.leader) == leads);
            let found = ids.enumerate().find(|(_, id)| id.is_some() && *id == leads);
            if let (true, Some((which, _))) = (agreed, found) {
                return places[which];
            }
            sleep(LOOK_PERIOD).await;
        }
        panic!("nobody leads: {told:?}");
    }

    /// The same of all members.
    ///
    /// # Panics
    /// As above.
    pub async fn leader(&self) -> usize {
        self.leader_of(&(0..self.members.len()).collect::<Vec<_>>()).await
    }
}

/// How a member is, if it says so.
pub async fn status(member: &Server) -> Option<StatusResponse> {
    let mut client = MaintenanceClient::new(member.channel());
    let told = timeout(STATUS_MAX, client.status(StatusRequest::default())).await;
    Some(told.ok()?.ok()?.into_inner())
}
