//! The second listener: admin page and metrics apart from the API.

use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Failure;

/// Serves `router` at `address` until the service stops. Returns where, and the task to wait for.
pub(super) async fn listen(
    address: SocketAddr,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) -> Result<(SocketAddr, JoinHandle<()>), Failure> {
    let listener = TcpListener::bind(address).await.map_err(|e| {
        Failure::Fatal(format!(
            "--admin-listen {address}: {e}; choose another address or port"
        ))
    })?;
    let address = listener.local_addr()?;
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service).with_graceful_shutdown(async move {
        let _ = stopped.changed().await;
    });
    let task = tokio::spawn(async move {
        if let Err(e) = server.await {
            tracing::error!(error = %e, "the admin listener ended");
        }
    });
    Ok((address, task))
}
