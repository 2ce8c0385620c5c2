//! Keys and values as a service of tonic's: what is not called directly, and services made of it.

use crate::budget::{Connection, Held};
use crate::grpc::kv::{Kv, RangeAnswer, Roomed};
use crate::grpc::status::{read_status, status};
use crate::grpc::{check, fill_revision, voters};
use api::etcdserverpb::kv_server;
use api::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
    PutResponse, RangeRequest, RangeResponse, RangeStreamResponse, TxnRequest, TxnResponse,
};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use mvcc::{Chunk, RangeStream};
use server::Server;
use std::sync::Arc;
use tokio::sync::oneshot;
use tonic::{Extensions, Request, Response, Status};

/// The service.
#[derive(Clone)]
pub(crate) struct KvService(pub Kv);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl kv_server::Kv for KvService {
    async fn range(&self, request: Request<RangeRequest>) -> Answer<RangeResponse> {
        let (_, extensions, request) = request.into_parts();
        let (done, answer) = told();
        self.0.range(request, &connection(&extensions), done);
        let Roomed { answer, held } = awaited(answer).await?;
        Ok(holding(answer.into(), held))
    }

    type RangeStreamStream = BoxStream<'static, Result<RangeStreamResponse, Status>>;

    async fn range_stream(
        &self,
        request: Request<RangeRequest>,
    ) -> Answer<Self::RangeStreamStream> {
        let server = self.0.server();
        voters::check(server)?;
        let (_, extensions, request) = request.into_parts();
        let connection = connection(&extensions);
        check::range_stream(&request)?;
        if !request.serializable {
            server.linearizable().await.map_err(status)?;
        }
        let target = server.config().max_request_bytes;
        let mut chunks = server.view().stream(apply::range_query(&request), target);
        // What fails at once fails the call and not the stream.
        let held = self.0.hold(chunks.next_bytes(), &connection).await?;
        let first = chunks.next_chunk().map_err(|error| read_status(&error))?;
        let streaming = Streaming { kv: self.0.clone(), connection, chunks, first, held };
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
        let (_, extensions, request) = request.into_parts();
        let (done, answer) = told();
        self.0.put(request, &connection(&extensions), done);
        Ok(Response::new(awaited(answer).await?))
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Answer<DeleteRangeResponse> {
        let (_, extensions, request) = request.into_parts();
        let (done, answer) = told();
        self.0.delete_range(request, &connection(&extensions), done);
        let Roomed { answer, held } = awaited(answer).await?;
        Ok(holding(answer, held))
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Answer<TxnResponse> {
        let (_, extensions, request) = request.into_parts();
        let (done, answer) = told();
        self.0.txn(request, &connection(&extensions), done);
        let Roomed { answer, held } = awaited(answer).await?;
        Ok(holding(answer, held))
    }

    async fn compact(&self, request: Request<CompactionRequest>) -> Answer<CompactionResponse> {
        let server = self.0.server();
        voters::check(server)?;
        let mut response = server.compact(request.into_inner()).await.map_err(status)?;
        fill_revision(server, &mut response.header);
        Ok(Response::new(response))
    }
}

impl From<RangeAnswer> for RangeResponse {
    fn from(answer: RangeAnswer) -> Self {
        let header = Some(answer.header);
        RangeResponse { header, ..apply::range_response(answer.result) }
    }
}

/// What a task waits for.
type Awaited<T> = oneshot::Receiver<Result<T, Status>>;

/// For a task that waits to be told.
fn told<T: Send + 'static>() -> (impl FnOnce(Result<T, Status>) + Send + 'static, Awaited<T>) {
    let (told, answer) = oneshot::channel();
    // A task that has gone meanwhile wants no answer.
    (move |answer| drop(told.send(answer)), answer)
}

async fn awaited<T>(answer: Awaited<T>) -> Result<T, Status> {
    answer.await.unwrap_or_else(|_| Err(api::Error::Stopped.into()))
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
    connection: Arc<Connection>,
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
                self.held = self.kv.hold(self.chunks.next_bytes(), &self.connection).await?;
                self.chunks.next_chunk().map_err(|error| read_status(&error))?
            }
        };
        Ok(chunk.map(|chunk| piece(self.kv.server(), chunk)))
    }
}

fn piece(server: &Server, chunk: Chunk) -> RangeStreamResponse {
    let kvs = chunk.records.into_iter().map(apply::decode_record).collect();
    let mut response = RangeResponse { kvs, ..RangeResponse::default() };
    if let Some(end) = chunk.end {
        (response.count, response.more) = (end.count, end.more);
        response.header = Some(server.headers().at(end.revision));
    }
    RangeStreamResponse { range_response: Some(response) }
}
