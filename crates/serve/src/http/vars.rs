//! `/debug/vars`: what Go programs tell of themselves, as far as there is something to tell.
//!
//! Source: etcd `server/etcdserver/api/etcdhttp/debug.go`, Go's `expvar`.

use super::respond;
use crate::metrics::Process;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use server::Server;

/// Compat: etcd's names in its order, a line each.
pub(super) async fn vars(server: &Server) -> Response {
    let process = tokio::task::spawn_blocking(Process::read).await.unwrap_or_default();
    let arguments: Vec<String> =
        std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let memory = &process.memory;
    // Compat: the fields of Go's runtime that mean something here.
    let memstats = json!({
        "Alloc": memory.resident_private,
        "Sys": memory.data + memory.stack,
        "HeapAlloc": memory.resident_private,
        "HeapSys": memory.data,
        "HeapIdle": memory.idle(),
        "HeapInuse": memory.resident_private,
        "HeapReleased": memory.idle(),
        "StackInuse": memory.stack,
        "StackSys": memory.stack,
        "NumGC": 0,
    });
    let raft = match server.raft_status_json().await {
        Ok(status) => status,
        Err(_) => "null".to_owned(),
    };
    let text = format!(
        "{{\n\"cmdline\": {},\n\"file_descriptor_limit\": {},\n\"memstats\": {memstats},\n\
         \"raft.status\": {raft}\n}}\n",
        json!(arguments),
        process.file_limit,
    );
    respond(StatusCode::OK, "application/json; charset=utf-8", text)
}
