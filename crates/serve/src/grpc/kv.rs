//! Keys and values.

use crate::budget::{Budget, Connection, Held, SMALL_BYTES};
use crate::grpc::status::{read_status, status};
use crate::grpc::{check, fill, fill_revision, voters};
use crate::slow::{self, ReadTimer, Stats};
use api::etcdserverpb::kv_server;
use api::etcdserverpb::request_op::Request as Op;
use api::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse,
    InternalRaftRequest, PutRequest, PutResponse, RangeRequest, RangeResponse, RangeStreamResponse,
    ResponseHeader, TxnRequest, TxnResponse,
};
use apply::{Operations, Reply};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use mvcc::{Bounded, Chunk, RangeQuery, RangeResult, RangeStream, Read as _};
use prost::Message;
use server::{Proposed, Server, describe};
use std::sync::Arc;
use std::time::{Duration, Instant};
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

    /// Proposes, and logs what took long: `stats` is told what was asked, again, and the reply.
    async fn propose(
        &self,
        request: InternalRaftRequest,
        method: &str,
        extensions: &Extensions,
        stats: impl FnOnce(InternalRaftRequest, Option<&Reply>) -> Stats,
    ) -> Result<Reply, Status> {
        let Proposed { reply, took, data } = self.server.propose_timed(request).await;
        self.log(method, extensions, took, || {
            let asked = InternalRaftRequest::decode(data).unwrap_or_default();
            stats(asked, reply.as_ref().ok())
        });
        reply.map_err(status)
    }

    fn log(
        &self,
        method: &str,
        extensions: &Extensions,
        took: Duration,
        stats: impl FnOnce() -> Stats,
    ) {
        let expected = self.server.config().warning_request;
        if took > expected {
            let connection = extensions.get::<Arc<Connection>>();
            slow::log_request(expected, connection.map(|its| &**its), method, took, stats);
        }
    }

    /// Agrees that the state is new enough, unless it need not be, and reads it.
    async fn timed_read(
        &self,
        request: &RangeRequest,
        timer: &mut ReadTimer<'_>,
        extensions: &Extensions,
    ) -> Result<(RangeResult, Option<Held>), Status> {
        if !request.serializable {
            self.server.linearizable().await.map_err(status)?;
        }
        timer.agreed();
        self.read(apply::range_query(request), extensions).await
    }
}

impl Kv {
    async fn read_txn(
        &self,
        request: &TxnRequest,
        extensions: &Extensions,
    ) -> Result<TxnResponse, Status> {
        if !is_serializable(request) {
            self.server.linearizable().await.map_err(status)?;
        }
        // Compat: only the reading is timed.
        let (began, mut done) = (Instant::now(), Operations::default());
        let answer = apply::read(&self.server.view(), request, &mut done);
        let took = began.elapsed();
        slow::read_only_txn(&self.server, &done, answer.is_ok(), took);
        let error = answer.as_ref().err().map(ToString::to_string);
        slow::log_read(&self.server, took, "read-only txn ", error.as_deref(), || {
            let said = answer.as_ref().map(|answer| format!("size:{}", answer.encoded_len()));
            (describe::txn(request), said.unwrap_or_default())
        });
        self.log(TXN, extensions, took, || stats_of_txn(request, answer.as_ref().ok()));
        answer.map_err(|error| read_status(&error))
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
        let mut timer = ReadTimer::start(&self.server);
        let read = self.timed_read(&request, &mut timer, &extensions).await;
        let took = timer.finish(read.is_ok());
        let answered = read.map(|(result, held)| {
            let mut response = apply::range_response(result);
            fill(&self.server, &mut response.header);
            (response, held)
        });
        let response = answered.as_ref().ok().map(|(response, _)| response);
        let error = answered.as_ref().err().map(Status::message);
        slow::log_read(&self.server, took, "read-only range ", error, || {
            let said = response.map(|response| {
                let (count, size) = (response.kvs.len(), response.encoded_len());
                format!("range_response_count:{count} size:{size}")
            });
            (describe::range(&request), said.unwrap_or_default())
        });
        self.log("etcdserverpb.KV/Range", &extensions, took, || Stats {
            request_size: size(&request),
            response_count: response.map_or(0, |response| response.count),
            response_size: response.map_or(0, size),
            content: describe::range(&request),
            ..Stats::default()
        });
        let (response, held) = answered?;
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
        let (_, extensions, request) = request.into_parts();
        // Compat: room is asked for before anything is looked at.
        self.server.check_quota(apply::put_cost(&request)).map_err(status)?;
        check::put(&request)?;
        let request = InternalRaftRequest { put: Some(request), ..Default::default() };
        let reply = self.propose(request, "etcdserverpb.KV/Put", &extensions, put_stats).await?;
        let Reply::Put(mut response) = reply else { return Err(mixed_up()) };
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
        let method = "etcdserverpb.KV/DeleteRange";
        let reply = self.propose(request, method, &extensions, delete_stats).await?;
        let Reply::DeleteRange(mut response) = reply else { return Err(mixed_up()) };
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
            self.read_txn(&request, &extensions).await?
        } else {
            let request = InternalRaftRequest { txn: Some(request), ..Default::default() };
            let reply = self.propose(request, TXN, &extensions, txn_stats).await?;
            let Reply::Txn(response) = reply else { return Err(mixed_up()) };
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

const TXN: &str = "etcdserverpb.KV/Txn";

fn size(message: &impl Message) -> i64 {
    i64::try_from(message.encoded_len()).unwrap_or(i64::MAX)
}

fn put_stats(asked: InternalRaftRequest, reply: Option<&Reply>) -> Stats {
    let put = asked.put.unwrap_or_default();
    Stats {
        request_count: 1,
        request_size: size(&put),
        response_size: match reply {
            Some(Reply::Put(response)) => size(response),
            _ => 0,
        },
        content: describe::put(&put),
        ..Stats::default()
    }
}

fn delete_stats(asked: InternalRaftRequest, reply: Option<&Reply>) -> Stats {
    let delete = asked.delete_range.unwrap_or_default();
    let (response_count, response_size) = match reply {
        Some(Reply::DeleteRange(response)) => (response.deleted, size(response)),
        _ => (0, 0),
    };
    let (request_size, content) = (size(&delete), describe::delete_range(&delete));
    Stats { request_count: 0, request_size, response_count, response_size, content }
}

fn txn_stats(asked: InternalRaftRequest, reply: Option<&Reply>) -> Stats {
    let response = match reply {
        Some(Reply::Txn(response)) => Some(response),
        _ => None,
    };
    stats_of_txn(&asked.txn.unwrap_or_default(), response)
}

/// Of the branch that was taken.
fn stats_of_txn(txn: &TxnRequest, response: Option<&TxnResponse>) -> Stats {
    let Some(response) = response else { return Stats::default() };
    let taken = if response.succeeded { &txn.success } else { &txn.failure };
    Stats {
        request_count: i64::try_from(taken.len()).unwrap_or(i64::MAX),
        request_size: taken.iter().map(size).sum(),
        response_count: 0,
        response_size: size(response),
        content: describe::txn(txn),
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
