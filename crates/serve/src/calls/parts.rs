//! A range that is read from the store while its client takes it: the message is known with its
//! length, and a part of its records is in memory.
//!
//! The records stay readable for as long as this lives, and the room that the answer was given is
//! held as long: both end with the last part, or with the call.

use super::encode::{part_len, put_header, put_range_end, put_record};
use super::refusal;
use crate::budget::Held;
use crate::grpc::kv::PartsAnswer;
use crate::grpc::status::read_status;
use http2::{Buffer, Status};
use mvcc::RangeParts;
use std::ops::Range;

/// Bytes of a part, but for a record that is larger. Small enough to stay in the processor's cache
/// on its way from the file to the transport, and large enough that some of its records lie beside
/// each other where keys are written in another order than theirs: each gap is a call of the
/// system (parts of 64 KiB cost a sixth more of the server's time then).
const PART_BYTES: usize = 256 << 10;

/// The message.
#[derive(Debug)]
pub(crate) struct Parts {
    found: RangeParts,
    /// The fields before the records; empty once they are sent.
    head: Vec<u8>,
    /// The first record that is not sent.
    next: usize,
    /// The fields behind them.
    end: Vec<u8>,
    _held: Option<Held>,
}

impl Parts {
    pub(crate) fn new(answer: PartsAnswer) -> Self {
        let PartsAnswer { header, found, held } = answer;
        let (mut head, mut end) = (Vec::new(), Vec::new());
        put_header(&header, &mut head);
        put_range_end(found.more, found.count, &mut end);
        Self { found, head, next: 0, end, _held: held }
    }

    /// Bytes of the message before anything of it was sent.
    pub(crate) fn len(&self) -> usize {
        self.head.len() + records_len(&self.found, 0..self.found.len()) + self.end.len()
    }

    /// The records of the next part.
    fn part(&self) -> Range<usize> {
        let (mut end, mut bytes) = (self.next, 0);
        while end < self.found.len() {
            bytes += part_len(self.found.record_len(end));
            if bytes > PART_BYTES && end > self.next {
                break;
            }
            end += 1;
        }
        self.next..end
    }
}

impl http2::Parts for Parts {
    fn next(&mut self, out: &mut Buffer) -> Result<(), Status> {
        let places = self.part();
        let tail = out.tail();
        let len = records_len(&self.found, places.clone());
        tail.reserve(self.head.len() + len + self.end.len());
        tail.extend_from_slice(&std::mem::take(&mut self.head));
        self.next = places.end;
        let read = self.found.read(places, |record| put_record(record, tail));
        read.map_err(|error| refusal(read_status(&error)))?;
        if self.next == self.found.len() {
            tail.extend_from_slice(&self.end);
        }
        Ok(())
    }
}

/// Bytes of the whole message.
pub(crate) fn parts_len(answer: &PartsAnswer) -> usize {
    let PartsAnswer { header, found, .. } = answer;
    let (mut head, mut end) = (Vec::new(), Vec::new());
    put_header(header, &mut head);
    put_range_end(found.more, found.count, &mut end);
    head.len() + records_len(found, 0..found.len()) + end.len()
}

fn records_len(found: &RangeParts, places: Range<usize>) -> usize {
    places.map(|place| part_len(found.record_len(place))).sum()
}
