//! Keys and values: the first stop of each request, whichever way it came.
//!
//! A request is checked, asked of the member, and its caller told on whatever thread the answer is
//! found. None of these functions waits: what must wait for room or for the present goes on in a
//! task. Requests come from the client port as they are (`calls`), and as messages of tonic's
//! (`service`).

use crate::budget::{Budget, Connection, Held, Room, SMALL_BYTES};
use crate::calls::{parts_len, range_len};
use crate::grpc::stats;
use crate::grpc::status::{read_status, status};
use crate::grpc::{check, voters};
use crate::metrics::Method;
use crate::slow::{self, ReadTimer, Slow};
use api::etcdserverpb::request_op::Request as Op;
use api::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, InternalRaftRequest, PutRequest, PutResponse,
    RangeRequest, RequestOp, ResponseHeader, TxnRequest, TxnResponse,
};
use apply::{Operations, Reply};
use mvcc::{Bounded, RangeParts, RangeQuery, RangeResult, Read as _};
use prost::Message as _;
use server::{Headers, Server, Told, describe};
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

/// A range that is read while it is sent.
pub(crate) struct PartsAnswer {
    pub header: ResponseHeader,
    pub found: RangeParts,
    pub held: Option<Held>,
}

/// An answer to a range.
pub(crate) enum Ranged {
    Whole(Roomed<RangeAnswer>),
    Parts(PartsAnswer),
}

