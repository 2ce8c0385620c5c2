//! The client port: it accepts connections, and sees them to their end.
//!
//! One task for each connection, which ends with the client, with an error, or with the server:
//! then it is asked to finish what is under way, and joined. What a client's certificate says of
//! it is with each of its requests, as a [`net::ClientCertificate`] among the extensions.

use crate::connection::{Api, Client};
use crate::limits::ClientRoom;
use net::Listener;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Serves a listener until `stopping` turns true. While `room` has none, clients wait to be
/// accepted.
pub async fn run(
    listener: Listener,
    room: ClientRoom,
    api: Api,
    mut stopping: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let place = room.enter().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            next = next => next,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        while connections.try_join_next().is_some() {}
        let incoming = match accepted {
            Ok(incoming) => incoming,
            Err(error) => {
                // Out of file descriptors, most likely: others may go meanwhile.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (api, mut stopping) = (api.clone(), stopping.clone());
        connections.spawn(async move {
            let _place = place;
            let address = incoming.remote_address();
            let opened = tokio::select! {
                opened = incoming.open() => opened.ok(),
                _ = stopping.wait_for(|stopping| *stopping) => None,
            };
            if let Some(stream) = opened {
                let certificate = stream.client_certificate().cloned();
                let client = Client { address, secure: stream.is_secure(), certificate };
                api.serve(stream, client, stopping).await;
            }
        });
    }
    while connections.join_next().await.is_some() {}
}
