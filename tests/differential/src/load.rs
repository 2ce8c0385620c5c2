//! Random programs to one server alone: nothing is compared here, and the server is made to live.

use crate::revisions::resolve;
use crate::{Request, Response, Step};
use api::etcdserverpb::StatusRequest;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// Sends the requests of programs to a server.
#[derive(Debug)]
pub struct Load {
    channel: Channel,
    member: u64,
    revision: i64,
    /// Requests that were answered, and of these how many were refused.
    pub answered: (u64, u64),
}

impl Load {
    /// Meets a server.
    ///
    /// # Errors
    /// Its answer, if it does not tell who it is.
    pub async fn meet(channel: Channel) -> Result<Self, Status> {
        let answer = Request::Status(StatusRequest {}).send(channel.clone()).await?;
        let Response::Status(status) = answer else { unreachable!("each is answered by its own") };
        let header = status.header.unwrap_or_default();
        let (member, revision) = (header.member_id, header.revision);
        Ok(Self { channel, member, revision, answered: (0, 0) })
    }

    /// The revision of the server's store, as far as is known.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Sends what has one answer; streams are left out.
    ///
    /// # Errors
    /// If the server cannot be reached: it is not well.
    pub async fn run(&mut self, program: &[Step]) -> Result<(), Status> {
        for step in program {
            let Step::Unary(request) = resolve(step, self.revision, self.member) else { continue };
            self.answered.0 += 1;
            match request.send(self.channel.clone()).await {
                Ok(mut response) => {
                    let told = response.header_mut().map_or(0, |header| header.revision);
                    self.revision = self.revision.max(told);
                }
                Err(lost) if lost.code() == Code::Unavailable => return Err(lost),
                Err(_) => self.answered.1 += 1,
            }
        }
        Ok(())
    }
}
