//! Leases.

use crate::grpc::kv::mixed_up;
use crate::grpc::status::status;
use crate::grpc::{fill, fill_revision};
use api::etcdserverpb::lease_server;
use api::etcdserverpb::{
    InternalRaftRequest, LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest,
    LeaseKeepAliveResponse, LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest,
    LeaseRevokeResponse, LeaseStatus, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};
use apply::Reply;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use server::{Error, Server};
use tonic::{Request, Response, Status, Streaming};

pub(crate) struct Lease {
    server: Server,
}

type Answer<T> = Result<Response<T>, Status>;

impl Lease {
    pub(crate) fn new(server: Server) -> Self {
        Self { server }
    }
}

/// Gives a lease its whole time again.
pub(crate) async fn renew(server: &Server, id: i64) -> Result<LeaseKeepAliveResponse, Status> {
    // Compat: the header is of before the renewal.
    let header = Some(server.headers().at(server.revision()));
    let ttl = match server.lease_renew(id).await {
        Ok(ttl) => ttl,
        // Compat: a lease that is gone is told by a time to live of 0.
        Err(Error::Api(api::Error::LeaseNotFound)) => 0,
        Err(error) => return Err(status(error)),
    };
    Ok(LeaseKeepAliveResponse { header, id, ttl })
}

#[tonic::async_trait]
impl lease_server::Lease for Lease {
    async fn lease_grant(&self, request: Request<LeaseGrantRequest>) -> Answer<LeaseGrantResponse> {
        let mut grant = request.into_inner();
        self.server.check_quota(apply::GRANT_COST).map_err(status)?;
        if grant.id == 0 {
            grant.id = self.server.new_lease_id();
        }
        let request = InternalRaftRequest { lease_grant: Some(grant), ..Default::default() };
        let Reply::LeaseGrant(mut response) = self.server.propose(request).await.map_err(status)?
        else {
            return Err(mixed_up());
        };
        fill_revision(&self.server, &mut response.header);
        Ok(Response::new(response))
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Answer<LeaseRevokeResponse> {
        let lease_revoke = Some(request.into_inner());
        let request = InternalRaftRequest { lease_revoke, ..Default::default() };
        let Reply::LeaseRevoke(mut response) =
            self.server.propose(request).await.map_err(status)?
        else {
            return Err(mixed_up());
        };
        fill_revision(&self.server, &mut response.header);
        Ok(Response::new(response))
    }

    type LeaseKeepAliveStream = BoxStream<'static, Result<LeaseKeepAliveResponse, Status>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Answer<Self::LeaseKeepAliveStream> {
        let state = Some((request.into_inner(), self.server.clone()));
        let answers = stream::unfold(state, |state| async {
            let (mut requests, server) = state?;
            let answer = match requests.message().await {
                Ok(request) => renew(&server, request?.id).await,
                Err(status) => Err(status),
            };
            match answer {
                Ok(answer) => Some((Ok(answer), Some((requests, server)))),
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Answer<LeaseTimeToLiveResponse> {
        let LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        let times = self.server.lease_times(id, keys).await.map_err(status)?;
        let mut response = match times {
            Some(times) => LeaseTimeToLiveResponse {
                header: None,
                id,
                ttl: times.ttl,
                granted_ttl: times.granted_ttl,
                keys: times.keys,
            },
            // Compat: a lease that is gone is told by a time to live of -1.
            None => LeaseTimeToLiveResponse { id, ttl: -1, ..Default::default() },
        };
        fill_revision(&self.server, &mut response.header);
        Ok(Response::new(response))
    }

    async fn lease_leases(&self, _: Request<LeaseLeasesRequest>) -> Answer<LeaseLeasesResponse> {
        let ids = self.server.leases().await.map_err(status)?;
        let leases = ids.into_iter().map(|id| LeaseStatus { id }).collect();
        let mut response = LeaseLeasesResponse { header: None, leases };
        fill(&self.server, &mut response.header);
        fill_revision(&self.server, &mut response.header);
        Ok(Response::new(response))
    }
}
