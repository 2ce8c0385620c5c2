//! The state as a database in etcd's form, for operators and for peers that are too far behind.
//!
//! It is written while it is sent, never to a file: a thread packs the pages, and goes on as
//! fast as whoever takes them. The store is pinned meanwhile, and nothing else waits for it.

use crate::apply_loop::{ApplyInput, SnapshotState};
use crate::driver::Input;
use crate::metrics::Metrics;
use crate::shared::Shared;
use crate::{Error, Server};
use apply::Image;
use bolt::PageBytes;
use bytes::{Bytes, BytesMut};
use peer::Transport;
use raft::SnapshotStatus;
use raftpb::{Message, Snapshot, SnapshotMetadata};
use std::io;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};

/// Bytes of a part.
const PART_BYTES: usize = 32 << 10;

/// Parts on their way, at most.
const PARTS_MAX: usize = 32;

/// A database being written.
#[derive(Debug)]
pub struct ImageStream {
    /// Its length.
    pub bytes: u64,
    parts: mpsc::Receiver<io::Result<Bytes>>,
}

impl ImageStream {
    /// The next part, of 32 KiB but for the last; `None` at the end. After an error there is
    /// nothing more.
    pub async fn next(&mut self) -> Option<io::Result<Bytes>> {
        self.parts.recv().await
    }

    async fn of(mut image: Image, metrics: Arc<Metrics>) -> io::Result<Self> {
        let (sized, size) = oneshot::channel();
        let (parts_tx, parts) = mpsc::channel(PARTS_MAX);
        let write = move || {
            let under_way = UnderWay::new(&metrics);
            let measured = bolt::measure(&mut image, PageBytes::default());
            let layout = match measured {
                Ok(layout) => layout,
                // Whoever asked may have gone.
                Err(error) => return drop(sized.send(Err(io::Error::other(error)))),
            };
            if sized.send(Ok(layout.file_bytes())).is_err() {
                return;
            }
            let mut out = Parts { part: BytesMut::with_capacity(PART_BYTES), parts: parts_tx };
            let written = bolt::write_measured(&mut image, &layout, &mut out);
            let last = written.map(|()| out.part.split().freeze()).map_err(io::Error::other);
            if !matches!(&last, Ok(last) if last.is_empty()) {
                // As above.
                let _ = out.parts.blocking_send(last);
            }
            metrics.images.took(under_way.since.elapsed());
        };
        tokio::task::spawn_blocking(write);
        let bytes = size.await.map_err(|_| io::Error::other("it was cut short"))??;
        Ok(Self { bytes, parts })
    }
}

/// Counts the databases being written.
struct UnderWay<'a> {
    since: Instant,
    metrics: &'a Metrics,
}

impl<'a> UnderWay<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        metrics.images_open.add(1);
        Self { since: Instant::now(), metrics }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.metrics.images_open.add(-1);
    }
}

/// Cuts what is written into parts.
struct Parts {
    part: BytesMut,
    parts: mpsc::Sender<io::Result<Bytes>>,
}

impl io::Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PART_BYTES - self.part.len());
        self.part.extend_from_slice(&bytes[..taken]);
        if self.part.len() == PART_BYTES {
            let part = self.part.split().freeze();
            let sent = self.parts.blocking_send(Ok(part));
            sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
            self.part.reserve(PART_BYTES);
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Server {
    /// All of the state as it is now.
    ///
    /// # Errors
    /// [`api::Error::Stopped`]; the store's, as text.
    pub async fn image(&self) -> Result<ImageStream, Error> {
        let (answer, image) = oneshot::channel();
        self.ask(ApplyInput::Image { answer })?;
        let (image, _) = image.await.map_err(|_| api::Error::Stopped)?;
        let made = ImageStream::of(image, Arc::clone(&self.shared.metrics)).await;
        made.map_err(|error| Error::Other(error.to_string()))
    }

    /// A hash of all that is stored, by which two members at the same index can be compared.
    ///
    /// # Errors
    /// As above.
    pub async fn hash(&self) -> Result<u32, Error> {
        let (answer, image) = oneshot::channel();
        self.ask(ApplyInput::Image { answer })?;
        let (mut image, _) = image.await.map_err(|_| api::Error::Stopped)?;
        let hashing = tokio::task::spawn_blocking(move || image.hash());
        let hash = hashing.await.map_err(|_| api::Error::Stopped)?;
        hash.map_err(|error| Error::Other(error.to_string()))
    }
}

/// Sends a follower the state of now in place of the snapshot that raft thought of, which is
/// older; raft hears how that ended (etcd `server.go: createMergedSnapshotMessage`).
pub(crate) async fn send(shared: Arc<Shared>, transport: Transport, mut message: Message) {
    let to = message.to();
    match take(&shared).await {
        Ok((state, mut image)) => {
            merge(&mut message, state);
            let body = futures_util::stream::poll_fn(move |cx| image.parts.poll_recv(cx));
            transport.send_snapshot(message, Box::pin(body));
        }
        Err(error) => {
            tracing::warn!(to = peer::identity::format_id(to), %error, "cannot send a snapshot");
            // A report that finds no room is made again by the next attempt.
            let status = SnapshotStatus::Failure;
            let _ = shared.inbox.try_send(Input::SnapshotSent { to, status });
        }
    }
}

/// Makes a message that sends a snapshot one of this state.
pub(crate) fn merge(message: &mut Message, state: SnapshotState) {
    let metadata = SnapshotMetadata {
        conf_state: Some(state.conf_state),
        index: Some(state.index),
        term: Some(state.term),
    };
    message.snapshot = Some(Snapshot { data: Some(state.data), metadata: Some(metadata) });
}

async fn take(shared: &Shared) -> Result<(SnapshotState, ImageStream), String> {
    let (answer, image) = oneshot::channel();
    let asked = shared.apply.try_send(ApplyInput::Image { answer });
    asked.map_err(|_| "the member is busy".to_owned())?;
    let (image, state) = image.await.map_err(|_| "the member is stopping".to_owned())?;
    let made = ImageStream::of(image, Arc::clone(&shared.metrics)).await;
    let image = made.map_err(|error| error.to_string())?;
    Ok((state, image))
}
