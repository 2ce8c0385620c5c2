//! A proxy in front of a member's peer port that makes the faults of networks.
//!
//! ```text
//!   dialler --- connection ---> [ proxy: rules ] --- connection ---> target
//!             who dials and for what stands in the head of its first request
//! ```
//!
//! Everything between bytes is left as it is: what passes, passes unchanged. The first rule that
//! fits a connection decides, and rules can change at any time, also for connections that are
//! open. The proxy counts requests by path and by the status they were answered with, since the
//! head of a message arrives as the beginning of a read.
//!
//! Invariant: what a black hole holds back is not lost: it goes on when the fault ends, as TCP
//! would send it again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What happens to the bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Each read arrives so much later.
    Delay(Duration),
    /// Connections are closed, new ones at once.
    Cut,
    /// Nothing arrives on either side, and nobody is told.
    BlackHole,
    /// Nothing arrives at the target; its bytes arrive.
    NothingIn,
    /// Nothing comes from the target; it hears everything.
    NothingOut,
}

/// Which connections have which fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Only those that this member dialled; `None` for all.
    pub from: Option<u64>,
    /// Only those that began with a request of this kind; `None` for all.
    pub endpoint: Option<Endpoint>,
    /// What happens to them.
    pub fault: Fault,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// A stream of appends.
    AppendStream,
    /// A stream of other messages.
    MessageStream,
    /// One message.
    Pipeline,
    /// A database.
    Snapshot,
    /// Is it there?
    Probing,
    /// Anything else.
    Other,
}

/// Requests of one member to another, of one kind and with one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count {
    /// Who asked, if it said so.
    pub from: Option<u64>,
    /// For what.
    pub endpoint: Endpoint,
    /// Status of the answer.
    pub status: u16,
}

/// The proxy. Dropping it closes all connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    target: Mutex<String>,
    rules: watch::Sender<Vec<Rule>>,
    counts: Mutex<BTreeMap<Count, u64>>,
}

/// Bytes read at once.
const BUFFER_BYTES: usize = 64 << 10;

/// The longest head of a first request.
const HEAD_BYTES_MAX: usize = 16 << 10;

impl Proxy {
    /// A proxy on a free port, in front of `target`, a host and port.
    ///
    /// # Panics
    /// If there is no port.
    #[must_use]
    pub fn start(runtime: &Handle, target: &str) -> Self {
        runtime.block_on(Self::open(target))
    }

    /// The same inside a runtime.
    ///
    /// # Panics
    /// As above.
    pub async fn open(target: &str) -> Self {
        let bound = TcpListener::bind("127.0.0.1:0").await;
        let listener = bound.expect("a port is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            target: Mutex::new(target.to_owned()),
            rules: watch::Sender::new(Vec::new()),
            counts: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Self { address, shared, accepting }
    }

    /// Where the proxy listens, as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Host and port where the proxy listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leads new connections to another place.
    pub fn lead_to(&self, target: &str) {
        target.clone_into(&mut lock(&self.shared.target));
    }

    /// Puts rules in force in place of those before.
    pub fn set_rules(&self, rules: &[Rule]) {
        self.shared.rules.send_replace(rules.to_vec());
    }

    /// Puts one fault in force for all connections.
    pub fn set_fault(&self, fault: Fault) {
        self.set_rules(&[Rule { from: None, endpoint: None, fault }]);
    }

    /// Lets everything pass.
    pub fn heal(&self) {
        self.set_rules(&[]);
    }

    /// All requests that were answered so far.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Count, u64> {
        lock(&self.shared.counts).clone()
    }

