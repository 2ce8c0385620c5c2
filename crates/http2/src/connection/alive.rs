//! Whether anybody is there, and whether the client asks too often: pings and times.
//!
//! The rules for a client's pings are grpc-go's: clients are tuned to them, and told to slow down
//! by the text `too_many_pings`.

use super::{Connection, Owner, Phase};
use crate::error::Violation;
use crate::frame::{self, FrameHead};
use crate::options::Options;
use std::time::{Duration, Instant};

/// The times of a connection.
#[derive(Debug)]
pub(super) struct Alive {
    heard: Instant,
    ping_sent: Option<Instant>,
    /// Until when the client has to begin.
    begin_by: Option<Instant>,
    /// Until when it has to acknowledge our settings.
    acknowledge_by: Option<Instant>,
    /// Since when there are no calls.
    without_calls: Option<Instant>,
    client_ping: Option<Instant>,
    strikes: u8,
    /// An answer left since the last ping of the client: it may ping again.
    answered: bool,
}

/// The client did not do in time what it had to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Late(pub(crate) &'static str);

impl Alive {
    pub(super) fn new(options: &Options, now: Instant) -> Self {
        let by = now.checked_add(options.handshake_timeout);
        Self {
            heard: now,
            ping_sent: None,
            begin_by: by,
            acknowledge_by: by,
            without_calls: Some(now),
            client_ping: None,
            strikes: 0,
            answered: false,
        }
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.ping_sent = None;
    }

    pub(super) fn begun(&mut self) {
        self.begin_by = None;
    }

    pub(super) fn settings_acknowledged(&mut self) {
        self.acknowledge_by = None;
    }

    pub(super) fn with_calls(&mut self) {
        self.without_calls = None;
    }

    pub(super) fn without_calls(&mut self, now: Instant) {
        self.without_calls = Some(now);
    }

    pub(super) fn answered(&mut self) {
        self.answered = true;
    }
}

impl<T: Owner> Connection<T> {
    pub(super) fn ping(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Violation> {
        if head.id != 0 {
            return Err(Violation::protocol("PING of a stream"));
        }
        let data: [u8; 8] =
            payload.try_into().map_err(|_| Violation::frame_size("PING has eight bytes"))?;
        if head.has(frame::ACK) {
            self.away.ping_answered(data);
            return Ok(());
        }
        self.put_ping(frame::ACK, data);
        let before = self.alive.client_ping.replace(self.now);
        if std::mem::take(&mut self.alive.answered) {
            self.alive.strikes = 0;
            return Ok(());
        }
        let without = self.streams.is_empty() && !self.options.ping_without_calls;
        let least = if without { PING_WITHOUT_CALLS } else { self.options.ping_interval_min };
        if before.is_some_and(|before| before + least > self.now) {
            self.alive.strikes += 1;
        }
        if self.alive.strikes > STRIKES_MAX {
            return Err(Violation::calm("too_many_pings"));
        }
        Ok(())
    }

    /// When [`Connection::time`] has to be called next.
    pub(crate) fn next_time(&self) -> Option<Instant> {
        let (alive, options) = (&self.alive, &self.options);
        let times = [
            alive.begin_by,
            alive.acknowledge_by,
            self.keepalive_at(),
            alive.without_calls.and_then(|since| since.checked_add(options.idle_max?)),
            self.away.next_time(),
        ];
        times.into_iter().flatten().min()
    }

    fn keepalive_at(&self) -> Option<Instant> {
        match self.alive.ping_sent {
            Some(sent) => sent.checked_add(self.options.keepalive_timeout),
            None => self.alive.heard.checked_add(self.options.keepalive_interval),
        }
    }

    /// Does what is due.
    pub(crate) fn time(&mut self) -> Result<(), Late> {
        let now = self.now;
        let due = |time: Option<Instant>| time.is_some_and(|time| time <= now);
        if self.phase == Phase::Failed {
            return Ok(());
        }
        if due(self.alive.begin_by) {
            return Err(Late("to begin"));
        }
        if due(self.alive.acknowledge_by) {
            return Err(Late("to acknowledge settings"));
        }
        if due(self.keepalive_at()) {
            if self.alive.ping_sent.is_some() {
                return Err(Late("to answer a ping"));
            }
            self.alive.ping_sent = Some(now);
            self.put_ping(0, [0; 8]);
        }
        let idle_max = self.options.idle_max;
        if due(self.alive.without_calls.and_then(|since| since.checked_add(idle_max?))) {
            self.alive.without_calls = None;
            self.leave();
        }
        if due(self.away.next_time()) {
            self.leave_now();
        }
        Ok(())
    }
}

/// Strikes that a client has before it is sent away.
const STRIKES_MAX: u8 = 2;

/// How often a client without calls may ping.
const PING_WITHOUT_CALLS: Duration = Duration::from_secs(2 * 60 * 60);
