//! What goes wrong: codes of RFC 9113, the end of a connection, and who broke which rule.
//!
//! Not here: statuses of gRPC calls (`status.rs`); they are answers, not errors.

use std::fmt;
use std::io;

/// An error code of HTTP/2 (RFC 9113, section 7). A peer may send any number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Reason(pub u32);

impl Reason {
    /// Nothing is wrong.
    pub const NO_ERROR: Self = Self(0x0);
    /// A rule was broken that has no code of its own.
    pub const PROTOCOL_ERROR: Self = Self(0x1);
    /// The sender itself failed.
    pub const INTERNAL_ERROR: Self = Self(0x2);
    /// More was sent than the receiver allowed.
    pub const FLOW_CONTROL_ERROR: Self = Self(0x3);
    /// SETTINGS were not acknowledged in time.
    pub const SETTINGS_TIMEOUT: Self = Self(0x4);
    /// A frame for a stream that is over.
    pub const STREAM_CLOSED: Self = Self(0x5);
    /// A frame of an impossible size.
    pub const FRAME_SIZE_ERROR: Self = Self(0x6);
    /// The request was not looked at: it may be sent again.
    pub const REFUSED_STREAM: Self = Self(0x7);
    /// Nobody wants the stream any more.
    pub const CANCEL: Self = Self(0x8);
    /// The state of header compression is lost.
    pub const COMPRESSION_ERROR: Self = Self(0x9);
    /// The peer makes work without end.
    pub const ENHANCE_YOUR_CALM: Self = Self(0xb);
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::NO_ERROR => "NO_ERROR",
            Self::PROTOCOL_ERROR => "PROTOCOL_ERROR",
            Self::INTERNAL_ERROR => "INTERNAL_ERROR",
            Self::FLOW_CONTROL_ERROR => "FLOW_CONTROL_ERROR",
            Self::SETTINGS_TIMEOUT => "SETTINGS_TIMEOUT",
            Self::STREAM_CLOSED => "STREAM_CLOSED",
            Self::FRAME_SIZE_ERROR => "FRAME_SIZE_ERROR",
            Self::REFUSED_STREAM => "REFUSED_STREAM",
            Self::CANCEL => "CANCEL",
            Self::COMPRESSION_ERROR => "COMPRESSION_ERROR",
            Self::ENHANCE_YOUR_CALM => "ENHANCE_YOUR_CALM",
            Self(other) => return write!(f, "code {other}"),
        };
        f.write_str(name)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Why a connection ended other than in peace. Nothing is left to do but to drop it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The transport failed.
    #[error("the transport failed")]
    Io(#[from] io::Error),
    /// The client broke a rule, and was told so with a GOAWAY.
    #[error("the client broke the protocol: {what} ({reason})")]
    Client {
        /// The code that it was told.
        reason: Reason,
        /// Which rule.
        what: &'static str,
    },
    /// The client ended the transport in the middle of calls or of a frame.
    #[error("the client went away in the middle of something")]
    Gone,
    /// The client did not answer a ping, begin to speak, or take its answers in time.
    #[error("the client was silent for too long: {what}")]
    Silent {
        /// What was waited for.
        what: &'static str,
    },
}

/// A broken rule that ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) reason: Reason,
    /// Shown in our log, and sent as debug data of the GOAWAY.
    pub(crate) what: &'static str,
}

impl Violation {
    pub(crate) fn protocol(what: &'static str) -> Self {
        Self { reason: Reason::PROTOCOL_ERROR, what }
    }

    pub(crate) fn frame_size(what: &'static str) -> Self {
        Self { reason: Reason::FRAME_SIZE_ERROR, what }
    }

    pub(crate) fn flow_control(what: &'static str) -> Self {
        Self { reason: Reason::FLOW_CONTROL_ERROR, what }
    }

    pub(crate) fn calm(what: &'static str) -> Self {
        Self { reason: Reason::ENHANCE_YOUR_CALM, what }
    }
}

impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        Self::Client { reason: violation.reason, what: violation.what }
    }
}
