//! The services of the client API over a member, a file each.
//!
//! Each method checks the shape of its request, asks the member, and fills the header. Nothing is
//! decided here: what a request means is the state machine's. Watches, renewals, and most of keys
//! and values come another way (`calls`).

mod auth;
mod check;
mod cluster;
mod direct;
mod health;
pub(crate) mod kv;
mod lease;
mod lock;
mod maintenance;
mod service;
mod stats;
pub(crate) mod status;
mod voters;
pub(crate) mod watch;

use api::etcdserverpb::ResponseHeader;
use api::etcdserverpb::auth_server::AuthServer;
use api::etcdserverpb::cluster_server::ClusterServer;
use api::etcdserverpb::kv_server::KvServer;
use api::etcdserverpb::lease_server::LeaseServer;
use api::etcdserverpb::maintenance_server::MaintenanceServer;

use api::healthpb::health_server::HealthServer;
use api::v3electionpb::election_server::ElectionServer;
use api::v3lockpb::lock_server::LockServer;
use server::Server;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use voters::Voters;

pub(crate) use lease::renew;

/// Bytes that a message may have beyond the largest request (etcd `grpcOverheadBytes`).
pub const OVERHEAD_BYTES: usize = 512 * 1024;

/// All services of a member.
#[must_use]
pub(crate) fn routes(kv: &kv::Kv) -> Routes {
    let server = kv.server();
    let limit = server.config().max_request_bytes + OVERHEAD_BYTES;
    let sent = i32::MAX as usize;
    let voters = Voters(server.clone());
    Routes::new(
        KvServer::new(service::KvService(kv.clone()))
            .max_decoding_message_size(limit)
            .max_encoding_message_size(sent),
    )
    .add_service(
        MaintenanceServer::new(maintenance::Maintenance::new(server.clone()))
            .max_decoding_message_size(limit)
            .max_encoding_message_size(sent),
    )
    .add_service(InterceptedService::new(
        LeaseServer::new(lease::Lease::new(server.clone())).max_decoding_message_size(limit),
        voters.clone(),
    ))
    .add_service(InterceptedService::new(
        ClusterServer::new(cluster::Cluster::new(server.clone())).max_decoding_message_size(limit),
        voters.clone(),
    ))
    .add_service(InterceptedService::new(
        LockServer::new(lock::Concurrency::new(kv.clone())).max_decoding_message_size(limit),
        voters.clone(),
    ))
    .add_service(InterceptedService::new(
        ElectionServer::new(lock::Concurrency::new(kv.clone())).max_decoding_message_size(limit),
        voters.clone(),
    ))
    .add_service(InterceptedService::new(
        AuthServer::new(auth::Auth::new(server.clone())).max_decoding_message_size(limit),
        voters.clone(),
    ))
    .add_service(InterceptedService::new(HealthServer::new(health::Health), voters))
    .prepare()
}

/// Fills what the member knows better than the state machine. A revision that is there stays.
pub(crate) fn fill(server: &Server, header: &mut Option<ResponseHeader>) {
    let revision = header.as_ref().map_or(0, |header| header.revision);
    *header = Some(server.headers().at(revision));
}

/// The same; a header without a revision gets the present one (etcd `header.go`).
pub(crate) fn fill_revision(server: &Server, header: &mut Option<ResponseHeader>) {
    fill(server, header);
    if let Some(header) = header
        && header.revision == 0
    {
        header.revision = mvcc::Read::revision(&server.view());
    }
}
