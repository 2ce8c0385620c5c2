//! HEADERS and CONTINUATION: from blocks to the heads of requests and to trailers.
//!
//! - Every block is decoded, also one that nobody wants: both ends' tables must stay the same.
//! - A block is kept only while its end has not come, and only up to a limit.

use super::{Connection, Event, Owner, Phase};
use crate::error::{Reason, Violation};
use crate::flow::{Inflow, Outflow};
use crate::frame::{self, FrameHead};
use crate::head;
use crate::hpack::fields::Fields;
use crate::hpack::name::Name;
use crate::streams::{End, Stream};
use std::collections::VecDeque;

/// A header block in several frames.
#[derive(Debug)]
pub(super) struct Block {
    id: u32,
    end_stream: bool,
    bytes: Vec<u8>,
    frames: u32,
}

impl<T: Owner> Connection<T> {
    pub(super) fn headers(
        &mut self,
        head: FrameHead,
        payload: &[u8],
    ) -> Result<Option<Event>, Violation> {
        if head.id == 0 {
            return Err(Violation::protocol("HEADERS of no stream"));
        }
        let part = &payload[head.content(payload)?];
        let end_stream = head.has(frame::END_STREAM);
        if head.has(frame::END_HEADERS) {
            return self.block(head.id, end_stream, part);
        }
        self.block = Some(Block { id: head.id, end_stream, bytes: part.to_vec(), frames: 1 });
        Ok(None)
    }

    pub(super) fn continuation(
        &mut self,
        head: FrameHead,
        payload: &[u8],
    ) -> Result<Option<Event>, Violation> {
        let block = self.block.as_mut().filter(|block| block.id == head.id);
        let block = block.ok_or(Violation::protocol("CONTINUATION of no block"))?;
        block.bytes.extend_from_slice(payload);
        block.frames += 1;
        // A block of many small frames is work without a request.
        let frames_max = 16 + block.bytes.len() / (frame::FRAME_BYTES_MIN as usize / 4);
        if block.bytes.len() > self.options.header_list_bytes_max as usize
            || block.frames as usize > frames_max
        {
            return Err(Violation::calm("a block of fields without end"));
        }
        if !head.has(frame::END_HEADERS) {
            return Ok(None);
        }
        let block = self.block.take().expect("it was there a moment ago");
        self.block(block.id, block.end_stream, &block.bytes)
    }

    /// A whole block.
    fn block(&mut self, id: u32, end: bool, block: &[u8]) -> Result<Option<Event>, Violation> {
        self.decoder.decode(block, &mut self.fields).map_err(|_| Violation {
            reason: Reason::COMPRESSION_ERROR,
            what: "a block of fields cannot be decoded",
        })?;
        if let Some(key) = self.streams.find(id) {
            let stream = self.streams.get_mut(key).expect("it was found");
            let promised = stream.promised.is_some_and(|promised| promised > 0);
            let malformed = self.fields.malformed().is_some() || has_pseudo(&self.fields);
            let reason = if stream.remote_done {
                Reason::STREAM_CLOSED
            } else if !end || malformed || promised {
                Reason::PROTOCOL_ERROR
            } else if self.fields.is_too_large() {
                Reason::FRAME_SIZE_ERROR
            } else {
                stream.remote_done = true;
                return Ok(Some(Event::Trailers { key }));
            };
            self.flood.broken(self.now)?;
            self.reset(key, reason);
            return Ok(None);
        }
        if id.is_multiple_of(2) {
            return Err(Violation::protocol("a client's streams have odd ids"));
        }
        if id <= self.last_id {
            if self.forgotten.has(id) {
                self.flood.idle_frame(self.now)?;
                return Ok(None);
            }
            let reason = Reason::STREAM_CLOSED;
            return Err(Violation { reason, what: "HEADERS of a stream that is over" });
        }
        if !self.away.takes(id) {
            // The client knows from our GOAWAY that it has to ask elsewhere.
            self.flood.idle_frame(self.now)?;
            return Ok(None);
        }
        self.last_id = id;
        let refused = if self.fields.is_too_large() {
            Some(Reason::FRAME_SIZE_ERROR)
        } else if let Some(what) = head::malformed_request(&self.fields) {
            tracing::debug!(what, "a malformed request");
            Some(Reason::PROTOCOL_ERROR)
        } else if self.streams.len() >= self.options.concurrent_streams_max as usize {
            Some(Reason::REFUSED_STREAM)
        } else {
            None
        };
        let promised = promised(&self.fields);
        let broken_promise = end && promised.is_ok_and(|promised| promised.unwrap_or(0) > 0);
        let refused = match refused {
            None if promised.is_err() || broken_promise => Some(Reason::PROTOCOL_ERROR),
            refused => refused,
        };
        if let Some(reason) = refused {
            self.flood.broken(self.now)?;
            self.put_reset(id, reason);
            return Ok(None);
        }
        self.flood.useful();
        self.alive.with_calls();
        let key = self.streams.insert(Stream {
            id,
            owner: T::default(),
            remote_done: end,
            head_sent: false,
            listed: false,
            outflow: Outflow::new(self.peer.window),
            inflow: Inflow::new(self.options.stream_window),
            untaken: 0,
            promised: promised.unwrap_or_default(),
            queue: VecDeque::new(),
            queued: 0,
            rest: None,
            end: End::Open,
        });
        debug_assert!(self.phase == Phase::Open, "SETTINGS come before requests");
        Ok(Some(Event::Head { key, end }))
    }
}

fn has_pseudo(fields: &Fields) -> bool {
    fields.iter().any(|(name, _, _)| name.is_pseudo())
}

/// Bytes of the body that the head promises.
fn promised(fields: &Fields) -> Result<Option<u64>, ()> {
    let Some(value) = fields.value(Name::CONTENT_LENGTH) else { return Ok(None) };
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| digits);
    let same = fields.iter().all(|(name, _, other)| name != Name::CONTENT_LENGTH || other == value);
    text.filter(|_| same).and_then(|text| text.parse().ok()).map(Some).ok_or(())
}
