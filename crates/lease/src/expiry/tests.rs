//! The clock at chosen moments, and against a model that looks at every lease each time.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const EXTEND: Duration = Duration::from_secs(1);

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn lease(id: i64, ttl: i64) -> Lease {
    Lease { id, ttl, remaining_ttl: 0 }
}

fn leader(checkpoints: bool) -> Expiry {
    let mut expiry = Expiry::new(Options { checkpoints });
    expiry.promote(EXTEND, s(0));
    expiry
}

#[test]
fn a_lease_is_due_at_its_deadline_and_again_until_it_is_revoked() {
    let mut expiry = leader(false);
    expiry.grant(lease(1, 10), s(0));
    assert_eq!(expiry.due(s(10) - Duration::from_nanos(1), 9), []);
    assert_eq!(expiry.next_wake(), Some(s(10)));
    assert_eq!(expiry.due(s(10), 9), [1]);
    assert_eq!(expiry.due(s(12), 9), []);
    assert_eq!(expiry.due(s(13), 9), [1]);
    expiry.revoke(1);
    assert_eq!(expiry.due(s(99), 9), []);
    assert_eq!(expiry.next_wake(), None);
}

#[test]
fn a_renewal_puts_the_deadline_off_and_comes_too_late_at_it() {
    let mut expiry = leader(false);
    expiry.grant(lease(1, 10), s(0));
    assert_eq!(expiry.renew(1, s(9)), Ok(Renewal::Renewed(10)));
    assert_eq!(expiry.due(s(18), 9), []);
    assert_eq!(expiry.remaining(1, s(18)), Ok(Remaining { granted: 10, left: 1 }));
    assert_eq!(expiry.renew(1, s(19)), Err(Refused::Expired), "also before it is handed out");
    assert_eq!(expiry.due(s(19), 9), [1]);
    assert_eq!(expiry.renew(1, s(20)), Err(Refused::Expired));
    assert_eq!(expiry.renew(2, s(20)), Err(Refused::NotFound));
    expiry.revoke(1);
    assert_eq!(expiry.renew(1, s(20)), Err(Refused::NotFound));
}

#[test]
fn what_is_left_is_rounded_towards_zero() {
    let mut expiry = leader(false);
    expiry.grant(lease(1, 10), s(0));
    let left = |millis| expiry.remaining(1, Duration::from_millis(millis)).unwrap().left;
    assert_eq!([0, 1, 9_001, 10_000, 10_999, 11_000].map(left), [10, 9, 0, 0, 0, -1]);
    assert_eq!(expiry.remaining(2, s(0)), Err(Refused::NotFound));
}

#[test]
fn only_a_leaders_clock_runs() {
    let mut expiry = Expiry::new(Options { checkpoints: true });
    expiry.load([lease(3, 10), lease(1, 20)]);
    expiry.grant(lease(2, 5), s(0));
    assert_eq!(expiry.due(s(99), 9), []);
    assert_eq!(expiry.renew(1, s(0)), Err(Refused::NotPrimary));
    assert_eq!(expiry.remaining(1, s(0)), Err(Refused::NotPrimary));
    assert_eq!(expiry.by_expiry(), [1, 2, 3]);
    assert_eq!(expiry.next_wake(), None);
    expiry.promote(EXTEND, s(100));
    assert!(expiry.is_primary());
    assert_eq!(expiry.by_expiry(), [2, 3, 1]);
    assert_eq!(expiry.due(s(111), 1), [2], "the first of two");
    assert_eq!(expiry.due(s(111), 1), [3]);
    expiry.demote();
    assert_eq!(expiry.due(s(999), 9), []);
}

#[test]
fn a_new_leader_gives_what_a_checkpoint_left_and_the_election_on_top() {
    let mut expiry = Expiry::new(Options::default());
    expiry.load([lease(1, 100)]);
    expiry.checkpoint(1, 40, s(0));
    expiry.promote(EXTEND, s(0));
    assert_eq!(expiry.remaining(1, s(0)), Ok(Remaining { granted: 100, left: 41 }));
    // With the gate off the checkpoint stands, as in etcd: renewed sooner than it was given.
    assert_eq!(expiry.renew(1, s(0)), Ok(Renewal::Renewed(100)));
    assert_eq!(expiry.due(s(40), 9), [1]);
}

#[test]
fn long_leases_are_checkpointed_every_five_minutes_and_short_ones_never() {
    let mut expiry = leader(true);
    expiry.grant(lease(1, 1000), s(0));
    expiry.grant(lease(2, 300), s(0));
    assert_eq!(expiry.due_checkpoints(s(299), 9), []);
    assert_eq!(expiry.due_checkpoints(s(300), 9), [(1, 700)]);
    assert_eq!(expiry.due_checkpoints(s(900), 9), [], "the next counts from its being applied");
    expiry.checkpoint(1, 700, s(301));
    assert_eq!(expiry.due_checkpoints(Duration::from_millis(601_500), 9), [(1, 399)]);
    // A renewal first has the checkpoint forgotten.
    assert_eq!(expiry.renew(1, s(602)), Ok(Renewal::ForgetCheckpoint));
    expiry.checkpoint(1, 0, s(602));
    assert_eq!(expiry.renew(1, s(602)), Ok(Renewal::Renewed(1000)));
    assert_eq!(expiry.remaining(1, s(602)).unwrap().left, 1000);
    assert_eq!(expiry.renew(1, s(902)), Ok(Renewal::Renewed(1000)));
    assert_eq!(expiry.due_checkpoints(s(902), 9), [], "nothing to note right after a renewal");
    assert_eq!(expiry.due_checkpoints(s(1202), 9), [(1, 700)]);
}

