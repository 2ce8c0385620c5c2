//! A member's place: a disk that survives, and a process that does not.

use super::plan::Plan;
use crate::plan::Millis;
use server::Config;
use server::stages::{Disk, Member, Stage};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use vfs::MemFs;

pub(crate) struct Place {
    pub(crate) config: Config,
    pub(crate) fs: MemFs,
    pub(crate) process: Option<Box<Member>>,
    /// Lives so far: an event of an earlier one is void.
    pub(crate) lives: u64,
    /// Stages whose next step is on its way.
    pub(crate) woken: BTreeSet<Stage>,
    /// What the disk is at is done no earlier.
    pub(crate) stalled_until: Millis,
    /// Nothing of the process goes on before.
    pub(crate) paused_until: Millis,
    /// The last index whose entry was compared with the others'.
    pub(crate) compared: u64,
    /// The last index whose state was.
    pub(crate) seen_applied: u64,
    pub(crate) led: bool,
    /// Whether an operation of the disk was made to fail.
    pub(crate) failing: bool,
}

impl Place {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            fs: MemFs::new(),
            process: None,
            lives: 0,
            woken: BTreeSet::new(),
            stalled_until: 0,
            paused_until: 0,
            compared: 0,
            seen_applied: 0,
            led: false,
            failing: false,
        }
    }

    /// Starts a process from what the disk holds.
    pub(crate) fn boot(
        &self,
        plan: &Plan,
        clock: &Arc<AtomicU64>,
    ) -> Result<Member, server::Fatal> {
        let disk = Disk {
            fs: Arc::new(self.fs.clone()),
            wal: wal::Options { segment_bytes: plan.log_bytes, sync: true },
            store: backend::Options { segment_bytes: plan.segment_bytes, rewrite_percent: 30 },
        };
        Member::start(self.config.clone(), &disk, Arc::clone(clock))
    }
}
