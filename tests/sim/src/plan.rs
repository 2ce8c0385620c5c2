//! What a seed decides before the run: the cluster, its settings, the weather, and when which
//! fault strikes. Each run has at least one crash, restart, membership change and transfer.

use crate::network::Weather;
use crate::rng::Rng;

/// Simulated milliseconds.
pub(crate) type Millis = u64;

/// A tick of raft.
pub(crate) const TICK: Millis = 10;
/// Ticks of an election timeout.
pub(crate) const ELECTION_TICKS: u32 = 10;
/// How long faults strike.
pub(crate) const CHAOS: Millis = 3_000;
/// How long a cluster without faults may take to get on.
pub(crate) const HEALING_MAX: Millis = 10_000;

/// How a node stores and applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One thread: store, send, apply, advance.
    Plain,
    /// Storage threads, entries applied once durable here.
    Async,
    /// Storage threads, entries applied once committed.
    ApplyUnstable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The power of a node fails: what was not synced is lost or torn.
    PowerCut,
    /// A process ends; what it wrote stays.
    Kill,
    /// A disk does nothing for a while.
    Stall,
    /// The leader's disk freezes while the cluster goes on; then its power fails.
    FreezeLeader,
    /// The disk of another than the leader freezes, who may then become a candidate; then its
    /// power fails.
    FreezeCandidate,
    /// A write or sync fails, and the process must end.
    FailDisk,
    /// A bit of a log or snapshot at rest turns over.
    Flip,
    /// The nodes fall apart into two groups.
    Partition,
    /// The leader, perhaps with another node, hears nothing of the others.
    IsolateLeader,
    /// A node hears nobody, or nobody hears it.
    OneWay,
    /// All links work again.
    Reconnect,
    /// The leader is asked to hand over.
    Transfer,
    /// Somebody joins, is promoted or leaves.
    Change,
}

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) mode: Mode,
    pub(crate) voters: u64,
    pub(crate) clients: u64,
    pub(crate) keys: u64,
    /// How long a client waits.
    pub(crate) patience: Millis,
    pub(crate) pre_vote: bool,
    pub(crate) check_quorum: bool,
    pub(crate) lease_reads: bool,
    pub(crate) max_size_per_msg: u64,
    pub(crate) max_committed_size: u64,
    pub(crate) max_inflight: usize,
    /// Entries applied between two snapshots.
    pub(crate) snapshot_count: u64,
    /// Entries kept behind a snapshot for slow followers.
    pub(crate) catch_up: u64,
    pub(crate) segment_bytes: u64,
    /// Bytes a write carries beside its value, at most.
    pub(crate) padding_max: u64,
    /// Segments kept whether they are needed or not.
    pub(crate) segments_kept: usize,
    /// A snapshot is sent as of now rather than as of when it was made.
    pub(crate) fresh_snapshots: bool,
    /// Members are changed by joint steps too.
    pub(crate) joint: bool,
    pub(crate) weather: Weather,
    pub(crate) sync_millis_max: Millis,
    pub(crate) faults: Vec<(Millis, Fault)>,
}

impl Plan {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let check_quorum = rng.coin();
        Self {
            mode: rng.pick(&[Mode::Plain, Mode::Async, Mode::ApplyUnstable, Mode::ApplyUnstable]),
            voters: rng.pick(&[2, 3, 3, 3, 4, 5, 5]),
            clients: rng.between(2, 5),
            keys: rng.between(1, 5),
            patience: rng.pick(&[40, 100, 300]),
            pre_vote: rng.coin(),
            check_quorum,
            lease_reads: check_quorum && rng.below(5) == 0,
            max_size_per_msg: rng.pick(&[0, 100, 400, 1 << 20]),
            max_committed_size: rng.pick(&[0, 1, 300, 1 << 20]),
            max_inflight: usize::try_from(rng.between(1, 8)).expect("small"),
            snapshot_count: rng.pick(&[1, 3, 6, 10, 20, 40]),
            catch_up: rng.below(6),
            segment_bytes: rng.pick(&[1024, 2048, 3000, 8192, 20_000]),
            padding_max: rng.pick(&[0, 100, 700, 3000]),
            segments_kept: usize::try_from(rng.between(1, 3)).expect("small"),
            fresh_snapshots: rng.coin(),
            joint: rng.coin(),
            weather: Weather {
                lost: rng.pick(&[0, 10, 50, 150]),
                doubled: rng.pick(&[0, 20, 100]),
                late: rng.pick(&[0, 20, 100, 250]),
            },
            sync_millis_max: rng.pick(&[2, 5, 20]),
            faults: faults(rng),
        }
    }
}

fn faults(rng: &mut Rng) -> Vec<(Millis, Fault)> {
    use Fault::{
        Change, FailDisk, Flip, FreezeCandidate, FreezeLeader, IsolateLeader, Kill, OneWay,
        Partition, PowerCut, Reconnect, Stall, Transfer,
    };
    let always = [
        PowerCut,
        PowerCut,
        Kill,
        Transfer,
        Change,
        Change,
        Change,
        Partition,
        IsolateLeader,
        IsolateLeader,
    ];
    let drawn = [
        PowerCut,
        PowerCut,
        Kill,
        Stall,
        FreezeLeader,
        FreezeCandidate,
        IsolateLeader,
        IsolateLeader,
        IsolateLeader,
        FailDisk,
        Flip,
        Flip,
        Partition,
        OneWay,
        Reconnect,
        Reconnect,
        Transfer,
        Change,
        Change,
    ];
    let extra = rng.between(5, 25);
    let mut faults: Vec<_> = always.into_iter().collect();
    faults.extend((0..extra).map(|_| rng.pick(&drawn)));
    faults.into_iter().map(|fault| (rng.between(200, CHAOS), fault)).collect()
}
