//! What a learner serves: little, since it may lag behind, and clients should not come to rely on
//! it (etcd `v3rpc/interceptor.go`).
//!
//! Services of which it serves nothing stand behind [`Voters`]; the others ask [`check`].

use api::Error;
use server::Server;
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// Lets requests through to members with a vote.
#[derive(Debug, Clone)]
pub(crate) struct Voters(pub Server);

impl Interceptor for Voters {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        check(&self.0)?;
        Ok(request)
    }
}

/// Refuses if the member has no vote.
pub(crate) fn check(server: &Server) -> Result<(), Status> {
    if server.is_learner() { Err(Error::NotSupportedForLearner.into()) } else { Ok(()) }
}
