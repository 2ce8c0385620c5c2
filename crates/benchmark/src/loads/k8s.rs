//! `k8s`: what an API server of Kubernetes asks of its etcd.
//!
//! Every update is one transaction: if the object is still at the revision that the API server
//! knows, put it, else read it. Lists go by kind in pages of 500 at one revision. One watch for
//! each kind sees every change. Events get a lease. Shapes and sizes are those of
//! `apiserver/pkg/storage/etcd3`; the shares of the mix are flags.

use crate::args;
use crate::bench::Bench;
use crate::engine::{Ask, Load, SIDE, Side, Step, Turn};
use crate::keys::{Rng, prefix_end};
use crate::loads::range::{KVS, MORE};
use crate::proto;
use crate::report::Recorder;
use crate::wire::Method;
use anyhow::{Context as _, Result, ensure};
use api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use api::etcdserverpb::request_op::Request;
use api::etcdserverpb::watch_request::RequestUnion;
use api::etcdserverpb::{
    Compare, LeaseGrantRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    WatchCreateRequest, WatchRequest,
};
use bytes::Bytes;
use prost::Message as _;

/// Runs the sub-command.
pub(crate) fn run(mut bench: Bench, flags: &args::K8s) -> Result<()> {
    ensure!(flags.lists + flags.leases <= 100.0, "--lists and --leases are shares of a hundred");
    let mut load = K8s::new(flags);
    load.creating = true;
    let clients = bench.common.clients.min(usize::try_from(flags.objects)?);
    bench.prepare(&mut load, clients, flags.objects).context("creating the objects")?;
    load.creating = false;
    if !flags.no_watch {
        for kind in 0..flags.kinds {
            let token = SIDE + u32::try_from(kind).context("too many kinds")?;
            let conn = usize::try_from(kind)? % bench.pool.len();
            let opened = bench.pool.open(conn, token, Method::Watch, &watch(&prefix(kind)));
            opened.context("a connection has no room for a watch")?;
        }
    }
    let names = ["k8s-update", "k8s-list", "k8s-lease"];
    let mut reports = names.map(|name| bench.recorder(name));
    let group = bench.group(&mut load, flags.total, flags.rate);
    let span = bench.span();
    let outcome = bench.run(&mut [group], span, &mut reports)?;
    for (name, report) in names.iter().zip(&reports) {
        if report.count() > 0 || report.figures(1.0).errors.values().sum::<u64>() > 0 {
            print!("\n{name}:");
            bench.show(report, outcome.seconds)?;
        }
    }
    println!("\nConflicts:\t{}\nWatch events:\t{}", load.conflicts, load.events);
    bench.json.insert("conflicts".into(), load.conflicts.into());
    bench.json.insert("events".into(), load.events.into());
    bench.cost(&outcome)?;
    bench.finish()
}

struct K8s {
    flags: args::K8s,
    /// While every object is put for the first time.
    creating: bool,
    rng: Rng,
    value: Bytes,
    /// The revision that is known of each object; 0 while there is none.
    revisions: Vec<i64>,
    busy: Vec<bool>,
    /// By slot.
    doing: Vec<Doing>,
    events_put: u64,
    conflicts: u64,
    events: u64,
}

/// What a slot does.
#[derive(Clone, Copy, Debug, Default)]
enum Doing {
    #[default]
    Nothing,
    /// Of an object.
    Update(usize),
    /// Of a kind: the revision of its first page, and objects so far.
    List { kind: u64, revision: i64, found: u64 },
    /// It has no lease yet.
    Grant,
    /// It has one.
    Event,
}

const UPDATE: usize = 0;
const LIST: usize = 1;
const LEASE: usize = 2;

/// Objects of a page, as API servers ask for them.
const PAGE: i64 = 500;

/// How long events live: an API server's default is an hour.
const EVENT_SECONDS: i64 = 3600;

const SEED: u64 = 6;

/// Slots look so many times for an object that nobody changes.
const TRIES: usize = 16;

impl K8s {
    fn new(flags: &args::K8s) -> Self {
        let mut rng = Rng::new(SEED);
        let value = rng.bytes(flags.val_size);
        let objects = usize::try_from(flags.objects).unwrap_or(usize::MAX);
        Self {
            flags: flags.clone(),
            creating: false,
            rng,
            value,
            revisions: vec![0; objects],
            busy: vec![false; objects],
            doing: Vec::new(),
            events_put: 0,
            conflicts: 0,
            events: 0,
        }
    }

    fn key(&self, object: usize) -> Bytes {
        let number = object as u64;
        let name = format!(
            "{}ns-{:02}/object-{number:010}",
            prefix(number % self.flags.kinds),
            number % 50
        );
        name.into()
    }

    fn choose(&mut self) -> usize {
        let objects = self.revisions.len() as u64;
        let mut object = 0;
        for _ in 0..TRIES {
            object = usize::try_from(self.rng.below(objects)).unwrap_or_default();
            if !self.busy[object] {
                break;
            }
        }
        object
    }

