//! The calls of the client port that are many: keys and values, watches, renewals of leases. They
//! come as frames and leave as frames, without a task, and what is stored encoded leaves so. All
//! other calls are the services' (`grpc`).
//!
//! Invariants: nothing here waits, for it runs on the connection's task; what a call means is
//! decided in `grpc::kv` and below, for these calls and the services' alike.

mod encode;
mod keep_alive;
mod watch;

pub(crate) use encode::Answer;

use crate::budget::{Connection, Held};
use crate::grpc::kv::{Kv, Roomed};
use api::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest};
use bytes::Bytes;
use http2::{Answers, Code, Handler, Head, Route, Status};
use keep_alive::KeepAlive;
use prost::Message;
use std::sync::Arc;
use watch::Watch;

/// Header fields that calls are decided by, as places in [`http2::Options::names`].
pub(crate) const NAMES: &[&str] = &["hasleader"];
const HAS_LEADER: usize = 0;

/// What one connection's calls are told to.
pub(crate) struct Calls {
    kv: Kv,
    connection: Arc<Connection>,
}

/// A call under way.
pub(crate) enum Call {
    Put(Answers<Answer>),
    DeleteRange(Answers<Answer>),
    Range(Answers<Answer>),
    Txn(Answers<Answer>),
    KeepAlive(KeepAlive),
    Watch(Box<Watch>),
}

impl Calls {
    pub(crate) fn new(kv: Kv, connection: Arc<Connection>) -> Self {
        Self { kv, connection }
    }
}

impl Handler for Calls {
    type Answer = Answer;
    type Call = Call;

    fn open(&mut self, head: &Head<'_>, answers: &Answers<Answer>) -> Route<Call> {
        let answers = || answers.clone();
        let server = self.kv.server();
        let route = match head.path() {
            "/etcdserverpb.KV/Put" => Route::Unary(Call::Put(answers())),
            "/etcdserverpb.KV/Range" => Route::Unary(Call::Range(answers())),
            "/etcdserverpb.KV/Txn" => Route::Unary(Call::Txn(answers())),
            "/etcdserverpb.KV/DeleteRange" => Route::Unary(Call::DeleteRange(answers())),
            "/etcdserverpb.Lease/LeaseKeepAlive" => {
                if server.is_learner() {
                    return Route::Refuse(refusal(api::Error::NotSupportedForLearner.into()));
                }
                Route::Streaming(Call::KeepAlive(KeepAlive::new(server, answers())))
            }
            "/etcdserverpb.Watch/Watch" => {
                if server.is_learner() {
                    return Route::Refuse(refusal(api::Error::NotSupportedForLearner.into()));
                }
                Route::Streaming(Call::Watch(Box::new(Watch::new(server, answers()))))
            }
            _ => return Route::Service,
        };
        if head.named(HAS_LEADER) == Some(b"true") && !server.has_leader() {
            return Route::Refuse(refusal(api::Error::NoLeader.into()));
        }
        route
    }

    fn message(&mut self, call: &mut Call, message: Bytes) {
        match call {
            Call::Put(answers) => {
                let answers = answers.clone();
                match PutRequest::decode(message) {
                    Ok(request) => self.kv.put(request, move |outcome| match outcome {
                        Ok(response) => answers.answer(Answer::Put(response)),
                        Err(status) => answers.finish(refusal(status)),
                    }),
                    Err(_) => answers.finish(malformed()),
                }
            }
            Call::DeleteRange(answers) => {
                let answers = answers.clone();
                match DeleteRangeRequest::decode(message) {
                    Ok(request) => {
                        self.kv.delete_range(request, &self.connection, move |outcome| {
                            finish(answers, outcome, Answer::DeleteRange, |response| {
                                response.encode_to_vec()
                            });
                        });
                    }
                    Err(_) => answers.finish(malformed()),
                }
            }
            Call::Range(answers) => {
                let answers = answers.clone();
                match RangeRequest::decode(message) {
                    Ok(request) => self.kv.range(&request, &self.connection, move |outcome| {
                        finish(answers, outcome, Answer::Range, encode::range_bytes);
                    }),
                    Err(_) => answers.finish(malformed()),
                }
            }
            Call::Txn(answers) => {
                let answers = answers.clone();
                match TxnRequest::decode(message) {
                    Ok(request) => self.kv.txn(request, &self.connection, move |outcome| {
                        finish(answers, outcome, Answer::Txn, |response| response.encode_to_vec());
                    }),
                    Err(_) => answers.finish(malformed()),
                }
            }
            Call::KeepAlive(call) => call.message(message),
            Call::Watch(call) => call.message(message),
        }
    }

    fn half_closed(&mut self, call: &mut Call) {
        match call {
            Call::KeepAlive(call) => call.half_closed(),
            // Compat: a client that says no more is told on.
            Call::Watch(_) => {}
            Call::Put(_) | Call::DeleteRange(_) | Call::Range(_) | Call::Txn(_) => {}
        }
    }

    fn closed(&mut self, call: Call, _: Code) {
        drop(call);
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
