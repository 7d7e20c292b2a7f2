//! The second listener: admin page and metrics apart from the API.

use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Failure;
use crate::http;
use crate::rules::config::Config;

/// Serves `router` on `sockets` until the service stops. Returns the task to wait for.
pub(super) fn listen(
    sockets: Vec<std::net::TcpListener>,
    router: Router,
    config: &Arc<Config>,
    stopped: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, Failure> {
    let listeners = ready(sockets)?;
    let config = config.clone();
    Ok(tokio::spawn(async move {
        http::serve_all(listeners, router, &config, stopped).await;
    }))
}

/// Sockets as the service reads them.
pub(super) fn ready(sockets: Vec<std::net::TcpListener>) -> Result<Vec<TcpListener>, Failure> {
    let ready: Result<_, _> = sockets.into_iter().map(TcpListener::from_std).collect();
    Ok(ready?)
}
