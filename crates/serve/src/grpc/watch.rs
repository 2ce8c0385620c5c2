//! What is asked and said on watch streams, as messages.

use api::etcdserverpb::watch_create_request::FilterType;
use api::etcdserverpb::{WatchCreateRequest, WatchResponse};
use api::mvccpb::{Event, event::EventType};
use prost::Message as _;
use server::{Headers, WatchEvent, WatchItem, WatchOptions};

/// The id in answers that are about no watcher.
const NO_WATCHER: i64 = -1;

/// What a client asks for.
pub(crate) fn options(create: WatchCreateRequest) -> WatchOptions {
    let filtered = |filter: FilterType| create.filters.contains(&(filter as i32));
    WatchOptions {
        watch_id: create.watch_id,
        no_put: filtered(FilterType::Noput),
        no_delete: filtered(FilterType::Nodelete),
        key: create.key,
        range_end: create.range_end,
        start_revision: create.start_revision,
        prev_kv: create.prev_kv,
        progress_notify: create.progress_notify,
        fragment: create.fragment,
    }
}

/// What is said, as a response.
pub(crate) fn response(headers: &Headers, item: &WatchItem) -> WatchResponse {
    let header = |revision: i64| Some(headers.at(revision));
    match item {
        WatchItem::Created { watch_id, revision } => WatchResponse {
            header: header(*revision),
            watch_id: *watch_id,
            created: true,
            ..WatchResponse::default()
        },
        WatchItem::Refused { revision, reason } => WatchResponse {
            header: header(*revision),
            watch_id: NO_WATCHER,
            created: true,
            canceled: true,
            cancel_reason: (*reason).to_owned(),
            ..WatchResponse::default()
        },
        WatchItem::Events { watch_id, revision, events, .. } => WatchResponse {
            header: header(*revision),
            watch_id: *watch_id,
            events: events.list().iter().map(event).collect(),
            ..WatchResponse::default()
        },
        WatchItem::Canceled { watch_id, revision, compact_revision } => WatchResponse {
            header: header(*revision),
            watch_id: *watch_id,
            canceled: true,
            compact_revision: *compact_revision,
            ..WatchResponse::default()
        },
        WatchItem::Progress { watch_id, revision } => WatchResponse {
            header: header(*revision),
            watch_id: *watch_id,
            ..WatchResponse::default()
        },
    }
}

fn event(event: &WatchEvent) -> Event {
    let kind = if event.tombstone { EventType::Delete } else { EventType::Put };
    Event {
        r#type: kind as i32,
        kv: Some(apply::decode_record(event.record.clone())),
        prev_kv: event.previous.clone().map(apply::decode_record),
    }
}

/// Cuts a response into pieces smaller than `limit` bytes, or of one event (etcd
/// `sendFragments`).
pub(crate) fn fragments(response: WatchResponse, limit: usize) -> Vec<WatchResponse> {
    if response.encoded_len() < limit || response.events.len() < 2 {
        return vec![response];
    }
    let empty = WatchResponse { events: Vec::new(), fragment: true, ..response.clone() };
    let mut pieces = vec![empty.clone()];
    for event in response.events {
        let piece = pieces.last_mut().expect("there is one from the start");
        piece.events.push(event);
        if piece.events.len() > 1 && piece.encoded_len() >= limit {
            let event = piece.events.pop().expect("it was pushed a moment ago");
            pieces.push(WatchResponse { events: vec![event], ..empty.clone() });
        }
    }
    pieces.last_mut().expect("there is one from the start").fragment = false;
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::mvccpb::KeyValue;

    #[test]
    fn pieces_are_smaller_than_the_limit_and_all_but_the_last_say_so() {
        let event = |size: usize| Event {
            kv: Some(KeyValue { value: vec![0; size].into(), ..KeyValue::default() }),
            ..Event::default()
        };
        let check = |sizes: &[usize], want: &[usize]| {
            let events = sizes.iter().map(|size| event(*size)).collect();
            let pieces = fragments(WatchResponse { events, ..WatchResponse::default() }, 1000);
            let counts: Vec<_> = pieces.iter().map(|piece| piece.events.len()).collect();
            assert_eq!(counts, want, "{sizes:?}");
            let last = pieces.len() - 1;
            assert!(pieces.iter().enumerate().all(|(at, piece)| piece.fragment == (at < last)));
        };
        check(&[10, 10], &[2]);
        check(&[2000], &[1]);
        check(&[400, 400, 400], &[2, 1]);
        check(&[2000, 2000, 10], &[1, 1, 1]);
        check(&[600, 600, 300], &[1, 2]);
    }
}
