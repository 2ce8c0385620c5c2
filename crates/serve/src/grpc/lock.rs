//! Locks and elections, for clients that have none of their own.
//!
//! A call that waits runs in a task of its own, to its end: one whose client is gone has a key to
//! take back.

use crate::concurrency::{self, Gone, Observer};
use crate::grpc::direct::Direct;
use crate::grpc::kv::Kv;
use api::v3electionpb::election_server;
use api::v3electionpb::{
    CampaignRequest, CampaignResponse, LeaderRequest, LeaderResponse, ProclaimRequest,
    ProclaimResponse, ResignRequest, ResignResponse,
};
use api::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse, lock_server};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use std::future::Future;
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

/// Both services, over the member itself.
#[derive(Clone)]
pub(crate) struct Concurrency {
    kv: Direct,
}

impl Concurrency {
    pub(crate) fn new(kv: Kv) -> Self {
        Self { kv: Direct::new(kv) }
    }
}

/// Runs what may wait; it is told when this future, and so its client, is gone.
async fn to_its_end<T, F>(run: impl FnOnce(oneshot::Receiver<()>) -> F) -> Answer<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T, concurrency::Error>> + Send + 'static,
{
    let (present, gone) = oneshot::channel();
    let running = tokio::spawn(run(gone));
    let answer = running.await.map_err(|_| Status::unavailable("the server is stopping"))?;
    drop(present);
    Ok(Response::new(answer?))
}

async fn canceled(gone: oneshot::Receiver<()>) -> Gone {
    // Nothing is ever sent: the sender is dropped.
    let _ = gone.await;
    Gone::Canceled
}

#[tonic::async_trait]
impl lock_server::Lock for Concurrency {
    async fn lock(&self, request: Request<LockRequest>) -> Answer<LockResponse> {
        let (kv, request) = (self.kv.clone(), request.into_inner());
        to_its_end(|gone| async move { concurrency::lock(&kv, request, canceled(gone)).await })
            .await
    }

    async fn unlock(&self, request: Request<UnlockRequest>) -> Answer<UnlockResponse> {
        Ok(Response::new(concurrency::unlock(&self.kv, request.into_inner()).await?))
    }
}

#[tonic::async_trait]
impl election_server::Election for Concurrency {
    async fn campaign(&self, request: Request<CampaignRequest>) -> Answer<CampaignResponse> {
        let (kv, request) = (self.kv.clone(), request.into_inner());
        to_its_end(|gone| async move { concurrency::campaign(&kv, request, canceled(gone)).await })
            .await
    }

    async fn proclaim(&self, request: Request<ProclaimRequest>) -> Answer<ProclaimResponse> {
        Ok(Response::new(concurrency::proclaim(&self.kv, request.into_inner()).await?))
    }

    async fn leader(&self, request: Request<LeaderRequest>) -> Answer<LeaderResponse> {
        Ok(Response::new(concurrency::leader(&self.kv, request.into_inner()).await?))
    }

    type ObserveStream = BoxStream<'static, Result<LeaderResponse, Status>>;

    async fn observe(&self, request: Request<LeaderRequest>) -> Answer<Self::ObserveStream> {
        let observer = Observer::new(self.kv.clone(), &request.into_inner());
        let said = stream::unfold(observer, |mut observer| async {
            let said = observer.next().await?;
            Some((Ok(said), observer))
        });
        Ok(Response::new(said.boxed()))
    }

    async fn resign(&self, request: Request<ResignRequest>) -> Answer<ResignResponse> {
        Ok(Response::new(concurrency::resign(&self.kv, request.into_inner()).await?))
    }
}
