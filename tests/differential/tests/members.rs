//! Changes of members, right and wrong, on the real etcd and on the server under test: a cluster of
//! one, a learner that never starts, and every refusal that can be had so.
#![allow(clippy::unwrap_used, reason = "a test may end with a panic")]

use api::etcdserverpb::cluster_client::ClusterClient;
use api::etcdserverpb::kv_client::KvClient;
use api::etcdserverpb::{
    Member, MemberAddRequest, MemberListRequest, MemberPromoteRequest, MemberRemoveRequest,
    MemberUpdateRequest, PutRequest,
};
use process::{Options, Program, Server, subject};
use testkit::figures;
use tonic::Status;

/// Nobody's id.
const NOBODY: u64 = 7;

/// A server, what it was asked, and what it answered.
struct Side {
    cluster: ClusterClient<tonic::transport::Channel>,
    kv: KvClient<tonic::transport::Channel>,
    told: Vec<String>,
}

impl Side {
    fn note(&mut self, asked: &str, answer: Result<Vec<Member>, Status>) -> Vec<Member> {
        let (text, members) = match answer {
            Ok(mut members) => {
                // Ids have the time in them, and ports are chance.
                members.sort_by_key(|member| (member.is_learner, member.peer_urls.clone()));
                let shown = members.iter().map(|member| {
                    let urls = if member.is_learner { &member.peer_urls[..] } else { &[] };
                    format!("{:?} learner {} {urls:?}", member.name, member.is_learner)
                });
                (shown.collect::<Vec<_>>().join(", "), members)
            }
            Err(status) => (format!("{:?}: {}", status.code(), status.message()), Vec::new()),
        };
        self.told.push(format!("{asked}: {text}"));
        members
    }

    async fn add(&mut self, urls: &[&str], is_learner: bool) -> Vec<Member> {
        let peer_urls = urls.iter().map(|&url| url.to_owned()).collect();
        let added = self.cluster.member_add(MemberAddRequest { peer_urls, is_learner }).await;
        let answer = added.map(tonic::Response::into_inner);
        if let Ok(answer) = &answer {
            let member = answer.member.as_ref().unwrap();
            assert_eq!((member.is_learner, &*member.name), (is_learner, ""));
            assert_eq!(answer.header.as_ref().unwrap().revision, 0);
        }
        self.note(&format!("add {urls:?} {is_learner}"), answer.map(|answer| answer.members))
    }

    async fn update(&mut self, what: &str, id: u64, urls: &[&str]) {
        let peer_urls = urls.iter().map(|&url| url.to_owned()).collect();
        let updated = self.cluster.member_update(MemberUpdateRequest { id, peer_urls }).await;
        let answer = updated.map(|answer| answer.into_inner().members);
        self.note(&format!("update {what} {urls:?}"), answer);
    }

    async fn promote(&mut self, what: &str, id: u64) {
        let promoted = self.cluster.member_promote(MemberPromoteRequest { id }).await;
        let answer = promoted.map(|answer| answer.into_inner().members);
        self.note(&format!("promote {what}"), answer);
    }

    async fn remove(&mut self, what: &str, id: u64) {
        let removed = self.cluster.member_remove(MemberRemoveRequest { id }).await;
        let answer = removed.map(|answer| answer.into_inner().members);
        self.note(&format!("remove {what}"), answer);
    }

    async fn list(&mut self) -> Vec<Member> {
        let listed = self.cluster.member_list(MemberListRequest { linearizable: true }).await;
        self.note("list", listed.map(|answer| answer.into_inner().members))
    }

    async fn put(&mut self) {
        let put = self.kv.put(PutRequest { key: "a".into(), ..PutRequest::default() }).await;
        self.note("put", put.map(|_| Vec::new()));
    }

    async fn story(mut self) -> Vec<String> {
        let own = self.list().await[0].clone();
        for urls in [&[][..], &[""], &["h:1"], &["http://h"], &["http://h:1/path"], &["ftp://h:1"]]
        {
            self.add(urls, true).await;
        }
        let own_urls: Vec<&str> = own.peer_urls.iter().map(String::as_str).collect();
        let ours = self.add(&own_urls, false).await;
        assert!(ours.is_empty());
        let urls = ["http://127.0.0.1:2", "http://127.0.0.1:1"];
        let members = self.add(&urls, true).await;
        let learner = members.iter().find(|member| member.is_learner).unwrap().id;
        self.put().await;
        self.add(&["http://127.0.0.1:3"], true).await;
        self.add(&["http://127.0.0.1:1"], false).await;
        self.promote("the learner", learner).await;
        self.promote("nobody", NOBODY).await;
        self.promote("itself", own.id).await;
        self.update("the learner", learner, &["http://127.0.0.1:9"]).await;
        self.update("the learner", learner, &own_urls).await;
        self.update("nobody", NOBODY, &["http://127.0.0.1:9"]).await;
        self.list().await;
        self.remove("nobody", NOBODY).await;
        self.remove("the learner", learner).await;
        self.remove("the learner", learner).await;
        self.update("the removed", learner, &["http://127.0.0.1:9"]).await;
        self.promote("the removed", learner).await;
        self.remove("itself", own.id).await;
        self.put().await;
        self.list().await;
        let port = own.peer_urls[0].rsplit_once(':').unwrap().1.to_owned();
        self.told.iter().map(|line| line.replace(&port, "PORT")).collect()
    }
}

async fn story(server: &Server) -> Vec<String> {
    let (cluster, kv) = (ClusterClient::new(server.channel()), KvClient::new(server.channel()));
    Side { cluster, kv, told: Vec::new() }.story().await
}

#[test]
fn changes_of_members_are_answered_alike() {
    let judge = Program::newest_etcd();
    if !judge.is_current() {
        return figures::note("members", "left out: there is no etcd 3.7.1 here");
    }
    let servers =
        [judge, subject()].map(|program| Server::start(&program, Options::without_sync()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let [expected, found] =
        runtime.block_on(async { [story(&servers[0]).await, story(&servers[1]).await] });
    for (expected, found) in expected.iter().zip(&found) {
        assert_eq!(expected, found);
    }
    let refused = expected.iter().filter(|line| line.contains("etcdserver: ")).count();
    figures::note("members", format!("{} answers alike, {refused} of them refusals", found.len()));
}
