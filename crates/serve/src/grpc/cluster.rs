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
use std::time::{SystemTime, UNIX_EPOCH};
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

#[tonic::async_trait]
impl cluster_server::Cluster for Cluster {
    async fn member_add(&self, request: Request<MemberAddRequest>) -> Answer<MemberAddResponse> {
        let MemberAddRequest { peer_urls, is_learner } = request.into_inner();
        let urls = member::parse_urls(peer_urls.iter().map(String::as_str));
        let urls = urls.map_err(|_| api::Error::MemberBadUrls)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Two with the same URLs, one after the other, are two members.
        let mut added = member::Member::new("", urls, "", Some(now.as_secs()));
        added.is_learner = is_learner;
        let cluster = self.server.add_member(&added).await.map_err(status)?;
        let mut response =
            MemberAddResponse { header: None, member: Some(told(&added)), members: list(&cluster) };
        fill(&self.server, &mut response.header);
        Ok(Response::new(response))
    }

    async fn member_remove(
        &self,
        request: Request<MemberRemoveRequest>,
    ) -> Answer<MemberRemoveResponse> {
        let removed = self.server.remove_member(request.into_inner().id).await;
        let members = list(&*removed.map_err(status)?);
        let mut response = MemberRemoveResponse { header: None, members };
        fill(&self.server, &mut response.header);
        Ok(Response::new(response))
    }

    async fn member_update(
        &self,
        request: Request<MemberUpdateRequest>,
    ) -> Answer<MemberUpdateResponse> {
        let MemberUpdateRequest { id, peer_urls } = request.into_inner();
        let updated = self.server.update_member(id, peer_urls).await;
        let members = list(&*updated.map_err(status)?);
        let mut response = MemberUpdateResponse { header: None, members };
        fill(&self.server, &mut response.header);
        Ok(Response::new(response))
    }

    async fn member_list(&self, request: Request<MemberListRequest>) -> Answer<MemberListResponse> {
        if request.into_inner().linearizable {
            self.server.linearizable().await.map_err(status)?;
        }
        let members = list(&self.server.cluster());
        let mut response = MemberListResponse { header: None, members };
        // Compat: answers about members have no revision.
        fill(&self.server, &mut response.header);
        Ok(Response::new(response))
    }

    async fn member_promote(
        &self,
        request: Request<MemberPromoteRequest>,
    ) -> Answer<MemberPromoteResponse> {
        let promoted = self.server.promote_member(request.into_inner().id).await;
        let members = promoted.map_err(status)?.iter().map(told).collect();
        let mut response = MemberPromoteResponse { header: None, members };
        fill(&self.server, &mut response.header);
        Ok(Response::new(response))
    }
}

fn list(cluster: &member::Cluster) -> Vec<Member> {
    cluster.members().map(told).collect()
}

fn told(member: &member::Member) -> Member {
    Member {
        id: member.id,
        name: member.name.clone(),
        peer_urls: member.peer_urls.clone(),
        client_urls: member.client_urls.clone(),
        is_learner: member.is_learner,
    }
}
