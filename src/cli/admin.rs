//! The second listener: admin page and metrics apart from the API.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Failure;
use crate::http;
use crate::rules::config::Config;

/// Serves `router` on `listener` until the service stops. Returns where, and the task to wait for.
pub(super) fn listen(
    listener: std::net::TcpListener,
    router: Router,
    config: &Arc<Config>,
    stopped: watch::Receiver<bool>,
) -> Result<(SocketAddr, JoinHandle<()>), Failure> {
    let listener = TcpListener::from_std(listener)?;
    let address = listener.local_addr()?;
    let config = config.clone();
    let task = tokio::spawn(async move { http::serve(listener, router, &config, stopped).await });
    Ok((address, task))
}
