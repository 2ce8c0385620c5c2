//! Alarms: which member raised which. They live in a small bucket, and in memory in its order.

use api::etcdserverpb::{AlarmMember, AlarmType};
use backend::{Bucket, Buckets, Store};
use prost::Message as _;
use std::collections::BTreeSet;

/// The alarms that are on. Unknown kinds are kept, as etcd keeps them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Alarms {
    /// Kind, then member.
    on: BTreeSet<(i32, u64)>,
}

impl Alarms {
    pub(crate) fn load(buckets: &Buckets) -> Self {
        let mut on = BTreeSet::new();
        for key in buckets.bucket(Bucket::Alarm).keys() {
            // Compat: what cannot be read is skipped; etcd would stop.
            if let Ok(alarm) = AlarmMember::decode(key.clone()) {
                on.insert((alarm.alarm, alarm.member_id));
            }
        }
        Self { on }
    }

    /// Turns an alarm on, for good until it is turned off. It may be on already.
    pub(crate) fn activate(&mut self, store: &mut Store, member: u64, kind: i32) -> AlarmMember {
        let alarm = AlarmMember { member_id: member, alarm: kind };
        if self.on.insert((kind, member)) {
            store.set(Bucket::Alarm, &alarm.encode_to_vec(), b"");
        }
        alarm
    }

    /// Turns an alarm off; `None` if it was not on.
    pub(crate) fn deactivate(
        &mut self,
        store: &mut Store,
        member: u64,
        kind: i32,
    ) -> Option<AlarmMember> {
        if !self.on.remove(&(kind, member)) {
            return None;
        }
        let alarm = AlarmMember { member_id: member, alarm: kind };
        store.delete(Bucket::Alarm, &alarm.encode_to_vec());
        Some(alarm)
    }

    /// Those of a kind, or all for `AlarmType::None`.
    #[must_use]
    pub fn list(&self, kind: i32) -> Vec<AlarmMember> {
        let all = kind == AlarmType::None as i32;
        let wanted = self.on.iter().filter(|(its, _)| all || *its == kind);
        wanted.map(|&(alarm, member_id)| AlarmMember { member_id, alarm }).collect()
    }

    /// Whether some member has raised this one.
    #[must_use]
    pub fn is_on(&self, kind: AlarmType) -> bool {
        self.on.range((kind as i32, 0)..=(kind as i32, u64::MAX)).next().is_some()
    }
}
