//! What raft says of itself, as JSON.
//!
//! Source: etcd-io/raft `status.go: MarshalJSON`.

use crate::driver::Input;
use crate::{Error, Server};
use peer::identity::format_id;
use raft::Status;
use std::fmt::Write as _;
use tokio::sync::oneshot;

impl Server {
    /// Raft's state, and on the leader how far each member is.
    ///
    /// # Errors
    /// [`api::Error::Stopped`], `TooManyRequests`.
    pub async fn raft_status_json(&self) -> Result<String, Error> {
        let (answer, told) = oneshot::channel();
        self.tell(Input::Status { answer })?;
        let status = told.await.map_err(|_| api::Error::Stopped)?;
        Ok(json(&status, self.shared.applied_index()))
    }
}

/// Compat: etcd's order and form.
fn json(status: &Status, applied: u64) -> String {
    let basic = &status.basic;
    let (hard, soft) = (&basic.hard_state, &basic.soft_state);
    let mut text = format!(
        r#"{{"id":"{}","term":{},"vote":"{}","commit":{},"lead":"{}","raftState":"{}","applied":{applied},"progress":{{"#,
        format_id(basic.id),
        hard.term(),
        format_id(hard.vote()),
        hard.commit(),
        format_id(soft.lead),
        soft.state,
    );
    for (at, (id, progress)) in status.progress.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            r#"{comma}"{}":{{"match":{},"next":{},"state":"{}"}}"#,
            format_id(*id),
            progress.matched,
            progress.next,
            progress.state,
        );
    }
    let transferee = format_id(basic.lead_transferee.unwrap_or_default());
    let _ = write!(text, r#"}},"leadtransferee":"{transferee}"}}"#);
    text
}
