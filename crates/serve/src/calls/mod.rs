//! The calls of the client port that are many: keys and values, watches, renewals of leases. They
//! come as frames and leave as frames, without a task, and what is stored encoded leaves so. All
//! other calls are the services' (`grpc`).
//!
//! Invariants: nothing here waits, for it runs on the connection's task; what a call means is
//! decided in `grpc::kv` and below, for these calls and the services' alike.

mod encode;
mod keep_alive;
mod parts;
mod watch;

pub(crate) use encode::{Answer, range_len};
pub(crate) use parts::parts_len;

use crate::budget::{Connection, Held};
use crate::grpc::kv::{Kv, Ranged, Roomed};
use crate::metrics::tally::{Counting, Counts};
use crate::metrics::{Method, RequestMetrics, VersionId};
use api::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest};
use bytes::Bytes;
use http2::{Answers, Code, Handler, Head, Route, Status};
use keep_alive::KeepAlive;
use parts::Parts;
use prost::Message;
use std::sync::Arc;
use watch::Watch;

/// Header fields that calls are decided by, as places in [`http2::Options::names`].
pub(crate) const NAMES: &[&str] = &["hasleader", "client-api-version"];
const HAS_LEADER: usize = 0;
const CLIENT_API_VERSION: usize = 1;

/// What one connection's calls are told to, and where they are counted.
pub(crate) struct Calls {
    kv: Kv,
    connection: Arc<Connection>,
    counts: Counts,
}

/// A call under way.
pub(crate) struct Call {
    method: Method,
    kind: Kind,
    /// Since it has started: a unary call does with its message.
    counting: Option<Counting>,
    version: VersionId,
}

enum Kind {
    Put(Answers<Answer>),
    DeleteRange(Answers<Answer>),
    Range(Answers<Answer>),
    Txn(Answers<Answer>),
    KeepAlive(KeepAlive),
    Watch(Box<Watch>),
}

impl Calls {
    pub(crate) fn new(kv: Kv, connection: Arc<Connection>, metrics: Arc<RequestMetrics>) -> Self {
        Self { kv, connection, counts: Counts::new(metrics) }
    }

    /// A call starts that is served by members with a vote, or by all. Compat: what a learner
    /// refuses does not count.
    fn start(&self, call: &mut Call, by_learners: bool) {
        if by_learners || !self.kv.server().is_learner() {
            self.counts.came(call.method, call.version);
            call.counting = Some(self.counts.started(call.method));
        }
    }
}

impl Handler for Calls {
    type Answer = Answer;
    type Call = Call;

    fn open(&mut self, head: &Head<'_>, answers: &Answers<Answer>) -> Route<Call> {
        let answers = || answers.clone();
        let server = self.kv.server();
        let (method, kind) = match head.path() {
            "/etcdserverpb.KV/Put" => (Method::PUT, Kind::Put(answers())),
            "/etcdserverpb.KV/Range" => (Method::RANGE, Kind::Range(answers())),
            "/etcdserverpb.KV/Txn" => (Method::TXN, Kind::Txn(answers())),
            "/etcdserverpb.KV/DeleteRange" => (Method::DELETE_RANGE, Kind::DeleteRange(answers())),
            "/etcdserverpb.Lease/LeaseKeepAlive" => {
                if server.is_learner() {
                    return Route::Refuse(refusal(api::Error::NotSupportedForLearner.into()));
                }
                (Method::LEASE_KEEP_ALIVE, Kind::KeepAlive(KeepAlive::new(server, answers())))
            }
            "/etcdserverpb.Watch/Watch" => {
                if server.is_learner() {
                    return Route::Refuse(refusal(api::Error::NotSupportedForLearner.into()));
                }
                (Method::WATCH, Kind::Watch(Box::new(Watch::new(server, answers()))))
            }
            _ => return Route::Service,
        };
        let leaderless = head.named(HAS_LEADER) == Some(b"true") && !server.has_leader();
        let version = self.counts.version(head.named(CLIENT_API_VERSION));
        if leaderless {
            // Compat: it counts as one that came, and as no call.
            self.counts.came(method, version);
            return Route::Refuse(refusal(api::Error::NoLeader.into()));
        }
        let mut call = Call { method, kind, counting: None, version };
        if method.is_unary() {
            Route::Unary(call)
        } else {
            self.start(&mut call, false);
            Route::Streaming(call)
        }
    }

