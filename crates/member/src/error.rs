//! What can be wrong with a change of the cluster, with its stored state, and with a flag.

use crate::Version;
use bytes::Bytes;

/// Why a membership change has no effect. Every member refuses the same ones, and raft is then
/// told of a change of node 0, so that it does not wait for this one. The texts are etcd's
/// (`server/etcdserver/api/membership/errors.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The id was a member's that is gone.
    #[error("membership: ID removed")]
    IdRemoved,
    /// The id is a member's.
    #[error("membership: ID exists")]
    IdExists,
    /// The id is no member's.
    #[error("membership: ID not found")]
    IdNotFound,
    /// A peer URL is another member's.
    #[error("membership: peerURL exists")]
    PeerUrlExists,
    /// Only a learner can be promoted.
    #[error("membership: can only promote a learner member")]
    NotLearner,
    /// One learner more than there may be.
    #[error("membership: too many learner members in cluster")]
    TooManyLearners,
}

/// What has no place in a cluster's state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A change that is well formed and refused.
    #[error(transparent)]
    Rejected(#[from] Rejected),

    /// The context of a membership change is no member's JSON. A Go member that applies such an
    /// entry dies, so that it must not get into the log.
    #[error("context of a membership change is no member: {reason}")]
    BadContext {
        /// What is wrong with it.
        reason: String,
    },

    /// A membership change whose context is about another member: as [`Error::BadContext`].
    #[error("membership change of {node_id:x} with a context of {context_id:x}")]
    IdMismatch {
        /// The id in the change.
        node_id: u64,
        /// The id in its context.
        context_id: u64,
    },

    /// A membership change of no known type: as [`Error::BadContext`].
    #[error("unknown type {0} of membership change")]
    UnknownType(i32),

    /// Attributes of somebody who neither is nor was a member.
    #[error("attributes of unknown member {0:x}")]
    UnknownMember(u64),

    /// A text that is no version.
    #[error("{text:?} is no version of the form X.Y.Z")]
    BadVersion {
        /// The text.
        text: String,
    },

    /// The cluster is of a version that this server does not know: it must not go on.
    #[error("cluster version {cluster} is higher than this server's {server}")]
    ClusterTooNew {
        /// The cluster's.
        cluster: Version,
        /// This server's.
        server: Version,
    },

    /// Two initial members have one id: equal peer URLs.
    #[error("member exists with identical ID {0:x}")]
    SameId(u64),

    /// An initial member's id came out as 0, which raft takes for nobody.
    #[error("cannot use 0 as member id")]
    IdZero,

    /// A stored entry makes no sense: the store is not etcd's, or damaged.
    #[error("entry {key:?} of bucket {bucket}: {reason}")]
    Corrupt {
        /// The bucket's name.
        bucket: &'static str,
        /// The entry's key.
        key: Bytes,
        /// What is wrong with it.
        reason: String,
    },
}

/// What is wrong with a list of URLs in a flag or request; etcd's texts
/// (`client/pkg/types/urls.go`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// There is none.
    #[error("no valid URLs given")]
    None,
    /// No URL at all.
    #[error("parse {url:?}: {reason}")]
    Parse {
        /// The text.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Host or port is missing.
    #[error("URL address does not have the form \"host:port\": {url}")]
    HostPort {
        /// The text.
        url: String,
    },
    /// There is a path, and be it `/`.
    #[error("URL must not contain a path: {url}")]
    Path {
        /// The text.
        url: String,
    },
    /// Another scheme.
    #[error("URL scheme must be http, https, unix, or unixs: {url}")]
    Scheme {
        /// The text.
        url: String,
    },
}
