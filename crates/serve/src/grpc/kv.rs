//! Keys and values: the first stop of each request, whichever way it came.
//!
//! A request is checked, asked of the member, and its caller told on whatever thread the answer is
//! found. None of these functions waits: what must wait for room or for the present goes on in a
//! task. Requests come from the client port as they are (`calls`), and as messages of tonic's
//! (`service`).

use crate::budget::{Budget, Connection, Held, SMALL_BYTES};
use crate::grpc::status::{read_status, status};
use crate::grpc::{check, voters};
use api::etcdserverpb::request_op::Request as Op;
use api::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, InternalRaftRequest, PutRequest, PutResponse,
    RangeRequest, RequestOp, ResponseHeader, TxnRequest, TxnResponse,
};
use apply::Reply;
use mvcc::{Bounded, RangeQuery, RangeResult, Read as _};
use server::{Headers, Server};
use std::sync::Arc;
use tokio::runtime::Handle;
use tonic::Status;

/// Keys and values over a member.
#[derive(Clone)]
pub(crate) struct Kv {
    server: Server,
    budget: Budget,
    headers: Headers,
    runtime: Handle,
}

/// An answer, and the room in memory that it was given if it needs some.
pub(crate) struct Roomed<T> {
    pub answer: T,
    pub held: Option<Held>,
}

/// A range as it was found: its records are encoded key-values.
pub(crate) struct RangeAnswer {
    pub header: ResponseHeader,
    pub result: RangeResult,
}

