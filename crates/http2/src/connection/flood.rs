//! Work that a client makes without a request that anybody waits for, counted.
//!
//! - Frames that neither begin nor carry a request take from a stock: settings, pings, empty DATA,
//!   windows opened while nothing is sent. A request or an answer fills it up again.
//! - Requests that are cancelled before anything of an answer was sent, or broken so that we cancel
//!   them, take from another, which finished calls fill up one by one.
//! - Time fills up both.

use crate::error::Violation;
use crate::options::Options;
use std::time::Instant;

/// The counters.
#[derive(Debug)]
pub(super) struct Flood {
    idle_frames: Stock,
    cancelled: Stock,
}

/// How much of something there was, less what is made up for.
#[derive(Debug)]
struct Stock {
    used: u32,
    max: u32,
    /// Until when time has made up for what was used.
    settled: Instant,
}

impl Flood {
    pub(super) fn new(options: &Options, now: Instant) -> Self {
        let stock = |max| Stock { used: 0, max, settled: now };
        Self {
            idle_frames: stock(options.idle_frames_max),
            cancelled: stock(options.cancelled_max),
        }
    }

    /// A frame that brings nobody further.
    pub(super) fn idle_frame(&mut self, now: Instant) -> Result<(), Violation> {
        let left = self.idle_frames.is_left(now);
        left.then_some(()).ok_or(Violation::calm("frames without a request"))
    }

    /// A request began or went on, or an answer did.
    pub(super) fn useful(&mut self) {
        self.idle_frames.used = 0;
    }

    /// A request was cancelled.
    pub(super) fn broken(&mut self, now: Instant) -> Result<(), Violation> {
        let left = self.cancelled.is_left(now);
        left.then_some(()).ok_or(Violation::calm("too many cancelled requests"))
    }

    /// A call was answered to its end.
    pub(super) fn finished(&mut self) {
        self.cancelled.used = self.cancelled.used.saturating_sub(1);
    }
}

impl Stock {
    /// Uses one. Returns whether there was one. Time is only looked at when there seems to be none.
    fn is_left(&mut self, now: Instant) -> bool {
        if self.used >= self.max {
            let since = now.saturating_duration_since(self.settled).as_millis();
            let made_up = u32::try_from(since / u128::from(MADE_UP_MS)).unwrap_or(u32::MAX);
            self.settled = now;
            self.used = self.used.saturating_sub(made_up);
        }
        self.used += 1;
        self.used <= self.max
    }
}

/// Time makes up for one in so many milliseconds.
const MADE_UP_MS: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn time_and_finished_calls_make_up_for_cancelled_ones() {
        let start = Instant::now();
        let options = Options { cancelled_max: 3, idle_frames_max: 2, ..Options::default() };
        let mut flood = Flood::new(&options, start);
        for _ in 0..3 {
            assert!(flood.broken(start).is_ok());
        }
        flood.finished();
        assert!(flood.broken(start).is_ok());
        assert!(flood.broken(start).is_err());
        let later = start + Duration::from_millis(20);
        assert!(flood.broken(later).is_ok());
        assert!(flood.broken(later).is_err());
        assert!(flood.idle_frame(start).is_ok() && flood.idle_frame(start).is_ok());
        flood.useful();
        assert!(flood.idle_frame(start).is_ok() && flood.idle_frame(start).is_ok());
        assert!(flood.idle_frame(start).is_err());
    }
}
