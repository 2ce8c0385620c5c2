//! The way to a server: connections, frames, and what comes back.
//!
//! Written by hand because the load tool runs on the servers' cores: what it saves, they get. A
//! call costs it a few hundred nanoseconds beside the system's own share for reading and writing.
//! It shares no code with `crates/http2`, the server's half: what both got wrong, neither would see.
//! Nothing here has threads; [`Pool::wait`] is the only place that waits.

mod conn;
mod event;
mod hpack;
mod huffman;
mod method;
mod stream;

pub(crate) use event::{Events, Failure, What};
pub(crate) use method::Method;

use anyhow::{Context as _, Result, bail, ensure};
use api::Code;
use conn::Conn;
use rustix::event::{Timespec, epoll};
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Connections, which calls are spread over.
pub(crate) struct Pool {
    epoll: OwnedFd,
    conns: Vec<Conn>,
    ready: Vec<epoll::Event>,
    scratch: Box<[u8]>,
    /// Connections with something to write.
    dirty: Vec<usize>,
    is_dirty: Vec<bool>,
    /// Connections that the system took not all from.
    full: Vec<bool>,
    /// Ends to be told with the next events.
    ended: Vec<(u32, Failure)>,
}

/// An open call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamRef {
    conn: usize,
    id: u32,
}

/// Bytes taken from a connection at once.
const SCRATCH_BYTES: usize = 256 << 10;

/// Connections that are looked at after one wait.
const READY_MOST: usize = 1024;

/// What a call outside of loads is known by.
const CALL: u32 = u32::MAX;