impl Kv {
    /// Takes requests on any thread of the runtime it is made in.
    pub(crate) fn new(server: Server, budget: Budget) -> Self {
        let headers = server.headers();
        Self { server, budget, headers, runtime: Handle::current() }
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Puts a key.
    pub(crate) fn put(
        &self,
        request: PutRequest,
        done: impl FnOnce(Result<PutResponse, Status>) + Send + 'static,
    ) {
        if let Err(refused) = self.check_put(&request) {
            return done(Err(refused));
        }
        let headers = self.headers.clone();
        let request = InternalRaftRequest { put: Some(request), ..Default::default() };
        self.server.submit(
            request,
            Box::new(move |told| {
                done(match told.answer {
                    Ok(Reply::Put(mut response)) => {
                        fill(&headers, &mut response.header);
                        Ok(response)
                    }
                    Ok(_) => Err(mixed_up()),
                    Err(error) => Err(status(error)),
                });
            }),
        );
    }

    fn check_put(&self, request: &PutRequest) -> Result<(), Status> {
        voters::check(&self.server)?;
        // Compat: room is asked for before anything is looked at.
        self.server.check_quota(apply::put_cost(request)).map_err(status)?;
        Ok(check::put(request)?)
    }

    /// Deletes keys.
    pub(crate) fn delete_range(
        &self,
        request: DeleteRangeRequest,
        connection: &Arc<Connection>,
        done: impl FnOnce(Result<Roomed<DeleteRangeResponse>, Status>) + Send + 'static,
    ) {
        if let Err(refused) = self.check_delete_range(&request) {
            return done(Err(refused));
        }
        let mut bytes = 0;
        if request.prev_kv {
            let (key, range_end) = (request.key.clone(), request.range_end.clone());
            let query = RangeQuery { key, range_end, ..RangeQuery::default() };
            bytes = apply::range_bytes(&self.server.view(), &query);
        }
        self.with_room(bytes, connection, |kv, held| {
            let held = match held {
                Ok(held) => held,
                Err(refused) => return done(Err(refused)),
            };
            let headers = kv.headers.clone();
            let request = InternalRaftRequest { delete_range: Some(request), ..Default::default() };
            kv.server.submit(
                request,
                Box::new(move |told| {
                    done(match told.answer {
                        Ok(Reply::DeleteRange(mut answer)) => {
                            fill(&headers, &mut answer.header);
                            Ok(Roomed { answer, held })
                        }
                        Ok(_) => Err(mixed_up()),
                        Err(error) => Err(status(error)),
                    });
                }),
            );
        });
    }

    fn check_delete_range(&self, request: &DeleteRangeRequest) -> Result<(), Status> {
        voters::check(&self.server)?;
        Ok(check::delete_range(request)?)
    }

    /// Reads keys.
    pub(crate) fn range(
        &self,
        request: &RangeRequest,
        connection: &Arc<Connection>,
        done: impl FnOnce(Result<Roomed<RangeAnswer>, Status>) + Send + 'static,
    ) {
        if let Err(refused) = self.check_range(request) {
            return done(Err(refused));
        }
        let (query, connection) = (apply::range_query(request), Arc::clone(connection));
        self.at_present(request.serializable, move |kv, present| match present {
            Ok(()) => kv.read(query, &connection, done),
            Err(refused) => done(Err(refused)),
        });
    }

    fn check_range(&self, request: &RangeRequest) -> Result<(), Status> {
        if !request.serializable {
            voters::check(&self.server)?;
        }
        Ok(check::range(request)?)
    }

    /// Answers a range from what is applied here, and a large one once there is room for it.
    fn read(
        &self,
        query: RangeQuery,
        connection: &Arc<Connection>,
        done: impl FnOnce(Result<Roomed<RangeAnswer>, Status>) + Send + 'static,
    ) {
        let answer = |headers: &Headers, result: RangeResult| RangeAnswer {
            header: headers.at(result.revision),
            result,
        };
        let bytes = match self.server.view().range_within(&query, SMALL_BYTES) {
            Ok(Bounded::Answer(result)) => {
                let answer = answer(&self.headers, result);
                return done(Ok(Roomed { answer, held: None }));
            }
            Ok(Bounded::Needs(bytes)) => bytes,
            Err(error) => return done(Err(read_status(&error))),
        };
        self.with_room(bytes, connection, move |kv, held| {
            let held = match held {
                Ok(held) => held,
                Err(refused) => return done(Err(refused)),
            };
            let (view, headers) = (kv.server.view(), kv.headers.clone());
            // It takes its time, in which this thread serves others.
            kv.runtime.spawn_blocking(move || {
                done(match view.range(&query) {
                    Ok(result) => Ok(Roomed { answer: answer(&headers, result), held }),
                    Err(error) => Err(read_status(&error)),
                });
            });
        });
    }

    /// Compares, then reads and writes.
    pub(crate) fn txn(
        &self,
        request: TxnRequest,
        connection: &Arc<Connection>,
        done: impl FnOnce(Result<Roomed<TxnResponse>, Status>) + Send + 'static,
    ) {
        if let Err(refused) = self.check_txn(&request) {
            return done(Err(refused));
        }
        let bytes = apply::answer_bytes(&self.server.view(), &request);
        self.with_room(bytes, connection, |kv, held| {
            let held = match held {
                Ok(held) => held,
                Err(refused) => return done(Err(refused)),
            };
            let headers = kv.headers.clone();
            let filled = move |mut answer: TxnResponse| {
                fill(&headers, &mut answer.header);
                Roomed { answer, held }
            };
            if apply::is_read_only(&request) {
                return kv.at_present(is_serializable(&request), move |kv, present| {
                    done(present.and_then(|()| {
                        let mut done = apply::Operations::default();
                        let answer = apply::read(&kv.server.view(), &request, &mut done);
                        answer.map(filled).map_err(|error| read_status(&error))
                    }));
                });
            }
            let request = InternalRaftRequest { txn: Some(request), ..Default::default() };
            kv.server.submit(
                request,
                Box::new(move |told| {
                    done(match told.answer {
                        Ok(Reply::Txn(answer)) => Ok(filled(answer)),
                        Ok(_) => Err(mixed_up()),
                        Err(error) => Err(status(error)),
                    });
                }),
            );
        });
    }

    fn check_txn(&self, request: &TxnRequest) -> Result<(), Status> {
        voters::check(&self.server)?;
        self.server.check_quota(apply::txn_cost(request)).map_err(status)?;
        check::txn(request, self.server.config().max_txn_ops).map_err(Status::from)
    }

    /// Goes on once what is applied here is no older than this call; at once if that does not
    /// matter.
    fn at_present(
        &self,
        serializable: bool,
        then: impl FnOnce(&Self, Result<(), Status>) + Send + 'static,
    ) {
        if serializable || self.server.decides_alone() {
            return then(self, Ok(()));
        }
        let kv = self.clone();
        self.server.confirm(Box::new(move |told| {
            // Whoever confirms has others to tell.
            let runtime = kv.runtime.clone();
            runtime.spawn(async move { then(&kv, told.answer.map(drop).map_err(status)) });
        }));
    }

    /// Goes on once there is room for an answer of so many bytes; at once if it needs none.
    fn with_room(
        &self,
        bytes: u64,
        connection: &Arc<Connection>,
        then: impl FnOnce(&Self, Result<Option<Held>, Status>) + Send + 'static,
    ) {
        if bytes <= SMALL_BYTES {
            return then(self, Ok(None));
        }
        let (kv, connection) = (self.clone(), Arc::clone(connection));
        self.runtime.spawn(async move {
            let held = kv.budget.hold(&connection, bytes).await;
            then(&kv, held.map(Some));
        });
    }

    /// Room for an answer of so many bytes, if it needs any.
    pub(crate) async fn hold(
        &self,
        bytes: u64,
        connection: &Arc<Connection>,
    ) -> Result<Option<Held>, Status> {
        if bytes <= SMALL_BYTES {
            return Ok(None);
        }
        self.budget.hold(connection, bytes).await.map(Some)
    }
}

/// Fills what the member knows better than the state machine, which gave the revision.
fn fill(headers: &Headers, header: &mut Option<ResponseHeader>) {
    *header = Some(headers.at(header.as_ref().map_or(0, |header| header.revision)));
}

/// Compat: a transaction without operations is serializable, whatever it compares.
fn is_serializable(txn: &TxnRequest) -> bool {
    let serializable = |op: &RequestOp| match &op.request {
        Some(Op::RequestRange(range)) => range.serializable,
        _ => false,
    };
    txn.success.iter().all(serializable) && txn.failure.iter().all(serializable)
}

pub(crate) fn mixed_up() -> Status {
    Status::internal("a request was answered as if it were another")
}
