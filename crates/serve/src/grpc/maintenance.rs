//! What operators ask.

use crate::grpc::kv::mixed_up;
use crate::grpc::status::{read_status, status};
use crate::grpc::{fill_revision, voters};
use api::etcdserverpb::downgrade_request::DowngradeAction;
use api::etcdserverpb::maintenance_server;
use api::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmResponse, AlarmType, DefragmentRequest, DefragmentResponse,
    DowngradeInfo, DowngradeRequest, DowngradeResponse, HashKvRequest, HashKvResponse, HashRequest,
    HashResponse, InternalRaftRequest, MoveLeaderRequest, MoveLeaderResponse, SnapshotRequest,
    SnapshotResponse, StatusRequest, StatusResponse,
};
use api::version::VERSION;
use apply::Reply;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use server::{ImageStream, Server};
use sha2::{Digest, Sha256};
use tonic::{Request, Response, Status};

pub(crate) struct Maintenance {
    server: Server,
}

type Answer<T> = Result<Response<T>, Status>;

impl Maintenance {
    pub(crate) fn new(server: Server) -> Self {
        Self { server }
    }
}

#[tonic::async_trait]
impl maintenance_server::Maintenance for Maintenance {
    async fn alarm(&self, request: Request<AlarmRequest>) -> Answer<AlarmResponse> {
        voters::check(&self.server)?;
        let alarm = request.into_inner();
        let request = InternalRaftRequest { alarm: Some(alarm), ..Default::default() };
        let Reply::Alarm(mut response) = self.server.propose(request).await.map_err(status)? else {
            return Err(mixed_up());
        };
        fill_revision(&self.server, &mut response.header);
        Ok(Response::new(response))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Answer<StatusResponse> {
        let now = self.server.status();
        let mut errors = Vec::new();
        if now.lead == 0 {
            errors.push(api::Error::NoLeader.to_string());
        }
        errors.extend(self.server.alarms().iter().map(alarm_text));
        let target = self.server.cluster().downgrade().target.map(|version| version.to_string());
        let downgrade =
            DowngradeInfo { enabled: target.is_some(), target_version: target.unwrap_or_default() };
        let quota = self.server.config().quota_bytes.unwrap_or_default();
        let mut response = StatusResponse {
            header: None,
            version: VERSION.to_owned(),
            db_size: signed(now.size_bytes),
            leader: now.lead,
            raft_index: now.committed,
            raft_term: now.term,
            raft_applied_index: now.applied,
            errors,
            db_size_in_use: signed(now.in_use_bytes),
            is_learner: now.is_learner,
            storage_version: storage_version(&self.server),
            db_size_quota: signed(quota),
            downgrade_info: Some(downgrade),
        };
        fill_revision(&self.server, &mut response.header);
        Ok(Response::new(response))
    }

    /// There is nothing to do: space returns to the file system by itself.
    async fn defragment(&self, _: Request<DefragmentRequest>) -> Answer<DefragmentResponse> {
        voters::check(&self.server)?;
        Ok(Response::new(DefragmentResponse { header: None }))
    }

    async fn hash(&self, _: Request<HashRequest>) -> Answer<HashResponse> {
        voters::check(&self.server)?;
        let mut response =
            HashResponse { header: None, hash: self.server.hash().await.map_err(status)? };
        fill_revision(&self.server, &mut response.header);
        Ok(Response::new(response))
    }

    async fn hash_kv(&self, request: Request<HashKvRequest>) -> Answer<HashKvResponse> {
        voters::check(&self.server)?;
        let revision = request.into_inner().revision;
        let hash = self.server.hash_by_revision(revision).await;
        let hash = hash.ok_or_else(|| Status::internal("hashing was cut short"))?;
        let hash = hash.map_err(|error| read_status(&error))?;
        let mut response = HashKvResponse {
            header: None,
            hash: hash.hash,
            compact_revision: hash.compact_revision,
            hash_revision: hash.hash_revision,
        };
        fill_revision(&self.server, &mut response.header);
        Ok(Response::new(response))
    }

    type SnapshotStream = BoxStream<'static, Result<SnapshotResponse, Status>>;

    async fn snapshot(&self, _: Request<SnapshotRequest>) -> Answer<Self::SnapshotStream> {
        let image = self.server.image().await.map_err(status)?;
        tracing::info!(total_bytes = image.bytes, "sending database snapshot to client");
        let (left, version) = (image.bytes, storage_version(&self.server));
        let sending = Sending { left, image, hash: Some(Sha256::new()), version };
        let parts = futures_util::stream::try_unfold(sending, |mut sending| async {
            Ok(sending.next().await?.map(|part| (part, sending)))
        });
        Ok(Response::new(Box::pin(parts)))
    }

    async fn move_leader(&self, request: Request<MoveLeaderRequest>) -> Answer<MoveLeaderResponse> {
        voters::check(&self.server)?;
        self.server.move_leader(request.into_inner().target_id).await.map_err(status)?;
        // Compat: without a header.
        Ok(Response::new(MoveLeaderResponse::default()))
    }

    async fn downgrade(&self, request: Request<DowngradeRequest>) -> Answer<DowngradeResponse> {
        voters::check(&self.server)?;
        let DowngradeRequest { action, version } = request.into_inner();
        let done = match DowngradeAction::try_from(action) {
            Ok(DowngradeAction::Validate) => self.server.validate_downgrade(&version).map(drop),
            Ok(DowngradeAction::Enable) => self.server.begin_downgrade(&version).await,
            // Compat: that there is nothing to cancel, or that it failed, is no error.
            Ok(DowngradeAction::Cancel) => {
                if let Err(error) = self.server.cancel_downgrade().await {
                    tracing::error!(%error, "failed to cancel downgrade");
                }
                Ok(())
            }
            Err(_) => Err(server::Error::Other("etcdserver: unknown method".to_owned())),
        };
        done.map_err(status)?;
        let cluster = self.server.cluster().version();
        let version = cluster.map(|its| format!("{}.{}", its.major, its.minor));
        let mut response = DowngradeResponse { header: None, version: version.unwrap_or_default() };
        fill_revision(&self.server, &mut response.header);
        Ok(Response::new(response))
    }
}

/// A database on its way to a client: its parts, then their SHA-256.
struct Sending {
    image: ImageStream,
    left: u64,
    /// Of the parts so far, until it was sent.
    hash: Option<Sha256>,
    /// Of the stored state.
    version: String,
}

impl Sending {
    async fn next(&mut self) -> Result<Option<SnapshotResponse>, Status> {
        let blob = match (self.image.next().await, &mut self.hash) {
            (Some(part), Some(hash)) => {
                let part = part.map_err(|error| Status::unknown(error.to_string()))?;
                hash.update(&part);
                self.left = self.left.saturating_sub(part.len() as u64);
                part
            }
            _ => match self.hash.take() {
                Some(hash) => Bytes::copy_from_slice(&hash.finalize()),
                None => return Ok(None),
            },
        };
        let version = self.version.clone();
        let remaining_bytes = self.left;
        Ok(Some(SnapshotResponse { header: None, remaining_bytes, blob, version }))
    }
}

fn storage_version(server: &Server) -> String {
    server.cluster().storage_version().map(|version| version.to_string()).unwrap_or_default()
}

/// An alarm as Go prints it: fields that are 0 are left out.
fn alarm_text(alarm: &AlarmMember) -> String {
    let mut fields = Vec::new();
    if alarm.member_id != 0 {
        fields.push(format!("memberID:{}", alarm.member_id));
    }
    if alarm.alarm != 0 {
        let kind = AlarmType::try_from(alarm.alarm).map(|kind| kind.as_str_name().to_owned());
        fields.push(format!("alarm:{}", kind.unwrap_or_else(|_| alarm.alarm.to_string())));
    }
    fields.join(" ")
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
