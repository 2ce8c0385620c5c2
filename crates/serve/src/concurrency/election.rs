//! An election by name: the oldest key under `<name>/` leads, and its value is what the leader
//! has to say.

use super::{Error, Gone, Kv, Watch};
use super::{created_at, get, get_first, is_delete, malformed, op, prefix, prefix_end, ranged};
use super::{revision, session, session_key, wait_for_deletes, watch_error};
use api::etcdserverpb::request_op::Request;
use api::etcdserverpb::{
    DeleteRangeRequest, PutRequest, ResponseHeader, TxnRequest, TxnResponse, WatchResponse,
};
use api::mvccpb::KeyValue;
use api::v3electionpb::{
    CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest,
    ProclaimResponse, ResignRequest, ResignResponse,
};
use bytes::Bytes;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;

/// Waits to be the leader. For a lease that leads already, the value is proclaimed at once.
///
/// `gone` comes when the client does not wait any longer; the wait then ends and the candidate
/// resigns.
///
/// # Errors
/// [`Error::NotLeader`], [`Error::Gone`], [`Error::LostWatch`], and the store's.
pub async fn campaign<K: Kv>(
    kv: &K,
    request: CampaignRequest,
    gone: impl Future<Output = Gone> + Send,
) -> Result<CampaignResponse, Error> {
    let CampaignRequest { name, value, lease } = request;
    let lease = session(kv, lease).await?;
    let prefix = prefix(&name);
    let key = session_key(&prefix, lease);
    let put = PutRequest { key: key.clone(), value: value.clone(), lease, ..Default::default() };
    let candidacy = TxnRequest {
        compare: vec![created_at(key.clone(), 0)],
        success: vec![op(Request::RequestPut(put))],
        failure: vec![op(Request::RequestRange(get(key.clone())))],
    };
    let response = kv.txn(candidacy).await?;
    let mut leader = LeaderKey { name, key, rev: revision(response.header), lease };
    if !response.succeeded {
        let present = ranged(&response, 0)?.first().ok_or_else(malformed)?;
        leader.rev = present.create_revision;
        if present.value != value
            && let Err(error) = say(kv, &leader, value).await
        {
            give_up(kv, &leader).await;
            return Err(error);
        }
    }
    let waited = wait_for_deletes(kv, &prefix, leader.rev - 1, &mut pin!(gone)).await;
    if let Err(error) = waited {
        // Compat: after other failures the candidate stays, for as long as its lease.
        if matches!(error, Error::Gone(_)) {
            give_up(kv, &leader).await;
        }
        return Err(error);
    }
    Ok(CampaignResponse { header: response.header, leader: Some(leader) })
}

/// Says something else as the leader.
///
/// # Errors
/// [`Error::MissingLeader`], [`Error::NotLeader`], and the store's.
pub async fn proclaim<K: Kv>(kv: &K, request: ProclaimRequest) -> Result<ProclaimResponse, Error> {
    let leader = known_leader(kv, request.leader).await?;
    Ok(ProclaimResponse { header: say(kv, &leader, request.value).await? })
}

/// Leads no more. It is no error not to have led.
///
/// # Errors
/// [`Error::MissingLeader`], and the store's.
pub async fn resign<K: Kv>(kv: &K, request: ResignRequest) -> Result<ResignResponse, Error> {
    let leader = known_leader(kv, request.leader).await?;
    Ok(ResignResponse { header: leave(kv, &leader).await?.header })
}

/// Who leads, and what it says.
///
/// # Errors
/// [`Error::NoLeader`], and the store's.
pub async fn leader<K: Kv>(kv: &K, request: LeaderRequest) -> Result<LeaderResponse, Error> {
    let response = kv.range(get_first(&prefix(&request.name))).await?;
    let kv = response.kvs.into_iter().next().ok_or(Error::NoLeader)?;
    Ok(LeaderResponse { header: response.header, kv: Some(kv) })
}

