//! `read-under-write` and `compact-under-load`: two loads at once, of which one is looked at.

use crate::args::{CompactUnderLoad, Put, ReadUnderWrite};
use crate::bench::Bench;
use crate::engine::{Ask, Group, Length, Load, Span, Step, Turn};
use crate::keys::{Rng, key};
use crate::loads::put::{Puts, written};
use crate::loads::range::KVS;
use crate::proto;
use crate::wire::Method;
use anyhow::{Context as _, Result, ensure};
use api::etcdserverpb::{CompactionRequest, RangeRequest};
use bytes::Bytes;
use prost::Message as _;
use std::time::Duration;

/// Runs `read-under-write`: linearizable reads at fixed times, while writers write as they can.
pub(crate) fn run_reads(mut bench: Bench, flags: &ReadUnderWrite) -> Result<()> {
    ensure!(flags.rate > 0.0, "reads come at fixed times: --rate must be above 0");
    let mut fill = puts(KEYS, flags.val_size);
    fill.batch = BATCH;
    fill.sequential_keys = true;
    bench.prepare(&mut Puts::new(&fill), 1, KEYS / BATCH).context("putting the keys")?;
    let mut reads = Reads { rng: Rng::new(READS) };
    let mut writes = Writes(Puts::new(&puts(KEYS, flags.val_size)));
    let mut reports = [bench.recorder("read"), bench.recorder("put")];
    let total = bench.common.seconds.is_none().then_some(flags.total);
    let reader = Group { load: &mut reads, clients: 0, rate: Some(flags.rate), total, late: false };
    let clients = bench.common.clients;
    let writer = Group { load: &mut writes, clients, rate: None, total: None, late: false };
    let length = bench.common.seconds.map_or(Length::Group(0), Length::Time);
    let span = Span { warmup: bench.common.warmup, length };
    let outcome = bench.run_of(&mut [reader, writer], span, &mut reports, 0)?;
    for (name, report) in ["Read summary:", "Put summary:"].iter().zip(&reports) {
        println!("\n{name}");
        bench.show(report, outcome.seconds)?;
    }
    bench.cost(&outcome)?;
    bench.finish()
}

/// Runs `compact-under-load`: puts at fixed times, measured while a compaction is under way.
pub(crate) fn run_compaction(mut bench: Bench, flags: &CompactUnderLoad) -> Result<()> {
    ensure!(flags.rate > 0.0, "puts come at fixed times: --rate must be above 0");
    let any = RangeRequest { key: Bytes::from_static(b"foo"), ..RangeRequest::default() };
    let answer = bench.pool.call(0, Method::Range, &any.encode_to_vec())?;
    let revision = proto::revision(&answer);
    ensure!(revision > 1, "there is nothing to compact");
    let mut put = puts(flags.key_space_size, flags.val_size);
    put.key_size = flags.key_size;
    let mut load = Puts::new(&put);
    let mut compaction = Compaction { revision };
    let mut reports = [bench.recorder("put"), bench.recorder("compaction")];
    let puts =
        Group { load: &mut load, clients: 0, rate: Some(flags.rate), total: None, late: false };
    let compaction =
        Group { load: &mut compaction, clients: 1, rate: None, total: Some(1), late: true };
    let span = Span { warmup: bench.common.warmup, length: Length::Group(1) };
    let outcome = bench.run_of(&mut [puts, compaction], span, &mut reports, 0)?;
    println!("\nPut summary, while revisions up to {revision} are compacted:");
    bench.show(&reports[0], outcome.seconds)?;
    println!("\nCompaction:\t{:.3} secs", outcome.seconds);
    bench.show(&reports[1], outcome.seconds)?;
    bench.json.insert("revision".into(), revision.into());
    bench.cost(&outcome)?;
    bench.finish()
}

/// Keys that are read and written.
const KEYS: u64 = 1000;
const KEY_BYTES: usize = 8;
const BATCH: u64 = 100;

const READS: u64 = 9;

fn puts(key_space_size: u64, val_size: usize) -> Put {
    Put {
        key_size: KEY_BYTES,
        val_size,
        rate: 0.0,
        total: u64::MAX,
        key_space_size,
        sequential_keys: false,
        prefix: String::new(),
        compact_interval: Duration::ZERO,
        compact_index_delta: 0,
        check_hashkv: false,
        batch: 1,
    }
}

struct Reads {
    rng: Rng,
}

impl Load for Reads {
    fn request(&mut self, _: Turn, message: &mut Vec<u8>) -> Ask {
        let key = key("", KEY_BYTES, self.rng.below(KEYS));
        RangeRequest { key, ..RangeRequest::default() }.encode(message).expect("a vector grows");
        Ask::call(Method::Range, 0)
    }

    fn answer(&mut self, _: usize, answer: &[u8], _: &mut Vec<u8>) -> Step {
        let found = proto::all_bytes(answer, KVS).count() == 1;
        if found { Step::Done } else { Step::Wrong("a key is missing") }
    }
}

/// Puts that go to the second report.
struct Writes(Puts);

impl Load for Writes {
    fn request(&mut self, turn: Turn, message: &mut Vec<u8>) -> Ask {
        Ask { report: 1, ..self.0.request(turn, message) }
    }

    fn answer(&mut self, _: usize, answer: &[u8], _: &mut Vec<u8>) -> Step {
        written(answer)
    }
}

/// One compaction, answered when it is done on disk.
struct Compaction {
    revision: i64,
}

impl Load for Compaction {
    fn request(&mut self, _: Turn, message: &mut Vec<u8>) -> Ask {
        let compaction = CompactionRequest { revision: self.revision, physical: true };
        compaction.encode(message).expect("a vector grows");
        Ask::call(Method::Compact, 1)
    }
}
