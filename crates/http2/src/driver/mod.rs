//! The task of a connection: between the transport, the state machine, the handler, the service
//! and the outbox.
//!
//! Each time it is woken it does what is there: it reads once, tells the handler all that this
//! brought, takes all answers out of the outbox, and writes everything at once.
//!
//! - It does not read while the client does not take its answers: what a client makes us send in
//!   return for frames is bounded by that.
//! - One timer serves all deadlines and the connection's own times. It is set anew only for an
//!   earlier time.

mod calls;
mod posts;
mod service;
mod transport;

pub use service::Service;

use crate::answers::{Line, Outbox, Post};
use crate::connection::{self, Connection, Event, Late};
use crate::deadline::Deadlines;
use crate::error::{Error, Violation};
use crate::handler::Handler;
use crate::options::Options;
use crate::status::Code;
use crate::streams::Key;
use bytes::BytesMut;
use calls::Fast;
use service::Served;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::Sleep;

/// A connection with everything around it.
pub(crate) struct Driver<S, H: Handler, F> {
    stream: S,
    handler: H,
    service: F,
    options: Arc<Options>,
    connection: Connection<Owner<H>>,
    /// What was read and not understood yet.
    input: BytesMut,
    /// The input is what was read before this task began.
    begins: bool,
    read_bytes: usize,
    /// The client sends nothing more.
    ended: bool,
    outbox: Arc<Outbox<H::Answer>>,
    /// Taken out of the outbox; empty between two steps.
    posts: Vec<(Key, Post<H::Answer>)>,
    /// Lines of streams that are over, to be used again.
    lines: Vec<Arc<Line<H::Answer>>>,
    /// Where header blocks are put together.
    scratch: Vec<u8>,
    deadlines: Deadlines,
    /// Streams whose windows wait until their answers are taken.
    held: Vec<Key>,
    /// Requests at the service.
    tasks: JoinSet<()>,
    timer: Timer,
    /// Writing stopped for others to have their turn, while the transport took all.
    more: bool,
    /// Since when the transport takes nothing of what is there for it.
    stalled: Option<Instant>,
}

/// What the driver keeps with a stream.
#[derive(Default)]
enum Owner<H: Handler> {
    /// Not decided yet, or refused.
    #[default]
    Nobody,
    Fast(Fast<H>),
    Service(Served<H::Answer>),
}

impl<H: Handler> connection::Owner for Owner<H> {
    fn waits(&mut self, bytes: usize) {
        match self {
            Self::Nobody => {}
            Self::Fast(fast) => fast.line.add(bytes),
            Self::Service(served) => served.line.add(bytes),
        }
    }

    fn sent(&mut self, bytes: usize) {
        match self {
            Self::Nobody => {}
            Self::Fast(fast) => fast.line.sent(bytes),
            Self::Service(served) => served.line.sent(bytes),
        }
    }

    fn broken(&mut self, code: Code) {
        if let Self::Fast(fast) = self {
            fast.code = Some(code);
        }
    }
}

