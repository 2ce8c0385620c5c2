//! The store at one moment, for images, exports and hashes.
//!
//! A pin holds the files and the frames that were not in one yet. Compactions go on beside it:
//! the files they replace lose their names and stay readable until the pin is dropped.

use crate::frame::{Found, FrameScan};
use crate::segment::{HEAD_BYTES, Segment};
use crate::shared::{Pending, Shared};
use std::sync::Arc;

/// Everything the store held at one moment.
#[derive(Debug)]
pub struct Pin {
    files: Vec<(Arc<Segment>, u64)>,
    overlay: Vec<Arc<Pending>>,
}

impl Pin {
    pub(crate) fn new(shared: &Shared) -> Self {
        // Both under one lock: what leaves the overlay is in its file in the same moment.
        let state = shared.read();
        let files = state.files().map(|file| (Arc::clone(file), file.frames_end())).collect();
        Self { files, overlay: state.overlay.iter().cloned().collect() }
    }

    /// Gives key and value of every revision to `take`, ascending, each checked.
    ///
    /// Revisions that are dead and not dropped yet are among them.
    ///
    /// # Errors
    /// `take`'s, [`crate::Error::Corrupt`], and the disk's.
    pub fn for_each<E: From<crate::Error>>(
        &self,
        mut take: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for (segment, end) in &self.files {
            let first = segment.name.first;
            let mut scan = FrameScan::new(&*segment.file, first, HEAD_BYTES as u64, *end);
            loop {
                let offset = scan.offset();
                match scan.next()? {
                    Found::Frame(frame) => {
                        for (_, record) in frame.revisions(first) {
                            take(record.key, record.value)?;
                        }
                    }
                    Found::End if offset == *end => break,
                    Found::End => Err(segment.corrupt(offset, "a frame", "a footer"))?,
                    Found::Damage(found) => Err(segment.corrupt(offset, "a frame", found))?,
                }
            }
        }
        for pending in &self.overlay {
            for (_, record) in pending.frame().revisions(pending.segment) {
                take(record.key, record.value)?;
            }
        }
        Ok(())
    }
}
