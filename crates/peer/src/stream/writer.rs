//! The sending end of one stream: a queue, and the response body it is written to while a peer
//! has asked for it.
//!
//! Whatever waits is encoded into one buffer and handed over at once; while that is under way,
//! more gathers. So the cost of a write is shared by as many messages as there are.

use super::{Encoder, HEARTBEATS, MESSAGES_MAX, StreamKind};
use crate::codec::link_heartbeat;
use crate::member::Member;
use crate::seam::Traffic;
use bytes::{Bytes, BytesMut};
use raftpb::Message;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

/// A response body as the writer sees it: buffers go in. Capacity 1, so that waiting messages
/// gather into one buffer rather than many.
pub(crate) type Attached = mpsc::Sender<Bytes>;

/// Encoded in one go, at most, before the buffer is handed over.
const BATCH_MESSAGES_MAX: usize = 2048;

/// The same in bytes: a batch shall not hold up a heartbeat for long.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// The near end of the queue.
#[derive(Clone)]
pub(crate) struct StreamQueue {
    messages: mpsc::Sender<Message>,
    connections: mpsc::Sender<Attached>,
    attached: Arc<AtomicBool>,
}

impl StreamQueue {
    /// Whether a peer has asked for this stream.
    pub(crate) fn is_attached(&self) -> bool {
        self.attached.load(Ordering::Acquire)
    }

    /// Where messages to be written are queued.
    pub(crate) fn messages(&self) -> &mpsc::Sender<Message> {
        &self.messages
    }

    /// Starts to write to `connection`, and ends the one written to before.
    pub(crate) async fn attach(&self, connection: Attached) -> bool {
        self.connections.send(connection).await.is_ok()
    }
}

/// A queue, and the task that writes it.
pub(crate) fn stream_queue(
    member: Arc<Member>,
    kind: StreamKind,
) -> (StreamQueue, impl Future<Output = ()> + Send) {
    let (message_tx, message_rx) = mpsc::channel(MESSAGES_MAX);
    let (connection_tx, connection_rx) = mpsc::channel(1);
    let attached = Arc::new(AtomicBool::new(false));
    let queue = StreamQueue {
        messages: message_tx,
        connections: connection_tx,
        attached: attached.clone(),
    };
    let writer = Writer { member, kind, messages: message_rx, attached };
    (queue, writer.run(connection_rx))
}

struct Writer {
    member: Arc<Member>,
    kind: StreamKind,
    messages: mpsc::Receiver<Message>,
    attached: Arc<AtomicBool>,
}

impl Writer {
    async fn run(mut self, mut connections: mpsc::Receiver<Attached>) {
        let mut next = connections.recv().await;
        while let Some(connection) = next {
            let peer = format_args!("{:x}", self.member.id).to_string();
            info!(peer, stream = self.kind.path(), "established stream to peer");
            self.attached.store(true, Ordering::Release);
            next = tokio::select! {
                replaced = connections.recv() => replaced,
                () = self.write(connection) => {
                    self.attached.store(false, Ordering::Release);
                    self.drop_waiting();
                    warn!(peer, stream = self.kind.path(), "lost stream to peer");
                    connections.recv().await
                }
            };
        }
    }

    /// Writes until the connection is lost, or takes too long.
    async fn write(&mut self, connection: Attached) {
        let mut encoder = Encoder::new(self.kind);
        let mut heartbeats = interval(self.member.settings.read_timeout / HEARTBEATS);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::new();
        loop {
            let mut buffer = BytesMut::new();
            tokio::select! {
                count = self.messages.recv_many(&mut batch, BATCH_MESSAGES_MAX) => {
                    if count == 0 {
                        return;
                    }
                }
                _ = heartbeats.tick() => encoder.encode(&mut buffer, &link_heartbeat()),
                () = connection.closed() => return,
            }
            let mut messages = batch.drain(..).peekable();
            while messages.peek().is_some() || !buffer.is_empty() {
                while let Some(message) = messages.next_if(|_| buffer.len() < BATCH_BYTES_MAX) {
                    encoder.encode(&mut buffer, &message);
                }
                let bytes = buffer.len() as u64;
                let handed_over = connection.send(buffer.split().freeze());
                if !matches!(
                    timeout(self.member.settings.write_timeout, handed_over).await,
                    Ok(Ok(()))
                ) {
                    let rest = messages.count() as u64;
                    if rest > 0 {
                        self.member.drop_messages(rest, false);
                    }
                    return;
                }
                self.member.note(Traffic::Sent { bytes });
            }
        }
    }

    fn drop_waiting(&mut self) {
        let mut count = 0;
        while self.messages.try_recv().is_ok() {
            count += 1;
        }
        // Also without a message that waited: those written last may not have arrived.
        self.member.drop_messages(count, false);
    }
}
