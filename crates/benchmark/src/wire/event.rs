//! What came in on a connection.

use api::Code;
use std::fmt;
use std::time::Instant;

/// Things that happened, with the bytes that came with them. Filled again and again.
#[derive(Debug, Default)]
pub(crate) struct Events {
    list: Vec<Event>,
    bytes: Vec<u8>,
}

/// One thing that happened to a call.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// What the caller knows the call by.
    pub(crate) token: u32,
    /// When the bytes were taken from the system.
    pub(crate) at: Instant,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    /// A message, from and to in the bytes.
    Message(usize, usize),
    /// A message of so many bytes, of a call that only counts them.
    Counted(u64),
    /// The call is over. Nothing more comes of it.
    Ended(Result<(), Failure>),
}

/// How a call failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Failure {
    /// gRPC's code.
    pub(crate) code: i32,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code: code.into(), text: text.into() }
    }

    /// The code's name.
    pub(crate) fn code_name(&self) -> String {
        format!("{:?}", Code::from(self.code))
    }
}

/// As Go's clients print it.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rpc error: code = {} desc = {}", self.code_name(), self.text)
    }
}

impl std::error::Error for Failure {}

impl Events {
    pub(crate) fn clear(&mut self) {
        self.list.clear();
        self.bytes.clear();
    }

    pub(crate) fn list(&self) -> &[Event] {
        &self.list
    }

    /// The bytes of a [`What::Message`].
    pub(crate) fn message(&self, from: usize, to: usize) -> &[u8] {
        &self.bytes[from..to]
    }

    pub(super) fn push(&mut self, token: u32, at: Instant, what: What) {
        self.list.push(Event { token, at, what });
    }

    pub(super) fn push_message(&mut self, token: u32, at: Instant, message: &[u8]) {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(message);
        self.push(token, at, What::Message(from, self.bytes.len()));
    }
}
