//! The limits of a connection. All are explicit; the defaults are those of a gRPC server in Go,
//! or smaller where Go has none.

use std::time::Duration;

/// Limits and times of a connection.
#[derive(Debug, Clone)]
pub struct Options {
    /// Calls that a client may have under way at once; none is told to the client if it is
    /// `u32::MAX`.
    pub concurrent_streams_max: u32,
    /// Bytes of a request that a client may send before we took any.
    pub stream_window: u32,
    /// The same for all requests together.
    pub connection_window: u32,
    /// Bytes of a frame's payload that we take, from 16,384.
    pub frame_bytes_max: u32,
    /// Bytes of a request's header fields, counted as RFC 9113 does (32 more for each).
    pub header_list_bytes_max: u32,
    /// Bytes of a message of a fast call.
    pub message_bytes_max: usize,
    /// How long nothing may come from the client before it is asked whether it is there.
    pub keepalive_interval: Duration,
    /// How long its answer may take.
    pub keepalive_timeout: Duration,
    /// The least time between two pings of a client with calls under way.
    pub ping_interval_min: Duration,
    /// Whether a client without calls may ping as often; otherwise every two hours.
    pub ping_without_calls: bool,
    /// A connection without calls for so long is ended in peace.
    pub idle_max: Option<Duration>,
    /// How long a client may take to begin, and to acknowledge our settings.
    pub handshake_timeout: Duration,
    /// How long a client may leave bytes in the transport that are there for it.
    pub stall_timeout: Duration,
    /// Bytes of answers that wait for one client; with more of them it is cut off.
    pub queued_bytes_max: usize,
    /// Calls that a client may cancel in a row. A finished call makes up for a cancelled one, and
    /// so does a hundredth of a second.
    pub cancelled_max: u32,
    /// Frames in a row that neither begin nor carry a request, nor follow an answer. A hundredth of
    /// a second makes up for one.
    pub idle_frames_max: u32,
    /// Header names that the handler asks for by their place in this list, with
    /// [`crate::Head::named`]: at most eight, in lower case.
    pub names: &'static [&'static str],
}

impl Default for Options {
    fn default() -> Self {
        Self {
            concurrent_streams_max: u32::MAX,
            stream_window: 1 << 20,
            connection_window: 4 << 20,
            frame_bytes_max: 16_384,
            header_list_bytes_max: 1 << 20,
            message_bytes_max: 4 << 20,
            keepalive_interval: Duration::from_secs(2 * 60 * 60),
            keepalive_timeout: Duration::from_secs(20),
            ping_interval_min: Duration::from_secs(5 * 60),
            ping_without_calls: false,
            idle_max: None,
            handshake_timeout: Duration::from_secs(120),
            stall_timeout: Duration::from_secs(60),
            queued_bytes_max: 512 << 20,
            cancelled_max: 2_000,
            idle_frames_max: 10_000,
            names: &[],
        }
    }
}
