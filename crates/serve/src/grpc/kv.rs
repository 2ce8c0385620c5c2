//! Keys and values.

use crate::budget::{Budget, Connection, Held, SMALL_BYTES};
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
use mvcc::{Bounded, Chunk, RangeQuery, RangeResult, RangeStream, Read as _};
use server::Server;
use std::sync::Arc;
use tonic::{Extensions, Request, Response, Status};

pub(crate) struct Kv {
    server: Server,
    budget: Budget,
}

type Answer<T> = Result<Response<T>, Status>;

impl Kv {
    pub(crate) fn new(server: Server, budget: Budget) -> Self {
        Self { server, budget }
    }

    /// Answers a range, and a large one once there is room for it.
    async fn read(
        &self,
        query: RangeQuery,
        extensions: &Extensions,
    ) -> Result<(RangeResult, Option<Held>), Status> {
        let found = self.server.view().range_within(&query, SMALL_BYTES);
        match found.map_err(|error| read_status(&error))? {
            Bounded::Answer(result) => Ok((result, None)),
            Bounded::Needs(bytes) => {
                let held = self.budget.hold(&connection(extensions), bytes).await?;
                let view = self.server.view();
                // It takes its time, in which this thread serves others.
                let reading = tokio::task::spawn_blocking(move || view.range(&query)).await;
                let result = reading.map_err(|_| Status::cancelled("the server stops"))?;
                Ok((result.map_err(|error| read_status(&error))?, Some(held)))
            }
        }
    }

    /// Room for an answer of so many bytes, if it needs any.
    async fn hold(&self, bytes: u64, extensions: &Extensions) -> Result<Option<Held>, Status> {
        if bytes <= SMALL_BYTES {
            return Ok(None);
        }
        self.budget.hold(&connection(extensions), bytes).await.map(Some)
    }

    async fn propose(&self, request: InternalRaftRequest) -> Result<Reply, Status> {
        self.server.propose(request).await.map_err(status)
    }
}

#[tonic::async_trait]
impl kv_server::Kv for Kv {
    async fn range(&self, request: Request<RangeRequest>) -> Answer<RangeResponse> {
        let (_, extensions, request) = request.into_parts();
        if !request.serializable {
            voters::check(&self.server)?;
        }
        check::range(&request)?;
        if !request.serializable {
            self.server.linearizable().await.map_err(status)?;
        }
        let (result, held) = self.read(apply::range_query(&request), &extensions).await?;
        let mut response = apply::range_response(result);
        fill(&self.server, &mut response.header);
        Ok(holding(response, held))
    }

    type RangeStreamStream = BoxStream<'static, Result<RangeStreamResponse, Status>>;

    async fn range_stream(
        &self,
        request: Request<RangeRequest>,
    ) -> Answer<Self::RangeStreamStream> {
        voters::check(&self.server)?;
        let (_, extensions, request) = request.into_parts();
        check::range_stream(&request)?;
        if !request.serializable {
            self.server.linearizable().await.map_err(status)?;
        }
        let target = self.server.config().max_request_bytes;
        let mut chunks = self.server.view().stream(apply::range_query(&request), target);
        // What fails at once fails the call and not the stream.
        let held = self.hold(chunks.next_bytes(), &extensions).await?;
        let first = chunks.next_chunk().map_err(|error| read_status(&error))?;
        let kv = Kv::new(self.server.clone(), self.budget.clone());
        let streaming = Streaming { kv, extensions, chunks, first, held };
        let answers = stream::unfold(Some(streaming), |streaming| async {
            let mut streaming = streaming?;
            match streaming.next().await {
                Ok(None) => None,
                // An error is the last thing said.
                Err(status) => Some((Err(status), None)),
                Ok(Some(chunk)) => Some((Ok(chunk), Some(streaming))),
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
        let (_, extensions, request) = request.into_parts();
        check::delete_range(&request)?;
        let held = match request.prev_kv {
            true => {
                let (key, range_end) = (request.key.clone(), request.range_end.clone());
                let query = RangeQuery { key, range_end, ..RangeQuery::default() };
                let bytes = apply::range_bytes(&self.server.view(), &query);
                self.hold(bytes, &extensions).await?
            }
            false => None,
        };
        let request = InternalRaftRequest { delete_range: Some(request), ..Default::default() };
        let Reply::DeleteRange(mut response) = self.propose(request).await? else {
            return Err(mixed_up());
        };
        fill_revision(&self.server, &mut response.header);
        Ok(holding(response, held))
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Answer<TxnResponse> {
        voters::check(&self.server)?;
        let (_, extensions, request) = request.into_parts();
        self.server.check_quota(apply::txn_cost(&request)).map_err(status)?;
        check::txn(&request, self.server.config().max_txn_ops)?;
        let bytes = apply::answer_bytes(&self.server.view(), &request);
        let held = self.hold(bytes, &extensions).await?;
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
        Ok(holding(response, held))
    }

    async fn compact(&self, request: Request<CompactionRequest>) -> Answer<CompactionResponse> {
        voters::check(&self.server)?;
        let mut response = self.server.compact(request.into_inner()).await.map_err(status)?;
        fill_revision(&self.server, &mut response.header);
        Ok(Response::new(response))
    }
}

/// The connection that a request came on; one of its own for a request from inside.
fn connection(extensions: &Extensions) -> Arc<Connection> {
    extensions.get::<Arc<Connection>>().cloned().unwrap_or_default()
}

/// A response that holds its room until it is sent.
fn holding<T>(response: T, held: Option<Held>) -> Response<T> {
    let mut response = Response::new(response);
    if let Some(held) = held {
        response.extensions_mut().insert(held);
    }
    response
}

/// A range being told in chunks. Each holds its room until the next one is asked for.
struct Streaming {
    kv: Kv,
    extensions: Extensions,
    chunks: RangeStream,
    first: Option<Chunk>,
    held: Option<Held>,
}

impl Streaming {
    async fn next(&mut self) -> Result<Option<RangeStreamResponse>, Status> {
        let chunk = match self.first.take() {
            Some(chunk) => Some(chunk),
            None => {
                self.held = None;
                self.held = self.kv.hold(self.chunks.next_bytes(), &self.extensions).await?;
                self.chunks.next_chunk().map_err(|error| read_status(&error))?
            }
        };
        Ok(chunk.map(|chunk| piece(&self.kv.server, chunk)))
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
