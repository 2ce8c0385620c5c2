//! Renewals of leases: a stream of ids in, a stream of times out, in their order.
//!
//! A renewal that needs nobody else is answered at once. From the first one on that must wait, a
//! task takes over the rest of the stream, so that the order is kept.

use super::{Answer, refusal};
use crate::grpc::renew;
use api::etcdserverpb::{LeaseKeepAliveRequest, LeaseKeepAliveResponse};
use bytes::Bytes;
use http2::{Answers, Code, Status};
use prost::Message as _;
use server::{Headers, Server};
use tokio::sync::mpsc;

/// Renewals that wait on one stream, at most; a client that asks on is cut off.
const WAITING_MAX: usize = 1024;

/// A stream of renewals.
pub(crate) struct KeepAlive {
    server: Server,
    headers: Headers,
    answers: Option<Answers<Answer>>,
    /// The way to the task, once there is one.
    task: Option<mpsc::Sender<i64>>,
}

impl KeepAlive {
    pub(crate) fn new(server: &Server, answers: Answers<Answer>) -> Self {
        let headers = server.headers();
        Self { server: server.clone(), headers, answers: Some(answers), task: None }
    }

    pub(crate) fn message(&mut self, message: Bytes) {
        let Ok(LeaseKeepAliveRequest { id }) = LeaseKeepAliveRequest::decode(message) else {
            self.server.metrics().leases.receive_failures.inc();
            return self.end(super::malformed_on_stream());
        };
        if self.task.is_none()
            && let Some(answers) = &self.answers
        {
            // Compat: the header is of before the renewal.
            let header = Some(self.headers.at(self.server.revision()));
            if let Some(ttl) = self.server.lease_renew_now(id) {
                answers.push(Answer::KeepAlive(LeaseKeepAliveResponse { header, id, ttl }));
                return;
            }
        }
        if self.task.is_none() {
            self.task = self.hand_over();
        }
        let sent = self.task.as_ref().map(|task| task.try_send(id));
        if matches!(sent, Some(Err(mpsc::error::TrySendError::Full(_)))) {
            self.task = None;
            self.end(Status::new(Code::ResourceExhausted, "etcdserver: too many requests"));
        }
    }

    pub(crate) fn half_closed(&mut self) {
        // A task answers what it has, and ends the call then.
        if self.task.take().is_none() {
            self.end(Status::OK);
        }
    }

    fn end(&mut self, status: Status) {
        if let Some(answers) = self.answers.take() {
            answers.finish(status);
        }
    }

    fn hand_over(&mut self) -> Option<mpsc::Sender<i64>> {
        let answers = self.answers.clone()?;
        let (task, mut ids) = mpsc::channel(WAITING_MAX);
        let server = self.server.clone();
        tokio::spawn(async move {
            while let Some(id) = ids.recv().await {
                match renew(&server, id).await {
                    Ok(response) => answers.push(Answer::KeepAlive(response)),
                    Err(status) => return answers.finish(refusal(status)),
                }
            }
            answers.finish(Status::OK);
        });
        Some(task)
    }
}
