//! `range`: one key, or many at once.

use crate::args::{Consistency, Range};
use crate::bench::Bench;
use crate::engine::{Ask, Load, Step, Turn, Way};
use crate::keys::{Rng, key, prefix_end};
use crate::proto;
use crate::wire::Method;
use anyhow::{Result, ensure};
use api::etcdserverpb::RangeRequest;
use bytes::Bytes;
use prost::Message as _;

/// Runs the sub-command.
pub(crate) fn run(mut bench: Bench, flags: &Range) -> Result<()> {
    let is_named = flags.key.is_some() || flags.prefix || flags.key_space_size > 0;
    ensure!(is_named, "range asks for a key, --prefix or --key-space-size");
    println!("bench with {} range", flags.consistency.name());
    let mut ranges = Ranges::new(flags);
    let mut reports = [bench.recorder("range")];
    let group = bench.group(&mut ranges, flags.total, flags.rate);
    let span = bench.span();
    let outcome = bench.run(&mut [group], span, &mut reports)?;
    bench.show(&reports[0], outcome.seconds)?;
    bench.cost(&outcome)?;
    bench.finish()
}

impl Consistency {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::L => "linearizable",
            Self::S => "serializable",
        }
    }
}

struct Ranges {
    first: RangeRequest,
    flags: Range,
    rng: Rng,
    /// Of each slot, the revision of the first page.
    pages: Vec<i64>,
}

/// Pages as Kubernetes' watch cache asks for them.
const PAGE: i64 = 10_000;

const KEYS: u64 = 3;

impl Ranges {
    fn new(flags: &Range) -> Self {
        let mut key: Bytes = flags.key.clone().unwrap_or_default().into();
        let mut range_end: Bytes = flags.end.clone().unwrap_or_default().into();
        if flags.prefix {
            range_end = prefix_end(&key);
            if key.is_empty() {
                key = Bytes::from_static(&[0]);
            }
        }
        let first = RangeRequest {
            key,
            range_end,
            limit: if flags.paginate { PAGE } else { flags.limit },
            serializable: flags.consistency == Consistency::S,
            keys_only: flags.keys_only,
            count_only: flags.count_only,
            ..RangeRequest::default()
        };
        Self { first, flags: flags.clone(), rng: Rng::new(KEYS), pages: Vec::new() }
    }

    fn ask(&self) -> Ask {
        let is_one = self.first.range_end.is_empty();
        Ask {
            method: if self.flags.stream { Method::RangeStream } else { Method::Range },
            report: 0,
            way: if is_one || self.flags.paginate { Way::Call } else { Way::Counted },
        }
    }
}

impl Load for Ranges {
    fn request(&mut self, Turn { slot, .. }: Turn, message: &mut Vec<u8>) -> Ask {
        if self.flags.key_space_size > 0 {
            let number = self.rng.below(self.flags.key_space_size);
            let prefix = self.flags.key.as_deref().unwrap_or_default();
            self.first.key = key(prefix, self.flags.key_size, number);
        }
        if self.pages.len() <= slot {
            self.pages.resize(slot + 1, 0);
        }
        self.pages[slot] = 0;
        self.first.encode(message).expect("a vector grows");
        self.ask()
    }

    fn answer(&mut self, slot: usize, answer: &[u8], message: &mut Vec<u8>) -> Step {
        let answer =
            if self.flags.stream { proto::bytes(answer, 1).unwrap_or(answer) } else { answer };
        let keys = proto::all_bytes(answer, KVS);
        if self.flags.key_space_size > 0 {
            return if keys.count() == 1 { Step::Done } else { Step::Wrong("a key is missing") };
        }
        if !self.flags.paginate || proto::number(answer, MORE) == 0 {
            let known = self.flags.stream || proto::revision(answer) > 0;
            return if known { Step::Done } else { Step::Wrong("a read has no revision") };
        }
        if self.pages[slot] == 0 {
            self.pages[slot] = proto::revision(answer);
        }
        let Some(last) = keys.last().and_then(|kv| proto::bytes(kv, 1)) else {
            return Step::Wrong("a page has no keys");
        };
        let next = RangeRequest {
            key: [last, &[0]].concat().into(),
            revision: self.pages[slot],
            ..self.first.clone()
        };
        next.encode(message).expect("a vector grows");
        Step::Again(self.ask())
    }
}

/// Fields of a RangeResponse.
pub(crate) const KVS: u64 = 2;
pub(crate) const MORE: u64 = 3;