#[test]
fn leases_that_pile_up_are_spread() {
    let mut expiry = Expiry::new(Options::default());
    expiry.load((1..=10_000).map(|id| lease(id, 10)));
    expiry.promote(EXTEND, s(0));
    // 750 a second after the first, so that the last goes 10,000 / 750 seconds after it.
    let per_second: Vec<_> = (11..=26)
        .map(|second| {
            let due = |expiry: &mut Expiry| expiry.due(s(second), usize::MAX);
            let ids = due(&mut expiry);
            ids.iter().for_each(|id| expiry.revoke(*id));
            ids.len()
        })
        .collect();
    assert_eq!(per_second.iter().sum::<usize>(), 10_000);
    assert!(per_second.iter().all(|count| *count <= 750), "{per_second:?}");
    assert_eq!(per_second[0], 750);

    let mut few = Expiry::new(Options::default());
    few.load((1..1000).map(|id| lease(id, 10)));
    few.promote(EXTEND, s(0));
    assert_eq!(few.due(s(11), usize::MAX).len(), 999, "fewer than can be revoked in a second");
}

#[test]
fn timers_of_leases_that_are_gone_do_not_pile_up() {
    let mut expiry = leader(true);
    for id in 1..=100_000 {
        expiry.grant(lease(id, 3600), s(0));
        expiry.revoke(id);
    }
    assert!(expiry.timers.len() < 100, "{}", expiry.timers.len());
    assert!(expiry.checkpoints.len() < 100, "{}", expiry.checkpoints.len());
}

#[test]
fn a_pass_stops_among_very_many_renewed_leases_and_the_next_goes_on() {
    let mut expiry = leader(false);
    let last = i64::try_from(3 * RENEWED_BATCH).expect("small");
    for id in 1..=last {
        expiry.grant(lease(id, 10), s(0));
    }
    expiry.grant(lease(last + 1, 10), s(0));
    for id in 1..=last {
        expiry.renew(id, s(5)).expect("renewed");
    }
    let mut passes = 0;
    let mut due = Vec::new();
    while expiry.next_wake() <= Some(s(10)) {
        due.extend(expiry.due(s(10), REVOKE_BATCH));
        passes += 1;
    }
    assert_eq!((due, passes), (vec![last + 1], 4));
}

#[derive(Clone, Debug)]
enum Op {
    Grant(i64, i64),
    Revoke(i64),
    Renew(i64),
    Promote,
    Demote,
    Pass(usize),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let id = 1i64..6;
    prop_oneof![
        (id.clone(), 2i64..20).prop_map(|(id, ttl)| Op::Grant(id, ttl)),
        id.clone().prop_map(Op::Revoke),
        id.prop_map(Op::Renew),
        Just(Op::Promote),
        Just(Op::Demote),
        (1usize..4).prop_map(Op::Pass),
        (1u64..6000).prop_map(Op::Wait),
    ]
}

proptest! {
    /// Against a model that looks at every lease each time: what is handed out has expired, in
    /// order, and what has expired is handed out.
    #[test]
    fn the_clock_says_what_its_model_says(ops in prop::collection::vec(op(), 0..80)) {
        let mut expiry = leader(false);
        let mut primary = true;
        let mut now = s(0);
        // Time to live, deadline, and when it is to be handed out, at the earliest.
        let mut model: BTreeMap<i64, (i64, Duration, Duration)> = BTreeMap::new();
        for op in ops {
            match op {
                Op::Grant(id, ttl) if !model.contains_key(&id) => {
                    expiry.grant(lease(id, ttl), now);
                    let deadline = now + s(ttl.unsigned_abs());
                    model.insert(id, (ttl, deadline, deadline));
                }
                Op::Grant(..) => {}
                Op::Revoke(id) => {
                    expiry.revoke(id);
                    model.remove(&id);
                }
                Op::Renew(id) => {
                    let expected = match model.get_mut(&id) {
                        _ if !primary => Err(Refused::NotPrimary),
                        None => Err(Refused::NotFound),
                        Some((_, deadline, _)) if *deadline <= now => Err(Refused::Expired),
                        Some((ttl, deadline, offer)) => {
                            *deadline = now + s(ttl.unsigned_abs());
                            *offer = *deadline;
                            Ok(Renewal::Renewed(*ttl))
                        }
                    };
                    prop_assert_eq!(expiry.renew(id, now), expected);
                }
                Op::Promote => {
                    primary = true;
                    expiry.promote(EXTEND, now);
                    for (ttl, deadline, offer) in model.values_mut() {
                        *deadline = now + EXTEND + s(ttl.unsigned_abs());
                        *offer = *deadline;
                    }
                }
                Op::Demote => {
                    primary = false;
                    expiry.demote();
                }
                Op::Pass(max) => {
                    let due = expiry.due(now, max);
                    let waiting = model.values().filter(|(.., offer)| *offer <= now).count();
                    prop_assert_eq!(due.len(), if primary { waiting.min(max) } else { 0 });
                    for id in due {
                        let (_, deadline, offer) = model.get_mut(&id).expect("a known lease");
                        prop_assert!(*deadline <= now && *offer <= now);
                        *offer = now + RETRY;
                    }
                }
                Op::Wait(millis) => now += Duration::from_millis(millis),
            }
        }
    }
}
