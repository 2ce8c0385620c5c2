//! gRPC's own health service. Compat: only the whole server, named "", is known, and it serves.

use api::healthpb::health_check_response::ServingStatus;
use api::healthpb::health_server;
use api::healthpb::{HealthCheckRequest, HealthCheckResponse};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tonic::{Request, Response, Status};

pub(crate) struct Health;

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !request.into_inner().service.is_empty() {
            return Err(Status::not_found("unknown service"));
        }
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving as i32 }))
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let known = request.into_inner().service.is_empty();
        let status = if known { ServingStatus::Serving } else { ServingStatus::ServiceUnknown };
        let now = Ok(HealthCheckResponse { status: status as i32 });
        // It never changes, and the stream stays.
        Ok(Response::new(stream::once(async { now }).chain(stream::pending()).boxed()))
    }
}
