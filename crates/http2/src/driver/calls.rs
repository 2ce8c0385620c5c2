//! Fast calls: from the events of the connection to the handler.

use super::{Driver, Owner, Service};
use crate::answers::{Answers, Line};
use crate::cut::{Cutter, TooLarge};
use crate::error::Reason;
use crate::handler::{Handler, Route};
use crate::head::{self, Head, Refusal};
use crate::hpack::encode;
use crate::status::{Code, Status};
use crate::streams::Key;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// A fast call.
pub(super) struct Fast<H: Handler> {
    pub(super) call: H::Call,
    /// What it was ended with.
    pub(super) code: Option<Code>,
    unary: bool,
    /// The message of a unary call has come.
    asked: bool,
    cutter: Cutter,
    pub(super) line: Arc<Line<H::Answer>>,
    has_deadline: bool,
    /// What the client wrote behind `application/grpc`.
    pub(super) subtype: Option<Box<str>>,
    /// Bytes taken by which the stream's window does not open yet.
    held: usize,
}

impl<S, H, F> Driver<S, H, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
    F: Service,
{
    /// A request begins.
    pub(super) fn head(&mut self, key: Key, end: bool) {
        let fields = &self.connection.fields;
        let Some(subtype) = Head::new(fields, None).grpc_subtype() else {
            return self.serve(key, end, None);
        };
        let subtype = (!subtype.is_empty()).then(|| Box::from(subtype));
        let timeout = match head::check_grpc(fields) {
            Ok(timeout) => timeout,
            Err(refusal) => return self.refuse(key, &refusal, subtype.as_deref()),
        };
        let line = line(&mut self.lines, &self.outbox, key);
        let mut answers = Answers::new(Arc::clone(&line));
        let route = self.handler.open(&Head::new(fields, timeout), &answers);
        let (call, unary) = match route {
            Route::Unary(call) => (call, true),
            Route::Streaming(call) => (call, false),
            Route::Refuse(status) => {
                answers.settle();
                return self.refuse(key, &Refusal { http: 200, status }, subtype.as_deref());
            }
            Route::Service => {
                answers.settle();
                return self.serve(key, end, timeout);
            }
        };
        let fast = Fast {
            call,
            code: None,
            unary,
            asked: false,
            cutter: Cutter::default(),
            line,
            has_deadline: self.set_deadline(key, timeout),
            subtype,
            held: 0,
        };
        let owner = self.connection.owner(key).expect("the stream has just begun");
        *owner = Owner::Fast(fast);
        if end {
            self.half_closed(key);
        }
    }

    /// Remembers when a call is over.
    pub(super) fn set_deadline(&mut self, key: Key, timeout: Option<Duration>) -> bool {
        let at = timeout.and_then(|timeout| self.connection.now().checked_add(timeout));
        if let Some(at) = at {
            self.deadlines.insert(at, key);
        }
        at.is_some()
    }

    /// Ends a call that nobody took.
    fn refuse(&mut self, key: Key, refusal: &Refusal, subtype: Option<&str>) {
        let block = &mut self.scratch;
        block.clear();
        encode::field(block, b":status", refusal.http.to_string().as_bytes());
        content_type(block, subtype);
        refusal.status.encode(block);
        self.connection.send_head(key, &self.scratch, true);
        self.reap();
    }

    /// A part of a request's body has come.
    pub(super) fn data(&mut self, key: Key, mut data: Bytes, end: bool) {
        let len = data.len();
        let fast = match self.connection.owner(key) {
            Some(Owner::Fast(fast)) => fast,
            Some(Owner::Service(served)) => {
                let unwanted = !served.push(data, end);
                if unwanted {
                    self.connection.taken(key, len);
                }
                return;
            }
            _ => return,
        };
        let mut failed = None;
        while failed.is_none() {
            match fast.cutter.next(&mut data, self.options.message_bytes_max) {
                Ok(None) => break,
                Ok(Some(message)) if message.flag != 0 => failed = Some(unreadable(message.flag)),
                // One is all that a unary call has.
                Ok(Some(_)) if fast.unary && fast.asked => {}
                Ok(Some(message)) => {
                    fast.asked = true;
                    self.handler.message(&mut fast.call, message.body);
                }
                Err(TooLarge(len)) => failed = Some(too_large(len, self.options.message_bytes_max)),
            }
        }
        let held = fast.line.queued() > HELD_FROM_BYTES;
        if held {
            if fast.held == 0 {
                self.held.push(key);
            }
            fast.held += len;
        }
        self.connection.taken_of_connection(key, len);
        if !held {
            self.connection.open_stream(key, len);
        }
        match failed {
            Some(status) => self.fail_call(key, &status),
            None if end => self.half_closed(key),
            None => {}
        }
    }

    /// The client of a fast call has sent all.
    pub(super) fn half_closed(&mut self, key: Key) {
        let Some(Owner::Fast(fast)) = self.connection.owner(key) else { return };
        let inside = fast.cutter.is_inside();
        let failed = match (fast.unary, inside) {
            (true, _) if fast.asked => return,
            (true, false) => Status::new(Code::Unknown, "EOF"),
            (true, true) => Status::new(Code::Unknown, "unexpected EOF"),
            (false, true) => Status::new(Code::Internal, "unexpected EOF"),
            (false, false) => return self.handler.half_closed(&mut fast.call),
        };
        self.fail_call(key, &failed);
    }

    /// The body of a request ends with trailers, which gRPC does not have.
    pub(super) fn trailers(&mut self, key: Key) {
        let owner = self.connection.stream(key).map(|stream| &stream.owner);
        if let Some(Owner::Service(served)) = owner {
            served.end_with(&self.connection.fields);
        } else {
            self.half_closed(key);
        }
    }

    /// Ends a call now, whatever waits.
    pub(super) fn fail_call(&mut self, key: Key, status: &Status) {
        self.connection.drop_queue(key);
        self.finish_call(key, status);
        self.reap();
    }

    /// The time of a call is up, if it is still under way.
    pub(super) fn expire(&mut self, key: Key) {
        match self.connection.owner(key) {
            Some(Owner::Fast(fast)) => {
                fast.has_deadline = false;
                self.fail_call(key, &Status::deadline_exceeded());
            }
            Some(Owner::Service(served)) => {
                served.has_deadline = false;
                self.connection.reset(key, Reason::CANCEL);
            }
            // Its deadline was counted off when it ended.
            _ => return,
        }
        self.deadlines.remove(|key| self.connection.stream(key).is_some());
    }

    /// Opens the windows of streams whose answers were taken.
    pub(super) fn release(&mut self) {
        let mut at = 0;
        while let Some(&key) = self.held.get(at) {
            let held = match self.connection.owner(key) {
                Some(Owner::Fast(fast)) if fast.line.queued() > HELD_FROM_BYTES => {
                    at += 1;
                    continue;
                }
                Some(Owner::Fast(fast)) => std::mem::take(&mut fast.held),
                _ => 0,
            };
            self.connection.open_stream(key, held);
            self.held.swap_remove(at);
        }
    }

    /// Lets go of all streams that are over.
    pub(super) fn reap(&mut self) {
        while let Some(over) = self.connection.take_over() {
            let (line, had_deadline) = match over.owner {
                Owner::Nobody => continue,
                Owner::Fast(fast) => {
                    fast.line.close();
                    self.handler.closed(fast.call, fast.code.unwrap_or(Code::Cancelled));
                    (fast.line, fast.has_deadline)
                }
                Owner::Service(served) => {
                    served.close(over.reset.unwrap_or(Reason::NO_ERROR));
                    while self.tasks.try_join_next().is_some() {}
                    (served.line, served.has_deadline)
                }
            };
            if had_deadline {
                self.deadlines.remove(|key| self.connection.stream(key).is_some());
            }
            if self.lines.len() < LINES_KEPT_MAX {
                self.lines.push(line);
            }
        }
    }
}

