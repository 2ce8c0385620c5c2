//! The table of differences that are kept: what two right servers may answer differently, and why.
//!
//! A row names a field and brings it to one value on both sides. There is no other place in which
//! an answer is changed before it is compared, but for the ids and the term that
//! `side::Side` maps to those of its own server.

use crate::Response;

/// One difference that is kept.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// The field, as etcd calls it.
    pub field: &'static str,
    /// Why it may differ.
    pub reason: &'static str,
    /// Brings it to one value.
    mask: fn(&mut Response),
}

/// All of them.
pub const KEPT: &[Kept] = &[
    Kept {
        field: "StatusResponse.dbSize, dbSizeInUse",
        reason: "the size of the files on disk: ours are segments, etcd's are pages",
        mask: |response| {
            if let Response::Status(status) = response {
                (status.db_size, status.db_size_in_use) = (0, 0);
            }
        },
    },
    Kept {
        field: "LeaseTimeToLiveResponse.TTL",
        reason: "whole seconds left: a second may end between the two answers; that it is left \
                 is compared, and so is what was granted",
        mask: |response| {
            if let Response::TimeToLive(left) = response {
                left.ttl = left.ttl.signum();
            }
        },
    },
    Kept {
        field: "LeaseLeasesResponse.leases, their order",
        reason: "etcd sorts by the moment of expiry, and leases granted within one tick of the \
                 clock may come either way",
        mask: |response| {
            if let Response::Leases(leases) = response {
                leases.leases.sort_by_key(|lease| lease.id);
            }
        },
    },
    Kept {
        field: "LeaseTimeToLiveResponse.keys, their order",
        reason: "etcd takes them from a map, which has no order",
        mask: |response| {
            if let Response::TimeToLive(left) = response {
                left.keys.sort();
            }
        },
    },
    Kept {
        field: "Member.peerURLs, clientURLs",
        reason: "two servers cannot listen on one port; that there is one of each is compared",
        mask: |response| {
            if let Response::Members(members) = response {
                for member in &mut members.members {
                    for url in member.peer_urls.iter_mut().chain(&mut member.client_urls) {
                        "masked".clone_into(url);
                    }
                }
            }
        },
    },
];

/// Brings an answer to the form in which it is compared.
pub(crate) fn mask(response: &mut Response) {
    for kept in KEPT {
        (kept.mask)(response);
    }
}
