//! Frames from the client, other than those with fields.

use super::{Connection, Event, Owner, Phase};
use crate::error::{Reason, Violation};
use crate::frame::{self, FrameHead};
use crate::hpack::TABLE_BYTES_MAX;
use bytes::{Buf as _, Bytes, BytesMut};

impl<T: Owner> Connection<T> {
    /// Handles the frame at the start of `input`, which is there as a whole, and takes it off.
    pub(super) fn frame(
        &mut self,
        head: FrameHead,
        input: &mut BytesMut,
    ) -> Result<Option<Event>, Violation> {
        if self.phase == Phase::Settings && (head.kind != frame::SETTINGS || head.has(frame::ACK)) {
            return Err(Violation::protocol("the first frame is not SETTINGS"));
        }
        if self.block.is_some() && head.kind != frame::CONTINUATION {
            return Err(Violation::protocol("another frame inside a block of fields"));
        }
        if head.kind == frame::DATA {
            input.advance(frame::FRAME_HEAD_LEN);
            let payload = input.split_to(head.len).freeze();
            return self.data(head, payload);
        }
        let whole = frame::FRAME_HEAD_LEN + head.len;
        let payload = &input[frame::FRAME_HEAD_LEN..whole];
        let event = match head.kind {
            frame::HEADERS => self.headers(head, payload),
            frame::CONTINUATION => self.continuation(head, payload),
            kind => self.control(kind, head, payload).map(|()| None),
        }?;
        input.advance(whole);
        Ok(event)
    }

    fn control(&mut self, kind: u8, head: FrameHead, payload: &[u8]) -> Result<(), Violation> {
        self.flood.idle_frame(self.now)?;
        match kind {
            frame::SETTINGS => self.settings(head, payload),
            frame::PING => self.ping(head, payload),
            frame::WINDOW_UPDATE => self.window_update(head, payload),
            frame::RST_STREAM => self.rst_stream(head, payload),
            frame::GOAWAY => self.go_away(head, payload),
            frame::PRIORITY => self.priority(head, payload),
            frame::PUSH_PROMISE => Err(Violation::protocol("a client promises nothing")),
            // Of an extension.
            _ => Ok(()),
        }
    }

    fn data(&mut self, head: FrameHead, mut payload: Bytes) -> Result<Option<Event>, Violation> {
        if head.id == 0 {
            return Err(Violation::protocol("DATA of no stream"));
        }
        if !self.inflow.receive(head.len) {
            return Err(Violation::flow_control("more DATA than the connection's window"));
        }
        let content = head.content(&payload)?;
        payload.truncate(content.end);
        payload.advance(content.start);
        let end = head.has(frame::END_STREAM);
        if payload.is_empty() && !end {
            self.flood.idle_frame(self.now)?;
        }
        let Some(key) = self.streams.find(head.id) else {
            self.connection_taken(head.len);
            self.began(head.id)?;
            self.flood.idle_frame(self.now)?;
            if self.away.takes(head.id) && !self.forgotten.has(head.id) {
                self.put_reset(head.id, Reason::STREAM_CLOSED);
            }
            return Ok(None);
        };
        let stream = self.streams.get_mut(key).expect("it was found");
        let broken = if stream.remote_done {
            Some(Reason::STREAM_CLOSED)
        } else if !stream.inflow.receive(head.len) {
            Some(Reason::FLOW_CONTROL_ERROR)
        } else if let Some(promised) = &mut stream.promised {
            let left = promised.checked_sub(payload.len() as u64);
            *promised = left.unwrap_or(0);
            let kept = left.is_some_and(|left| left == 0 || !end);
            (!kept).then_some(Reason::PROTOCOL_ERROR)
        } else {
            None
        };
        if let Some(reason) = broken {
            self.connection_taken(head.len);
            self.flood.broken(self.now)?;
            self.reset(key, reason);
            return Ok(None);
        }
        stream.untaken += head.len;
        stream.remote_done = end;
        if !payload.is_empty() {
            self.flood.useful();
        }
        let padding = head.len - payload.len();
        if padding > 0 {
            self.taken(key, padding);
        }
        Ok(Some(Event::Data { key, data: payload, end }))
    }

