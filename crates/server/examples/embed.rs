//! A member inside another program: no port for clients, no HTTP, the same log and store.
//!
//! `cargo run -p quorate-server --example embed` keeps its data in `./embed.etcd`; a second run
//! finds what the first one wrote. A program that wants clients to reach its member puts
//! `quorate-serve` over the handle, as `quorate/src/main.rs` does.

use api::etcdserverpb::{InternalRaftRequest, PutRequest};
use mvcc::Read as _;
use quorate_server::{Config, Server, WatchItem, WatchOptions};
use std::error::Error;
use std::path::Path;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    for line in run(Path::new("embed.etcd")).await? {
        println!("{line}");
    }
    Ok(())
}

/// Starts a member on a folder, watches a key, puts it, reads it, and stops.
async fn run(folder: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    // The defaults are etcd's, of a cluster of one.
    let config = Config { data_dir: folder.to_owned(), ..Config::default() };
    let server = Server::start(config).await?;
    if !server.ready().await {
        // Why it ended.
        return Err(server.ended().await.to_string().into());
    }
    let mut said = vec![format!("member {:x} of cluster {:x}", server.id(), server.cluster_id())];

    let mut watcher = server.watch_stream();
    watcher
        .handle()
        .commands()
        .create(WatchOptions { key: "greeting".into(), ..WatchOptions::default() });

    // A write goes through the log, and is answered once it is applied here.
    let put = PutRequest { key: "greeting".into(), value: "hello".into(), ..PutRequest::default() };
    let request = InternalRaftRequest { put: Some(put), ..InternalRaftRequest::default() };
    server.propose(request).await?;

    // A read of the present is agreed with a quorum first; a view alone is what this member has.
    server.linearizable().await?;
    let view = server.view();
    if let Some(record) = view.get(b"greeting")? {
        let kv = apply::decode_record(record);
        let value = String::from_utf8_lossy(&kv.value).into_owned();
        said.push(format!("greeting is {value}, put {} times", kv.version));
    }

    while let Some(item) = watcher.next().await {
        if let WatchItem::Events { events, .. } = item {
            let mut kvs =
                events.list().iter().map(|event| apply::decode_record(event.record.clone()));
            said.extend(kvs.next().map(|kv| format!("seen at revision {}", kv.mod_revision)));
            break;
        }
    }
    server.stop().await;
    Ok(said)
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn what_one_life_writes_the_next_one_finds() {
        let folder = tempfile::tempdir().expect("a place for files");
        for (times, revision) in [(1, 2), (2, 3)] {
            let said = super::run(folder.path()).await.expect("it runs");
            let want = [
                format!("greeting is hello, put {times} times"),
                format!("seen at revision {revision}"),
            ];
            assert_eq!(said[1..], want);
        }
    }
}
