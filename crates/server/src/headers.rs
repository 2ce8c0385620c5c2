//! What the head of every answer says of the member.

use crate::Server;
use crate::shared::RaftNumbers;
use api::etcdserverpb::ResponseHeader;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Makes heads of answers, on any thread. Clones are cheap.
#[derive(Debug, Clone)]
pub struct Headers {
    cluster_id: u64,
    member_id: u64,
    raft: Arc<RaftNumbers>,
}

impl Headers {
    /// The head of an answer given now, of a revision.
    #[must_use]
    pub fn at(&self, revision: i64) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.cluster_id,
            member_id: self.member_id,
            revision,
            raft_term: self.raft.term.load(Ordering::Relaxed),
        }
    }
}

impl Server {
    /// Makes heads of answers.
    #[must_use]
    pub fn headers(&self) -> Headers {
        let (cluster_id, member_id) = (self.shared.cluster_id, self.shared.id);
        Headers { cluster_id, member_id, raft: Arc::clone(&self.shared.raft) }
    }
}
