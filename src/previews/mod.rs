//! Preview addresses: what a computer serves, reached by a host name of its own.
//!
//! A request whose `Host` is a computer's is passed on to that computer and never reaches the API or the admin
//! page: what runs in a computer is somebody else's code, and a browser that is signed in here must not meet it
//! under a name of ours. Only where a container engine runs computers.

pub mod ask;
mod links;
mod pages;
mod pass;
pub mod ports;
mod said;
mod target;
mod tunnel;
mod used;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::uri::Authority;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;

pub use links::{Address, AddressList, Link, LinkRequest, address, addresses, link};
pub use tunnel::tunnel;

use crate::access::auth::Auth;
use crate::access::throttle::{ClientIp, Throttle};
use crate::computers::Fleet;
use crate::computers::machines::reconcile::{LOOK, bounded};
use crate::computers::machines::seam::Engine;
use crate::computers::machines::spec;
use crate::computers::start_stop::wake;
use crate::db::Store;
use crate::error::Error;
use crate::http::visit_refused;
use crate::ids::ComputerId;
use crate::rules::config::Config;
use crate::rules::status::Status;
use pages::Page;
use target::Target;
use used::Used;

/// What passes requests on to computers. Cheap to clone.
#[derive(Clone)]
pub struct Previews {
    pub store: Store,
    pub config: Arc<Config>,
    pub fleet: Fleet,
    pub auth: Arc<Auth>,
    pub throttle: Arc<Throttle>,
    pub reached: Arc<Reached>,
}

/// What is remembered of computers that were reached.
#[derive(Default)]
pub struct Reached {
    /// The container, and where it was.
    at: Mutex<HashMap<ComputerId, (String, IpAddr)>>,
    used: Used,
}

/// Takes the requests that are meant for a computer; all others go on to the API and the page.
pub async fn dispatch(State(previews): State<Previews>, request: Request, next: Next) -> Response {
    let Some(host) = host(&request) else {
        return next.run(request).await;
    };
    match target::meant(&previews.store, &previews.config, &host).await {
        Ok(target::Meant::Here) => next.run(request).await,
        Ok(target::Meant::Computer(found)) => match previews.answer(&host, found, request).await {
            Ok(response) => response,
            Err(page) => page.into_response(),
        },
        Err(e) => Page::failed(&e).into_response(),
    }
}

/// The name by which a request came, in lower case and without its port.
fn host(request: &Request) -> Option<String> {
    let named = match request.uri().authority() {
        Some(authority) => authority.clone(),
        None => {
            let name = request.headers().get(HOST)?.to_str().ok()?;
            name.parse::<Authority>().ok()?
        }
    };
    let host = named.host().trim_end_matches('.').to_ascii_lowercase();
    (!host.is_empty()).then_some(host)
}

impl Previews {
    async fn answer(
        &self,
        host: &str,
        found: Option<Target>,
        mut request: Request,
    ) -> Result<Response, Page> {
        let ip = ClientIp::of(
            request.extensions(),
            request.headers(),
            &self.config.trusted_proxies,
        )
        .0;
        self.throttle.address(ip).map_err(|e| Page::failed(&e))?;
        let target = found.ok_or_else(|| Page::no_computer(host))?;
        if target.visibility != "public"
            && let Some(welcome) = self.admit(&target, &mut request, ip).await?
        {
            return Ok(welcome);
        }
        if target.status == Status::Stopped && target.wakes {
            let (fleet, id) = (self.fleet.clone(), target.id);
            let woken = self.store.write(move |tx| wake(tx, &fleet, id)).await;
            return Err(match woken {
                Ok(()) => Page::wakes(),
                Err(e) => self.not_woken(&target, &e).await,
            });
        }
        if target.status != Status::Running {
            return Err(Page::not_running(&target));
        }
        let engine = self.fleet.engine.ready().map_err(|e| Page::failed(&e))?;
        let name = spec::name(target.id);
        let known = self.reached.at.lock().get(&target.id).cloned();
        let known = known.filter(|(of, _)| Some(of) == target.engine_ref.as_ref());
        let address = match known {
            Some((_, address)) => address,
            None => self.look(&target, &*engine, &name).await?,
        };
        let (previews, id) = (self.clone(), target.id);
        let used = move || {
            let previews = previews.clone();
            async move {
                let used = &previews.reached.used;
                used.note(&previews.store, &previews.fleet, id).await;
            }
        };
        used().await;
        let passed = pass::pass(&target, address, ip, request, used).await;
        if passed.is_err() {
            // It may have another address since it was stopped and started.
            self.reached.at.lock().remove(&target.id);
        }
        passed
    }

    /// Why a visit starts nothing. A limit of whoever has the computer is written down for them, and is none of the
    /// visitor's business.
    async fn not_woken(&self, target: &Target, error: &Error) -> Page {
        let Some(refused) = visit_refused(target.tenant, error) else {
            return Page::failed(error);
        };
        let written = self.store.write(move |tx| refused.record(tx)).await;
        if let Err(e) = written {
            tracing::warn!(error = e.message(), "a refusal was not written down");
        }
        Page::refused()
    }

    async fn look(&self, target: &Target, engine: &dyn Engine, name: &str) -> Result<IpAddr, Page> {
        let seen = bounded(LOOK, engine.inspect(name)).await;
        let seen = seen.map_err(|e| Page::unreachable(target, e.text()))?;
        let address = seen.address.ok_or_else(|| {
            Page::unreachable(target, "it is in no network that this server can reach")
        })?;
        let mut at = self.reached.at.lock();
        if at.len() > 10_000 {
            at.clear();
        }
        at.insert(target.id, (seen.id, address));
        Ok(address)
    }

    /// Lets in who may look at a computer that is not public: with a key that reaches it, or by a link. The
    /// first visit by a link is sent on to the address without it, with a cookie in its place.
    async fn admit(
        &self,
        target: &Target,
        request: &mut Request,
        ip: Option<IpAddr>,
    ) -> Result<Option<Response>, Page> {
        let headers = request.headers();
        let bearer = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        if bearer.is_some_and(|value| value.to_ascii_lowercase().starts_with("bearer msk_")) {
            let key = self
                .auth
                .identify(&self.store, request.method(), headers, ip)
                .await;
            let key = key.map_err(|e| Page::failed(&self.throttle.wrong_key(ip, e)))?;
            self.throttle.key(&key).map_err(|e| Page::failed(&e))?;
            return if target.is_reached_by(&key) {
                Ok(None)
            } else {
                Err(Page::failed(&Error::forbidden()))
            };
        }
        if let Some((token, rest)) = links::in_query(request.uri()) {
            if self.opens(target, &token).await? {
                return Ok(Some(links::welcome(&token, &rest, request.headers())));
            }
        } else if let Some(token) = links::in_cookie(headers)
            && self.opens(target, &token).await?
        {
            return Ok(None);
        }
        Err(Page::private())
    }

    async fn opens(&self, target: &Target, token: &str) -> Result<bool, Page> {
        links::opens(&self.store, target.id, token)
            .await
            .map_err(|e| Page::failed(&e))
    }
}
