//! The services in this process, for services made of their requests.
//!
//! Each request is checked as one from outside is: it goes through the same functions.

use crate::concurrency;
use crate::grpc::kv::Kv;
use crate::grpc::lease::Lease;
use crate::grpc::service::KvService;
use api::etcdserverpb::kv_server::Kv as _;
use api::etcdserverpb::lease_server::Lease as _;
use api::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, LeaseGrantRequest, LeaseGrantResponse, RangeRequest,
    RangeResponse, TxnRequest, TxnResponse, WatchResponse,
};
use api::mvccpb::{Event, event::EventType};
use bytes::Bytes;
use server::{Server, WatchItem, WatchOptions, WatchStream};
use tonic::{Request, Status};

/// A member as its own client.
#[derive(Clone)]
pub(crate) struct Direct {
    server: Server,
    kv: KvService,
}

impl Direct {
    pub(crate) fn new(kv: Kv) -> Self {
        Self { server: kv.server().clone(), kv: KvService(kv) }
    }
}

impl concurrency::Kv for Direct {
    type Watch = DirectWatch;

    async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Status> {
        Ok(self.kv.txn(Request::new(request)).await?.into_inner())
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Status> {
        Ok(self.kv.range(Request::new(request)).await?.into_inner())
    }

    async fn delete_range(
        &self,
        request: DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, Status> {
        Ok(self.kv.delete_range(Request::new(request)).await?.into_inner())
    }

    async fn lease_grant(&self, request: LeaseGrantRequest) -> Result<LeaseGrantResponse, Status> {
        let lease = Lease::new(self.server.clone());
        Ok(lease.lease_grant(Request::new(request)).await?.into_inner())
    }

    fn watch(&self, key: Bytes, range_end: Bytes, start_revision: i64) -> DirectWatch {
        let items = self.server.watch_stream();
        let options = WatchOptions { key, range_end, start_revision, ..WatchOptions::default() };
        items.handle().commands().create(options);
        DirectWatch { server: self.server.clone(), items }
    }
}

/// One watcher on a stream of its own.
pub(crate) struct DirectWatch {
    server: Server,
    items: WatchStream,
}

impl concurrency::Watch for DirectWatch {
    async fn next(&mut self) -> Option<WatchResponse> {
        loop {
            let header = |revision| Some(self.server.headers().at(revision));
            return Some(match self.items.next().await? {
                // A client's library keeps this to itself.
                WatchItem::Created { .. } | WatchItem::Progress { .. } => continue,
                WatchItem::Events { revision, events, .. } => {
                    let events = events.list().iter().map(|event| Event {
                        r#type: if event.tombstone {
                            EventType::Delete as i32
                        } else {
                            EventType::Put as i32
                        },
                        kv: Some(apply::decode_record(event.record.clone())),
                        prev_kv: None,
                    });
                    let events = events.collect();
                    WatchResponse { header: header(revision), events, ..Default::default() }
                }
                WatchItem::Canceled { revision, compact_revision, .. } => WatchResponse {
                    header: header(revision),
                    canceled: true,
                    compact_revision,
                    ..WatchResponse::default()
                },
                WatchItem::Refused { revision, reason } => WatchResponse {
                    header: header(revision),
                    canceled: true,
                    cancel_reason: reason.to_owned(),
                    ..WatchResponse::default()
                },
            });
        }
    }
}