    fn update(&mut self, slot: usize, object: usize, message: &mut Vec<u8>) -> Ask {
        self.busy[object] = true;
        self.doing[slot] = Doing::Update(object);
        let known = self.revisions[object];
        let stale = !self.creating && self.rng.share() * 100.0 < self.flags.conflicts;
        let key = self.key(object);
        let compare = Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Mod.into(),
            key: key.clone(),
            target_union: Some(TargetUnion::ModRevision(if stale { known - 1 } else { known })),
            ..Compare::default()
        };
        let range = RangeRequest { key: key.clone(), ..RangeRequest::default() };
        let put = PutRequest { key, value: self.value.clone(), ..PutRequest::default() };
        let op = |request| RequestOp { request: Some(request) };
        let txn = TxnRequest {
            compare: vec![compare],
            success: vec![op(Request::RequestPut(put))],
            failure: vec![op(Request::RequestRange(range))],
        };
        txn.encode(message).expect("a vector grows");
        Ask::call(Method::Txn, UPDATE)
    }

    fn updated(&mut self, object: usize, answer: &[u8]) -> Step {
        self.busy[object] = false;
        let revision = proto::revision(answer);
        if proto::number(answer, SUCCEEDED) == 1 {
            self.revisions[object] = revision;
            return Step::Done;
        }
        let op = proto::bytes(answer, RESPONSES);
        let kv = op.and_then(|op| proto::bytes(op, OP_RANGE)).and_then(|r| proto::bytes(r, KVS));
        let Some(kv) = kv else { return Step::Wrong("an object is missing") };
        self.revisions[object] = proto::number(kv, KV_MOD_REVISION);
        self.conflicts += u64::from(!self.creating);
        Step::Done
    }

    fn list(&self, kind: u64, key: Bytes, revision: i64, message: &mut Vec<u8>) -> Ask {
        let range_end = prefix_end(prefix(kind).as_bytes());
        let range =
            RangeRequest { key, range_end, limit: PAGE, revision, ..RangeRequest::default() };
        range.encode(message).expect("a vector grows");
        Ask::call(Method::Range, LIST)
    }

    fn listed(&mut self, slot: usize, answer: &[u8], message: &mut Vec<u8>) -> Step {
        let Doing::List { kind, revision, found } = self.doing[slot] else {
            return Step::Wrong("nobody has listed");
        };
        let revision = if revision == 0 { proto::revision(answer) } else { revision };
        let (mut found, mut last) = (found, None);
        for kv in proto::all_bytes(answer, KVS) {
            found += 1;
            last = proto::bytes(kv, 1);
        }
        let objects = (self.flags.objects + self.flags.kinds - 1 - kind) / self.flags.kinds;
        match last {
            Some(last) if proto::number(answer, MORE) == 1 => {
                self.doing[slot] = Doing::List { kind, revision, found };
                let key = [last, &[0]].concat().into();
                Step::Again(self.list(kind, key, revision, message))
            }
            _ if found == objects => Step::Done,
            _ => Step::Wrong("a list is not of all objects"),
        }
    }
}

impl Load for K8s {
    fn request(&mut self, turn: Turn, message: &mut Vec<u8>) -> Ask {
        let slot = turn.slot;
        if self.doing.len() <= slot {
            self.doing.resize(slot + 1, Doing::Nothing);
        }
        if self.creating {
            let object = usize::try_from(turn.number).unwrap_or_default();
            return self.update(slot, object, message);
        }
        let share = self.rng.share() * 100.0;
        if share < self.flags.lists {
            let kind = self.rng.below(self.flags.kinds);
            self.doing[slot] = Doing::List { kind, revision: 0, found: 0 };
            self.list(kind, prefix(kind).into(), 0, message)
        } else if share < self.flags.lists + self.flags.leases {
            self.doing[slot] = Doing::Grant;
            let grant = LeaseGrantRequest { ttl: EVENT_SECONDS, id: 0 };
            grant.encode(message).expect("a vector grows");
            Ask::call(Method::LeaseGrant, LEASE)
        } else {
            let object = self.choose();
            self.update(slot, object, message)
        }
    }

    fn answer(&mut self, slot: usize, answer: &[u8], message: &mut Vec<u8>) -> Step {
        match self.doing[slot] {
            Doing::Update(object) => self.updated(object, answer),
            Doing::List { .. } => self.listed(slot, answer, message),
            Doing::Grant => {
                self.doing[slot] = Doing::Event;
                self.events_put += 1;
                let key = format!("/registry/events/event-{:010}", self.events_put).into();
                let lease = proto::number(answer, GRANTED_ID);
                let put =
                    PutRequest { key, value: self.value.clone(), lease, ..Default::default() };
                put.encode(message).expect("a vector grows");
                Step::Again(Ask::call(Method::Put, LEASE))
            }
            Doing::Event | Doing::Nothing => Step::Done,
        }
    }

    fn failed(&mut self, slot: usize) {
        if let Doing::Update(object) = self.doing[slot] {
            self.busy[object] = false;
        }
    }

    fn side(&mut self, side: Side<'_>, _: &mut [Recorder]) {
        self.events += proto::all_bytes(side.message, EVENTS).count() as u64;
    }
}

/// Fields of the answers to a transaction, an operation of one, and a grant; of a key and of what
/// a watch says.
const SUCCEEDED: u64 = 2;
const RESPONSES: u64 = 3;
const OP_RANGE: u64 = 1;
const GRANTED_ID: u64 = 2;
const KV_MOD_REVISION: u64 = 3;
const EVENTS: u64 = 11;

fn prefix(kind: u64) -> String {
    format!("/registry/kind-{kind:02}/")
}

fn watch(prefix: &str) -> Vec<u8> {
    let create = WatchCreateRequest {
        key: prefix.to_owned().into(),
        range_end: prefix_end(prefix.as_bytes()),
        prev_kv: true,
        progress_notify: true,
        ..WatchCreateRequest::default()
    };
    WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }.encode_to_vec()
}
