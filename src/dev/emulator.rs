//! What the emulator holds over a running service, and which requests it listens to.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use axum::extract::{FromRequest, Request};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, Method, Uri, Version};
use data_encoding::HEXLOWER;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use subtle::ConstantTimeEq;

use super::compat::Compat;
use super::faults::Faults;
use crate::access::auth::Auth;
use crate::access::own_host;
use crate::clock::Timestamp;
use crate::computers::Fleet;
use crate::db::Store;
use crate::error::{Error, Result};
use crate::http::{Known, MAX_BODY, Recorder, Used, body_patience, from_json, read_body};
use crate::outbox::events::Streams;
use crate::outbox::webhooks::deliver::Outbox;
use crate::rules::public_url::is_same;

/// The emulator over a running service. Cheap to clone.
#[derive(Clone)]
pub struct Emulator(Arc<Inner>);

impl Deref for Emulator {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// The link that has not been visited yet.
#[derive(Default)]
pub struct LoginLinks(Mutex<Option<String>>);

impl LoginLinks {
    /// Makes the link good; returns its path.
    pub fn allow(&self, random: [u8; 32]) -> String {
        let token = HEXLOWER.encode(&random);
        let path = format!("/_dev/visit/{token}");
        *self.0.lock() = Some(token);
        path
    }

    pub fn take(&self, given: &str) -> bool {
        let mut token = self.0.lock();
        let fits = token
            .as_ref()
            .is_some_and(|token| token.as_bytes().ct_eq(given.as_bytes()).into());
        if fits {
            *token = None;
        }
        fits
    }
}

/// Methods and paths of the route table.
pub type Routes = Vec<(Method, &'static str)>;

/// The parts of an [`Emulator`].
pub struct Inner {
    pub store: Store,
    pub fleet: Fleet,
    pub auth: Arc<Auth>,
    pub outbox: Outbox,
    pub streams: Arc<Streams>,
    pub routes: OnceLock<Routes>,
    pub started_at: Timestamp,
    /// Held while the clock is moved or the database replaced: one of them at a time.
    pub moving: tokio::sync::Mutex<()>,
    /// Links that sign in once.
    pub login_links: LoginLinks,
    /// Rules that spoil answers.
    pub faults: Arc<Faults>,
    /// What was used of the API.
    pub compat: Compat,
}

impl Emulator {
    /// Over the parts of a service, with the rules that its driver asks too.
    pub fn new(
        store: Store,
        fleet: Fleet,
        auth: Arc<Auth>,
        outbox: Outbox,
        streams: Arc<Streams>,
        faults: Arc<Faults>,
    ) -> Self {
        Emulator(Arc::new(Inner {
            started_at: store.now(),
            store,
            fleet,
            auth,
            outbox,
            streams,
            faults,
            routes: OnceLock::new(),
            moving: tokio::sync::Mutex::default(),
            login_links: LoginLinks::default(),
            compat: Compat::default(),
        }))
    }
}

impl Emulator {
    /// What the route table has: rules name routes, and requests are told apart by them.
    pub fn set_routes(&self, routes: Routes) {
        let _ = self.routes.set(routes);
    }

    pub fn routes(&self) -> &[(Method, &'static str)] {
        self.routes.get().map_or(&[], Vec::as_slice)
    }
}

impl Recorder for Emulator {
    fn names(&self, route: &Known, used: &Used) {
        self.compat.names(route, used);
    }
}

/// Runs `f` to its end even if the client leaves meanwhile: half way, the clock would be left standing
/// still, and an emptied database without a key.
pub async fn to_its_end<T: Send + 'static>(
    f: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    tokio::spawn(f)
        .await
        .unwrap_or_else(|e| Err(Error::internal(format!("did not come to its end: {e}"))))
}

/// A browser names the page that asks in `Origin`, and in `Host` the name by which it reached this
/// server: another site's page has a foreign origin, or a name of its own that was made to lead here.
pub fn check_site(own: Option<&[String]>, headers: &HeaderMap) -> Result<()> {
    let text = |name| {
        headers
            .get(name)
            .map(|v: &HeaderValue| v.to_str().unwrap_or("?"))
    };
    let host = text(HOST).unwrap_or("");
    if text(ORIGIN).is_some_and(|origin| !is_same(origin, host)) {
        return Err(Error::denied(
            "FORBIDDEN",
            "this is for programs and for this server's own pages; reach it as 127.0.0.1 or localhost",
        ));
    }
    own_host::check(Version::HTTP_11, &Uri::default(), headers, false, own)
}

/// A JSON body.
pub struct Input<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Emulator> for Input<T> {
    type Rejection = Error;

    async fn from_request(request: Request, dev: &Emulator) -> Result<Self> {
        let (parts, body) = request.into_parts();
        let patience = body_patience(dev.fleet.config.request_timeout);
        let bytes = read_body(&parts, body, MAX_BODY, patience).await?;
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
                check_site(Some(&[]), &headers(pairs)).is_ok(),
                allowed,
                "{pairs:?}"
            );
        }
        assert!(check_site(None, &headers(&[("host", "ws.example.com")])).is_ok());
    }
}
