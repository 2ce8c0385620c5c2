//! What goes between members: messages, and snapshots as databases, which are written, sent and
//! received in their own time, and cut off now and then.

use super::coverage::Point;
use super::world::{Event, World};
use bolt::PageBytes;
use raft::SnapshotStatus;
use raftpb::{Message, MessageType};
use server::stages::snapshot_index;
use std::io::{self, Read};
use std::sync::Arc;

impl World {
    pub(crate) fn send(&mut self, n: u64, message: Message) {
        let Some(to) = self.numbers.get(&message.to()).copied() else { return };
        let mut weather = self.plan.weather;
        if message.r#type() == MessageType::MsgProp {
            // A stream never says a thing twice, and what is proposed twice is applied twice.
            weather.doubled = 0;
        }
        let delays = self.network.delays((n, to), &weather, &mut self.rng);
        if delays.is_empty() {
            self.coverage.hit(Point::Lost);
            if self.rng.per_mille(250) {
                self.unreachable(n, &message);
            }
            return;
        }
        self.coverage.add(Point::Doubled, u64::from(delays.len() > 1));
        for delay in delays {
            self.after(delay, Event::Deliver(Box::new(message.clone())));
        }
    }

    fn unreachable(&mut self, n: u64, message: &Message) {
        let to = message.to();
        if let Some(member) = self.process(n) {
            member.unreachable(to);
            self.wake(n);
        }
    }

    pub(crate) fn deliver(&mut self, message: Message) {
        let Some(n) = self.numbers.get(&message.to()).copied() else { return };
        if self.trace.is_on()
            && message.r#type() != MessageType::MsgHeartbeat
            && message.r#type() != MessageType::MsgHeartbeatResp
        {
            self.trace.note(self.now, format_args!("{}", raft::describe_message(&message)));
        }
        if let Some(member) = self.process(n) {
            member.receive(message);
            self.wake(n);
        }
    }

    /// The pinned state becomes a database, while the member goes on.
    pub(crate) fn write_image(&mut self, n: u64, life: u64, image: (Message, apply::Image)) {
        if !self.lives(n, life) {
            return;
        }
        let (message, mut image) = image;
        let mut bytes = Vec::new();
        let written = bolt::measure(&mut image, PageBytes::default())
            .and_then(|layout| bolt::write_measured(&mut image, &layout, &mut bytes));
        if let Err(error) = written {
            let text = format!("{n} at {}: {error}", snapshot_index(&message));
            return self.violated_by("a pinned state can be written as a database", text);
        }
        self.coverage.hit(Point::ImagesSent);
        let index = snapshot_index(&message);
        self.trace.note(self.now, format_args!("{n} sends a snapshot at {index}"));
        let to = self.numbers.get(&message.to()).copied().unwrap_or_default();
        let lost = self.network.delays((n, to), &self.plan.weather, &mut self.rng).is_empty();
        let cut = lost || (!self.healing && self.rng.per_mille(150));
        let delay = self.rng.between(2, 150);
        self.after(delay, Event::DatabaseComes(Box::new(message), Arc::new(bytes), cut));
    }

    /// The receiver keeps a database that came whole, and then raft hears of the snapshot.
    pub(crate) fn database_comes(&mut self, message: Message, bytes: &[u8], cut: bool) {
        let (from, to) = (message.from(), message.to());
        let number = |id| self.numbers.get(&id).copied().unwrap_or_default();
        let (sender, receiver) = (number(from), number(to));
        let index = snapshot_index(&message);
        let length = if cut { self.rng.below(bytes.len() as u64) } else { bytes.len() as u64 };
        let length = usize::try_from(length).expect("a length");
        let mut body = Body { bytes: &bytes[..length], cut };
        let received = match self.process(receiver) {
            Some(member) => member.receive_database(&mut body, index).is_ok(),
            None => false,
        };
        if received {
            if let Some(member) = self.process(receiver) {
                member.receive(message);
            }
            self.wake(receiver);
        } else {
            self.coverage.hit(Point::ImagesCut);
        }
        let status = if received { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        if let Some(member) = self.process(sender) {
            member.snapshot_sent(to, status);
            self.wake(sender);
        }
    }

    pub(crate) fn violated_by(&mut self, property: &'static str, text: String) {
        self.judge(property, Err(text));
    }
}

/// A database on its way, which may end too soon.
struct Body<'a> {
    bytes: &'a [u8],
    cut: bool,
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.bytes.is_empty() && self.cut {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        self.bytes.read(buffer)
    }
}
