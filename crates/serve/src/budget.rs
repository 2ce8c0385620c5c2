//! The bytes of all answers under way share one budget, so that no number of large lists is the
//! end of a member (design 3).
//!
//! An answer that takes more than a little memory waits for room, and holds it until the last of
//! it is sent: room for all of it, or for the part of it that is in memory at any time. Whoever waits long makes a connection give way whose answers hold room and do not
//! move: a client that asks and never reads must not starve the others.

use axum::body::{Body, Bytes};
use axum::response::Response;
use hyper::body::Frame;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tonic::Status;

/// Bytes that all answers under way may take.
pub const BUDGET_BYTES: u64 = 256 << 20;

/// Answers up to this size need no room.
pub const SMALL_BYTES: u64 = 64 << 10;

/// The semaphore counts in these.
const UNIT_BYTES: u64 = 1 << 10;

/// An answer is in memory twice while it is encoded: as records, and as the message.
const COPIES: u64 = 2;

/// Bytes of an answer in parts that are in memory at once: a part, and the one before it while the
/// last of that is on its way to the transport.
const ON_THE_WAY_BYTES: u64 = 512 << 10;

/// How long an answer may not move before its connection has to give way.
const STALLED: Duration = Duration::from_secs(5);

/// How long an answer waits for room, at most.
const PATIENCE: Duration = Duration::from_secs(60);

/// With so many on the list, those that hold nothing any more are taken off it.
const HOLDERS_LISTED: usize = 256;

/// Bytes given to a connection at once, so that it shows how fast they go.
const PIECE_BYTES: usize = 256 << 10;

/// What an answer needs room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// So many bytes, which are put together before the first leaves.
    Whole(u64),
    /// So many bytes, of which a part at a time is read, and so many to know where they are.
    Parts {
        /// Bytes of the answer.
        whole: u64,
        /// Bytes beside them.
        found: u64,
    },
}

impl Room {
    /// Bytes of memory.
    fn bytes(self) -> u64 {
        match self {
            Self::Whole(bytes) => bytes.saturating_mul(COPIES),
            Self::Parts { whole, found } => found.saturating_add(whole.min(ON_THE_WAY_BYTES)),
        }
    }
}

/// The budget. Clones share it.
#[derive(Debug, Clone)]
pub struct Budget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    room: Arc<Semaphore>,
    units: u64,
    /// Connections that held room when they were last looked at.
    holders: Mutex<Vec<Weak<Connection>>>,
}

/// What the answers of one connection hold.
#[derive(Debug)]
pub struct Connection {
    answers: AtomicU64,
    began: Instant,
    /// When the client last took something of them, in milliseconds since the beginning.
    moved: AtomicU64,
    give_way: Notify,
    origin: Origin,
}

/// Where a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// In this process.
    Inside,
    /// On this machine, at the other end of a unix socket.
    Socket,
    /// At an address.
    Address(SocketAddr),
}

impl Default for Connection {
    fn default() -> Self {
        let (answers, moved) = (AtomicU64::new(0), AtomicU64::new(0));
        let (began, give_way) = (Instant::now(), Notify::new());
        Self { answers, began, moved, give_way, origin: Origin::Inside }
    }
}

impl Connection {
    /// One from a client that came over the network.
    #[must_use]
    pub fn from(remote: Option<SocketAddr>) -> Self {
        let origin = remote.map_or(Origin::Socket, Origin::Address);
        Self { origin, ..Self::default() }
    }

    /// Where its client is.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Notes that the client has taken something.
    pub(crate) fn moved(&self) {
        if self.answers.load(Ordering::Relaxed) > 0 {
            self.moved.store(millis(self.began.elapsed()), Ordering::Relaxed);
        }
    }

