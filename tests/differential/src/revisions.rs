//! Revisions and ids of a program, said relative to the moment at which a step is run.
//!
//! A program must mean the same after steps have been taken out of it, and on servers with another
//! past. So a revision `NOW + n` means n after the store's revision at that moment, and the member
//! id `ME` means the member that is asked. Small numbers mean themselves.

use crate::{Request, Step};
use api::etcdserverpb::compare::TargetUnion;
use api::etcdserverpb::request_op::Request as Op;
use api::etcdserverpb::watch_request::RequestUnion;
use api::etcdserverpb::{RangeRequest, TxnRequest};
use api::v3electionpb::LeaderKey;

/// The store's revision at the moment of the step; programs add to it and take from it.
pub const NOW: i64 = 1 << 50;

/// The member that is asked. An id that no member has.
pub const ME: u64 = 1;

/// How far from [`NOW`] a revision is still meant relative to it.
const REACH: i64 = 1 << 40;

/// The step as one server is sent it, when its store is at `revision` and its member is `member`.
pub(crate) fn resolve(step: &Step, revision: i64, member: u64) -> Step {
    let mut step = step.clone();
    let at = |said: &mut i64| {
        if (*said - NOW).abs() < REACH {
            *said = revision + (*said - NOW);
        }
    };
    match &mut step {
        Step::Unary(Request::Range(request)) | Step::RangeStream(request) => range(request, &at),
        Step::Unary(Request::Txn(request)) => txn(request, &at),
        Step::Unary(Request::Compact(request)) => at(&mut request.revision),
        Step::Unary(Request::HashKv(request)) => at(&mut request.revision),
        Step::Unary(Request::Proclaim(request)) => leader(request.leader.as_mut(), &at),
        Step::Unary(Request::Resign(request)) => leader(request.leader.as_mut(), &at),
        Step::Unary(Request::Alarm(request)) if request.member_id == ME => {
            request.member_id = member;
        }
        Step::Watch(_, request) => {
            if let Some(RequestUnion::CreateRequest(create)) = &mut request.request_union {
                at(&mut create.start_revision);
            }
        }
        _ => {}
    }
    step
}

fn range(request: &mut RangeRequest, at: &impl Fn(&mut i64)) {
    at(&mut request.revision);
    at(&mut request.min_mod_revision);
    at(&mut request.max_mod_revision);
    at(&mut request.min_create_revision);
    at(&mut request.max_create_revision);
}

fn txn(request: &mut TxnRequest, at: &impl Fn(&mut i64)) {
    for compare in &mut request.compare {
        if let Some(TargetUnion::CreateRevision(revision) | TargetUnion::ModRevision(revision)) =
            &mut compare.target_union
        {
            at(revision);
        }
    }
    for op in request.success.iter_mut().chain(&mut request.failure) {
        match &mut op.request {
            Some(Op::RequestRange(request)) => range(request, at),
            Some(Op::RequestTxn(request)) => txn(request, at),
            _ => {}
        }
    }
}

fn leader(key: Option<&mut LeaderKey>, at: &impl Fn(&mut i64)) {
    if let Some(key) = key {
        at(&mut key.rev);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::etcdserverpb::CompactionRequest;

    #[test]
    fn revisions_are_relative_to_now() {
        let compact = |revision| {
            Step::Unary(Request::Compact(CompactionRequest { revision, physical: true }))
        };
        for (said, meant) in [(NOW, 40), (NOW - 3, 37), (NOW + 5, 45), (7, 7), (0, 0), (-1, -1)] {
            assert_eq!(resolve(&compact(said), 40, 9), compact(meant));
        }
    }
}
