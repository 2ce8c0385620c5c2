//! Large lists, which leave the store a part at a time: as the real etcd's in all that is asked
//! for, as they were when they were asked for, and ended in time when a record is damaged.

use api::etcdserverpb as pb;
use api::etcdserverpb::kv_client::KvClient;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use prost::Message as _;
use quorate_process::wire::{Call, Wire};
use quorate_process::{Options, PATIENCE, Program, Rng, Server, fill, subject};
use std::path::{Path, PathBuf};
use std::time::Instant;
use tonic::Code;
use tonic::transport::Channel;

type Client = KvClient<Channel>;

fn client(server: &Server) -> Client {
    KvClient::new(server.channel()).max_decoding_message_size(usize::MAX)
}

fn all() -> pb::RangeRequest {
    let (key, range_end) = (Bytes::from_static(b"k/"), Bytes::from_static(b"k0"));
    pb::RangeRequest { key, range_end, ..Default::default() }
}

/// Puts and deletions, the same for the same seed: some keys often, values of all sizes.
async fn write(client: &mut Client, rng: &mut Rng, changes: usize) {
    for _ in 0..changes {
        let key = Bytes::from(format!("k/{:03}", rng.below(300)));
        if rng.below(12) == 0 {
            let delete = pb::DeleteRangeRequest { key, ..Default::default() };
            client.delete_range(delete).await.expect("a key is deleted");
            continue;
        }
        let len = match rng.below(400) {
            // More than a part.
            0 => 300_000,
            1..200 => rng.below(3000),
            _ => rng.below(100),
        };
        let value = vec![rng.pick(b"abcdefgh"); len];
        let put = pb::PutRequest { key, value: value.into(), ..Default::default() };
        client.put(put).await.expect("a key is put");
    }
}

/// What both are asked for: everything in every order, with limits and filters, now and then.
fn requests(revision: i64) -> Vec<pb::RangeRequest> {
    let mut requests = Vec::new();
    for target in 0..5 {
        for order in 0..3 {
            for (limit, at) in [(0, 0), (150, revision)] {
                requests.push(pb::RangeRequest {
                    sort_target: target,
                    sort_order: order,
                    limit,
                    revision: at,
                    ..all()
                });
            }
        }
    }
    let filters =
        [(revision, 0, 0, 0), (0, revision, 0, 0), (0, 0, revision, 0), (0, 0, 0, revision)];
    for (min_mod, max_mod, min_create, max_create) in filters {
        requests.push(pb::RangeRequest {
            min_mod_revision: min_mod,
            max_mod_revision: max_mod,
            min_create_revision: min_create,
            max_create_revision: max_create,
            limit: 150,
            serializable: true,
            ..all()
        });
    }
    requests.push(pb::RangeRequest { keys_only: true, ..all() });
    requests.push(pb::RangeRequest { count_only: true, ..all() });
    requests.push(pb::RangeRequest { range_end: Bytes::from_static(b"\0"), ..all() });
    requests
}

/// The answer but for whose it is.
async fn answer(
    client: &mut Client,
    request: &pb::RangeRequest,
) -> Result<pb::RangeResponse, Code> {
    let mut answer =
        client.range(request.clone()).await.map_err(|status| status.code())?.into_inner();
    let revision = answer.header.as_ref().expect("there is a header").revision;
    answer.header = Some(pb::ResponseHeader { revision, ..Default::default() });
    Ok(answer)
}

#[tokio::test]
async fn large_lists_are_as_the_real_etcds() {
    let ours = Server::start(&subject(), Options::without_sync());
    let etcd = Server::start(&Program::newest_etcd(), Options::without_sync());
    let (mut our_client, mut its_client) = (client(&ours), client(&etcd));
    let (mut our_rng, mut its_rng) = (Rng::new(11), Rng::new(11));
    let (mut compared, mut large) = (0, 0);
    for revision in [250, 700] {
        write(&mut our_client, &mut our_rng, 500).await;
        write(&mut its_client, &mut its_rng, 500).await;
        for request in requests(revision) {
            let wanted = answer(&mut its_client, &request).await;
            assert_eq!(answer(&mut our_client, &request).await, wanted, "{request:?}");
            compared += 1;
            large += u32::from(wanted.is_ok_and(|answer| answer.encoded_len() > 100_000));
        }
        let compact = pb::CompactionRequest { revision: revision - 20, physical: true };
        our_client.compact(compact).await.expect("it compacts");
        its_client.compact(compact).await.expect("it compacts");
    }
    assert!(large > compared / 2, "{large} of {compared} lists are large");
}

