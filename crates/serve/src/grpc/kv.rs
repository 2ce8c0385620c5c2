//! Keys and values.

use crate::grpc::status::{read_status, status};
use crate::grpc::{check, fill, fill_revision, voters};
use api::etcdserverpb::kv_server;
use api::etcdserverpb::request_op::Request as Op;
use api::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse,
    InternalRaftRequest, PutRequest, PutResponse, RangeRequest, RangeResponse, RangeStreamResponse,
    ResponseHeader, TxnRequest, TxnResponse,
};
use apply::Reply;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use mvcc::{Chunk, Read as _};
use server::Server;
use tonic::{Request, Response, Status};

pub(crate) struct Kv {
    server: Server,
}

type Answer<T> = Result<Response<T>, Status>;

impl Kv {
    pub(crate) fn new(server: Server) -> Self {
        Self { server }
    }

    async fn propose(&self, request: InternalRaftRequest) -> Result<Reply, Status> {
        self.server.propose(request).await.map_err(status)
    }
}

#[tonic::async_trait]
impl kv_server::Kv for Kv {
    async fn range(&self, request: Request<RangeRequest>) -> Answer<RangeResponse> {
        let request = request.into_inner();
        if !request.serializable {
            voters::check(&self.server)?;
        }
        check::range(&request)?;
        if !request.serializable {
            self.server.linearizable().await.map_err(status)?;
        }
        let view = self.server.view();
        let result = view.range(&apply::range_query(&request));
        let mut response = apply::range_response(result.map_err(|error| read_status(&error))?);
        fill(&self.server, &mut response.header);
        Ok(Response::new(response))
    }

    type RangeStreamStream = BoxStream<'static, Result<RangeStreamResponse, Status>>;

    async fn range_stream(
        &self,
        request: Request<RangeRequest>,
    ) -> Answer<Self::RangeStreamStream> {
        voters::check(&self.server)?;
        let request = request.into_inner();
        check::range_stream(&request)?;
        if !request.serializable {
            self.server.linearizable().await.map_err(status)?;
        }
        let target = self.server.config().max_request_bytes;
        let mut chunks = self.server.view().stream(apply::range_query(&request), target);
        // What fails at once fails the call and not the stream.
        let first = chunks.next_chunk().map_err(|error| read_status(&error))?;
        let server = self.server.clone();
        let answers = stream::unfold((first, Some(chunks)), move |(chunk, chunks)| {
            let server = server.clone();
            async move {
                let mut chunks = chunks?;
                let chunk = match chunk {
                    Some(chunk) => Ok(Some(chunk)),
                    None => chunks.next_chunk(),
                };
                match chunk {
                    Ok(None) => None,
                    // An error is the last thing said.
                    Err(error) => Some((Err(read_status(&error)), (None, None))),
                    Ok(Some(chunk)) => Some((Ok(piece(&server, chunk)), (None, Some(chunks)))),
                }
            }
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn put(&self, request: Request<PutRequest>) -> Answer<PutResponse> {
        voters::check(&self.server)?;
        let request = request.into_inner();
        // Compat: room is asked for before anything is looked at.
        self.server.check_quota(apply::put_cost(&request)).map_err(status)?;
        check::put(&request)?;
        let request = InternalRaftRequest { put: Some(request), ..Default::default() };
        let Reply::Put(mut response) = self.propose(request).await? else { return Err(mixed_up()) };
        fill_revision(&self.server, &mut response.header);
        Ok(Response::new(response))
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Answer<DeleteRangeResponse> {
        voters::check(&self.server)?;
        let request = request.into_inner();
        check::delete_range(&request)?;
        let request = InternalRaftRequest { delete_range: Some(request), ..Default::default() };
        let Reply::DeleteRange(mut response) = self.propose(request).await? else {
            return Err(mixed_up());
        };
        fill_revision(&self.server, &mut response.header);
        Ok(Response::new(response))
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Answer<TxnResponse> {
        voters::check(&self.server)?;
        let request = request.into_inner();
        self.server.check_quota(apply::txn_cost(&request)).map_err(status)?;
        check::txn(&request, self.server.config().max_txn_ops)?;
        let mut response = if apply::is_read_only(&request) {
            if !is_serializable(&request) {
                self.server.linearizable().await.map_err(status)?;
            }
            let answer = apply::read(&self.server.view(), &request);
            answer.map_err(|error| read_status(&error))?
        } else {
            let request = InternalRaftRequest { txn: Some(request), ..Default::default() };
            let Reply::Txn(response) = self.propose(request).await? else { return Err(mixed_up()) };
            response
        };
        fill_revision(&self.server, &mut response.header);
        Ok(Response::new(response))
    }

    async fn compact(&self, request: Request<CompactionRequest>) -> Answer<CompactionResponse> {
        voters::check(&self.server)?;
        let mut response = self.server.compact(request.into_inner()).await.map_err(status)?;
        fill_revision(&self.server, &mut response.header);
        Ok(Response::new(response))
    }
}

fn piece(server: &Server, chunk: Chunk) -> RangeStreamResponse {
    let kvs = chunk.records.into_iter().map(apply::decode_record).collect();
    let mut response = RangeResponse { kvs, ..RangeResponse::default() };
    if let Some(end) = chunk.end {
        (response.count, response.more) = (end.count, end.more);
        response.header = Some(ResponseHeader { revision: end.revision, ..server.header() });
    }
    RangeStreamResponse { range_response: Some(response) }
}

/// Compat: a transaction without operations is serializable, whatever it compares.
fn is_serializable(txn: &TxnRequest) -> bool {
    let serializable = |op: &api::etcdserverpb::RequestOp| match &op.request {
        Some(Op::RequestRange(range)) => range.serializable,
        _ => false,
    };
    txn.success.iter().all(serializable) && txn.failure.iter().all(serializable)
}

pub(crate) fn mixed_up() -> Status {
    Status::internal("a request was answered as if it were another")
}
