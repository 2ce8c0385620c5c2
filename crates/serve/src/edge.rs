//! The client port: it accepts connections, and sees them to their end.
//!
//! One task for each connection, which ends with the client, with an error, or with the server:
//! then it is asked to finish what is under way, and joined.

use crate::connection::Api;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Serves a listener until `stopping` turns true.
pub async fn run(listener: TcpListener, api: Api, mut stopping: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        while connections.try_join_next().is_some() {}
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: others may go meanwhile.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (api, stopping) = (api.clone(), stopping.clone());
        connections.spawn(async move {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "cannot set TCP_NODELAY");
            }
            api.serve(stream, stopping).await;
        });
    }
    while connections.join_next().await.is_some() {}
}