    fn message(&mut self, call: &mut Call, message: Bytes) {
        self.counts.received(call.method, message.len());
        match &mut call.kind {
            Kind::Put(answers) => {
                let answers = answers.clone();
                let Ok(request) = PutRequest::decode(message) else {
                    return answers.finish(malformed());
                };
                self.start(call, false);
                self.kv.put(request, &self.connection, move |outcome| match outcome {
                    Ok(response) => answers.answer(Answer::Put(response)),
                    Err(status) => answers.finish(refusal(status)),
                });
            }
            Kind::DeleteRange(answers) => {
                let answers = answers.clone();
                let Ok(request) = DeleteRangeRequest::decode(message) else {
                    return answers.finish(malformed());
                };
                self.start(call, false);
                self.kv.delete_range(request, &self.connection, move |outcome| {
                    finish(answers, outcome, Answer::DeleteRange, |response| {
                        response.encode_to_vec()
                    });
                });
            }
            Kind::Range(answers) => {
                let answers = answers.clone();
                let Ok(request) = RangeRequest::decode(message) else {
                    return answers.finish(malformed());
                };
                self.start(call, request.serializable);
                self.kv.range_in_parts(request, &self.connection, move |outcome| {
                    let outcome = match outcome {
                        Ok(Ranged::Parts(answer)) => {
                            let message = Parts::new(answer);
                            let len = message.len();
                            return answers.answer_in_parts(message, len);
                        }
                        Ok(Ranged::Whole(answer)) => Ok(answer),
                        Err(status) => Err(status),
                    };
                    finish(answers, outcome, Answer::Range, encode::range_bytes);
                });
            }
            Kind::Txn(answers) => {
                let answers = answers.clone();
                let Ok(request) = TxnRequest::decode(message) else {
                    return answers.finish(malformed());
                };
                self.start(call, false);
                self.kv.txn(request, &self.connection, move |outcome| {
                    finish(answers, outcome, Answer::Txn, |response| response.encode_to_vec());
                });
            }
            Kind::KeepAlive(call) => call.message(message),
            Kind::Watch(call) => call.message(message),
        }
    }

    fn half_closed(&mut self, call: &mut Call) {
        self.counts.received_all(call.method);
        match &mut call.kind {
            Kind::KeepAlive(call) => call.half_closed(),
            // Compat: a client that says no more is told on.
            Kind::Watch(_) => {}
            Kind::Put(_) | Kind::DeleteRange(_) | Kind::Range(_) | Kind::Txn(_) => {}
        }
    }

    fn sent(&mut self, call: &mut Call, answer: Option<&Answer>, bytes: usize) {
        self.counts.sent(call.method, bytes);
        if let (Kind::Watch(watch), Some(answer)) = (&call.kind, answer) {
            watch.sent(answer.events());
        }
    }

    fn closed(&mut self, call: Call, code: Code) {
        if let Some(counting) = call.counting {
            self.counts.finished(counting, tonic::Code::from_i32(i32::from(code as u8)));
        }
    }
}

/// Answers a call. One that was given room is encoded here, where there is time for it, and holds
/// its room until its bytes are sent.
fn finish<T>(
    answers: Answers<Answer>,
    outcome: Result<Roomed<T>, tonic::Status>,
    small: impl FnOnce(T) -> Answer,
    encode: impl FnOnce(T) -> Vec<u8>,
) {
    match outcome {
        Ok(Roomed { answer, held: None }) => answers.answer(small(answer)),
        Ok(Roomed { answer, held: Some(held) }) => {
            let bytes = encode(answer);
            held.encoded();
            let held = HeldBytes { bytes, _held: held };
            answers.answer(Answer::Encoded(Bytes::from_owner(held)));
        }
        Err(status) => answers.finish(refusal(status)),
    }
}

/// Bytes with the room they were given.
struct HeldBytes {
    bytes: Vec<u8>,
    _held: Held,
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A status of the services' as one of the connection's.
fn refusal(status: tonic::Status) -> Status {
    Status::new(code(status.code()), status.message().to_owned())
}

fn code(code: tonic::Code) -> Code {
    match code {
        tonic::Code::Ok => Code::Ok,
        tonic::Code::Cancelled => Code::Cancelled,
        tonic::Code::Unknown => Code::Unknown,
        tonic::Code::InvalidArgument => Code::InvalidArgument,
        tonic::Code::DeadlineExceeded => Code::DeadlineExceeded,
        tonic::Code::NotFound => Code::NotFound,
        tonic::Code::AlreadyExists => Code::AlreadyExists,
        tonic::Code::PermissionDenied => Code::PermissionDenied,
        tonic::Code::ResourceExhausted => Code::ResourceExhausted,
        tonic::Code::FailedPrecondition => Code::FailedPrecondition,
        tonic::Code::Aborted => Code::Aborted,
        tonic::Code::OutOfRange => Code::OutOfRange,
        tonic::Code::Unimplemented => Code::Unimplemented,
        tonic::Code::Internal => Code::Internal,
        tonic::Code::Unavailable => Code::Unavailable,
        tonic::Code::DataLoss => Code::DataLoss,
        tonic::Code::Unauthenticated => Code::Unauthenticated,
    }
}

/// What Go's library says of bytes that are no message.
fn malformed() -> Status {
    let text = "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data";
    Status::new(Code::Internal, text)
}

/// The same on a stream.
fn malformed_on_stream() -> Status {
    let text = "grpc: failed to unmarshal the received message: proto: cannot parse invalid wire-format data";
    Status::new(Code::Internal, text)
}
