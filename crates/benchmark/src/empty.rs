//! `empty-server`: answers puts, ranges, transactions and renewals, and does nothing else.
//!
//! tonic as it comes, on as many threads as there are cores. Under the same load it shows what gRPC
//! alone costs with the usual library: a server below it does without that library's ways.

use crate::args::EmptyServer;
use anyhow::{Context as _, Result};
use api::etcdserverpb::kv_server::{Kv, KvServer};
use api::etcdserverpb::lease_server::{Lease, LeaseServer};
use api::etcdserverpb::response_op::Response as Done;
use api::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse,
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, PutRequest, PutResponse, RangeRequest,
    RangeResponse, RangeStreamResponse, ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
};
use api::mvccpb::KeyValue;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

/// Serves until it is killed.
pub(crate) fn run(flags: &EmptyServer) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(flags.listen).await.context("listening")?;
        println!("listening on {}", listener.local_addr()?);
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let server = Server::builder().add_service(KvServer::new(Empty));
        let server = server.add_service(LeaseServer::new(Empty));
        server.serve_with_incoming(incoming).await.context("serving")
    })
}

#[derive(Clone, Copy, Debug)]
struct Empty;

type Answer<T> = Result<Response<T>, Status>;

/// As large as a young server's.
#[allow(clippy::unnecessary_wraps, reason = "a message's field")]
fn header() -> Option<ResponseHeader> {
    Some(ResponseHeader {
        cluster_id: 1 << 60,
        member_id: 1 << 61,
        revision: 100_000,
        raft_term: 2,
    })
}

/// What `range` finds: one key with a value of so many bytes.
const VALUE_BYTES: usize = 256;

fn found(key: Bytes) -> RangeResponse {
    let value = Bytes::from_static(&[b'v'; VALUE_BYTES]);
    let kv = KeyValue {
        key,
        value,
        create_revision: 100_000,
        mod_revision: 100_000,
        version: 1,
        lease: 0,
    };
    RangeResponse { header: header(), kvs: vec![kv], more: false, count: 1 }
}

#[tonic::async_trait]
impl Kv for Empty {
    type RangeStreamStream = BoxStream<'static, Result<RangeStreamResponse, Status>>;

    async fn range(&self, request: Request<RangeRequest>) -> Answer<RangeResponse> {
        Ok(Response::new(found(request.into_inner().key)))
    }

    async fn range_stream(
        &self,
        request: Request<RangeRequest>,
    ) -> Answer<Self::RangeStreamStream> {
        let response =
            RangeStreamResponse { range_response: Some(found(request.into_inner().key)) };
        Ok(Response::new(stream::iter([Ok(response)]).boxed()))
    }

    async fn put(&self, _: Request<PutRequest>) -> Answer<PutResponse> {
        Ok(Response::new(PutResponse { header: header(), prev_kv: None }))
    }

    async fn txn(&self, _: Request<TxnRequest>) -> Answer<TxnResponse> {
        let put = PutResponse { header: header(), prev_kv: None };
        let responses = vec![ResponseOp { response: Some(Done::ResponsePut(put)) }];
        Ok(Response::new(TxnResponse { header: header(), succeeded: true, responses }))
    }

    async fn delete_range(&self, _: Request<DeleteRangeRequest>) -> Answer<DeleteRangeResponse> {
        Ok(Response::new(DeleteRangeResponse { header: header(), ..Default::default() }))
    }

    async fn compact(&self, _: Request<CompactionRequest>) -> Answer<CompactionResponse> {
        Ok(Response::new(CompactionResponse { header: header() }))
    }
}

#[tonic::async_trait]
impl Lease for Empty {
    type LeaseKeepAliveStream = BoxStream<'static, Result<LeaseKeepAliveResponse, Status>>;

    async fn lease_grant(&self, grant: Request<LeaseGrantRequest>) -> Answer<LeaseGrantResponse> {
        let ttl = grant.into_inner().ttl;
        let response =
            LeaseGrantResponse { header: header(), id: 1 << 59, ttl, ..Default::default() };
        Ok(Response::new(response))
    }

    async fn lease_revoke(&self, _: Request<LeaseRevokeRequest>) -> Answer<LeaseRevokeResponse> {
        Ok(Response::new(LeaseRevokeResponse { header: header() }))
    }

    async fn lease_keep_alive(
        &self,
        renewals: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Answer<Self::LeaseKeepAliveStream> {
        let answers = renewals.into_inner().map(|renewal| {
            let id = renewal?.id;
            Ok(LeaseKeepAliveResponse { header: header(), id, ttl: 100 })
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn lease_time_to_live(
        &self,
        _: Request<LeaseTimeToLiveRequest>,
    ) -> Answer<LeaseTimeToLiveResponse> {
        Ok(Response::new(LeaseTimeToLiveResponse { header: header(), ..Default::default() }))
    }

    async fn lease_leases(&self, _: Request<LeaseLeasesRequest>) -> Answer<LeaseLeasesResponse> {
        Ok(Response::new(LeaseLeasesResponse { header: header(), ..Default::default() }))
    }
}