/// How large the answer of a range is.
pub(super) struct Extent {
    pub records: usize,
    /// Keys in the range.
    pub count: i64,
    pub bytes: usize,
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
        connection: &Connection,
        done: impl FnOnce(Result<PutResponse, Status>) + Send + 'static,
    ) {
        if let Err(refused) = self.check_put(&request) {
            return done(Err(refused));
        }
        let (headers, slow) = (self.headers.clone(), self.slow(Method::PUT, connection));
        let request = InternalRaftRequest { put: Some(request), ..Default::default() };
        self.server.submit(
            request,
            Box::new(move |Told { answer, took, data }| {
                let outcome = match answer {
                    Ok(Reply::Put(mut response)) => {
                        fill(&headers, &mut response.header);
                        Ok(response)
                    }
                    Ok(_) => Err(mixed_up()),
                    Err(error) => Err(status(error)),
                };
                slow.log(took, || stats::put(&data, outcome.as_ref().ok()));
                done(outcome);
            }),
        );
    }

    fn slow(&self, method: Method, connection: &Connection) -> Slow {
        Slow::new(method.name(), self.server.config().warning_request, connection)
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
        let slow = self.slow(Method::DELETE_RANGE, connection);
        self.with_room(room_for(bytes), connection, move |kv, held| {
            let held = match held {
                Ok(held) => held,
                Err(refused) => return done(Err(refused)),
            };
            let headers = kv.headers.clone();
            let request = InternalRaftRequest { delete_range: Some(request), ..Default::default() };
            kv.server.submit(
                request,
                Box::new(move |Told { answer, took, data }| {
                    let outcome = match answer {
                        Ok(Reply::DeleteRange(mut answer)) => {
                            fill(&headers, &mut answer.header);
                            Ok(answer)
                        }
                        Ok(_) => Err(mixed_up()),
                        Err(error) => Err(status(error)),
                    };
                    slow.log(took, || stats::delete_range(&data, outcome.as_ref().ok()));
                    done(outcome.map(|answer| Roomed { answer, held }));
                }),
            );
        });
    }

    fn check_delete_range(&self, request: &DeleteRangeRequest) -> Result<(), Status> {
        voters::check(&self.server)?;
        Ok(check::delete_range(request)?)
    }

    /// Reads keys, as a whole.
    pub(crate) fn range(
        &self,
        request: RangeRequest,
        connection: &Arc<Connection>,
        done: impl FnOnce(Result<Roomed<RangeAnswer>, Status>) + Send + 'static,
    ) {
        self.range_as(request, false, connection, |answer| {
            done(answer.and_then(|answer| match answer {
                Ranged::Whole(answer) => Ok(answer),
                Ranged::Parts(_) => Err(mixed_up()),
            }));
        });
    }

    /// Reads keys, for one who can send a large answer in parts.
    pub(crate) fn range_in_parts(
        &self,
        request: RangeRequest,
        connection: &Arc<Connection>,
        done: impl FnOnce(Result<Ranged, Status>) + Send + 'static,
    ) {
        self.range_as(request, true, connection, done);
    }

    fn range_as(
        &self,
        request: RangeRequest,
        in_parts: bool,
        connection: &Arc<Connection>,
        done: impl FnOnce(Result<Ranged, Status>) + Send + 'static,
    ) {
        if let Err(refused) = self.check_range(&request) {
            return done(Err(refused));
        }
        let (serializable, connection) = (request.serializable, Arc::clone(connection));
        let slow = self.slow(Method::RANGE, &connection);
        let mut reading = Reading { request, in_parts, timer: ReadTimer::start(), slow };
        self.at_present(serializable, move |kv, present| match present {
            Ok(waited) => {
                reading.timer.agreed(waited);
                kv.read(reading, &connection, done);
            }
            Err(refused) => {
                reading.failed(&kv.server, &refused);
                done(Err(refused));
            }
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
        reading: Reading,
        connection: &Arc<Connection>,
        done: impl FnOnce(Result<Ranged, Status>) + Send + 'static,
    ) {
        let query = apply::range_query(&reading.request);
        let needs = match self.server.view().range_within(&query, SMALL_BYTES) {
            Ok(Bounded::Needs(needs)) => needs,
            Ok(Bounded::Answer(result)) => return done(reading.whole(self, Ok(result), None)),
            Err(error) => return done(reading.whole(self, Err(error), None)),
        };
        let in_parts = needs.in_parts.filter(|_| reading.in_parts);
        let room = match in_parts {
            Some(found) => Room::Parts { whole: needs.whole, found },
            None => Room::Whole(needs.whole),
        };
        self.with_room(Some(room), connection, move |kv, held| {
            let held = match held {
                Ok(held) => held,
                Err(refused) => {
                    reading.failed(&kv.server, &refused);
                    return done(Err(refused));
                }
            };
            let (view, kv) = (kv.server.view(), kv.clone());
            let runtime = kv.runtime.clone();
            // It takes its time, in which this thread serves others.
            runtime.spawn_blocking(move || {
                done(match in_parts {
                    Some(_) => reading.parts(&kv, view.range_in_parts(&query), held),
                    None => reading.whole(&kv, view.range(&query), held),
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
        let slow = self.slow(Method::TXN, connection);
        self.with_room(room_for(bytes), connection, move |kv, held| {
            let held = match held {
                Ok(held) => held,
                Err(refused) => return done(Err(refused)),
            };
            let headers = kv.headers.clone();
            if apply::is_read_only(&request) {
                let mut timer = ReadTimer::start();
                return kv.at_present(is_serializable(&request), move |kv, present| {
                    done(present.and_then(|waited| {
                        timer.agreed(waited);
                        let answer = kv.read_txn(&request, timer, slow)?;
                        Ok(Roomed { answer, held })
                    }));
                });
            }
            let request = InternalRaftRequest { txn: Some(request), ..Default::default() };
            kv.server.submit(
                request,
                Box::new(move |Told { answer, took, data }| {
                    let outcome = match answer {
                        Ok(Reply::Txn(mut answer)) => {
                            fill(&headers, &mut answer.header);
                            Ok(answer)
                        }
                        Ok(_) => Err(mixed_up()),
                        Err(error) => Err(status(error)),
                    };
                    slow.log(took, || stats::logged_txn(&data, outcome.as_ref().ok()));
                    done(outcome.map(|answer| Roomed { answer, held }));
                }),
            );
        });
    }

    /// Answers a transaction that only reads from what is applied here.
    fn read_txn(
        &self,
        request: &TxnRequest,
        timer: ReadTimer,
        slow: Slow,
    ) -> Result<TxnResponse, Status> {
        let mut done = Operations::default();
        let mut answer = apply::read(&self.server.view(), request, &mut done);
        if let Ok(answer) = &mut answer {
            fill(&self.headers, &mut answer.header);
        }
        // Compat: only the reading is timed.
        let took = timer.took();
        let reading = took.reading.unwrap_or_default();
        slow::read_only_txn(&self.server, &done, answer.is_ok(), reading);
        let error = answer.as_ref().err().map(ToString::to_string);
        slow::log_read(&self.server, reading, "read-only txn ", error.as_deref(), || {
            let said = answer.as_ref().map(|answer| format!("size:{}", answer.encoded_len()));
            (describe::txn(request), said.unwrap_or_default())
        });
        slow.log(took.whole, || stats::txn(request, answer.as_ref().ok()));
        answer.map_err(|error| read_status(&error))
    }

    fn check_txn(&self, request: &TxnRequest) -> Result<(), Status> {
        voters::check(&self.server)?;
        self.server.check_quota(apply::txn_cost(request)).map_err(status)?;
        check::txn(request, self.server.config().max_txn_ops).map_err(Status::from)
    }

    /// Goes on once what is applied here is no older than this call; at once if that does not
    /// matter. `then` is told whether it had to wait.
    fn at_present(
        &self,
        serializable: bool,
        then: impl FnOnce(&Self, Result<bool, Status>) + Send + 'static,
    ) {
        if serializable || self.server.decides_alone() {
            return then(self, Ok(false));
        }
        let kv = self.clone();
        self.server.confirm(Box::new(move |its| {
            // Whoever confirms has others to tell.
            let runtime = kv.runtime.clone();
            runtime.spawn(async move { then(&kv, its.answer.map(|_| true).map_err(status)) });
        }));
    }

    /// Goes on once there is room for an answer; at once if it needs none.
    fn with_room(
        &self,
        room: Option<Room>,
        connection: &Arc<Connection>,
        then: impl FnOnce(&Self, Result<Option<Held>, Status>) + Send + 'static,
    ) {
        let Some(room) = room else { return then(self, Ok(None)) };
        let (kv, connection) = (self.clone(), Arc::clone(connection));
        self.runtime.spawn(async move {
            let held = kv.budget.hold(&connection, room).await;
            then(&kv, held.map(Some));
        });
    }

    /// Room for an answer of so many bytes, if it needs any.
    pub(crate) async fn hold(
        &self,
        bytes: u64,
        connection: &Arc<Connection>,
    ) -> Result<Option<Held>, Status> {
        let Some(room) = room_for(bytes) else { return Ok(None) };
        self.budget.hold(connection, room).await.map(Some)
    }
}

/// What an answer of so many bytes as a whole needs room for, if it does.
fn room_for(bytes: u64) -> Option<Room> {
    (bytes > SMALL_BYTES).then_some(Room::Whole(bytes))
}

/// A range under way.
struct Reading {
    request: RangeRequest,
    /// Whether whoever asks can send it in parts.
    in_parts: bool,
    timer: ReadTimer,
    slow: Slow,
}

impl Reading {
    /// It was read, or not.
    fn whole(
        self,
        kv: &Kv,
        found: mvcc::Result<RangeResult>,
        held: Option<Held>,
    ) -> Result<Ranged, Status> {
        let found = found.map_err(|error| read_status(&error));
        let found = found.map(|result| {
            let header = kv.headers.at(result.revision);
            RangeAnswer { header, result }
        });
        let extent = |answer: &RangeAnswer| Extent {
            records: answer.result.records.len(),
            count: answer.result.count,
            bytes: range_len(answer),
        };
        self.finish(&kv.server, found.as_ref(), extent);
        found.map(|answer| Ranged::Whole(Roomed { answer, held }))
    }

    /// It was found, or not; it is still to be read.
    fn parts(
        self,
        kv: &Kv,
        found: mvcc::Result<RangeParts>,
        held: Option<Held>,
    ) -> Result<Ranged, Status> {
        let found = found.map_err(|error| read_status(&error));
        let found = found.map(|found| {
            let header = kv.headers.at(found.revision);
            PartsAnswer { header, found, held }
        });
        let extent = |answer: &PartsAnswer| Extent {
            records: answer.found.len(),
            count: answer.found.count,
            bytes: parts_len(answer),
        };
        self.finish(&kv.server, found.as_ref(), extent);
        found.map(Ranged::Parts)
    }

    fn failed(self, server: &Server, refused: &Status) {
        let extent = |(): &()| unreachable!("what failed has no extent");
        self.finish(server, Err::<&(), _>(refused), extent);
    }

    /// Counts it, and logs it if it took long.
    fn finish<T>(self, server: &Server, found: Result<&T, &Status>, extent: impl Fn(&T) -> Extent) {
        let took = self.timer.took();
        slow::range(server, took, found.is_ok());
        let error = found.err().map(Status::message);
        slow::log_read(server, took.whole, "read-only range ", error, || {
            let said = found.map(|answer| {
                let Extent { records, bytes, .. } = extent(answer);
                format!("range_response_count:{records} size:{bytes}")
            });
            (describe::range(&self.request), said.unwrap_or_default())
        });
        self.slow.log(took.whole, || stats::range(&self.request, found.ok().map(extent)));
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
