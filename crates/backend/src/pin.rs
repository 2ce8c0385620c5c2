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
        let mut scan = PinScan::default();
        while self.scan(&mut scan, u64::MAX, &mut take)? {}
        Ok(())
    }

    /// As [`Pin::for_each`] for about `bytes` more of the frames, at least one; false at the
    /// end. A frame is given as a whole.
    ///
    /// # Errors
    /// As [`Pin::for_each`]; the scan is of no use then.
    pub fn scan<E: From<crate::Error>>(
        &self,
        scan: &mut PinScan,
        bytes: u64,
        mut take: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<bool, E> {
        let mut left = bytes.max(1);
        while let Some((segment, end)) = self.files.get(scan.file) {
            let (first, from) = (segment.name.first, scan.offset.max(HEAD_BYTES as u64));
            let mut frames = FrameScan::new(&*segment.file, first, from, *end);
            loop {
                let offset = frames.offset();
                if left == 0 {
                    scan.offset = offset;
                    return Ok(true);
                }
                match frames.next()? {
                    Found::Frame(frame) => {
                        for (_, record) in frame.revisions(first) {
                            take(record.key, record.value)?;
                        }
                        left = left.saturating_sub(frames.offset() - offset);
                    }
                    Found::End if offset == *end => break,
                    Found::End => Err(segment.corrupt(offset, "a frame", "a footer"))?,
                    Found::Damage(found) => Err(segment.corrupt(offset, "a frame", found))?,
                }
            }
            (scan.file, scan.offset) = (scan.file + 1, 0);
        }
        while let Some(pending) = self.overlay.get(scan.pending) {
            if left == 0 {
                return Ok(true);
            }
            for (_, record) in pending.frame().revisions(pending.segment) {
                take(record.key, record.value)?;
            }
            scan.pending += 1;
            left = left.saturating_sub(pending.bytes.len() as u64);
        }
        Ok(false)
    }
}

/// How far a scan of a pin has come; the default is its beginning.
#[derive(Clone, Copy, Debug, Default)]
pub struct PinScan {
    file: usize,
    /// Where in the file the next frame begins; 0 for its first.
    offset: u64,
    /// The next frame of those in no file.
    pending: usize,
}
