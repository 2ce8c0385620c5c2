//! Many keys, fast: for tests of what a server does with them.

use crate::Server;
use api::etcdserverpb::kv_client::KvClient;
use api::etcdserverpb::{PutRequest, RequestOp, TxnRequest, request_op::Request};
use bytes::Bytes;

/// Puts of one transaction.
const PUTS: usize = 100;

/// Connections at once.
const CONNECTIONS: usize = 4;

/// Puts the keys `fill/00000000` and following.
///
/// # Panics
/// If a transaction is refused.
pub async fn fill(server: &Server, keys: usize, value_bytes: usize) {
    let writers = (0..CONNECTIONS).map(|writer| {
        let mut client = KvClient::new(server.channel());
        let value = Bytes::from(vec![b'v'; value_bytes]);
        tokio::spawn(async move {
            for first in (writer * PUTS..keys).step_by(CONNECTIONS * PUTS) {
                let success = (first..keys.min(first + PUTS)).map(|key| {
                    let (key, value) = (format!("fill/{key:08}").into(), value.clone());
                    let put = PutRequest { key, value, ..PutRequest::default() };
                    RequestOp { request: Some(Request::RequestPut(put)) }
                });
                let txn = TxnRequest { success: success.collect(), ..TxnRequest::default() };
                client.txn(txn).await.expect("a transaction of puts is done");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("a writer is served");
    }
}