/// A line for a new stream: one of a stream that is over, if nobody holds that any more.
pub(super) fn line<A>(
    kept: &mut Vec<Arc<Line<A>>>,
    outbox: &Arc<crate::answers::Outbox<A>>,
    key: Key,
) -> Arc<Line<A>> {
    if let Some(mut line) = kept.pop()
        && let Some(inside) = Arc::get_mut(&mut line)
    {
        inside.renew(key);
        return line;
    }
    Arc::new(Line::new(Arc::clone(outbox), key))
}

/// `content-type`, as the client wrote it.
pub(super) fn content_type(block: &mut Vec<u8>, subtype: Option<&str>) {
    let kind = ["application/grpc", subtype.unwrap_or_default()].concat();
    encode::field(block, b"content-type", kind.as_bytes());
}

/// What grpc-go says of a message with a flag. Encodings but `identity` were refused with the head.
fn unreadable(flag: u8) -> Status {
    if flag == 1 {
        let text = "grpc: compressed flag set with identity or empty encoding";
        return Status::new(Code::Internal, text);
    }
    Status::new(Code::Internal, format!("grpc: received unexpected payload format {flag}"))
}

fn too_large(len: usize, max: usize) -> Status {
    let text = format!("grpc: received message larger than max ({len} vs. {max})");
    Status::new(Code::ResourceExhausted, text)
}

/// A client that lets so many bytes of answers wait may ask for less.
const HELD_FROM_BYTES: usize = 256 << 10;

/// Lines that are kept for new streams.
const LINES_KEPT_MAX: usize = 64;
