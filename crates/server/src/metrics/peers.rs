//! What goes to and comes from each other member.
//!
//! Invariant: at most [`PEERS_MAX`] are told apart, so that no stranger's ids fill the memory.

use super::{Counter, Gauge, Histogram, lock};
use peer::Traffic;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Members told apart, at most.
const PEERS_MAX: usize = 256;

/// The other members' numbers, by their ids.
#[derive(Debug, Default)]
pub struct Peers(Mutex<BTreeMap<u64, Arc<PeerNumbers>>>);

/// The numbers of one other member.
#[derive(Debug)]
#[allow(missing_docs, reason = "each is named as what it counts")]
pub struct PeerNumbers {
    pub sent_bytes: Counter,
    pub received_bytes: Counter,
    pub send_failures: Counter,
    pub receive_failures: Counter,
    /// Times that it stopped to answer.
    pub lost: Counter,
    pub round_trips: Histogram,
    pub snapshots_sent: Counter,
    pub snapshot_send_failures: Counter,
    pub snapshots_being_sent: Gauge,
    pub snapshot_sends: Histogram,
    pub snapshots_received: Counter,
    pub snapshot_receive_failures: Counter,
    pub snapshots_being_received: Gauge,
    pub snapshot_receives: Histogram,
}

impl Default for PeerNumbers {
    fn default() -> Self {
        let snapshots = || Histogram::seconds(Duration::from_millis(100), 10);
        Self {
            sent_bytes: Counter::default(),
            received_bytes: Counter::default(),
            send_failures: Counter::default(),
            receive_failures: Counter::default(),
            lost: Counter::default(),
            round_trips: Histogram::seconds(Duration::from_micros(100), 16),
            snapshots_sent: Counter::default(),
            snapshot_send_failures: Counter::default(),
            snapshots_being_sent: Gauge::default(),
            snapshot_sends: snapshots(),
            snapshots_received: Counter::default(),
            snapshot_receive_failures: Counter::default(),
            snapshots_being_received: Gauge::default(),
            snapshot_receives: snapshots(),
        }
    }
}

impl Peers {
    /// All of them, ascending by id.
    #[must_use]
    pub fn all(&self) -> Vec<(u64, Arc<PeerNumbers>)> {
        lock(&self.0).iter().map(|(id, numbers)| (*id, Arc::clone(numbers))).collect()
    }

    /// Takes in what the transport tells.
    pub(crate) fn note(&self, id: u64, traffic: Traffic) {
        let Some(numbers) = self.of(id) else { return };
        match traffic {
            Traffic::Sent { bytes } => numbers.sent_bytes.add(bytes),
            Traffic::Received { bytes } => numbers.received_bytes.add(bytes),
            Traffic::SendFailed { messages } => numbers.send_failures.add(messages),
            Traffic::ReceiveFailed => numbers.receive_failures.inc(),
            Traffic::Lost => numbers.lost.inc(),
            Traffic::RoundTrip { took } => numbers.round_trips.took(took),
            Traffic::SnapshotSending => numbers.snapshots_being_sent.add(1),
            Traffic::SnapshotSent { took, good } => {
                numbers.snapshots_being_sent.add(-1);
                if good {
                    numbers.snapshots_sent.inc();
                    numbers.snapshot_sends.took(took);
                } else {
                    numbers.snapshot_send_failures.inc();
                }
            }
            Traffic::SnapshotReceiving => numbers.snapshots_being_received.add(1),
            Traffic::SnapshotReceived { took, good } => {
                numbers.snapshots_being_received.add(-1);
                if good {
                    numbers.snapshots_received.inc();
                    numbers.snapshot_receives.took(took);
                } else {
                    numbers.snapshot_receive_failures.inc();
                }
            }
        }
    }

    fn of(&self, id: u64) -> Option<Arc<PeerNumbers>> {
        let mut all = lock(&self.0);
        if let Some(numbers) = all.get(&id) {
            return Some(Arc::clone(numbers));
        }
        (all.len() < PEERS_MAX).then(|| Arc::clone(all.entry(id).or_default()))
    }
}