#[tokio::test]
async fn a_list_is_what_it_was_when_it_was_asked_for() {
    let server = Server::start(&subject(), Options::without_sync());
    let mut client = client(&server);
    write(&mut client, &mut Rng::new(5), 600).await;
    let before = client.range(all()).await.expect("a list").into_inner();
    let mut wire = Wire::connect(server.client_address()).await;
    let call = Call::new("/etcdserverpb.KV/Range", &all().encode_to_vec());
    let mut body = wire.begin(call).await.expect("a list is answered").into_body();
    // What may be sent ahead is there; the rest is read behind a compaction of all it is made of.
    let mut bytes =
        body.frame().await.expect("a part").expect("no error").into_data().expect("data").to_vec();
    write(&mut client, &mut Rng::new(6), 1500).await;
    let delete =
        pb::DeleteRangeRequest { key: all().key, range_end: all().range_end, ..Default::default() };
    let deleted = client.delete_range(delete).await.expect("all go").into_inner();
    let revision = deleted.header.expect("a header").revision;
    let compact = pb::CompactionRequest { revision, physical: true };
    client.compact(compact).await.expect("it compacts");
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.expect("the stream holds").into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    let list = pb::RangeResponse::decode(&bytes[5..]).expect("it is whole");
    assert_eq!((list.kvs, list.count), (before.kvs, before.count));
}

/// The first file below a folder that holds `bytes`, and where.
fn find(folder: &Path, bytes: &[u8]) -> Option<(PathBuf, usize)> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "seg") {
                let content = std::fs::read(&path).expect("a file");
                if let Some(at) = content.windows(bytes.len()).position(|part| part == bytes) {
                    return Some((path, at));
                }
            }
        }
    }
    None
}

/// Changes a byte of a key's record in the store's file, once it is there.
async fn damage(server: &Server, key: &str) {
    use std::os::unix::fs::FileExt as _;
    let began = Instant::now();
    let (path, at) = loop {
        if let Some(found) = find(&server.data_dir(), key.as_bytes()) {
            break found;
        }
        assert!(began.elapsed() < PATIENCE, "{key} comes to a file");
        tokio::task::yield_now().await;
    };
    let file = std::fs::OpenOptions::new().write(true).open(path).expect("it can be written");
    file.write_at(b"X", at as u64 + 100).expect("it is written");
}

#[tokio::test]
async fn a_damaged_record_ends_a_list_and_nothing_else() {
    let server = Server::start(&subject(), Options::without_sync());
    fill(&server, 1000, 1024).await;
    let mut client = client(&server);
    let list = pb::RangeRequest {
        key: Bytes::from_static(b"fill/"),
        range_end: Bytes::from_static(b"fill0"),
        ..Default::default()
    };
    assert_eq!(client.range(list.clone()).await.expect("a list").into_inner().kvs.len(), 1000);
    // What is sent cannot be taken back: the stream is reset.
    damage(&server, "fill/00000500").await;
    let broken = client.range(list.clone()).await.expect_err("it has no end");
    assert!(format!("{broken:?}").contains("INTERNAL_ERROR"), "{broken:?}");
    let began = Instant::now();
    while !server.log().contains("a read failed") {
        assert!(began.elapsed() < PATIENCE, "{}", server.log());
        tokio::task::yield_now().await;
    }
    let rest = pb::RangeRequest { key: Bytes::from_static(b"fill/00000501"), ..list.clone() };
    assert_eq!(client.range(rest).await.expect("it is sound").into_inner().kvs.len(), 499);
    // Nothing is sent yet: the call ends with a status.
    damage(&server, "fill/00000000").await;
    let broken = client.range(list).await.expect_err("it has no beginning");
    assert_eq!(broken.code(), Code::DataLoss, "{broken}");
}
