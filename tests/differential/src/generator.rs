//! Random programs, decided by a seed: few keys and small numbers, so that everything collides.
//!
//! Requests that must be refused are as welcome as others. What is left out is only what two right
//! servers cannot answer alike: ids and tokens that a server makes up, requests that wait for
//! others, sizes within a few bytes of a limit (the length of a request's own random id decides),
//! and what makes the real etcd panic (`kv.rs` says what).

mod kv;
mod lease;
mod watch;

use crate::{ME, NOW, Request, Step};
use api::etcdserverpb::{
    AlarmRequest, AuthStatusRequest, CompactionRequest, DefragmentRequest, HashKvRequest,
    MemberListRequest, PutRequest, StatusRequest,
};
use bytes::Bytes;
use process::Rng;

/// The program of a seed, of about so many steps.
#[must_use]
pub fn generate(seed: u64, steps: usize) -> Vec<Step> {
    let mut generator = Generator { rng: Rng::new(seed), program: Vec::new() };
    while generator.program.len() < steps {
        generator.some();
    }
    generator.program.push(Step::Settle);
    generator.program
}

struct Generator {
    rng: Rng,
    program: Vec<Step>,
}

/// Keys, in order; the empty one is refused but by a watch.
const KEYS: [&[u8]; 18] = [
    b"\0",
    b"a",
    b"a\0",
    b"aa",
    b"ab",
    b"b",
    b"b/1",
    b"b/10",
    b"b/2",
    b"c",
    b"d",
    b"e",
    b"f",
    b"g",
    b"h",
    b"y",
    b"\xff",
    b"\xff\xff",
];

/// Leases that programs grant; attached keys go with them.
const LEASES: [i64; 6] = [1, 2, 3, 77, 1 << 40, i64::MAX];

/// Nobody grants this one.
const NO_LEASE: i64 = 4040;

impl Generator {
    fn some(&mut self) {
        match self.rng.below(1000) {
            0..280 => self.put(),
            280..490 => self.range(),
            490..550 => self.delete(),
            550..700 => self.txn(),
            700..740 => self.range_stream(),
            740..830 => self.lease(),
            830..930 => self.watch(),
            930..945 => self.program.push(Step::Settle),
            945..955 => self.compact(),
            955..970 => self.lock_or_election(),
            970..972 => self.alarm(),
            972..974 => self.large(),
            _ => self.maintain(),
        }
    }

    fn push(&mut self, request: Request) {
        self.program.push(Step::Unary(request));
    }

    fn key(&mut self) -> Bytes {
        if self.rng.one_in(150) {
            return Bytes::new();
        }
        Bytes::from_static(self.rng.pick(&KEYS))
    }

    /// The end of a range from `key`.
    fn end(&mut self, key: &[u8]) -> Bytes {
        match self.rng.below(10) {
            0..4 => Bytes::new(),
            4 => Bytes::from_static(b"\0"),
            5 => prefix_end(key),
            6 => Bytes::from([key, b"\0"].concat()),
            _ => self.key(),
        }
    }

    /// A revision at which something is asked for.
    fn past(&mut self) -> i64 {
        match self.rng.below(40) {
            0 => NOW + self.rng.between(1, 3),
            1 => self.rng.between(-2, 3),
            2 => NOW - self.rng.between(200, 3000),
            _ => NOW - self.rng.between(0, 60),
        }
    }

    fn granted(&mut self) -> i64 {
        if self.rng.one_in(40) { NO_LEASE } else { self.rng.pick(&LEASES) }
    }

    fn compact(&mut self) {
        let revision = match self.rng.below(8) {
            0 => self.past(),
            1 => NOW,
            _ => NOW - self.rng.between(20, 200),
        };
        // What is compacted behind the answer would race with the hashes that are asked for next.
        if self.rng.one_in(4) {
            self.push(Request::Compact(CompactionRequest { revision, physical: false }));
            // Refused, and not before the first one is done: no hash is kept of a compaction
            // that began before the one ahead of it had ended.
            self.push(Request::Compact(CompactionRequest { revision, physical: true }));
            let key = Bytes::from_static(b"~compact");
            self.push(Request::Put(PutRequest { key, ..PutRequest::default() }));
            self.push(Request::Compact(CompactionRequest { revision: NOW, physical: true }));
        } else {
            self.push(Request::Compact(CompactionRequest { revision, physical: true }));
        }
    }

    fn maintain(&mut self) {
        let request = match self.rng.below(16) {
            0..4 => Request::Status(StatusRequest {}),
            4..6 => Request::HashKv(HashKvRequest { revision: 0 }),
            6..9 => Request::HashKv(HashKvRequest { revision: self.past() }),
            9..11 => Request::Members(MemberListRequest { linearizable: self.rng.one_in(2) }),
            11 => Request::AuthStatus(AuthStatusRequest {}),
            12 if self.rng.one_in(20) => Request::Defragment(DefragmentRequest {}),
            _ => {
                let (member_id, alarm) = (self.rng.pick(&[0, ME]), self.rng.pick(&[0, 1, 2]));
                Request::Alarm(AlarmRequest { action: 0, member_id, alarm })
            }
        };
        self.push(request);
    }

    /// Raises an alarm, does things, and clears it.
    fn alarm(&mut self) {
        // Streams may wait for a start in the future, and only writes get there.
        self.program.push(Step::Settle);
        let alarm = self.rng.pick(&[1, 2]);
        let member_id = self.rng.pick(&[ME, ME, 0, 5]);
        let set = |action| Request::Alarm(AlarmRequest { action, member_id, alarm });
        for _ in 0..self.rng.between(1, 2) {
            self.push(set(1));
        }
        self.push(Request::Status(StatusRequest {}));
        for _ in 0..self.rng.between(2, 20) {
            match self.rng.below(12) {
                0..3 => self.put(),
                3 => self.range(),
                4..6 => self.delete(),
                6..9 => self.txn(),
                9..11 => self.lease(),
                _ => self.push(Request::Compact(CompactionRequest {
                    revision: NOW - 100,
                    physical: true,
                })),
            }
        }
        self.push(Request::Alarm(AlarmRequest { action: 2, member_id: 7, alarm }));
        self.push(set(2));
        self.push(set(2));
    }
}

/// The end of the range of all keys that begin with `key`.
fn prefix_end(key: &[u8]) -> Bytes {
    let mut end = key.to_vec();
    while let Some(last) = end.last_mut() {
        if *last < u8::MAX {
            *last += 1;
            return end.into();
        }
        end.pop();
    }
    Bytes::from_static(b"\0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides() {
        assert_eq!(generate(7, 300), generate(7, 300));
        assert_ne!(generate(7, 300), generate(8, 300));
    }

    #[test]
    fn ends_of_prefixes() {
        assert_eq!(&prefix_end(b"a")[..], b"b");
        assert_eq!(&prefix_end(b"a\xff")[..], b"b");
        assert_eq!(&prefix_end(b"\xff\xff")[..], b"\0");
    }
}
