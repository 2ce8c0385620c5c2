//! What a seed decides before the run: the members, their settings, the weather, who asks what,
//! and when which fault strikes.

use crate::network::Weather;
use crate::plan::Millis;
use crate::rng::Rng;
use server::Config;
use std::collections::BTreeMap;
use std::time::Duration;

/// A tick of raft.
pub(crate) const TICK: Millis = 50;
/// Ticks of an election timeout.
pub(crate) const ELECTION_TICKS: u32 = 10;
/// How long faults strike.
pub(crate) const CHAOS: Millis = 8_000;
/// How long a cluster without faults may take to get on.
pub(crate) const HEALING_MAX: Millis = 25_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The power of a member fails: what was not synced is lost or torn.
    PowerCut,
    /// A process ends; what it wrote stays.
    Kill,
    /// A disk does nothing for a while.
    Stall,
    /// A leader's disk does nothing for a while, and then its power fails.
    Freeze,
    /// A process stands still for a while, its clock does not.
    Pause,
    /// The leader's process stands still.
    PauseLeader,
    /// A sync fails, and the process must end.
    FailDisk,
    /// The members fall apart into two groups.
    Partition,
    /// The leader, perhaps with another, hears nothing of the others.
    IsolateLeader,
    /// A member is cut off for long enough to need a snapshot.
    LeaveBehind,
    /// All links work again.
    Reconnect,
    /// The leader is asked to hand over.
    Transfer,
}

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) members: u64,
    pub(crate) clients: usize,
    pub(crate) watchers: usize,
    pub(crate) keys: u64,
    /// How long a client waits.
    pub(crate) patience: Millis,
    /// How long it thinks between two requests, at most.
    pub(crate) pause_max: Millis,
    pub(crate) pre_vote: bool,
    pub(crate) snapshot_count: u64,
    pub(crate) catch_up: u64,
    pub(crate) log_bytes: u64,
    pub(crate) segment_bytes: u32,
    /// Bytes of a value beside its name, at most.
    pub(crate) padding_max: u64,
    /// Keys that a step of a compaction looks at.
    pub(crate) compaction_batch: usize,
    pub(crate) compaction_pause: Millis,
    pub(crate) weather: Weather,
    pub(crate) sync_millis_max: Millis,
    pub(crate) apply_millis_max: Millis,
    pub(crate) faults: Vec<(Millis, Fault)>,
}

impl Plan {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let members = rng.pick(&[1, 3, 3, 3, 3, 5]);
        Self {
            members,
            clients: usize::try_from(rng.between(2, 5)).expect("a few"),
            watchers: usize::try_from(rng.between(2, 5)).expect("a few"),
            keys: rng.between(3, 9),
            patience: rng.pick(&[300, 800, 2500]),
            pause_max: rng.pick(&[60, 120, 300]),
            pre_vote: rng.coin(),
            snapshot_count: rng.pick(&[5, 12, 30, 60]),
            catch_up: rng.pick(&[0, 3, 10]),
            log_bytes: rng.pick(&[2048, 4096, 20_000]),
            segment_bytes: rng.pick(&[1500, 4000, 20_000]),
            padding_max: rng.pick(&[0, 60, 300]),
            compaction_batch: rng.pick(&[1, 3, 100]),
            compaction_pause: rng.pick(&[10, 60]),
            weather: Weather {
                lost: rng.pick(&[0, 10, 50]),
                doubled: rng.pick(&[0, 20]),
                late: rng.pick(&[0, 20, 100]),
            },
            sync_millis_max: rng.pick(&[3, 10, 40]),
            apply_millis_max: rng.pick(&[2, 10, 40]),
            faults: faults(rng, members),
        }
    }

    /// The settings of the `nth` member.
    pub(crate) fn config(&self, nth: u64) -> Config {
        let name = |n: u64| format!("m{n}");
        let url = |n: u64| vec![format!("http://m{n}:2380")];
        let urls: BTreeMap<_, _> = (1..=self.members).map(|n| (name(n), url(n))).collect();
        Config {
            name: name(nth),
            data_dir: "/data".into(),
            initial_cluster: member::InitialCluster { urls },
            advertise_peer_urls: url(nth),
            heartbeat_interval: Duration::from_millis(TICK),
            election_ticks: ELECTION_TICKS,
            pre_vote: self.pre_vote,
            snapshot_count: self.snapshot_count,
            snapshot_catch_up_entries: self.catch_up,
            max_snapshots: 2,
            max_wals: 1,
            quota_bytes: None,
            compaction_batch: self.compaction_batch,
            compaction_pause: Duration::from_millis(self.compaction_pause),
            ..Config::default()
        }
    }
}

fn faults(rng: &mut Rng, members: u64) -> Vec<(Millis, Fault)> {
    use Fault::{
        FailDisk, Freeze, IsolateLeader, Kill, LeaveBehind, Partition, Pause, PauseLeader,
        PowerCut, Reconnect, Stall, Transfer,
    };
    let alone = [PowerCut, PowerCut, Kill, Stall, Freeze, Pause, FailDisk];
    let drawn = [
        PowerCut,
        PowerCut,
        Kill,
        Stall,
        Freeze,
        Pause,
        PauseLeader,
        PauseLeader,
        FailDisk,
        Partition,
        IsolateLeader,
        LeaveBehind,
        LeaveBehind,
        Reconnect,
        Transfer,
    ];
    let mut faults = vec![PowerCut];
    if members > 1 {
        faults.extend([LeaveBehind, IsolateLeader]);
    }
    let extra = rng.between(3, 14);
    faults.extend((0..extra).map(|_| rng.pick(if members > 1 { &drawn[..] } else { &alone })));
    faults.into_iter().map(|fault| (rng.between(300, CHAOS), fault)).collect()
}
