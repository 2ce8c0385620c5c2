//! Asks a peer now and then whether it is there, and how long its answer takes. Only log lines and
//! a metric depend on it.

use crate::member::Member;
use crate::pipeline::PipelineClient;
use crate::seam::Traffic;
use http_body_util::{BodyExt, Limited};
use hyper::StatusCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::debug;

const PROBE_INTERVAL: Duration = Duration::from_secs(4);

/// Probes for ever.
pub(crate) async fn probe(member: Arc<Member>, client: PipelineClient) {
    let mut probes = interval(PROBE_INTERVAL);
    probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        probes.tick().await;
        let Some(url) = member.pick_url() else { continue };
        let peer = crate::identity::format_id(member.id);
        let asked = Instant::now();
        match timeout(PROBE_INTERVAL, ask(&client, &url.at("/raft/probing"))).await {
            Ok(Ok(())) => member.note(Traffic::RoundTrip { took: asked.elapsed() }),
            Ok(Err(error)) => debug!(peer, %url, error, "probing a peer failed"),
            Err(_) => debug!(peer, %url, "a probed peer did not answer in time"),
        }
    }
}

async fn ask(client: &PipelineClient, url: &str) -> Result<(), String> {
    let url = url.parse().map_err(|error| format!("{error}"))?;
    let response = client.get(url).await.map_err(|error| error.to_string())?;
    if response.status() != StatusCode::OK {
        return Err(format!("answered {}", response.status()));
    }
    let body = Limited::new(response.into_body(), 1024).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    let health: serde_json::Value = serde_json::from_slice(&body).map_err(|e| e.to_string())?;
    if health["OK"] == true { Ok(()) } else { Err("says that it is not well".to_owned()) }
}
