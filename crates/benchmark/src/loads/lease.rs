//! `lease-keepalive`: leases that their owners renew.

use crate::args::LeaseKeepalive;
use crate::bench::Bench;
use crate::engine::{Ask, Load, Step, Turn, Way};
use crate::proto;
use crate::wire::Method;
use anyhow::{Context as _, Result};
use api::etcdserverpb::{LeaseGrantRequest, LeaseKeepAliveRequest};
use prost::Message as _;

/// Runs the sub-command.
pub(crate) fn run(mut bench: Bench, flags: &LeaseKeepalive) -> Result<()> {
    let mut granting = Grants { ids: Vec::new() };
    let clients = bench.common.clients;
    bench.prepare(&mut granting, clients, clients as u64).context("granting leases")?;
    let way = if flags.stream { Way::Stream } else { Way::Once };
    let mut load = KeepAlives { ids: granting.ids, way };
    let mut reports = [bench.recorder("lease-keepalive")];
    let group = bench.group(&mut load, flags.total, flags.rate);
    let span = bench.span();
    let outcome = bench.run(&mut [group], span, &mut reports)?;
    bench.show(&reports[0], outcome.seconds)?;
    bench.cost(&outcome)?;
    bench.finish()
}

/// Long enough for any run that is not on purpose longer, as upstream's.
const TTL_SECONDS: i64 = 100;

struct Grants {
    ids: Vec<i64>,
}

impl Load for Grants {
    fn request(&mut self, _: Turn, message: &mut Vec<u8>) -> Ask {
        let grant = LeaseGrantRequest { ttl: TTL_SECONDS, id: 0 };
        grant.encode(message).expect("a vector grows");
        Ask::call(Method::LeaseGrant, 0)
    }

    fn answer(&mut self, _: usize, answer: &[u8], _: &mut Vec<u8>) -> Step {
        self.ids.push(proto::number(answer, ID));
        Step::Done
    }
}

struct KeepAlives {
    ids: Vec<i64>,
    way: Way,
}

/// Fields of the answers to a grant and a renewal.
const ID: u64 = 2;
const TTL: u64 = 3;

impl Load for KeepAlives {
    fn request(&mut self, Turn { slot, .. }: Turn, message: &mut Vec<u8>) -> Ask {
        let renewal = LeaseKeepAliveRequest { id: self.ids[slot % self.ids.len()] };
        renewal.encode(message).expect("a vector grows");
        Ask { method: Method::LeaseKeepAlive, report: 0, way: self.way }
    }

    fn answer(&mut self, _: usize, answer: &[u8], _: &mut Vec<u8>) -> Step {
        // An unknown lease is answered with a time of 0.
        let renewed = proto::number(answer, TTL) == TTL_SECONDS;
        if renewed { Step::Done } else { Step::Wrong("a lease was not renewed") }
    }
}