    /// How many requests like this were answered so far.
    #[must_use]
    pub fn count(&self, from: Option<u64>, endpoint: Endpoint, status: u16) -> u64 {
        lock(&self.shared.counts).get(&Count { from, endpoint, status }).copied().unwrap_or(0)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    // An error of accepting ends the proxy, and tests through it fail.
    while let Ok((dialler, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(carry(dialler, shared.clone()));
    }
}

/// What is known of a connection, from its requests.
#[derive(Debug)]
struct Link {
    shared: Arc<Shared>,
    /// Who dialled it, once a request has said so: one that only asks whether somebody is there
    /// does not.
    from: Mutex<Option<u64>>,
    first: Endpoint,
    /// What was asked last, and not answered yet.
    asked: Mutex<Option<Endpoint>>,
}

/// Carries one connection until either side or a fault ends it.
async fn carry(mut dialler: TcpStream, shared: Arc<Shared>) {
    let mut rules = shared.rules.subscribe();
    // A cut for all must not wait for the first bytes.
    let head = tokio::select! {
        head = read_head(&mut dialler) => head,
        _ = rules.wait_for(|rules| rules.contains(&CUT_ALL)) => return,
    };
    let Some(head) = head else { return };
    let text = String::from_utf8_lossy(&head);
    let first = endpoint(&head).unwrap_or(Endpoint::Other);
    let from = Mutex::new(sender(&text));
    let link = Link { shared: shared.clone(), from, first, asked: Mutex::default() };
    let target = lock(&shared.target).clone();
    if link.fault(&rules.borrow()) == Some(Fault::Cut) {
        return;
    }
    let Ok(mut served) = TcpStream::connect(target).await else { return };
    // Delays are ours to make.
    if dialler.set_nodelay(true).is_err() || served.set_nodelay(true).is_err() {
        return;
    }
    let (mut from_dialler, mut to_dialler) = dialler.split();
    let (mut from_served, mut to_served) = served.split();
    let inward = async {
        link.note(true, &head);
        if link.admit(true).await && to_served.write_all(&head).await.is_ok() {
            link.pump(true, &mut from_dialler, &mut to_served).await;
        }
    };
    let outward = link.pump(false, &mut from_served, &mut to_dialler);
    tokio::select! {
        // Either end of the connection ends all of it, as HTTP/1.1 between members has it.
        () = inward => {}
        () = outward => {}
        _ = rules.wait_for(|rules| link.fault(rules) == Some(Fault::Cut)) => {}
    }
}

const CUT_ALL: Rule = Rule { from: None, endpoint: None, fault: Fault::Cut };

impl Link {
    fn fault(&self, rules: &[Rule]) -> Option<Fault> {
        let by = *lock(&self.from);
        let fits = |rule: &&Rule| {
            rule.from.is_none_or(|from| by == Some(from))
                && rule.endpoint.is_none_or(|endpoint| self.first == endpoint)
        };
        rules.iter().find(fits).map(|rule| rule.fault)
    }

    /// Waits until bytes may go on; false if never.
    async fn admit(&self, inward: bool) -> bool {
        let mut rules = self.shared.rules.subscribe();
        loop {
            let fault = self.fault(&rules.borrow_and_update());
            let held = match fault {
                None => return true,
                Some(Fault::Delay(time)) => {
                    tokio::time::sleep(time).await;
                    return true;
                }
                Some(Fault::Cut) => return false,
                Some(Fault::BlackHole) => true,
                Some(Fault::NothingIn) => inward,
                Some(Fault::NothingOut) => !inward,
            };
            if !held {
                return true;
            }
            if rules.changed().await.is_err() {
                return false;
            }
        }
    }

    async fn pump(
        &self,
        inward: bool,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let read = match from.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(read) => read,
            };
            if inward && endpoint(&buffer[..read]).is_some() {
                let mut from = lock(&self.from);
                *from = from.or_else(|| sender(&String::from_utf8_lossy(&buffer[..read])));
            }
            if !self.admit(inward).await || to.write_all(&buffer[..read]).await.is_err() {
                return;
            }
            self.note(inward, &buffer[..read]);
        }
    }

    /// Counts what passes, if it is the beginning of a request or of an answer.
    fn note(&self, inward: bool, bytes: &[u8]) {
        if inward {
            if let Some(endpoint) = endpoint(bytes) {
                *lock(&self.asked) = Some(endpoint);
            }
            return;
        }
        let status = bytes.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3));
        let status = status.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        let Some(status) = status else { return };
        let Some(endpoint) = lock(&self.asked).take() else { return };
        let count = Count { from: *lock(&self.from), endpoint, status };
        *lock(&self.shared.counts).entry(count).or_default() += 1;
    }
}

/// Reads up to the end of the first request's head, and what came with it.
async fn read_head(dialler: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > HEAD_BYTES_MAX || dialler.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

/// What the request is for that begins here.
fn endpoint(bytes: &[u8]) -> Option<Endpoint> {
    let is = |start: &str| bytes.starts_with(start.as_bytes());
    Some(match () {
        () if is("GET /raft/stream/msgapp/") => Endpoint::AppendStream,
        () if is("GET /raft/stream/message/") => Endpoint::MessageStream,
        () if is("POST /raft/snapshot ") => Endpoint::Snapshot,
        () if is("POST /raft ") => Endpoint::Pipeline,
        () if is("GET /raft/probing ") => Endpoint::Probing,
        () if is("GET ") || is("POST ") => Endpoint::Other,
        () => return None,
    })
}

/// Who sent the request.
fn sender(head: &str) -> Option<u64> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let (_, id) = fields.find(|(name, _)| name.eq_ignore_ascii_case("x-server-from"))?;
    u64::from_str_radix(id.trim(), 16).ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
