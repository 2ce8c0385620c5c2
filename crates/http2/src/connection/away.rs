//! The end of a connection in peace: two GOAWAYs, so that no request falls between.
//!
//! The first says that the connection will end and takes everything that is on its way. When the
//! ping behind it is answered, or after a few seconds, the second names the last request that is
//! taken; when all of those are answered, the connection is done.

use super::{Connection, Owner, Phase};
use crate::error::Reason;
use crate::frame;
use std::time::{Duration, Instant};

/// How far the end is.
#[derive(Debug, Default)]
pub(super) struct Away {
    stage: Stage,
    /// The client will send no more requests.
    client_left: bool,
}

#[derive(Debug, Default, Clone, Copy)]
enum Stage {
    #[default]
    Here,
    /// The first GOAWAY is sent; the second comes at this time at the latest.
    Leaving(Instant),
    /// The ping behind it is answered.
    Answered,
    /// The second is sent. Requests above this id are not taken.
    Left(u32),
}

impl Away {
    pub(super) fn takes(&self, id: u32) -> bool {
        !matches!(self.stage, Stage::Left(last) if id > last)
    }

    pub(super) fn client_leaves(&mut self) {
        self.client_left = true;
    }

    pub(super) fn ping_answered(&mut self, data: [u8; 8]) {
        if let Stage::Leaving(_) = self.stage
            && data == PING_DATA
        {
            self.stage = Stage::Answered;
        }
    }

    pub(super) fn next_time(&self) -> Option<Instant> {
        match self.stage {
            Stage::Leaving(by) => Some(by),
            _ => None,
        }
    }
}

impl<T: Owner> Connection<T> {
    /// Begins the end, unless it has begun.
    pub(crate) fn leave(&mut self) {
        if !matches!(self.away.stage, Stage::Here) || self.phase == Phase::Failed {
            return;
        }
        self.away.stage = Stage::Leaving(self.now + PATIENCE);
        self.put_go_away(frame::ID_MAX, Reason::NO_ERROR, b"");
        self.put_ping(0, PING_DATA);
    }

    /// Names the last request that is taken.
    pub(super) fn leave_now(&mut self) {
        self.away.stage = Stage::Left(self.last_id);
        self.put_go_away(self.last_id, Reason::NO_ERROR, b"");
    }

    /// Whether there is nothing left to do but to send what is in the output.
    pub(crate) fn is_done(&mut self) -> bool {
        if matches!(self.away.stage, Stage::Answered) {
            self.leave_now();
        }
        let left = matches!(self.away.stage, Stage::Left(_)) || self.away.client_left;
        self.phase == Phase::Failed || (left && self.streams.is_empty())
    }
}

/// How long the ping's answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tells the answer of our last ping from others.
const PING_DATA: [u8; 8] = *b"goodbye!";
