//! Members.

use crate::grpc::fill;
use crate::grpc::status::status;
use api::etcdserverpb::cluster_server;
use api::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
    MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
    MemberUpdateRequest, MemberUpdateResponse,
};
use server::Server;
use tonic::{Request, Response, Status};

pub(crate) struct Cluster {
    server: Server,
}

type Answer<T> = Result<Response<T>, Status>;

impl Cluster {
    pub(crate) fn new(server: Server) -> Self {
        Self { server }
    }
}

fn not_built<T>(what: &str) -> Answer<T> {
    Err(Status::unimplemented(format!("{what} is not built yet")))
}

#[tonic::async_trait]
impl cluster_server::Cluster for Cluster {
    async fn member_add(&self, _: Request<MemberAddRequest>) -> Answer<MemberAddResponse> {
        not_built("MemberAdd")
    }

    async fn member_remove(&self, _: Request<MemberRemoveRequest>) -> Answer<MemberRemoveResponse> {
        not_built("MemberRemove")
    }

    async fn member_update(&self, _: Request<MemberUpdateRequest>) -> Answer<MemberUpdateResponse> {
        not_built("MemberUpdate")
    }

    async fn member_list(&self, request: Request<MemberListRequest>) -> Answer<MemberListResponse> {
        if request.into_inner().linearizable {
            self.server.linearizable().await.map_err(status)?;
        }
        let cluster = self.server.cluster();
        let members = cluster.members().map(|member| Member {
            id: member.id,
            name: member.name.clone(),
            peer_urls: member.peer_urls.clone(),
            client_urls: member.client_urls.clone(),
            is_learner: member.is_learner,
        });
        let mut response = MemberListResponse { header: None, members: members.collect() };
        // Compat: answers about members have no revision.
        fill(&self.server, &mut response.header);
        Ok(Response::new(response))
    }

    async fn member_promote(
        &self,
        _: Request<MemberPromoteRequest>,
    ) -> Answer<MemberPromoteResponse> {
        not_built("MemberPromote")
    }
}
