//! The emulator: a clock that can be driven, scenarios, snapshots and reset, faults, and a report of
//! what an application used.
//!
//! Everything below `/_dev` is there only where the clock can be driven (`--dev`, `--clock virtual`)
//! and otherwise 404, key or no key. It needs an operator key, JSON, and a request that no page of
//! another site can have sent: [`guard`] asks for all three in one place.
//!
//! | module | what |
//! |---|---|
//! | `state` | what is kept of the clock and the scenario in the database |
//! | [`scheduler`] | what falls due, in order, for a clock that is moved |
//! | `clock` | `/_dev/clock` |
//! | [`scenario`], `seed`, `simulation` | the files, what is made of them, and what goes on afterwards |
//! | `scenario_export` | a scenario of the present state |
//! | `snapshots` | `/_dev/snapshots`, `/_dev/reset` |
//! | [`faults`], `middleware` | `/_dev/faults`: rules, and what they do to requests and computers |
//! | [`compat`], `differences` | `/_dev/compat`: what was used, and what the hosted service does otherwise |
//! | `login_link` | the one link by which a demo signs its presenter in |

pub mod clock;
pub mod compat;
pub mod differences;
mod emulator;
pub mod faults;
mod login_link;
mod middleware;
pub mod scenario;
mod scenario_export;
pub mod scheduler;
mod seed;
mod simulation;
mod snapshots;
mod state;

use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{delete, get, post};
use axum::{Json, Router};

use crate::access::throttle::ClientIp;
use crate::error::{Error, Result};

pub use emulator::Emulator;
use emulator::check_site;
pub(crate) use middleware::watched;
pub use scenario_export::save;
pub(crate) use seed::find;
pub use seed::{Seeded, seed};
pub use simulation::live;
pub use snapshots::{SEED, take_blocking as take_snapshot_blocking};
pub use state::{course, keep, resume, set_pace};

/// The routes, where the clock can be driven; none otherwise.
pub fn router<S>(emulator: &Emulator) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    if !emulator.fleet.config.virtual_clock {
        return Router::new();
    }
    Router::new()
        .route("/_dev/clock", get(clock::show).post(clock::drive))
        .route(
            "/_dev/snapshots",
            get(snapshots::list).post(snapshots::create),
        )
        .route("/_dev/snapshots/{name}/restore", post(snapshots::restore))
        .route("/_dev/reset", post(snapshots::reset))
        .route(
            "/_dev/faults",
            get(faults::handlers::list)
                .post(faults::handlers::add)
                .delete(faults::handlers::clear),
        )
        .route("/_dev/faults/{id}", delete(faults::handlers::remove))
        .route(
            "/_dev/compat",
            get(show_compat).post(restart_compat).delete(restart_compat),
        )
        .route_layer(from_fn_with_state(emulator.clone(), guard))
        .route("/_dev/visit/{token}", get(login_link::enter))
        .with_state(emulator.clone())
}

/// `GET /_dev/compat`
async fn show_compat(State(dev): State<Emulator>) -> Json<compat::Report> {
    Json(dev.compat.report(dev.started_at))
}

/// `POST` and `DELETE /_dev/compat`: begins afresh, and answers what there was until then.
async fn restart_compat(State(dev): State<Emulator>) -> Json<compat::Report> {
    Json(dev.compat.restart(dev.started_at, dev.store.now()))
}

/// An operator's key; and nothing that a page of another site could have sent, which matters since
/// everybody knows the key of development mode.
async fn guard(State(dev): State<Emulator>, request: Request, next: Next) -> Result<Response> {
    check_site(dev.fleet.config.own_names(), request.headers())?;
    let ip = request
        .extensions()
        .get::<ClientIp>()
        .and_then(|client| client.0);
    let key = dev
        .auth
        .identify(&dev.store, request.method(), request.headers(), ip)
        .await?;
    if !key.operator {
        return Err(Error::denied(
            "FORBIDDEN",
            "only an operator key of this installation may do this",
        ));
    }
    let json = |headers: &HeaderMap| {
        let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let kind = kind.split(';').next()?.trim();
        kind.eq_ignore_ascii_case("application/json").then_some(())
    };
    if request.method() != Method::GET && json(request.headers()).is_none() {
        return Err(Error::unsupported_media_type());
    }
    let mut response = next.run(request).await;
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    Ok(response)
}
