//! The two ways of a request: fast calls, told to a [`Handler`] in the connection's own task, and
//! everything else, given to an async service as a request with a streaming body.
//!
//! - The methods of a handler run in the connection's task, in the order of the frames. They must
//!   not block: who has much to do hands it to another thread, with the call's [`Answers`].
//! - `closed` is called exactly once for each call that `open` made, whatever its end was.

use crate::answers::Answers;
use crate::buffer::Buffer;
use crate::head::Head;
use crate::status::{Code, Status};
use bytes::Bytes;
use std::fmt;

/// What fast calls are told to; one for each connection.
pub trait Handler: Send + 'static {
    /// A message to the client.
    type Answer: Answer;
    /// What the handler keeps of a call.
    type Call: Send + 'static;

    /// A request begins. A handler that takes it keeps a clone of `answers`.
    ///
    /// Only requests that can be gRPC come here; the rest goes to the service.
    fn open(&mut self, head: &Head<'_>, answers: &Answers<Self::Answer>) -> Route<Self::Call>;

    /// A whole message of the client has come.
    ///
    /// It may be a slice of the connection's read buffer: who keeps a small part of it for long
    /// copies that part.
    fn message(&mut self, call: &mut Self::Call, message: Bytes);

    /// The client has sent its last message. Not called for unary calls.
    fn half_closed(&mut self, call: &mut Self::Call);

    /// An answer of so many bytes is about to be encoded for the client; none if it is one in
    /// parts, of which the first is there.
    fn sent(&mut self, call: &mut Self::Call, answer: Option<&Self::Answer>, bytes: usize) {
        let _ = (call, answer, bytes);
    }

    /// The call is over: its last byte is on its way, or it was cancelled, or its time is up, or
    /// the connection is gone. `code` is what it was ended with; cancelled if it was not.
    fn closed(&mut self, call: Self::Call, code: Code);

    /// All that one read brought has been told. A handler that collects work hands it on here.
    fn batch_end(&mut self) {}
}

/// Where a request goes.
#[derive(Debug)]
pub enum Route<C> {
    /// A fast call with one message from the client. What more it sends is dropped.
    Unary(C),
    /// A fast call with any number of messages.
    Streaming(C),
    /// The call ends before it began.
    Refuse(Status),
    /// The service's.
    Service,
}

/// A message to the client.
pub trait Answer: Send + 'static {
    /// Bytes that [`Answer::encode`] writes, exactly.
    fn encoded_len(&self) -> usize;

    /// Writes the message.
    fn encode(self, out: &mut Buffer);
}

/// A message that is made as the client takes it, a part at a time: nothing of it is in memory but
/// the part that is on its way, so that a large message costs no more than a small one.
///
/// It is asked in the connection's task for the next part when the windows and the transport want
/// one, and dropped behind the last, or as soon as the call is over. It must not block for long.
pub trait Parts: fmt::Debug + Send + 'static {
    /// Writes the next part: at least a byte, and no more than what is left of the message. What
    /// it writes is in memory until the client takes it: some tens of KiB are enough at once.
    ///
    /// # Errors
    /// There is no next part. If this is the first one, the call ends with the status; else it is
    /// too late for one, and the stream is reset.
    fn next(&mut self, out: &mut Buffer) -> Result<(), Status>;
}

/// Bytes that are a message already.
impl Answer for Bytes {
    fn encoded_len(&self) -> usize {
        self.len()
    }

    fn encode(self, out: &mut Buffer) {
        out.put(self);
    }
}

/// A handler without fast calls: all goes to the service.
#[derive(Debug, Clone, Copy)]
pub struct NoFastCalls;

impl Handler for NoFastCalls {
    type Answer = Bytes;
    type Call = ();

    fn open(&mut self, _: &Head<'_>, _: &Answers<Bytes>) -> Route<()> {
        Route::Service
    }

    fn message(&mut self, (): &mut (), _: Bytes) {}

    fn half_closed(&mut self, (): &mut ()) {}

    fn closed(&mut self, (): (), _: Code) {}
}
