//! The README's tour, walked by the crate `etcd-client`: `walk --endpoints=<url>` prints what it is
//! told at each stop. What differs from run to run is masked by who compares.

use etcd_client::{
    Client, CompactionOptions, Compare, CompareOp, DeleteOptions, Error, GetOptions,
    LeaseTimeToLiveOptions, LockOptions, PutOptions, ResignOptions, SortOrder, SortTarget, Txn,
    TxnOp, WatchOptions,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let told = std::env::args().nth(1).expect("an endpoint is named");
    let url = told.strip_prefix("--endpoints=").unwrap_or(&told).to_owned();
    let mut client = Client::connect([url], None).await?;
    keys(&mut client).await?;
    txn(&mut client).await?;
    watch(&mut client).await?;
    lease(&mut client).await?;
    lock_and_election(&mut client).await
}

async fn keys(client: &mut Client) -> Result<(), Error> {
    println!("{:?}", client.put("greeting", "hello", None).await?);
    let previous = PutOptions::new().with_prev_key();
    println!("{:?}", client.put("greeting", "hi", Some(previous)).await?);
    println!("{:?}", client.put("greeting/de", "hallo", None).await?);
    println!("{:?}", client.get("greeting", None).await?);
    let all = GetOptions::new().with_prefix().with_sort(SortTarget::Mod, SortOrder::Descend);
    println!("{:?}", client.get("greeting", Some(all.with_limit(1))).await?);
    let past = GetOptions::new().with_revision(2).with_keys_only();
    println!("{:?}", client.get("greeting", Some(past)).await?);
    let prefix = DeleteOptions::new().with_prefix().with_prev_key();
    println!("{:?}", client.delete("greeting/", Some(prefix)).await?);
    let physical = CompactionOptions::new().with_physical();
    println!("{:?}", client.compact(3, Some(physical)).await?);
    let gone = GetOptions::new().with_revision(2);
    println!("{:?}", client.get("greeting", Some(gone)).await.map_err(|error| error.to_string()));
    println!(
        "{:?}",
        client
            .get("greeting", Some(GetOptions::new().with_revision(99)))
            .await
            .map_err(|error| error.to_string())
    );
    println!("{:?}", client.put("", "empty", None).await.map_err(|error| error.to_string()));
    Ok(())
}

async fn txn(client: &mut Client) -> Result<(), Error> {
    let hi = Compare::value("greeting", CompareOp::Equal, "hi");
    let never = Compare::version("greeting", CompareOp::Greater, 100);
    let inner = Txn::new()
        .when([never])
        .and_then([TxnOp::put("greeting/inner", "wrong", None)])
        .or_else([TxnOp::get("greeting", None), TxnOp::delete("nothing", None)]);
    let outer = Txn::new()
        .when([hi])
        .and_then([TxnOp::put("greeting", "bye", None), TxnOp::txn(inner)])
        .or_else([TxnOp::put("greeting", "wrong", None)]);
    println!("{:?}", client.txn(outer).await?);
    let twice = [TxnOp::put("a", "1", None), TxnOp::put("a", "2", None)];
    println!(
        "{:?}",
        client.txn(Txn::new().and_then(twice)).await.map_err(|error| error.to_string())
    );
    Ok(())
}

async fn watch(client: &mut Client) -> Result<(), Error> {
    let past = WatchOptions::new().with_prefix().with_start_revision(4).with_prev_key();
    let mut stream = client.watch("greeting", Some(past)).await?;
    client.put("greeting", "seen", None).await?;
    let mut events = 0;
    while events < 4 {
        let Some(response) = stream.message().await? else { break };
        // How events are batched is the server's business.
        if response.created() {
            println!("created, canceled {}", response.canceled());
        }
        for event in response.events() {
            println!("{:?} {:?} before {:?}", event.event_type(), event.kv(), event.prev_kv());
            events += 1;
        }
    }
    let gone = WatchOptions::new().with_start_revision(1);
    let mut stream = client.watch("greeting", Some(gone)).await?;
    while let Some(response) = stream.message().await? {
        println!("created {} compacted {}", response.created(), response.compact_revision());
        if response.canceled() {
            break;
        }
    }
    Ok(())
}

async fn lease(client: &mut Client) -> Result<(), Error> {
    let id = client.lease_grant(300, None).await?.id();
    client.put("session", "here", Some(PutOptions::new().with_lease(id))).await?;
    println!("{:?}", client.get("session", None).await?);
    let keys = LeaseTimeToLiveOptions::new().with_keys();
    let left = client.lease_time_to_live(id, Some(keys)).await?;
    println!("granted {} left {} keys {:?}", left.granted_ttl(), left.ttl() > 0, left.keys());
    let (mut keeper, mut beats) = client.lease_keep_alive(id).await?;
    keeper.keep_alive().await?;
    println!("{:?}", beats.message().await?.map(|beat| beat.ttl()));
    println!("{}", client.leases().await?.leases().len());
    println!("{:?}", client.lease_revoke(id).await?);
    println!("{:?}", client.get("session", None).await?);
    println!("{:?}", client.lease_revoke(id).await.map_err(|error| error.to_string()));
    println!("{:?}", client.lease_time_to_live(id, None).await?);
    Ok(())
}

async fn lock_and_election(client: &mut Client) -> Result<(), Error> {
    // An id of ours: the keys printed below have it in them.
    let id = etcd_client::LeaseGrantOptions::new().with_id(7587);
    let lease = client.lease_grant(300, Some(id)).await?.id();
    let with_lease = LockOptions::new().with_lease(lease);
    let held = client.lock("door", Some(with_lease)).await?;
    println!("{:?}", held);
    println!("{:?}", client.unlock(held.key()).await?);
    let won = client.campaign("president", "me", lease).await?;
    println!("{:?}", won);
    println!("{:?}", client.leader("president").await?);
    let key = won.leader().expect("who campaigned leads").clone();
    println!("{:?}", client.resign(Some(ResignOptions::new().with_leader(key))).await?);
    println!("{:?}", client.leader("president").await.map_err(|error| error.to_string()));
    println!("{:?}", client.lease_revoke(lease).await?);
    Ok(())
}