    /// For how long the client has taken nothing.
    fn still(&self) -> Duration {
        let moved = Duration::from_millis(self.moved.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(moved)
    }

    /// Waits until others need the room that this one holds and does not use.
    pub async fn must_give_way(&self) {
        self.give_way.notified().await;
    }
}

/// Room for one answer. It goes out with the response, as an extension.
#[derive(Debug, Clone)]
pub struct Held(Arc<Holding>);

impl Held {
    /// The records are gone, and the message is left.
    pub(crate) fn encoded(&self) {
        self.0.encoded();
    }
}

#[derive(Debug)]
struct Holding {
    permit: Mutex<Option<OwnedSemaphorePermit>>,
    connection: Arc<Connection>,
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.connection.answers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Holding {
    /// The records are gone, the message is left.
    fn encoded(&self) {
        if let Some(permit) = &mut *lock(&self.permit) {
            let spare = permit.num_permits() - permit.num_permits() / usize_of(COPIES);
            drop(permit.split(spare));
        }
    }
}

impl Budget {
    /// One of so many bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        // A permit is asked for by a number of 32 bits.
        let units = (bytes / UNIT_BYTES).clamp(1, u64::from(u32::MAX));
        let room = Arc::new(Semaphore::new(usize_of(units)));
        let shared = Shared { room, units, holders: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// Waits for room for an answer on a connection; one that would take more than there is gets
    /// all of it.
    ///
    /// # Errors
    /// ResourceExhausted if there is none for long.
    pub async fn hold(&self, connection: &Arc<Connection>, room: Room) -> Result<Held, Status> {
        let units = (room.bytes() / UNIT_BYTES).clamp(1, self.shared.units);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let acquiring = Arc::clone(&self.shared.room).acquire_many_owned(units);
        tokio::pin!(acquiring);
        let deadline = Instant::now() + PATIENCE;
        let permit = loop {
            match tokio::time::timeout(STALLED, acquiring.as_mut()).await {
                Ok(permit) => break permit.map_err(|_| exhausted())?,
                Err(_) if Instant::now() >= deadline => return Err(exhausted()),
                Err(_) => self.make_stalled_give_way(),
            }
        };
        if connection.answers.fetch_add(1, Ordering::Relaxed) == 0 {
            self.remember(connection);
        }
        connection.moved();
        let holding =
            Holding { permit: Mutex::new(Some(permit)), connection: Arc::clone(connection) };
        Ok(Held(Arc::new(holding)))
    }

    fn remember(&self, connection: &Arc<Connection>) {
        let mut holders = lock(&self.shared.holders);
        if holders.len() >= HOLDERS_LISTED {
            holders.retain(|holder| {
                holder.upgrade().is_some_and(|its| its.answers.load(Ordering::Relaxed) > 0)
            });
        }
        holders.push(Arc::downgrade(connection));
    }

    fn make_stalled_give_way(&self) {
        let mut holders = lock(&self.shared.holders);
        holders.retain(|holder| {
            let Some(connection) = holder.upgrade() else { return false };
            if connection.answers.load(Ordering::Relaxed) == 0 {
                return false;
            }
            if connection.still() >= STALLED {
                connection.give_way.notify_one();
                return false;
            }
            true
        });
    }
}

fn exhausted() -> Status {
    Status::resource_exhausted("etcdserver: too many requests")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What it guards is whole whoever panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Lets the body of a response hold the room that the response was given.
pub(crate) fn hold_until_sent(mut response: Response) -> Response {
    match response.extensions_mut().remove::<Held>() {
        None => response,
        Some(held) => {
            let piece = Bytes::new();
            response.map(|body| Body::new(HoldingBody { body, piece, held }))
        }
    }
}

/// A body in pieces.
struct HoldingBody {
    body: Body,
    /// What is left of the last frame.
    piece: Bytes,
    held: Held,
}

impl hyper::body::Body for HoldingBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.held.0.connection.moved();
        if self.piece.is_empty() {
            let frame = match std::task::ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            match frame.into_data() {
                Ok(data) => {
                    self.held.0.encoded();
                    self.piece = data;
                }
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let bytes = self.piece.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.piece.split_to(bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.piece.is_empty() && self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    fn free(budget: &Budget) -> u64 {
        budget.shared.room.available_permits() as u64 * UNIT_BYTES
    }

    #[tokio::test(start_paused = true)]
    async fn room_is_held_until_the_last_byte_is_sent() {
        let budget = Budget::new(4 << 20);
        let connection = Arc::default();
        let held = budget.hold(&connection, Room::Whole(1 << 20)).await.expect("there is room");
        assert_eq!(free(&budget), 2 << 20);
        let mut response = Response::new(Body::from(vec![0; 1 << 20]));
        response.extensions_mut().insert(held);
        let mut body = hold_until_sent(response).into_body();
        let piece = body.frame().await.expect("a piece").expect("no error");
        assert_eq!(piece.into_data().expect("data").len(), PIECE_BYTES);
        assert_eq!(free(&budget), 3 << 20, "the records are gone");
        body.collect().await.expect("no error");
        assert_eq!(free(&budget), 4 << 20);
        assert_eq!(connection.answers.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_in_parts_holds_little_of_it() {
        let budget = Budget::new(4 << 20);
        let connection = Arc::default();
        let mut all = Vec::new();
        for _ in 0..4 {
            let room = Room::Parts { whole: 1 << 30, found: 512 << 10 };
            all.push(budget.hold(&connection, room).await.expect("there is room"));
        }
        assert_eq!(free(&budget), 0);
        all.pop();
        let room = Room::Parts { whole: 100 << 10, found: 1 << 10 };
        let _held = budget.hold(&connection, room).await.expect("there is room");
        assert_eq!(free(&budget), (1024 - 101) << 10, "no more than all of it");
    }

    #[tokio::test(start_paused = true)]
    async fn who_holds_room_and_does_not_move_gives_way() {
        let budget = Budget::new(1 << 20);
        let (stuck, other) = (Arc::<Connection>::default(), Arc::default());
        // More than there is gets all.
        let held = budget.hold(&stuck, Room::Whole(1 << 30)).await.expect("there is room");
        let waiting = budget.hold(&other, Room::Whole(1 << 18));
        tokio::pin!(waiting);
        tokio::select! {
            _ = &mut waiting => panic!("there is no room"),
            () = stuck.must_give_way() => drop(held),
        }
        waiting.await.expect("there is room again");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_refused() {
        let budget = Budget::new(1 << 20);
        let (stuck, other) = (Arc::default(), Arc::default());
        let _held = budget.hold(&stuck, Room::Whole(1 << 30)).await.expect("there is room");
        let refused =
            budget.hold(&other, Room::Whole(1 << 18)).await.expect_err("there is no room");
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    }
}
