//! `put`: one key after the other, or a store filled in large transactions.

use crate::args::Put;
use crate::bench::Bench;
use crate::engine::{Ask, Group, Length, Load, Span, Step, Turn};
use crate::keys::{Rng, key};
use crate::proto;
use crate::wire::Method;
use anyhow::Result;
use api::etcdserverpb::request_op::Request;
use api::etcdserverpb::{
    CompactionRequest, HashKvRequest, PutRequest, RangeRequest, RequestOp, StatusRequest,
    TxnRequest,
};
use bytes::Bytes;
use prost::Message as _;
use std::collections::HashSet;
use std::time::Instant;

/// Runs the sub-command.
pub(crate) fn run(mut bench: Bench, flags: &Put) -> Result<()> {
    let mut puts = Puts::new(flags);
    let requests = flags.total.div_ceil(flags.batch);
    let mut compactions =
        Compactions { delta: flags.compact_index_delta, compacting: HashSet::new() };
    let mut reports = [bench.recorder("put"), bench.recorder("compact")];
    let mut groups = vec![bench.group(&mut puts, requests, flags.rate)];
    let compacts = !flags.compact_interval.is_zero();
    if compacts {
        groups.push(Group {
            load: &mut compactions,
            clients: 0,
            rate: Some(1.0 / flags.compact_interval.as_secs_f64()),
            total: None,
            late: false,
        });
    }
    let span = bench.span();
    // Compactions have no end of their own.
    let length = match span.length {
        Length::Totals => Length::Group(0),
        length => length,
    };
    let outcome = bench.run(&mut groups, Span { length, ..span }, &mut reports)?;
    for report in &reports[..if compacts { 2 } else { 1 }] {
        bench.show(report, outcome.seconds)?;
    }
    println!();
    bench.cost(&outcome)?;
    if flags.check_hashkv {
        hash_kv(&mut bench)?;
    }
    bench.finish()
}

/// Puts as the flags say.
pub(crate) struct Puts {
    flags: Put,
    rng: Rng,
    value: Bytes,
    /// Puts so far.
    count: u64,
}

/// Seeds of keys and of values.
const KEYS: u64 = 1;
const VALUE: u64 = 2;

impl Puts {
    pub(crate) fn new(flags: &Put) -> Self {
        let value = Rng::new(VALUE).bytes(flags.val_size);
        Self { flags: flags.clone(), rng: Rng::new(KEYS), value, count: 0 }
    }

    fn next(&mut self) -> PutRequest {
        let space = self.flags.key_space_size;
        let number =
            if self.flags.sequential_keys { self.count % space } else { self.rng.below(space) };
        self.count += 1;
        let key = key(&self.flags.prefix, self.flags.key_size, number);
        PutRequest { key, value: self.value.clone(), ..PutRequest::default() }
    }
}

impl Load for Puts {
    fn request(&mut self, turn: Turn, message: &mut Vec<u8>) -> Ask {
        if self.flags.batch == 1 {
            self.next().encode(message).expect("a vector grows");
            return Ask::call(Method::Put, 0);
        }
        let left = self.flags.total.saturating_sub(turn.number * self.flags.batch);
        let success = (0..self.flags.batch.min(left.max(1)))
            .map(|_| RequestOp { request: Some(Request::RequestPut(self.next())) })
            .collect();
        let txn = TxnRequest { success, ..TxnRequest::default() };
        txn.encode(message).expect("a vector grows");
        Ask::call(Method::Txn, 0)
    }

    fn answer(&mut self, _: usize, answer: &[u8], _: &mut Vec<u8>) -> Step {
        written(answer)
    }
}

/// A write was answered if there is a revision.
pub(crate) fn written(answer: &[u8]) -> Step {
    if proto::revision(answer) > 0 { Step::Done } else { Step::Wrong("a write has no revision") }
}

/// Upstream's compactions beside the puts: a read for the revision, then one so far below it.
struct Compactions {
    delta: i64,
    /// Slots that have read, and compact now.
    compacting: HashSet<usize>,
}

impl Load for Compactions {
    fn request(&mut self, _: Turn, message: &mut Vec<u8>) -> Ask {
        let range = RangeRequest { key: Bytes::from_static(b"foo"), ..RangeRequest::default() };
        range.encode(message).expect("a vector grows");
        Ask::call(Method::Range, 1)
    }

    fn answer(&mut self, slot: usize, answer: &[u8], message: &mut Vec<u8>) -> Step {
        let revision = proto::revision(answer) - self.delta;
        if self.compacting.remove(&slot) || revision <= 0 {
            return Step::Done;
        }
        self.compacting.insert(slot);
        let compaction = CompactionRequest { revision, physical: false };
        compaction.encode(message).expect("a vector grows");
        Step::Again(Ask::call(Method::Compact, 1))
    }

    fn failed(&mut self, slot: usize) {
        self.compacting.remove(&slot);
    }
}

fn hash_kv(bench: &mut Bench) -> Result<()> {
    let began = Instant::now();
    let hash = HashKvRequest { revision: 0 }.encode_to_vec();
    let hash = bench.pool.call(0, Method::HashKv, &hash)?;
    let status = bench.pool.call(0, Method::Status, &StatusRequest {}.encode_to_vec())?;
    let hash = proto::number(&hash, 2);
    println!("HashKV Summary:");
    println!("\tHashKV: {hash}");
    println!("\tEndpoint: {}", bench.common.endpoints[0]);
    println!("\tTime taken to get hashkv: {:?}", began.elapsed());
    println!("\tDB size: {}", size(proto::number(&status, STATUS_DB_SIZE)));
    bench.json.insert("hashkv".into(), hash.into());
    Ok(())
}

const STATUS_DB_SIZE: u64 = 3;

/// A size as Go's humanize prints it: in powers of 1000, with one decimal below ten.
fn size(bytes: i64) -> String {
    let (mut size, mut units) = (bytes as f64, ["B", "kB", "MB", "GB", "TB"].iter());
    let mut unit = units.next().copied().unwrap_or_default();
    if size < 10.0 {
        return format!("{bytes} B");
    }
    for larger in units {
        if size < 1000.0 {
            break;
        }
        (size, unit) = (size / 1000.0, larger);
    }
    let size = (size * 10.0 + 0.5).floor() / 10.0;
    if size < 10.0 { format!("{size:.1} {unit}") } else { format!("{size:.0} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_go_s() {
        assert_eq!([9, 82, 20_480, 1_234_567].map(size), ["9 B", "82 B", "20 kB", "1.2 MB"]);
    }
}
