//! The way of answers from any thread into a connection's task.
//!
//! Whoever answers puts the answer into the connection's outbox and wakes its task, at most once
//! until the task has looked; the task encodes all that is there and writes it at once. While the
//! task is awake nobody wakes it: it looks again before it sleeps.
//!
//! - The lock of the outbox is held for a push or a swap, never for an encoding.
//! - What of a stream is known outside of its task (is it over? how much waits?) is in its [`Line`],
//!   without a lock.
//! - A call whose last [`Answers`] goes away without a status is ended by the connection: no client
//!   waits for an answer that nobody will give.

use crate::body::Window;
use crate::cut::PREFIX_LEN;
use crate::error::Reason;
use crate::handler::{Answer, Parts};
use crate::status::Status;
use crate::streams::Key;
use bytes::Bytes;
use http::HeaderMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// The handle to answer one call with. Cheap to clone, and good on any thread.
///
/// What is sent after the end of the call goes nowhere; [`Answers::is_closed`] tells.
pub struct Answers<A: Answer> {
    line: Arc<Line<A>>,
    /// Whether the call has its status, or another handle is to give it.
    settled: bool,
}

impl<A: Answer> Answers<A> {
    pub(crate) fn new(line: Arc<Line<A>>) -> Self {
        line.handles.fetch_add(1, Ordering::Relaxed);
        Self { line, settled: false }
    }

    /// Sends a message.
    pub fn push(&self, answer: A) {
        let len = answer.encoded_len();
        self.line.add(PREFIX_LEN + len);
        self.line.post(Post::Message { answer, len });
    }

    /// Sends a message and ends the call well.
    pub fn answer(mut self, answer: A) {
        self.settled = true;
        let len = answer.encoded_len();
        self.line.add(PREFIX_LEN + len);
        self.line.post(Post::Answer { answer, len });
    }

    /// Sends a message of `len` bytes that is made while it is sent, and ends the call well.
    pub fn answer_in_parts(mut self, parts: impl Parts, len: usize) {
        self.settled = true;
        self.line.post(Post::Parts { parts: Box::new(parts), len });
    }

    /// Ends the call.
    pub fn finish(mut self, status: Status) {
        self.settled = true;
        self.line.post(Post::Finish(status));
    }

    /// Whether the call is over: answers are not needed any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.line.closed.load(Ordering::Acquire)
    }

    /// Bytes of messages that wait in memory for this client to take them.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.line.queued.load(Ordering::Relaxed)
    }

    /// The same of all calls of the connection, as of when its task last looked.
    #[must_use]
    pub fn connection_queued_bytes(&self) -> usize {
        self.line.outbox.queued.load(Ordering::Relaxed)
    }

    /// Wakes `waker` once not more than `limit` bytes wait, or the call is over. Returns false if
    /// that is so already; the waker is not kept then. A call keeps the last waker only.
    pub fn wake_when_drained(&self, limit: usize, waker: &Waker) -> bool {
        self.line.wait(Some(limit), waker)
    }

    /// Wakes `waker` once the call is over. Returns false if it is.
    pub fn wake_when_closed(&self, waker: &Waker) -> bool {
        self.line.wait(None, waker)
    }

    pub(crate) fn line(&self) -> &Arc<Line<A>> {
        &self.line
    }

    /// Marks the call as one that ends in another way than by this handle.
    pub(crate) fn settle(&mut self) {
        self.settled = true;
    }
}

impl<A: Answer> Clone for Answers<A> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.line))
    }
}

impl<A: Answer> Drop for Answers<A> {
    fn drop(&mut self) {
        if self.settled {
            self.line.settled.store(true, Ordering::Relaxed);
        }
        let last = self.line.handles.fetch_sub(1, Ordering::AcqRel) == 1;
        if last && !self.line.settled.load(Ordering::Relaxed) {
            self.line.post(Post::Abandoned);
        }
    }
}

impl<A: Answer> fmt::Debug for Answers<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Answers").field(&self.line.key).finish()
    }
}

/// What a stream's task and its answerers share.
pub(crate) struct Line<A> {
    outbox: Arc<Outbox<A>>,
    key: Key,
    handles: AtomicU32,
    settled: AtomicBool,
    closed: AtomicBool,
    queued: AtomicUsize,
    /// Whether somebody waits.
    waiting: AtomicBool,
    waiters: Mutex<Waiters>,
}

#[derive(Default)]
struct Waiters {
    drained: Option<(usize, Waker)>,
    closed: Option<Waker>,
}

impl<A> Line<A> {
    pub(crate) fn new(outbox: Arc<Outbox<A>>, key: Key) -> Self {
        Self {
            outbox,
            key,
            handles: AtomicU32::new(0),
            settled: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            queued: AtomicUsize::new(0),
            waiting: AtomicBool::new(false),
            waiters: Mutex::default(),
        }
    }