    fn settings(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Violation> {
        if head.id != 0 {
            return Err(Violation::protocol("SETTINGS of a stream"));
        }
        if head.has(frame::ACK) {
            if !payload.is_empty() {
                return Err(Violation::frame_size("an acknowledgement with SETTINGS"));
            }
            self.alive.settings_acknowledged();
            return Ok(());
        }
        if !payload.len().is_multiple_of(frame::SETTING_LEN) {
            return Err(Violation::frame_size("a part of a setting"));
        }
        let mut window = None;
        for (id, value) in frame::settings(payload) {
            if id == frame::SETTINGS_INITIAL_WINDOW_SIZE {
                window = Some(value);
            } else {
                self.setting(id, value)?;
            }
        }
        // Once for each frame: every stream is looked at.
        if let Some(window) = window {
            self.peer_window(window)?;
        }
        self.put_frame(FrameHead { len: 0, kind: frame::SETTINGS, flags: frame::ACK, id: 0 });
        if self.phase == Phase::Settings {
            self.phase = Phase::Open;
            self.alive.begun();
        }
        Ok(())
    }

    fn setting(&mut self, id: u16, value: u32) -> Result<(), Violation> {
        match id {
            frame::SETTINGS_HEADER_TABLE_SIZE => {
                // Of our table only its size is known to the client, and that may be too large.
                self.peer.table_shrunk |= value < TABLE_BYTES_MAX && !self.peer.table_unused;
            }
            frame::SETTINGS_ENABLE_PUSH if value > 1 => {
                return Err(Violation::protocol("ENABLE_PUSH is neither 0 nor 1"));
            }
            frame::SETTINGS_MAX_FRAME_SIZE => {
                if !(frame::FRAME_BYTES_MIN..=frame::FRAME_BYTES_MAX).contains(&value) {
                    return Err(Violation::protocol("MAX_FRAME_SIZE is out of its bounds"));
                }
                self.peer.frame_bytes_max = value as usize;
            }
            _ => {}
        }
        Ok(())
    }

    /// All windows of streams change by as much as the first size of a window does.
    fn peer_window(&mut self, window: u32) -> Result<(), Violation> {
        if window > frame::ID_MAX {
            return Err(Violation::flow_control("an initial window above the largest"));
        }
        let by = i64::from(window) - i64::from(self.peer.window);
        self.peer.window = window;
        for key in self.streams.keys() {
            let stream = self.streams.get_mut(key).expect("keys are those of streams");
            if !stream.outflow.widen(by) {
                return Err(Violation::flow_control("a window above the largest"));
            }
            self.list(key);
        }
        Ok(())
    }

    fn window_update(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Violation> {
        if payload.len() != 4 {
            return Err(Violation::frame_size("WINDOW_UPDATE has four bytes"));
        }
        let by = i64::from(frame::number(payload) & frame::ID_MAX);
        if head.id == 0 {
            if by == 0 {
                return Err(Violation::protocol("a window opens by nothing"));
            }
            if !self.outflow.widen(by) {
                return Err(Violation::flow_control("a window above the largest"));
            }
            return Ok(());
        }
        let Some(key) = self.streams.find(head.id) else { return self.began(head.id) };
        let stream = self.streams.get_mut(key).expect("it was found");
        let reason = if by == 0 {
            Reason::PROTOCOL_ERROR
        } else if !stream.outflow.widen(by) {
            Reason::FLOW_CONTROL_ERROR
        } else {
            self.list(key);
            return Ok(());
        };
        self.flood.broken(self.now)?;
        self.reset(key, reason);
        Ok(())
    }

    fn rst_stream(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Violation> {
        if head.id == 0 {
            return Err(Violation::protocol("RST_STREAM of no stream"));
        }
        if payload.len() != 4 {
            return Err(Violation::frame_size("RST_STREAM has four bytes"));
        }
        let Some(key) = self.streams.find(head.id) else { return self.began(head.id) };
        // Who had an answer has used what was done: a client that renews a lease once cancels its
        // stream behind the first answer.
        let answered = self.head_sent(key).unwrap_or_default();
        self.remove(key, Some(Reason(frame::number(payload))));
        if answered { Ok(()) } else { self.flood.broken(self.now) }
    }

    fn go_away(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Violation> {
        if head.id != 0 {
            return Err(Violation::protocol("GOAWAY of a stream"));
        }
        if payload.len() < 8 {
            return Err(Violation::frame_size("GOAWAY has eight bytes at least"));
        }
        let reason = Reason(frame::number(&payload[4..]));
        tracing::debug!(%reason, "a client goes away");
        self.away.client_leaves();
        Ok(())
    }

    /// Priorities were given up with RFC 9113; only their form is looked at.
    fn priority(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Violation> {
        if head.id == 0 {
            return Err(Violation::protocol("PRIORITY of no stream"));
        }
        if payload.len() == frame::PRIORITY_LEN {
            return Ok(());
        }
        match self.streams.find(head.id) {
            Some(key) => {
                self.flood.broken(self.now)?;
                self.reset(key, Reason::FRAME_SIZE_ERROR);
                Ok(())
            }
            None => Err(Violation::frame_size("PRIORITY has five bytes")),
        }
    }

    /// A stream that is over may still be spoken of, and one that came too late to be taken: its
    /// client may not have read our GOAWAY yet (RFC 9113, section 6.8). One that did not begin may
    /// not.
    fn began(&self, id: u32) -> Result<(), Violation> {
        let known = id <= self.last_id || !self.away.takes(id);
        let began = known && !id.is_multiple_of(2);
        began.then_some(()).ok_or(Violation::protocol("a frame of a stream that did not begin"))
    }
}
