//! `image <file> <keys>`: writes a member's database with that many keys from a counter, and
//! prints its bytes and the process's peak memory in KiB. A process of its own, because memory is
//! measured for a whole process.

use anyhow::{Context, Result};
use bolt::{Emit, PageBytes, Source, write_image};
use prost::Message;
use quorate_interop::store::{BUCKETS, KeyValue, Revision};
use std::fs::File;

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let path = words.next().context("which file?")?;
    let keys = words.next().context("how many keys?")?.parse()?;
    let mut file = File::create(path)?;
    let layout = write_image(&mut Counter { keys }, PageBytes::default(), &mut file)?;
    println!("{} {}", layout.file_bytes(), peak_kib()?);
    Ok(())
}

/// The n-th put gives key n its first value.
struct Counter {
    keys: i64,
}

impl Source for Counter {
    fn buckets(&mut self) -> bolt::Result<Vec<Vec<u8>>> {
        Ok(BUCKETS.iter().map(|name| name.as_bytes().to_vec()).collect())
    }

    fn visit(&mut self, bucket: &[u8], emit: &mut Emit<'_>) -> bolt::Result<()> {
        match bucket {
            b"key" => (0..self.keys).try_for_each(|n| self.record(n, emit)),
            b"meta" => {
                emit(b"consistent_index", &self.keys.to_be_bytes())?;
                emit(b"term", &1_u64.to_be_bytes())
            }
            b"auth" => emit(b"authRevision", &1_u64.to_be_bytes()),
            _ => Ok(()),
        }
    }
}

impl Counter {
    fn record(&self, n: i64, emit: &mut Emit<'_>) -> bolt::Result<()> {
        let main = n + 2;
        let record = KeyValue {
            key: format!("/registry/pods/default/{n:09}").into_bytes(),
            create_revision: main,
            mod_revision: main,
            version: 1,
            value: format!("value of key {n}").repeat(10).into_bytes(),
            lease: 0,
        };
        emit(&Revision { main, sub: 0 }.encode(), &record.encode_to_vec())
    }
}

/// The most memory this process has had, from the system.
fn peak_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let line = line.context("the system does not tell VmHWM")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
