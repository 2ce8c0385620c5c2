//! Asks a peer now and then whether it is there, and how long its answer takes. Only log lines and
//! a metric depend on it.

use crate::member::Member;
use crate::seam::Traffic;
use crate::url::PeerUrl;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, warn};

/// A peer that is not well is told of so often, at most (etcd's `statusMonitoringInterval`).
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(30);

/// Probes for ever, a second more often than a silence would be too long.
pub(crate) async fn probe(member: Arc<Member>) {
    let period = member.settings.read_timeout - Duration::from_secs(1);
    let mut probes = interval(period);
    probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut complained: Option<Instant> = None;
    loop {
        probes.tick().await;
        let Some(url) = member.pick_url() else { continue };
        let remote_peer_id = crate::identity::format_id(member.id);
        let asked = Instant::now();
        let error = match timeout(period, ask(&member, &url)).await {
            Ok(Ok(())) => {
                member.note(Traffic::RoundTrip { took: asked.elapsed() });
                complained = None;
                continue;
            }
            Ok(Err(error)) => error,
            Err(_) => "no answer in time".to_owned(),
        };
        if complained.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL) {
            complained = Some(Instant::now());
            warn!(remote_peer_id, %url, error, "prober detected unhealthy status");
        } else {
            debug!(remote_peer_id, %url, error, "probing a peer failed");
        }
    }
}

async fn ask(member: &Member, url: &PeerUrl) -> Result<(), String> {
    let request = Request::get("/raft/probing").body(Full::new(Bytes::new()));
    let request = request.map_err(|error| error.to_string())?;
    let response = member.pool.ask(member, url, request).await?;
    if response.status() != StatusCode::OK {
        return Err(format!("answered {}", response.status()));
    }
    let health: serde_json::Value =
        serde_json::from_slice(response.body()).map_err(|error| error.to_string())?;
    if health["OK"] == true { Ok(()) } else { Err("says that it is not well".to_owned()) }
}