impl<S, H, F> Driver<S, H, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
    F: Service,
{
    pub(crate) fn new(
        stream: S,
        input: BytesMut,
        options: Arc<Options>,
        handler: H,
        service: F,
    ) -> Self {
        let now = tokio::time::Instant::now();
        Self {
            stream,
            handler,
            service,
            connection: Connection::new(Arc::clone(&options), now.into_std()),
            options,
            begins: !input.is_empty(),
            input,
            read_bytes: transport::READ_BYTES_MIN,
            ended: false,
            outbox: Arc::new(Outbox::new()),
            posts: Vec::new(),
            lines: Vec::new(),
            scratch: Vec::new(),
            deadlines: Deadlines::default(),
            held: Vec::new(),
            tasks: JoinSet::new(),
            timer: Timer { sleep: Box::pin(tokio::time::sleep_until(now)), set: None, waker: None },
            more: false,
            stalled: None,
        }
    }

    /// Begins to end the connection in peace.
    pub(crate) fn leave(&mut self) {
        self.connection.leave();
    }

    /// Runs until the connection is over. After an error of the client's its GOAWAY is still to be
    /// sent.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.outbox.wake_up(cx.waker());
        let now = tokio::time::Instant::now().into_std();
        self.connection.set_now(now);
        if self.timer.is_due(now) {
            self.times(now)?;
        }
        if std::mem::take(&mut self.begins) {
            self.understand()?;
        }
        for _ in 0..ROUNDS_MAX {
            let crowded = self.connection.is_crowded();
            let read = !crowded && !self.ended && self.poll_read(cx)?.is_ready();
            if read {
                self.understand()?;
            }
            self.answer()?;
            let done = self.connection.is_done();
            let written = self.poll_write(cx)?;
            if written.is_ready() && done {
                return Poll::Ready(Ok(()));
            }
            if written.is_ready() && self.ended {
                return Poll::Ready(self.goodbye());
            }
            let more = std::mem::take(&mut self.more);
            let go_on = read || more || (crowded && !self.connection.is_crowded());
            if !go_on && self.outbox.fall_asleep() {
                self.rest();
                ready!(self.poll_timer(cx, now));
                break;
            }
        }
        // Others' tasks have a right to run, too; or a time came while this one ran.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The client has closed its side.
    fn goodbye(&self) -> Result<(), Error> {
        let in_peace = self.connection.streams_len() == 0 && self.input.is_empty();
        if in_peace { Ok(()) } else { Err(Error::Gone) }
    }

    /// Tells the handler and the service what the input says.
    fn understand(&mut self) -> Result<(), Error> {
        loop {
            let event = self.connection.next(&mut self.input);
            // A frame may have ended a stream, whatever else it did.
            self.reap();
            match event? {
                None => break,
                Some(Event::Head { key, end }) => self.head(key, end),
                Some(Event::Data { key, data, end }) => self.data(key, data, end),
                Some(Event::Trailers { key }) => self.trailers(key),
            }
        }
        self.handler.batch_end();
        Ok(())
    }

    /// Moves all answers that are there into the output.
    fn answer(&mut self) -> Result<(), Error> {
        self.take_posts();
        self.connection.fill();
        self.reap();
        self.release();
        let queued = self.connection.queued();
        self.outbox.queued.store(queued, Ordering::Relaxed);
        if queued > self.options.queued_bytes_max {
            let violation = Violation::calm("the client does not take its answers");
            self.connection.fail(violation);
            return Err(violation.into());
        }
        Ok(())
    }

    /// Does what time demands.
    fn times(&mut self, now: Instant) -> Result<(), Error> {
        let stalled = self.stalled.and_then(|since| since.checked_add(self.options.stall_timeout));
        if stalled.is_some_and(|by| by <= now) {
            return Err(Error::Silent { what: "to take its answers" });
        }
        self.connection.time().map_err(|Late(what)| Error::Silent { what })?;
        while let Some(key) = self.deadlines.expired(now) {
            self.expire(key);
        }
        self.reap();
        Ok(())
    }

    /// Sees to it that the task wakes in time. Ready if a time has come.
    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        let stalled = self.stalled.and_then(|since| since.checked_add(self.options.stall_timeout));
        let times = [self.connection.next_time(), self.deadlines.next(), stalled];
        let Some(next) = times.into_iter().flatten().min() else { return Poll::Pending };
        self.timer.poll(cx, next.max(now))
    }

    /// Ends whatever is under way: there is no connection any more.
    pub(crate) fn abandon(&mut self) -> &mut JoinSet<()> {
        self.connection.abandon();
        self.reap();
        &mut self.tasks
    }
}

/// The one timer of a connection.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    /// The time it is set to, unless it rang.
    set: Option<Instant>,
    /// Whom it wakes.
    waker: Option<Waker>,
}

impl Timer {
    /// Whether it rings at `now`; if so it has to be set again.
    fn is_due(&mut self, now: Instant) -> bool {
        self.set.take_if(|set| *set <= now).is_some()
    }

    /// Sets it to a time not after `next`. Ready if that has come.
    fn poll(&mut self, cx: &mut Context<'_>, next: Instant) -> Poll<()> {
        let early_enough = self.set.is_some_and(|set| set <= next);
        let known = self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if early_enough && known {
            return Poll::Pending;
        }
        if !early_enough {
            self.set = Some(next);
            self.sleep.as_mut().reset(next.into());
        }
        self.waker = Some(cx.waker().clone());
        self.sleep.as_mut().poll(cx)
    }
}

/// How often the task looks for more before it lets others run.
const ROUNDS_MAX: usize = 16;
