//! `GET /metrics`.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};

use super::app::App;
use super::metrics::{KIND, Metrics};
use crate::access::throttle::ClientIp;
use crate::error::{Error, Result};

/// Where metrics are served: to everybody on a listener of their own, to operators elsewhere.
pub fn router(open: bool) -> Router<App> {
    let show = move |State(app): State<App>,
                     Extension(client): Extension<ClientIp>,
                     method: Method,
                     headers: HeaderMap| async move {
        let allowed = if open {
            Ok(())
        } else {
            operator(&app, &method, &headers, client.0).await
        };
        match allowed {
            Ok(()) => reply(&app).await,
            Err(e) => e.into_response(),
        }
    };
    Router::new().route("/metrics", get(show))
}

async fn operator(
    app: &App,
    method: &Method,
    headers: &HeaderMap,
    ip: Option<IpAddr>,
) -> Result<()> {
    let key = app.auth.identify(&app.store, method, headers, ip).await?;
    if key.operator {
        Ok(())
    } else {
        Err(Error::denied(
            "FORBIDDEN",
            "metrics are for operator keys; with --admin-listen they need none there",
        ))
    }
}

async fn reply(app: &App) -> Response {
    let metrics: Arc<Metrics> = app.metrics.clone();
    let text = metrics.text(
        &app.store,
        &app.streams,
        &app.outbox,
        &app.backups,
        &app.fleet,
    );
    match text.await {
        Ok(text) => ([(CONTENT_TYPE, KIND)], text).into_response(),
        Err(e) => e.into_response(),
    }
}
