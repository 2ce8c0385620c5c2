//! Watchers: several on each of a few streams, that start in the past, now, or soon.

use super::Generator;
use crate::{NOW, Step};
use api::etcdserverpb::watch_request::RequestUnion;
use api::etcdserverpb::{
    WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest,
};

/// Streams that programs open.
const STREAMS: usize = 3;

impl Generator {
    pub(super) fn watch(&mut self) {
        let stream = u8::try_from(self.rng.below(STREAMS)).expect("there are few");
        let request = match self.rng.below(20) {
            0..10 => RequestUnion::CreateRequest(self.create()),
            10..16 => {
                let watch_id = self.rng.between(-1, 12);
                RequestUnion::CancelRequest(WatchCancelRequest { watch_id })
            }
            16..18 => RequestUnion::ProgressRequest(WatchProgressRequest {}),
            _ => {
                self.program.push(Step::Settle);
                self.program.push(Step::Close(stream));
                return;
            }
        };
        self.program.push(Step::Watch(stream, WatchRequest { request_union: Some(request) }));
    }

    fn create(&mut self) -> WatchCreateRequest {
        let key = self.key();
        let range_end = self.end(&key);
        let start_revision = match self.rng.below(10) {
            0..6 => 0,
            6..8 => NOW + self.rng.between(1, 6),
            _ => self.past().min(NOW + 6),
        };
        let filters = self.rng.pick::<&[i32]>(&[&[], &[], &[], &[0], &[1], &[0, 1]]);
        WatchCreateRequest {
            key,
            range_end,
            start_revision,
            progress_notify: self.rng.one_in(8),
            filters: filters.to_vec(),
            prev_kv: self.rng.one_in(3),
            watch_id: if self.rng.one_in(3) { self.rng.between(1, 10) } else { 0 },
            fragment: self.rng.one_in(5),
        }
    }
}
