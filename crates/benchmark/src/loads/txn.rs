//! `txn-put` and `txn-mixed`: transactions without compares.

use crate::args::{Consistency, TxnMixed, TxnPut};
use crate::bench::Bench;
use crate::engine::{Ask, Load, Step, Turn};
use crate::keys::{Rng, key, prefix_end};
use crate::loads::put::written;
use crate::wire::Method;
use anyhow::{Result, ensure};
use api::etcdserverpb::request_op::Request;
use api::etcdserverpb::{PutRequest, RangeRequest, RequestOp, TxnRequest};
use bytes::Bytes;
use prost::Message as _;

/// Runs `txn-put`.
pub(crate) fn run_put(mut bench: Bench, flags: &TxnPut) -> Result<()> {
    let (ops, space) = (flags.txn_ops, flags.key_space_size);
    ensure!(
        ops <= space,
        "expected --txn-ops no larger than --key-space-size, \
         got txn-ops({ops}) key-space-size({space})"
    );
    let mut load = Puts { flags: flags.clone(), value: Rng::new(VALUE).bytes(flags.val_size) };
    let mut reports = [bench.recorder("txn-put")];
    let group = bench.group(&mut load, flags.total, flags.rate);
    let span = bench.span();
    let outcome = bench.run(&mut [group], span, &mut reports)?;
    bench.show(&reports[0], outcome.seconds)?;
    println!();
    bench.cost(&outcome)?;
    bench.finish()
}

/// Runs `txn-mixed`.
pub(crate) fn run_mixed(mut bench: Bench, flags: &TxnMixed) -> Result<()> {
    println!("bench with {} range", flags.consistency.name());
    let value = Rng::new(VALUE).bytes(flags.val_size);
    let mut load = Mixed { flags: flags.clone(), value, rng: Rng::new(KINDS) };
    let mut reports = [bench.recorder("txn-mixed-read"), bench.recorder("txn-mixed-write")];
    let group = bench.group(&mut load, flags.total, flags.rate);
    let span = bench.span();
    let outcome = bench.run(&mut [group], span, &mut reports)?;
    for (name, report) in ["Read", "Write"].iter().zip(&reports) {
        print!("Total {name} Ops: {}\nDetails:", report.count());
        bench.show(report, outcome.seconds)?;
        println!();
    }
    bench.cost(&outcome)?;
    bench.finish()
}

struct Puts {
    flags: TxnPut,
    value: Bytes,
}

struct Mixed {
    flags: TxnMixed,
    value: Bytes,
    rng: Rng,
}

const VALUE: u64 = 4;
const KINDS: u64 = 5;

/// Reports of `txn-mixed`.
const READ: usize = 0;
const WRITE: usize = 1;

impl Load for Puts {
    fn request(&mut self, turn: Turn, message: &mut Vec<u8>) -> Ask {
        let ops = self.flags.txn_ops;
        let success = (0..ops).map(|op| {
            let number = (turn.number * ops + op) % self.flags.key_space_size;
            let key = key("", self.flags.key_size, number);
            op_put(key, self.value.clone())
        });
        let txn = TxnRequest { success: success.collect(), ..TxnRequest::default() };
        txn.encode(message).expect("a vector grows");
        Ask::call(Method::Txn, 0)
    }

    fn answer(&mut self, _: usize, answer: &[u8], _: &mut Vec<u8>) -> Step {
        written(answer)
    }
}

impl Load for Mixed {
    fn request(&mut self, turn: Turn, message: &mut Vec<u8>) -> Ask {
        let ratio = self.flags.rw_ratio;
        let reads = self.rng.share() < ratio / (1.0 + ratio);
        let op = if reads {
            let end = self.flags.end_key.as_bytes();
            let range = RangeRequest {
                key: Bytes::from_static(&[0]),
                range_end: if end.is_empty() { prefix_end(b"") } else { end.to_vec().into() },
                limit: self.flags.limit,
                serializable: self.flags.consistency == Consistency::S,
                ..RangeRequest::default()
            };
            RequestOp { request: Some(Request::RequestRange(range)) }
        } else {
            let number = turn.number % self.flags.key_space_size;
            op_put(key("", self.flags.key_size, number), self.value.clone())
        };
        let txn = TxnRequest { success: vec![op], ..TxnRequest::default() };
        txn.encode(message).expect("a vector grows");
        Ask::call(Method::Txn, if reads { READ } else { WRITE })
    }

    fn answer(&mut self, _: usize, answer: &[u8], _: &mut Vec<u8>) -> Step {
        written(answer)
    }
}

fn op_put(key: Bytes, value: Bytes) -> RequestOp {
    let put = PutRequest { key, value, ..PutRequest::default() };
    RequestOp { request: Some(Request::RequestPut(put)) }
}
