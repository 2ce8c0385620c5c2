//! What the leader makes of the members' versions: the cluster's, and the end of a downgrade.
//!
//! Source: etcd `server/etcdserver/version/monitor.go`, `cluster_util.go` (`getMembersVersions`),
//! `server.go` (`monitorClusterVersions`, `monitorDowngrade`).

use crate::{Error, Server};
use api::etcdserverpb::InternalRaftRequest;
use api::membershippb::ClusterVersionSetRequest;
use futures_util::future::join_all;
use member::{Member, Version};
use peer::Question;
use serde_json::Value;
use std::time::Duration;

/// How often the cluster's version is looked at.
const VERSION_PERIOD: Duration = Duration::from_secs(4);

/// How often it is looked at whether a downgrade is complete.
const DOWNGRADE_PERIOD: Duration = Duration::from_secs(5);

/// Bytes of what a member says of its versions, at most.
const ANSWER_BYTES_MAX: usize = 4096;

/// The leader decides the version once there is a leader, and looks again from time to time.
pub(crate) async fn decide(server: Server) {
    let shared = &server.shared;
    loop {
        let mut lead = shared.lead.subscribe();
        if shared.leads() {
            let lowest = member::min_server_version(members_versions(&server).await);
            let cluster = shared.cluster();
            let version = cluster.version();
            match member::decide_cluster_version(version, lowest, &cluster.downgrade()) {
                Ok(Some(decided)) => {
                    log_version(version, decided);
                    set_version(&server, decided).await;
                }
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "failed to monitor cluster version"),
            }
        }
        tokio::select! {
            _ = lead.changed() => {}
            () = tokio::time::sleep(VERSION_PERIOD) => {}
        }
    }
}

/// The leader ends a downgrade once all members run what was aimed at.
pub(crate) async fn end_downgrade(server: Server) {
    loop {
        tokio::time::sleep(DOWNGRADE_PERIOD).await;
        let Some(target) = server.cluster().downgrade().target else { continue };
        if !server.shared.leads() {
            continue;
        }
        let reached = |version: &Option<Version>| {
            version.is_some_and(|version| version.major_minor() == target.major_minor())
        };
        if !members_versions(&server).await.iter().all(reached) {
            continue;
        }
        tracing::info!(cluster_version = %target, "the cluster has been downgraded");
        match server.cancel_downgrade().await {
            Ok(()) | Err(Error::Api(api::Error::NoInflightDowngrade)) => {}
            Err(error) => tracing::warn!(%error, "failed to cancel downgrade"),
        }
    }
}

/// Compat: texts and fields that people look for; versions are of two numbers here.
fn log_version(before: Option<Version>, decided: Version) {
    let short = |version: Version| format!("{}.{}", version.major, version.minor);
    match before {
        None => tracing::info!(
            cluster_version = short(decided),
            "setting up initial cluster version using v3 API"
        ),
        Some(before) => tracing::info!(
            from = short(before),
            to = short(decided),
            "updating cluster version using v3 API"
        ),
    }
}

async fn set_version(server: &Server, version: Version) {
    let set = ClusterVersionSetRequest { ver: version.to_string() };
    let request =
        InternalRaftRequest { cluster_version_set: Some(set), ..InternalRaftRequest::default() };
    if let Err(error) = server.propose(request).await {
        tracing::warn!(%error, "failed to set the cluster version");
    }
}

/// What each member's server is; `None` for one that does not say.
async fn members_versions(server: &Server) -> Vec<Option<Version>> {
    let cluster = server.cluster();
    join_all(cluster.members().map(|member| version(server, member))).await
}

async fn version(server: &Server, member: &Member) -> Option<Version> {
    if member.id == server.id() {
        return Some(member::SERVER_VERSION);
    }
    let question = Question::get("/version", ANSWER_BYTES_MAX);
    let asking = server.transport.ask(member.id, &question);
    let patience = server.shared.config.request_timeout();
    let told = match tokio::time::timeout(patience, asking).await {
        Ok(Ok(reply)) => read(&reply.body).ok_or_else(|| "it is no version".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer in {patience:?}")),
    };
    match told {
        Ok(version) => {
            if version > member::SERVER_VERSION {
                tracing::warn!(
                    local_member_version = %member::SERVER_VERSION,
                    remote_member_id = peer::identity::format_id(member.id),
                    remote_member_version = %version,
                    "leader found higher-versioned member"
                );
            }
            Some(version)
        }
        Err(error) => {
            let remote_member_id = peer::identity::format_id(member.id);
            tracing::warn!(remote_member_id, error, "failed to get version");
            None
        }
    }
}

/// The server's version of `{"etcdserver":"3.7.1","etcdcluster":"3.7.0",..}`.
fn read(body: &[u8]) -> Option<Version> {
    let told: Value = serde_json::from_slice(body).ok()?;
    // One that is not released yet counts as what it is to become.
    let version = told["etcdserver"].as_str()?.split(['-', '+']).next()?;
    Version::parse(version).ok()
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn a_version_is_read_whoever_writes_it() {
        let text = |body: &str| read(body.as_bytes()).map(|version| version.to_string());
        let go = r#"{"etcdserver":"3.6.4","etcdcluster":"3.6.0","storage":"3.6.0"}"#;
        assert_eq!(text(go).as_deref(), Some("3.6.4"));
        let old = r#"{"etcdserver":"3.5.1","etcdcluster":"not_decided"}"#;
        assert_eq!(text(old).as_deref(), Some("3.5.1"));
        assert_eq!(text(r#"{"etcdserver":"3.8.0-alpha.1+git"}"#).as_deref(), Some("3.8.0"));
        for bad in ["", "{}", r#"{"etcdserver":7}"#, r#"{"etcdserver":"seven"}"#] {
            assert_eq!(text(bad), None, "{bad}");
        }
    }
}