impl Pool {
    /// Connects so many times, spread over the endpoints, and waits for the servers' settings.
    pub(crate) fn connect(endpoints: &[String], count: usize, patience: Duration) -> Result<Self> {
        ensure!(!endpoints.is_empty() && count > 0, "there is nothing to connect to");
        // 50 us of slack, the default, would be seen in open-loop latencies.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).context("timer slack")?;
        let mut pool = Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll")?,
            conns: Vec::with_capacity(count),
            ready: Vec::with_capacity(READY_MOST),
            scratch: vec![0; SCRATCH_BYTES].into(),
            dirty: Vec::new(),
            is_dirty: vec![false; count],
            full: vec![false; count],
            ended: Vec::new(),
        };
        let deadline = Instant::now() + patience;
        for number in 0..count {
            let endpoint = &endpoints[number % endpoints.len()];
            let left = deadline.saturating_duration_since(Instant::now());
            pool.add(endpoint, left).with_context(|| format!("connecting to {endpoint}"))?;
        }
        pool.flush();
        let mut events = Events::default();
        while !pool.conns.iter().all(|conn| conn.greeted) {
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "a server does not answer");
            let ready = pool.wait(Some(left))?;
            for nth in 0..ready {
                pool.receive(nth, &mut events);
            }
            if let Some(lost) = pool.conns.iter().find_map(|conn| conn.lost.as_ref()) {
                bail!("{}", lost.text);
            }
            pool.flush();
        }
        Ok(pool)
    }

    fn add(&mut self, endpoint: &str, patience: Duration) -> Result<()> {
        let address = address(endpoint)?;
        let socket = TcpStream::connect_timeout(&address, patience.max(Duration::from_millis(1)))?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let number = self.conns.len();
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN)?;
        self.conns.push(Conn::new(socket, address.to_string()));
        self.touch(number);
        Ok(())
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        self.conns.len()
    }

    /// Whether calls on a connection can still be answered.
    pub(crate) fn is_alive(&self, conn: usize) -> bool {
        self.conns[conn].lost.is_none()
    }

    /// Why the first lost connection was lost.
    pub(crate) fn lost(&self) -> Option<&Failure> {
        self.conns.iter().find_map(|conn| conn.lost.as_ref())
    }

    /// Starts a call with one message and one or more answers. With `counts` the answers' bytes
    /// are counted and dropped.
    pub(crate) fn start(
        &mut self,
        conn: usize,
        token: u32,
        method: Method,
        message: &[u8],
        counts: bool,
    ) {
        if let Some(lost) = &self.conns[conn].lost {
            self.ended.push((token, lost.clone()));
            return;
        }
        self.conns[conn].start(token, method, message, counts);
        self.touch(conn);
    }

    /// Starts a call that may send more messages. None if the connection is lost or the server
    /// lets no more be under way on it; then the end is told as of any call.
    pub(crate) fn open(
        &mut self,
        conn: usize,
        token: u32,
        method: Method,
        message: &[u8],
    ) -> Option<StreamRef> {
        let opened = match self.conns[conn].lost.clone() {
            Some(lost) => Err(lost),
            None => self.conns[conn].open(token, method, message).ok_or_else(|| {
                let text = "the server lets no more streams be open; use more connections";
                Failure::new(Code::ResourceExhausted, text)
            }),
        };
        self.touch(conn);
        opened.map(|id| StreamRef { conn, id }).map_err(|why| self.ended.push((token, why))).ok()
    }

    /// Sends one more message of an open call.
    pub(crate) fn send(&mut self, stream: StreamRef, message: &[u8]) {
        self.conns[stream.conn].send(stream.id, message);
        self.touch(stream.conn);
    }

    /// Ends an open call. Its end is not told.
    pub(crate) fn cancel(&mut self, stream: StreamRef) {
        self.conns[stream.conn].cancel(stream.id);
        self.touch(stream.conn);
    }

    /// Waits until something comes, and tells from how many connections.
    pub(crate) fn wait(&mut self, most: Option<Duration>) -> Result<usize> {
        let most = if self.ended.is_empty() { most } else { Some(Duration::ZERO) };
        let most = most.map(|most| Timespec {
            tv_sec: most.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: most.subsec_nanos().into(),
        });
        self.ready.clear();
        let spare = rustix::buffer::spare_capacity(&mut self.ready);
        match epoll::wait(&self.epoll, spare, most.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(self.ready.len().max(self.unheard())),
            Err(error) => Err(error).context("waiting for connections"),
        }
    }

    /// Ends that have to be told count as one connection.
    fn unheard(&self) -> usize {
        usize::from(!self.ended.is_empty())
    }

    /// Takes what came from the nth of those connections, in place of what is in `events`.
    pub(crate) fn receive(&mut self, nth: usize, events: &mut Events) {
        events.clear();
        for (token, why) in self.ended.drain(..) {
            events.push(token, Instant::now(), What::Ended(Err(why)));
        }
        let Some(ready) = self.ready.get(nth).copied() else { return };
        let (data, flags) = (ready.data, ready.flags);
        let number = usize::try_from(data.u64()).expect("it came from a usize");
        if flags.contains(epoll::EventFlags::OUT) {
            self.touch(number);
        }
        let conn = &mut self.conns[number];
        conn.receive(&mut self.scratch, events);
        if conn.closed {
            // It would be ready for ever. Removing it twice does no harm.
            epoll::delete(&self.epoll, &conn.socket).ok();
        }
        self.touch(number);
    }

    /// Writes what there is to write.
    pub(crate) fn flush(&mut self) {
        while let Some(number) = self.dirty.pop() {
            self.is_dirty[number] = false;
            let conn = &mut self.conns[number];
            let flushed = conn.flush();
            let full = matches!(flushed, Ok(false));
            if full != self.full[number] {
                self.full[number] = full;
                let mut flags = epoll::EventFlags::IN;
                flags.set(epoll::EventFlags::OUT, full);
                let data = epoll::EventData::new_u64(number as u64);
                // It fails for connections that are gone, which want nothing any more.
                epoll::modify(&self.epoll, &conn.socket, data, flags).ok();
            }
            if let Err(error) = flushed {
                let mut events = Events::default();
                conn.lose(&error.to_string(), &mut events);
                self.ended.extend(events.list().iter().filter_map(|event| match &event.what {
                    What::Ended(Err(why)) => Some((event.token, why.clone())),
                    _ => None,
                }));
            }
        }
    }

    /// Makes one call and waits for its end; returns the last message. For preparations: nothing
    /// else may be under way.
    pub(crate) fn call(
        &mut self,
        conn: usize,
        method: Method,
        message: &[u8],
    ) -> Result<Vec<u8>, Failure> {
        self.start(conn, CALL, method, message, false);
        let deadline = Instant::now() + CALL_PATIENCE;
        let (mut events, mut answer) = (Events::default(), Vec::new());
        loop {
            self.flush();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failure::new(Code::DeadlineExceeded, "no answer to a preparation"));
            }
            let ready = self.wait(Some(left));
            let ready = ready.map_err(|e| Failure::new(Code::Internal, e.to_string()))?;
            for nth in 0..ready {
                self.receive(nth, &mut events);
                for event in events.list().iter().filter(|event| event.token == CALL) {
                    match &event.what {
                        What::Message(from, to) => answer = events.message(*from, *to).to_vec(),
                        What::Counted(_) => {}
                        What::Ended(Ok(())) => return Ok(answer),
                        What::Ended(Err(why)) => return Err(why.clone()),
                    }
                }
            }
        }
    }

    fn touch(&mut self, conn: usize) {
        if !self.is_dirty[conn] {
            self.is_dirty[conn] = true;
            self.dirty.push(conn);
        }
    }
}

/// A preparation may be a list of everything, on a disk that is slowed down.
const CALL_PATIENCE: Duration = Duration::from_secs(120);

/// What an endpoint means: `host:port`, with `http://` before it or not.
fn address(endpoint: &str) -> Result<SocketAddr> {
    let host = endpoint.strip_prefix("http://").unwrap_or(endpoint).trim_end_matches('/');
    if host.contains("://") {
        let mut text = format!("{endpoint}: only plain connections are built");
        if endpoint.starts_with("https:") {
            write!(text, ", none with TLS")?;
        }
        bail!(text);
    }
    let mut addresses = host.to_socket_addrs().with_context(|| format!("what is {host}?"))?;
    addresses.next().with_context(|| format!("{host} has no address"))
}