/// Follows an election: who leads and all it says, then the next leader. Some of what is said may
/// be left out, but never the last.
#[derive(Debug)]
pub struct Observer<K: Kv> {
    kv: K,
    prefix: Bytes,
    /// The watch of the leader's key, once there is one.
    watch: Option<K::Watch>,
    /// What is to be given out before the watch goes on.
    said: VecDeque<LeaderResponse>,
}

impl<K: Kv> Observer<K> {
    /// An observer of the election in the request.
    pub fn new(kv: K, request: &LeaderRequest) -> Self {
        let prefix = prefix(&request.name);
        Self { kv, prefix, watch: None, said: VecDeque::new() }
    }

    /// The next thing that is said; `None` at the end, which comes when the store fails.
    ///
    /// Compat: the stream then ends as if all were well.
    pub async fn next(&mut self) -> Option<LeaderResponse> {
        loop {
            if let Some(said) = self.said.pop_front() {
                return Some(said);
            }
            let Some(watch) = &mut self.watch else {
                let (header, kv) = self.find_leader().await?;
                let from = header.unwrap_or_default().revision + 1;
                self.watch = Some(self.kv.watch(kv.key.clone(), Bytes::new(), from));
                return Some(LeaderResponse { header, kv: Some(kv) });
            };
            let WatchResponse { header, events, .. } = watch.next().await?;
            for event in events {
                if is_delete(&event) {
                    // It may have been created again; the election says who leads then.
                    self.watch = None;
                    break;
                }
                self.said.push_back(LeaderResponse { header, kv: event.kv });
            }
        }
    }

    /// The present leader, or else the first one to come.
    async fn find_leader(&self) -> Option<(Option<ResponseHeader>, KeyValue)> {
        let response = self.kv.range(get_first(&self.prefix)).await.ok()?;
        if let Some(kv) = response.kvs.into_iter().next() {
            return Some((response.header, kv));
        }
        let from = revision(response.header);
        let mut watch = self.kv.watch(self.prefix.clone(), prefix_end(&self.prefix), from);
        loop {
            let response = watch.next().await?;
            if watch_error(&response).is_some() {
                return None;
            }
            let put = response.events.into_iter().find(|event| !is_delete(event));
            if let Some(kv) = put.and_then(|event| event.kv) {
                // Of several puts in one response this is the first: what follows is watched.
                let revision = kv.mod_revision;
                let header = ResponseHeader { revision, ..response.header.unwrap_or_default() };
                return Some((Some(header), kv));
            }
        }
    }
}

/// The leader in a request, and its lease. Compat: a new one if it names none, also to resign.
async fn known_leader<K: Kv>(kv: &K, leader: Option<LeaderKey>) -> Result<LeaderKey, Error> {
    let leader = leader.ok_or(Error::MissingLeader)?;
    let lease = session(kv, leader.lease).await?;
    Ok(LeaderKey { lease, ..leader })
}

/// Sets the value of the leader's key, if it is the same key still.
async fn say<K: Kv>(
    kv: &K,
    leader: &LeaderKey,
    value: Bytes,
) -> Result<Option<ResponseHeader>, Error> {
    let (key, lease) = (leader.key.clone(), leader.lease);
    let put = PutRequest { key, value, lease, ..PutRequest::default() };
    let response = kv.txn(if_leading(leader, Request::RequestPut(put))).await?;
    if response.succeeded { Ok(response.header) } else { Err(Error::NotLeader) }
}

/// Deletes the leader's key, if it is the same key still.
async fn leave<K: Kv>(kv: &K, leader: &LeaderKey) -> Result<TxnResponse, Error> {
    let delete = DeleteRangeRequest { key: leader.key.clone(), ..DeleteRangeRequest::default() };
    Ok(kv.txn(if_leading(leader, Request::RequestDeleteRange(delete))).await?)
}

/// Leaves after a failure, which is what the client is told, also if this fails too.
async fn give_up<K: Kv>(kv: &K, leader: &LeaderKey) {
    drop(leave(kv, leader).await);
}

fn if_leading(leader: &LeaderKey, request: Request) -> TxnRequest {
    TxnRequest {
        compare: vec![created_at(leader.key.clone(), leader.rev)],
        success: vec![op(request)],
        failure: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