    /// Makes a line that nobody else holds one of another stream.
    pub(crate) fn renew(&mut self, key: Key) {
        self.key = key;
        *self.settled.get_mut() = false;
        *self.closed.get_mut() = false;
        *self.queued.get_mut() = 0;
        *self.waiting.get_mut() = false;
        *self.waiters.get_mut().unwrap_or_else(PoisonError::into_inner) = Waiters::default();
    }

    /// Puts something into the outbox, unless the call is over and its task perhaps gone.
    pub(crate) fn post(&self, post: Post<A>) {
        if !self.closed.load(Ordering::Acquire) {
            self.outbox.post(self.key, post);
        }
    }

    /// Bytes that wait.
    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// Adds bytes to those that wait.
    pub(crate) fn add(&self, bytes: usize) {
        self.queued.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many bytes left, or will never leave.
    pub(crate) fn sent(&self, bytes: usize) {
        let left = self.queued.fetch_sub(bytes, Ordering::SeqCst) - bytes;
        if self.waiting.load(Ordering::SeqCst) {
            let mut waiters = self.waiters();
            let drained = waiters.drained.take_if(|(limit, _)| left <= *limit);
            drop(waiters);
            if let Some((_, waker)) = drained {
                waker.wake();
            }
        }
    }

    /// The call is over.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) {
            let waiters = std::mem::take(&mut *self.waiters());
            let wakers = [waiters.drained.map(|(_, waker)| waker), waiters.closed];
            wakers.into_iter().flatten().for_each(Waker::wake);
        }
    }

    fn wait(&self, limit: Option<usize>, waker: &Waker) -> bool {
        let mut waiters = self.waiters();
        match limit {
            Some(limit) => waiters.drained = Some((limit, waker.clone())),
            None => waiters.closed = Some(waker.clone()),
        }
        // Before the looks that follow, as `sent` and `close` change first and look then: one of
        // the two sides sees the other.
        self.waiting.store(true, Ordering::SeqCst);
        let drained = limit.is_some_and(|limit| self.queued.load(Ordering::SeqCst) <= limit);
        let reached = drained || self.closed.load(Ordering::SeqCst);
        if reached {
            match limit {
                Some(_) => waiters.drained = None,
                None => waiters.closed = None,
            }
        }
        !reached
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A: Send> Window for Line<A> {
    fn open(&self, bytes: usize) {
        if bytes > 0 {
            self.post(Post::Taken(bytes));
        }
    }
}

/// Something for a stream, from outside of its connection's task.
pub(crate) enum Post<A> {
    /// A message of `len` bytes, which are counted as waiting.
    Message { answer: A, len: usize },
    /// The same, and the end of the call.
    Answer { answer: A, len: usize },
    /// A message of `len` bytes of which nothing is made yet, and the end of the call.
    Parts { parts: Box<dyn Parts>, len: usize },
    /// The end of a call.
    Finish(Status),
    /// Nobody is left who could end it.
    Abandoned,
    /// The head of a response, already encoded.
    Head { block: Bytes, end: bool },
    /// A part of its body, counted as waiting.
    Data(Bytes),
    /// The end of its body.
    End(Option<HeaderMap>),
    /// The response failed.
    Reset(Reason),
    /// So much of a request's body was taken.
    Taken(usize),
}

/// What waits for a connection's task.
pub(crate) struct Outbox<A> {
    inside: Mutex<Inside<A>>,
    /// Bytes that wait in the queues of its streams.
    pub(crate) queued: AtomicUsize,
}

struct Inside<A> {
    posts: Vec<(Key, Post<A>)>,
    /// The task is awake, or will be: nobody needs to wake it.
    awake: bool,
    waker: Waker,
}

impl<A> Outbox<A> {
    pub(crate) fn new() -> Self {
        let inside = Inside { posts: Vec::new(), awake: true, waker: Waker::noop().clone() };
        Self { inside: Mutex::new(inside), queued: AtomicUsize::new(0) }
    }

    fn post(&self, key: Key, post: Post<A>) {
        let mut inside = self.inside();
        inside.posts.push((key, post));
        if inside.awake {
            return;
        }
        inside.awake = true;
        let waker = inside.waker.clone();
        drop(inside);
        waker.wake();
    }

    /// The task runs: it may be woken through `waker` when it sleeps again.
    pub(crate) fn wake_up(&self, waker: &Waker) {
        let mut inside = self.inside();
        inside.awake = true;
        if !inside.waker.will_wake(waker) {
            inside.waker = waker.clone();
        }
    }

    /// Takes all posts in exchange for an empty list.
    pub(crate) fn take(&self, posts: &mut Vec<(Key, Post<A>)>) {
        debug_assert!(posts.is_empty(), "what was taken before is done");
        std::mem::swap(&mut self.inside().posts, posts);
    }

    /// The task wants to sleep. Returns false if there are posts: it must look at them first.
    pub(crate) fn fall_asleep(&self) -> bool {
        let mut inside = self.inside();
        inside.awake = !inside.posts.is_empty();
        !inside.awake
    }

    fn inside(&self) -> MutexGuard<'_, Inside<A>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
