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

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequest, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{delete, get, post};
use serde::de::DeserializeOwned;

use crate::access::auth::Auth;
use crate::clock::Timestamp;
use crate::computers::Fleet;
use crate::error::{Error, Result};
use crate::http::{Known, MAX_BODY, Recorder, Used, from_json, read_body};
use crate::outbox::events::Streams;
use crate::outbox::webhooks::deliver::Outbox;
use crate::store::Store;

pub use login_link::LoginLinks;
pub(crate) use middleware::watched;
pub use scenario_export::save;
pub(crate) use seed::find;
pub use seed::{Seeded, seed};
pub use simulation::live;
pub use snapshots::{SEED, take_blocking as take_snapshot_blocking};
pub use state::{keep, resume, set_pace};

/// The emulator over a running service. Cheap to clone.
#[derive(Clone)]
pub struct Emulator(Arc<Inner>);

impl Deref for Emulator {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// Methods and paths of the route table.
pub type Routes = Vec<(Method, &'static str)>;

/// The parts of an [`Emulator`].
pub struct Inner {
    pub(in crate::dev) store: Store,
    pub(in crate::dev) fleet: Fleet,
    auth: Arc<Auth>,
    outbox: Outbox,
    streams: Arc<Streams>,
    routes: Routes,
    started_at: Timestamp,
    /// Held while the clock is moved or the database replaced: one of them at a time.
    moving: tokio::sync::Mutex<()>,
    /// Links that sign in once.
    pub login_links: LoginLinks,
    /// Rules that spoil answers.
    pub faults: Arc<faults::Faults>,
    /// What was used of the API.
    pub compat: compat::Compat,
}

impl Emulator {
    /// Over the parts of a service, with the rules that its driver asks too.
    pub fn new(
        store: Store,
        fleet: Fleet,
        auth: Arc<Auth>,
        outbox: Outbox,
        streams: Arc<Streams>,
        faults: Arc<faults::Faults>,
        routes: Routes,
    ) -> Self {
        Emulator(Arc::new(Inner {
            started_at: store.now(),
            store,
            fleet,
            auth,
            outbox,
            streams,
            faults,
            routes,
            moving: tokio::sync::Mutex::default(),
            login_links: LoginLinks::default(),
            compat: compat::Compat::default(),
        }))
    }
}

impl Recorder for Emulator {
    fn names(&self, route: &Known, used: &Used) {
        self.compat.names(route, used);
    }
}

/// Runs `f` to its end even if the client leaves meanwhile: half way, the clock would be left standing
/// still, and an emptied database without a key.
async fn to_its_end<T: Send + 'static>(
    f: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    tokio::spawn(f)
        .await
        .unwrap_or_else(|e| Err(Error::internal(format!("did not come to its end: {e}"))))
}

/// The routes, where the clock can be driven; none otherwise.
pub fn router<S>(emulator: &Emulator) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    if !emulator.fleet.config.driven {
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
            get(faults::list).post(faults::add).delete(faults::clear),
        )
        .route("/_dev/faults/{id}", delete(faults::remove))
        .route(
            "/_dev/compat",
            get(compat::show)
                .post(compat::restart)
                .delete(compat::restart),
        )
        .route_layer(from_fn_with_state(emulator.clone(), guard))
        .route("/_dev/visit/{token}", get(login_link::enter))
        .with_state(emulator.clone())
}

/// An operator's key; and nothing that a page of another site could have sent, which matters since
/// everybody knows the key of development mode.
async fn guard(State(dev): State<Emulator>, request: Request, next: Next) -> Result<Response> {
    check_site(dev.fleet.config.dev, request.headers())?;
    let key = dev
        .auth
        .identify(&dev.store, request.method(), request.headers())
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

/// A browser names the page that asks in `Origin`, and in `Host` the name by which it reached this
/// server: another site's page has a foreign origin, or a name of its own that was made to lead here.
fn check_site(dev: bool, headers: &HeaderMap) -> Result<()> {
    let text = |name| {
        headers
            .get(name)
            .map(|v: &HeaderValue| v.to_str().unwrap_or("?"))
    };
    let host = text(HOST);
    let foreign_origin =
        text(ORIGIN).is_some_and(|origin| origin.split_once("://").map(|(_, rest)| rest) != host);
    // Development mode listens on loopback only, where it has no other name.
    let foreign_host = dev && host.is_some_and(|host| !is_loopback(host));
    if foreign_origin || foreign_host {
        return Err(Error::denied(
            "FORBIDDEN",
            "this is for programs and for this server's own pages; reach it as 127.0.0.1 or localhost",
        ));
    }
    Ok(())
}

/// Whether a `Host` header names this machine to itself.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => host.split(':').next().unwrap_or(""),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A JSON body.
struct Input<T>(T);

impl<T: DeserializeOwned> FromRequest<Emulator> for Input<T> {
    type Rejection = Error;

    async fn from_request(request: Request, dev: &Emulator) -> Result<Self> {
        let (parts, body) = request.into_parts();
        let bytes = read_body(&parts, body, MAX_BODY, dev.fleet.config.request_timeout).await?;
        let value = if bytes.is_empty() {
            serde_json::Value::Null
        } else {
            serde_json::from_slice(&bytes).map_err(|e| {
                Error::bad_request("INVALID_JSON", format!("the body is not valid JSON: {e}"))
            })?
        };
        from_json(value).map(Input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_site_is_told_from_this_server() {
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            let pair = |(name, value): &(&'static str, &'static str)| {
                (name.parse().unwrap(), HeaderValue::from_static(value))
            };
            pairs.iter().map(pair).collect()
        };
        for (pairs, allowed) in [
            (&[][..], true),
            (&[("host", "127.0.0.1:8400")], true),
            (&[("host", "[::1]:8400")], true),
            (&[("host", "LOCALHOST:8400")], true),
            (&[("host", "evil.example:8400")], false),
            (&[("host", "localhost.evil.example")], false),
            (
                &[
                    ("host", "localhost:8400"),
                    ("origin", "http://localhost:8400"),
                ],
                true,
            ),
            (
                &[
                    ("host", "localhost:8400"),
                    ("origin", "http://localhost:3000"),
                ],
                false,
            ),
            (&[("host", "localhost:8400"), ("origin", "null")], false),
        ] {
            assert_eq!(
                check_site(true, &headers(pairs)).is_ok(),
                allowed,
                "{pairs:?}"
            );
        }
        assert!(check_site(false, &headers(&[("host", "ws.example.com")])).is_ok());
    }
}
