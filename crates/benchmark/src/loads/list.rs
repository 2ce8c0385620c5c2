//! `list`: everything below a prefix, again and again.
//!
//! The first list is looked at key by key; of the others the bytes are counted, which takes the
//! server's cores less. A list that is not as long as the first one failed.

use crate::args::{Consistency, List, Put};
use crate::bench::Bench;
use crate::engine::{Ask, Load, Step, Turn, Way};
use crate::keys::{key_bytes, prefix_end};
use crate::loads::put::Puts;
use crate::loads::range::KVS;
use crate::proto;
use crate::wire::Method;
use anyhow::{Context as _, Result, ensure};
use api::etcdserverpb::RangeRequest;
use prost::Message as _;
use std::time::Duration;

/// Runs the sub-command.
pub(crate) fn run(mut bench: Bench, flags: &List) -> Result<()> {
    if !flags.no_fill {
        fill(&mut bench, flags).context("putting the keys")?;
    }
    let range = RangeRequest {
        key: flags.prefix.clone().into(),
        range_end: prefix_end(flags.prefix.as_bytes()),
        limit: flags.limit,
        serializable: flags.consistency == Consistency::S,
        ..RangeRequest::default()
    };
    let request = range.encode_to_vec();
    let first = bench.pool.call(0, Method::Range, &request)?;
    let (kvs, count) = (proto::all_bytes(&first, KVS).count() as u64, proto::number(&first, COUNT));
    let listed =
        if flags.limit > 0 { flags.keys.min(flags.limit.unsigned_abs()) } else { flags.keys };
    ensure!(
        kvs == listed && count.unsigned_abs() == flags.keys,
        "the list has {kvs} keys of {count}, and should have {listed} of {}",
        flags.keys
    );
    let is_large = first.len() > LARGE_BYTES;
    let mut load = Lists { request, keys: flags.keys, bytes: first.len() as u64, is_large };
    let mut reports = [bench.recorder("list")];
    let group = bench.group(&mut load, flags.total, flags.rate);
    let span = bench.span();
    let outcome = bench.run(&mut [group], span, &mut reports)?;
    bench.show(&reports[0], outcome.seconds)?;
    let rate = (reports[0].count() * load.bytes) as f64 / outcome.seconds / 1e6;
    println!("\nList:\t{} bytes, {rate:.1} MB/s", load.bytes);
    bench.json.insert("list_bytes".into(), load.bytes.into());
    bench.json.insert("mb_per_second".into(), rate.into());
    bench.cost(&outcome)?;
    bench.finish()
}

/// Keys of a transaction: etcd takes up to 128.
const BATCH: u64 = 100;

fn fill(bench: &mut Bench, flags: &List) -> Result<()> {
    let put = Put {
        key_size: key_bytes(flags.keys),
        val_size: flags.val_size,
        rate: 0.0,
        total: flags.keys,
        key_space_size: flags.keys,
        sequential_keys: true,
        prefix: flags.prefix.clone(),
        compact_interval: Duration::ZERO,
        compact_index_delta: 0,
        check_hashkv: false,
        batch: BATCH.min(flags.keys).max(1),
    };
    let requests = flags.keys.div_ceil(put.batch);
    let mut puts = Puts::new(&put);
    bench.prepare(&mut puts, FILLERS, requests)
}

/// Clients that put the keys.
const FILLERS: usize = 16;

/// Answers above this are counted, not kept.
const LARGE_BYTES: usize = 64 << 10;

/// Of a RangeResponse.
const COUNT: u64 = 4;

struct Lists {
    request: Vec<u8>,
    keys: u64,
    /// Of the first list.
    bytes: u64,
    is_large: bool,
}

impl Load for Lists {
    fn request(&mut self, _: Turn, message: &mut Vec<u8>) -> Ask {
        message.extend_from_slice(&self.request);
        let way = if self.is_large { Way::Counted } else { Way::Call };
        Ask { method: Method::Range, report: 0, way }
    }

    fn answer(&mut self, _: usize, answer: &[u8], _: &mut Vec<u8>) -> Step {
        let counted = proto::number(answer, COUNT).unsigned_abs() == self.keys;
        if counted { Step::Done } else { Step::Wrong("a list has not counted all keys") }
    }

    fn counted(&mut self, _: usize, bytes: u64) -> Step {
        let alike = bytes == self.bytes;
        if alike { Step::Done } else { Step::Wrong("a list is not as long as the first") }
    }
}
