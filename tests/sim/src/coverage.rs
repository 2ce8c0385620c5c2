//! What happened in a run, to be sure that it did: a proof over runs in which nothing went wrong
//! proves nothing. One counter a point; over all seeds none may be zero. Each world has its own
//! points, and `points!` makes the counters for them.

use std::fmt;

/// Counters of a world.
pub trait Counters: Default + Send {
    /// Adds what happened in another run.
    fn merge(&mut self, other: &Self);
}

/// Writes counts with their names.
pub(crate) fn write_counts(
    f: &mut fmt::Formatter<'_>,
    names: &[&str],
    counts: &[u64],
) -> fmt::Result {
    for (i, (name, count)) in names.iter().zip(counts).enumerate() {
        let comma = if i > 0 { ", " } else { "" };
        write!(f, "{comma}{name} {count}")?;
    }
    Ok(())
}

macro_rules! points {
    ($($name:ident $text:literal,)*) => {
        /// A thing that must happen somewhere.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Point { $(
            #[doc = $text]
            $name,
        )* }

        const NAMES: &[&str] = &[$($text),*];
        const POINTS: usize = NAMES.len();

        /// The counters.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Coverage([u64; POINTS]);

        impl Default for Coverage {
            fn default() -> Self {
                Self([0; POINTS])
            }
        }

        impl Coverage {
            /// Counts one.
            pub fn hit(&mut self, point: Point) {
                self.add(point, 1);
            }

            /// Counts several.
            pub fn add(&mut self, point: Point, count: u64) {
                self.0[point as usize] += count;
            }

            /// The count of a point.
            #[must_use]
            pub fn count(&self, point: Point) -> u64 {
                self.0[point as usize]
            }

            /// What never happened.
            #[must_use]
            pub fn missing(&self) -> Vec<&'static str> {
                let counts = NAMES.iter().zip(self.0);
                counts.filter(|(_, count)| *count == 0).map(|(name, _)| *name).collect()
            }
        }

        impl $crate::coverage::Counters for Coverage {
            fn merge(&mut self, other: &Self) {
                for (mine, theirs) in self.0.iter_mut().zip(other.0) {
                    *mine += theirs;
                }
            }
        }

        impl std::fmt::Display for Coverage {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $crate::coverage::write_counts(f, NAMES, &self.0)
            }
        }
    };
}
pub(crate) use points;

points! {
    Elections "elections",
    Transfers "transfers",
    Truncations "truncations",
    SnapshotsMade "snapshots made",
    SnapshotsInstalled "snapshots installed",
    ConfChanges "conf changes",
    PowerCuts "power cuts",
    Kills "kills",
    TornWrites "torn writes",
    FailedSyncs "failed syncs",
    Stalls "stalls",
    FrozenLeaders "frozen leaders",
    FrozenCandidates "frozen candidates",
    FlipsReported "flips reported",
    FlipsHarmless "flips without effect",
    FailedBoots "boots cut short",
    MembersReplaced "lost members replaced",
    Partitions "partitions",
    IsolatedLeaders "isolated leaders",
    OneWayLinks "one-way links",
    Lost "messages lost",
    Duplicated "messages doubled",
    WalCuts "wal cuts",
    Purges "purges",
    GroupCommits "group commits",
    UnstableApplies "applied before durable",
    Writes "writes acknowledged",
    WritesUnknown "writes of unknown outcome",
    Reads "reads answered",
    LeaseReads "lease reads",
    StoreSyncs "store syncs",
    StoreRewrites "store compactions",
    StoresBehind "stores behind their logs",
    StoresReplaced "stores replaced",
}
