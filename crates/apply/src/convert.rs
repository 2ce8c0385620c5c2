//! Between the messages of the client API and the types of `mvcc`.

use crate::reply::header;
use api::etcdserverpb::{RangeRequest, RangeResponse, range_request};
use api::mvccpb::KeyValue;
use bytes::Bytes;
use mvcc::{RangeQuery, RangeResult, SortOrder, SortTarget};
use prost::Message as _;

/// A stored record as a message; key and value stay where they are.
///
/// # Panics
/// If the record is none: its checksum was right, so this process or another wrote it so.
#[must_use]
pub fn decode_record(record: Bytes) -> KeyValue {
    KeyValue::decode(record).expect("a stored record is an encoded KeyValue")
}

/// What a request asks the store for. An unknown sort order or target is refused before.
#[must_use]
pub fn range_query(request: &RangeRequest) -> RangeQuery {
    use range_request::{SortOrder as Order, SortTarget as Target};
    RangeQuery {
        key: request.key.clone(),
        range_end: request.range_end.clone(),
        limit: request.limit,
        revision: request.revision,
        sort_order: match request.sort_order() {
            Order::None => SortOrder::None,
            Order::Ascend => SortOrder::Ascend,
            Order::Descend => SortOrder::Descend,
        },
        sort_target: match request.sort_target() {
            Target::Key => SortTarget::Key,
            Target::Version => SortTarget::Version,
            Target::Create => SortTarget::Create,
            Target::Mod => SortTarget::Mod,
            Target::Value => SortTarget::Value,
        },
        keys_only: request.keys_only,
        count_only: request.count_only,
        min_mod_revision: request.min_mod_revision,
        max_mod_revision: request.max_mod_revision,
        min_create_revision: request.min_create_revision,
        max_create_revision: request.max_create_revision,
    }
}

/// The answer to a range.
#[must_use]
pub fn range_response(result: RangeResult) -> RangeResponse {
    RangeResponse {
        header: header(result.revision),
        kvs: result.records.into_iter().map(decode_record).collect(),
        more: result.more,
        count: result.count,
    }
}
