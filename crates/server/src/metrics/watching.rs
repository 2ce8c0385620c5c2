//! Watches: how many there are, and what goes to their clients.
//!
//! What waits for a client is what was taken in for it and neither went out nor was thrown away:
//! the two sides count for themselves, so that no number goes to and fro between their threads.

use super::{Counter, Gauge, Histogram, Metrics, from_millis};
use std::sync::Arc;
use std::time::Duration;

/// What happens to watches.
#[derive(Debug)]
pub struct Watching {
    /// Streams.
    pub streams: Gauge,
    /// Watchers.
    pub watchers: Gauge,
    /// Watchers that are not told of all yet.
    pub behind: Gauge,
    /// Events that were taken in for their client.
    offered: Counter,
    /// Events that went to their client.
    pub events: Counter,
    /// Events whose client went away before.
    lost: Counter,
    /// Making a response of events.
    pub event_sends: Histogram,
    /// The same for each event of it.
    pub event_sends_each: Histogram,
    /// Making a response that a watcher was made or is gone.
    pub control_sends: Histogram,
    /// Making a response of progress.
    pub progress_sends: Histogram,
    /// Streams whose requests could not be read.
    pub receive_failures: Counter,
}

impl Default for Watching {
    fn default() -> Self {
        Self {
            streams: Gauge::default(),
            watchers: Gauge::default(),
            behind: Gauge::default(),
            offered: Counter::default(),
            events: Counter::default(),
            lost: Counter::default(),
            event_sends: from_millis(1),
            event_sends_each: from_millis(1),
            control_sends: from_millis(1),
            progress_sends: from_millis(1),
            receive_failures: Counter::default(),
        }
    }
}

impl Watching {
    /// Events that wait for their client.
    #[must_use]
    pub fn pending(&self) -> u64 {
        // What left is read first: what is taken in meanwhile makes no number below zero.
        let gone = self.events.get() + self.lost.get();
        self.offered.get().saturating_sub(gone)
    }

    /// Making a response took so long; it had so many events, or else told of progress or not.
    pub fn made(&self, took: Duration, events: usize, progress: bool) {
        match u32::try_from(events) {
            Ok(0) if progress => self.progress_sends.took(took),
            Ok(0) => self.control_sends.took(took),
            events => {
                self.event_sends.took(took);
                self.event_sends_each.took(took / events.unwrap_or(u32::MAX));
            }
        }
    }
}

/// Events of one stream, counted by who takes them in and by who sends them. What was not sent
/// when both are gone is lost.
#[derive(Debug)]
pub struct StreamEvents {
    metrics: Arc<Metrics>,
    offered: Counter,
    sent: Counter,
}

impl StreamEvents {
    pub(crate) fn new(metrics: &Arc<Metrics>) -> Self {
        let metrics = Arc::clone(metrics);
        Self { metrics, offered: Counter::default(), sent: Counter::default() }
    }

    /// All watches' numbers.
    #[must_use]
    pub fn watches(&self) -> &Watching {
        &self.metrics.watches
    }

    /// Events were taken in.
    pub fn offered(&self, events: usize) {
        if events > 0 {
            self.offered.add(events as u64);
            self.metrics.watches.offered.add(events as u64);
        }
    }

    /// Events went to the client.
    pub fn sent(&self, events: usize) {
        if events > 0 {
            self.sent.add(events as u64);
            self.metrics.watches.events.add(events as u64);
        }
    }
}

impl Drop for StreamEvents {
    fn drop(&mut self) {
        let lost = self.offered.get().saturating_sub(self.sent.get());
        self.metrics.watches.lost.add(lost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_what_was_not_sent_and_not_lost() {
        let metrics = Arc::<Metrics>::default();
        let (one, other) = (StreamEvents::new(&metrics), StreamEvents::new(&metrics));
        one.offered(5);
        other.offered(2);
        one.sent(3);
        assert_eq!((metrics.watches.pending(), metrics.watches.events.get()), (4, 3));
        drop(one);
        assert_eq!((metrics.watches.pending(), metrics.watches.events.get()), (2, 3));
        other.sent(2);
        assert_eq!((metrics.watches.pending(), metrics.watches.events.get()), (0, 5));
    }
}
