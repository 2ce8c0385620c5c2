//! Servers that form one cluster, each as in [`Server`], maybe with a [`Proxy`] before each peer
//! port.

use crate::proxy::{Fault, Proxy, Rule};
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
    /// What the others reach them through, if there is anything between.
    proxies: Vec<Proxy>,
    /// Their ids, once the links between them can be cut.
    ids: Vec<u64>,
    /// What is wrong with the links of each.
    faults: Vec<Option<MemberFault>>,
}

impl Cluster {
    /// Starts a member of each program, which begin a cluster together, and waits until all are
    /// ready.
    ///
    /// # Panics
    /// If one is not; its log is in the message.
    #[must_use]
    pub fn start(programs: &[Program], options: &Options) -> Self {
        Self::begin(Self::prepare(programs, options), Vec::new())
    }

    /// The same, with a proxy in front of every member's peer port.
    ///
    /// # Panics
    /// As above, and if one does not say who it is.
    pub async fn start_with_proxies(programs: &[Program], options: &Options) -> Self {
        let (mut members, mut proxies) = (Self::prepare(programs, options), Vec::new());
        for member in &mut members {
            let proxy = Proxy::open(&member.peer_address().to_string()).await;
            member.advertise(proxy.url());
            proxies.push(proxy);
        }
        let mut cluster = tokio::task::block_in_place(|| Self::begin(members, proxies));
        for member in &cluster.members {
            let told = status(member).await.expect("it says how it is");
            cluster.ids.push(told.header.expect("a header").member_id);
        }
        cluster
    }

    fn prepare(programs: &[Program], options: &Options) -> Vec<Server> {
        let named = |(place, program)| {
            let options = Options { name: format!("m{place}"), ..options.clone() };
            Server::prepare(program, options)
        };
        programs.iter().enumerate().map(named).collect()
    }

    fn begin(mut members: Vec<Server>, proxies: Vec<Proxy>) -> Self {
        let named = |member: &Server| format!("{}={}", member.name(), member.peer_url());
        let all = members.iter().map(named).collect::<Vec<_>>().join(",");
        for member in &mut members {
            member.begin(&all);
            member.spawn();
        }
        members.iter().for_each(Server::wait_ready);
        let faults = vec![None; members.len()];
        Self { members, proxies, ids: Vec::new(), faults }
    }

    /// Makes a fault between a member and all others, or ends it.
    ///
    /// # Panics
    /// If there are no proxies.
    pub fn set_fault(&mut self, place: usize, fault: Option<MemberFault>) {
        self.faults[place] = fault;
        for (other, proxy) in self.proxies.iter().enumerate() {
            // Connections that it dialled have its id, those to it end at its proxy.
            let mut rules = Vec::new();
            for (place, fault) in self.faults.iter().enumerate() {
                let Some((inward, outward)) = fault.map(MemberFault::on_connections) else {
                    continue;
                };
                if place == other {
                    rules.insert(0, Rule { from: None, endpoint: None, fault: inward });
                } else {
                    let from = Some(self.ids[place]);
                    rules.push(Rule { from, endpoint: None, fault: outward });
                }
            }
            proxy.set_rules(&rules);
        }
    }

    /// What is wrong between a member and all others.
    #[must_use]
    pub fn fault(&self, place: usize) -> Option<MemberFault> {
        self.faults[place]
    }

    /// Ends all faults.
    pub fn heal(&mut self) {
        self.faults.fill(None);
        self.proxies.iter().for_each(Proxy::heal);
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

/// What is wrong between a member and all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberFault {
    /// Connections break.
    CutOff,
    /// Nothing arrives either way, and nobody is told.
    Silent,
    /// It hears nobody.
    Deaf,
    /// Nobody hears it.
    Mute,
    /// All takes so much longer.
    Slow(Duration),
}

impl MemberFault {
    /// What it is on connections to the member, and on those that the member dialled.
    fn on_connections(self) -> (Fault, Fault) {
        match self {
            Self::CutOff => (Fault::Cut, Fault::Cut),
            Self::Silent => (Fault::BlackHole, Fault::BlackHole),
            // A connection's two directions are those of who dialled it.
            Self::Deaf => (Fault::NothingIn, Fault::NothingOut),
            Self::Mute => (Fault::NothingOut, Fault::NothingIn),
            Self::Slow(time) => (Fault::Delay(time), Fault::Delay(time)),
        }
    }
}

/// How a member is, if it says so.
pub async fn status(member: &Server) -> Option<StatusResponse> {
    let mut client = MaintenanceClient::new(member.channel());
    let told = timeout(STATUS_MAX, client.status(StatusRequest::default())).await;
    Some(told.ok()?.ok()?.into_inner())
}
