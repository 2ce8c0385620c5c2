//! Several real members on this machine, each reached by the others through a proxy.

use crate::Proxy;
use crate::gateway::{Answer, Gateway};
use crate::member::{Launch, Member, etcd_home_of, free_url};
use crate::receiver::{Config, Receiver};
use crate::wait::until;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A cluster of real members; the first ones of it, that is: others may join.
#[derive(Debug)]
pub struct Cluster {
    // In this order: members end before their folders go.
    nodes: Vec<Node>,
    runtime: Runtime,
    temp: TempDir,
}

#[derive(Debug)]
struct Node {
    launch: Launch,
    proxy: Proxy,
    member: Option<Member>,
    frozen: bool,
    id: u64,
}

impl Cluster {
    /// Starts `size` members of a release that is there, and waits until they serve.
    ///
    /// # Panics
    /// If they do not.
    #[must_use]
    pub fn start(version: &str, size: usize, flags: &[&str]) -> Self {
        let home = etcd_home_of(version).expect("the release is one of `versions()`");
        let temp = tempfile::tempdir().expect("a temporary folder can be made");
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime starts");
        let urls: Vec<String> = (0..size).map(|_| free_url()).collect();
        let proxy = |url: &String| Proxy::start(runtime.handle(), authority(url));
        let proxies: Vec<Proxy> = urls.iter().map(proxy).collect();
        let pairs = proxies.iter().enumerate().map(|(i, proxy)| format!("go{i}={}", proxy.url()));
        let initial_cluster = pairs.collect::<Vec<_>>().join(",");
        let mut nodes = Vec::new();
        for (i, (url, proxy)) in urls.into_iter().zip(proxies).enumerate() {
            let launch = Launch {
                home: home.clone(),
                name: format!("go{i}"),
                data_dir: temp.path().join(format!("go{i}")),
                client_url: free_url(),
                listen_peer_url: url,
                advertise_peer_url: proxy.url(),
                initial_cluster: initial_cluster.clone(),
                flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            };
            let member = Some(Member::spawn(&launch));
            nodes.push(Node { launch, proxy, member, frozen: false, id: 0 });
        }
        let mut cluster = Self { nodes, runtime, temp };
        for i in 0..size {
            cluster.member(i).wait_ready();
            cluster.nodes[i].id = cluster.member(i).status().id;
        }
        cluster
    }

    /// How many members it was started with.
    #[must_use]
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// A member, which must run.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn member(&self, i: usize) -> &Member {
        self.nodes[i].member.as_ref().expect("the member runs")
    }

    /// A member's gateway, whether it runs or not.
    #[must_use]
    pub fn gateway(&self, i: usize) -> &Gateway {
        self.member(i).gateway()
    }

    /// A member's id.
    #[must_use]
    pub fn id(&self, i: usize) -> u64 {
        self.nodes[i].id
    }

    /// The proxy in front of a member.
    #[must_use]
    pub fn proxy(&self, i: usize) -> &Proxy {
        &self.nodes[i].proxy
    }

    /// A member's address behind its proxy.
    #[must_use]
    pub fn peer_address(&self, i: usize) -> &str {
        authority(&self.nodes[i].launch.listen_peer_url)
    }

    /// A member's data directory.
    #[must_use]
    pub fn data_dir(&self, i: usize) -> &Path {
        &self.nodes[i].launch.data_dir
    }

    /// How a member is started.
    #[must_use]
    pub fn launch(&self, i: usize) -> &Launch {
        &self.nodes[i].launch
    }

    /// A folder that lives as long as the cluster.
    #[must_use]
    pub fn folder(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// Which of the members that run leads, once one does.
    ///
    /// # Panics
    /// If none does for long.
    #[must_use]
    pub fn leader(&self) -> usize {
        until("a real member leads", || {
            // One that is frozen would be waited for in vain.
            let answers = |&i: &usize| self.nodes[i].member.is_some() && !self.nodes[i].frozen;
            let leads = |status: Answer, i| status.leader == self.id(i);
            (0..self.size())
                .filter(answers)
                .find(|&i| self.gateway(i).status().is_ok_and(|status| leads(status, i)))
        })
    }

    /// Whom a member takes for the leader, or 0.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn leader_of(&self, i: usize) -> u64 {
        self.member(i).status().leader
    }

    /// A URL nobody listens on.
    #[must_use]
    pub fn free_url(&self) -> String {
        free_url()
    }

    /// Asks a member to end and waits until it has.
    ///
    /// # Panics
    /// If it does not run, or panicked.
    pub fn stop(&mut self, i: usize) {
        self.nodes[i].member.take().expect("the member runs").stop();
    }

    /// Kills a member.
    ///
    /// # Panics
    /// If it does not run, or panicked before.
    pub fn kill(&mut self, i: usize) {
        self.nodes[i].member.take().expect("the member runs").kill();
    }

    /// Stops a member where it is, as a machine that hangs: connections stay, nothing answers.
    ///
    /// # Panics
    /// If it does not run.
    pub fn freeze(&mut self, i: usize) {
        self.member(i).freeze();
        self.nodes[i].frozen = true;
    }

    /// Lets a member go on.
    ///
    /// # Panics
    /// If it does not run.
    pub fn thaw(&mut self, i: usize) {
        self.member(i).thaw();
        self.nodes[i].frozen = false;
    }

    /// Starts a member again on its own data, without waiting for it.
    pub fn start_again(&mut self, i: usize) {
        self.nodes[i].member = Some(Member::spawn(&self.nodes[i].launch));
    }

    /// Asserts of all running members that they have not told of a panic.
    pub fn never_panicked(&self) {
        self.nodes.iter().filter_map(|node| node.member.as_ref()).for_each(Member::never_panicked);
    }

    /// A proxy for a member of ours, before there is one.
    #[must_use]
    pub fn new_proxy(&self) -> Proxy {
        // Until it is led somewhere, connections fail as they would with nobody there.
        Proxy::start(self.runtime.handle(), authority(&free_url()))
    }

    /// What a member of ours behind `proxy` is told at its start.
    #[must_use]
    pub fn receiver_config(&self, proxy: &Proxy) -> Config {
        Config {
            data_dir: self.folder("ours"),
            advertise_url: proxy.url(),
            seeds: self.nodes.iter().map(|node| node.launch.advertise_peer_url.clone()).collect(),
        }
    }

    /// Starts a member of ours behind `proxy`, also again on its own data.
    ///
    /// # Panics
    /// If it cannot be started for long.
    #[must_use]
    pub fn start_receiver(&self, proxy: &Proxy) -> Receiver {
        let config = self.receiver_config(proxy);
        // Whom it asks who there is may be cut off, or just starting.
        let receiver = until("our member starts", || {
            let started = Receiver::start(&config);
            started.inspect_err(|error| println!("our member tries again: {error:#}")).ok()
        });
        proxy.lead_to(&receiver.address().to_string());
        receiver
    }
}

fn authority(url: &str) -> &str {
    url.strip_prefix("http://").unwrap_or(url)
}
