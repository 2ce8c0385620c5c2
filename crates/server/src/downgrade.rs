//! Downgrades of the cluster, as far as somebody asks for them: what may be asked, and the
//! proposals. What follows of one, the leader does by itself (`tasks.rs`).
//!
//! Source: etcd `server/etcdserver/v3_server.go`, `server/etcdserver/version/manager.go`.

use crate::{Error, Server};
use api::etcdserverpb::InternalRaftRequest;
use api::membershippb::DowngradeInfoSetRequest;
use member::Version;

impl Server {
    /// Whether the cluster can be downgraded to a version, `X.Y` or `X.Y.Z`.
    ///
    /// # Errors
    /// [`api::Error::WrongDowngradeVersionFormat`], `ClusterVersionUnavailable`,
    /// `InvalidDowngradeTargetVersion`, `DowngradeInProcess`.
    pub fn validate_downgrade(&self, target: &str) -> Result<Version, Error> {
        let target = Version::parse_target(target);
        let target = target.map_err(|_| api::Error::WrongDowngradeVersionFormat)?;
        let cluster = self.cluster();
        let version = cluster.version().ok_or(api::Error::ClusterVersionUnavailable)?;
        if version.downgrade_target() != Some(target) {
            return Err(api::Error::InvalidDowngradeTargetVersion.into());
        }
        if cluster.downgrade().target.is_some() {
            return Err(api::Error::DowngradeInProcess.into());
        }
        Ok(target)
    }

    /// Begins to downgrade the cluster.
    ///
    /// # Errors
    /// As above, and those of [`Server::propose`].
    pub async fn begin_downgrade(&self, target: &str) -> Result<(), Error> {
        let target = self.validate_downgrade(target)?;
        self.set_downgrade(DowngradeInfoSetRequest { enabled: true, ver: target.to_string() }).await
    }

    /// Ends the downgrade under way.
    ///
    /// # Errors
    /// [`api::Error::NoInflightDowngrade`], and those of [`Server::propose`].
    pub async fn cancel_downgrade(&self) -> Result<(), Error> {
        if self.cluster().downgrade().target.is_none() {
            return Err(api::Error::NoInflightDowngrade.into());
        }
        self.set_downgrade(DowngradeInfoSetRequest::default()).await
    }

    async fn set_downgrade(&self, set: DowngradeInfoSetRequest) -> Result<(), Error> {
        let downgrade_info_set = Some(set);
        let request = InternalRaftRequest { downgrade_info_set, ..InternalRaftRequest::default() };
        self.propose(request).await.map(drop)
    }
}
