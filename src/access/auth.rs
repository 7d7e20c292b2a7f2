//! Who asks: the key behind `Authorization: Bearer`, what it may reach, and the scope it needs.
//!
//! Every route under `/api/v1` passes [`Auth::identify`] first: 401 comes before anything else.
//! Found keys are remembered for a moment; a change of any key through this process voids all of
//! that before its caller is answered, one made by the command line is seen within a second.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Method};
use parking_lot::{Mutex, RwLock};
use sha2::{Digest, Sha256};

use super::key::{Key, find_key, find_organization};
use super::session::{self, Cookies};
use crate::clock::Timestamp;
use crate::db::{Store, topics};
use crate::error::{Error, Result};
use crate::ids::ApiKeyId;

/// How long a found key is believed without looking again, milliseconds: the longest that a
/// revocation by the command line, another process, can go unseen.
const BELIEVE_MS: i64 = 1000;
/// Which organization a request is about.
pub const TENANT: &str = "x-miosa-tenant";
/// Keys remembered at most.
const REMEMBER: usize = 10_000;

/// When keys were last used, and from where.
pub type Uses = HashMap<ApiKeyId, (Timestamp, Option<IpAddr>)>;

/// The credential check, with its memory.
#[derive(Default)]
pub struct Auth {
    /// The sign-in sessions of the admin page.
    pub cookies: Cookies,
    known: RwLock<Known>,
    /// Last use per key since the last flush: one write a minute, not one a request.
    used: Mutex<Uses>,
    first_use: AtomicBool,
}

#[derive(Default)]
struct Known {
    generation: u64,
    keys: HashMap<[u8; 32], (Arc<Key>, Timestamp)>,
}

impl Auth {
    /// With the cookie of this installation.
    pub fn new(cookies: Cookies) -> Self {
        Auth {
            cookies,
            ..Auth::default()
        }
    }

    /// The key behind the request's `Authorization` header, or behind the admin page's cookie where
    /// there is no such header.
    ///
    /// # Errors
    /// 401 `invalid_token`; 403 when `X-MIOSA-Tenant` names another organization and the key is not an operator's, or when
    /// another site may have sent a request with a cookie, or the key is bound to other addresses.
    pub async fn identify(
        &self,
        store: &Store,
        method: &Method,
        headers: &HeaderMap,
        ip: Option<IpAddr>,
    ) -> Result<Arc<Key>> {
        let now = store.now();
        if !headers.contains_key(AUTHORIZATION)
            && let Some(token) = self.cookies.token(headers)
        {
            self.cookies.check_origin(method, headers)?;
            let key = session::identify(store, &token).await?;
            return self.admit(store, Arc::new(key), headers, ip, now).await;
        }
        let token = bearer(headers)?;
        let hash: [u8; 32] = Sha256::digest(token).into();
        let key = match self.remembered(store, &hash, now) {
            Some(key) => key,
            None => {
                // Read before the look-up: a change in between makes what is found worthless.
                let generation = store.signals().changes(topics::KEYS);
                let found = store.look_up(move |tx| find_key(tx, &hash)).await?;
                let key = Arc::new(found.ok_or_else(invalid_token)?);
                self.remember(generation, hash, key.clone(), now);
                key
            }
        };
        self.admit(store, key, headers, ip, now).await
    }

    /// What holds for every key, however it came.
    async fn admit(
        &self,
        store: &Store,
        key: Arc<Key>,
        headers: &HeaderMap,
        ip: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Arc<Key>> {
        if key.expires_at.is_some_and(|at| at <= now) {
            return Err(invalid_token());
        }
        key.check_address(ip)?;
        self.used.lock().insert(key.id, (now, ip));
        let named = headers
            .get(TENANT)
            .map(|value| value.to_str().unwrap_or("?"));
        match named.filter(|named| !is_own(&key, named)) {
            None => Ok(key),
            Some(named) => elsewhere(store, &key, named).await.map(Arc::new),
        }
    }

    fn remembered(&self, store: &Store, hash: &[u8; 32], now: Timestamp) -> Option<Arc<Key>> {
        let known = self.known.read();
        if known.generation != store.signals().changes(topics::KEYS) {
            return None;
        }
        let (key, at) = known.keys.get(hash)?;
        // A clock that stepped back must not make an entry believable for longer.
        (at.0 <= now.0 && now.0 - at.0 < BELIEVE_MS).then(|| key.clone())
    }

    fn remember(&self, generation: u64, hash: [u8; 32], key: Arc<Key>, now: Timestamp) {
        let mut known = self.known.write();
        if known.generation < generation || known.keys.len() >= REMEMBER {
            known.keys.clear();
            known.generation = known.generation.max(generation);
        }
        if known.generation == generation {
            known.keys.insert(hash, (key, now));
        }
    }

    /// Nobody has used a key of this installation yet: the first use is to be written down at once.
    pub fn expect_first_use(&self) {
        self.first_use.store(true, Ordering::Relaxed);
    }

    /// Whether this is that use.
    pub fn is_first_use(&self) -> bool {
        self.first_use.load(Ordering::Relaxed) && self.first_use.swap(false, Ordering::Relaxed)
    }

    /// Takes the uses since the last call, for [`crate::api_keys::record_uses`].
    pub fn take_uses(&self) -> Uses {
        std::mem::take(&mut *self.used.lock())
    }
}

/// Whether an organization is that of the key; no name names it, too.
fn is_own(key: &Key, named: &str) -> bool {
    named.is_empty()
        || named == key.tenant_slug
        || named.eq_ignore_ascii_case(&key.tenant_id.to_string())
}

/// The key of an operator, who acts as another organization.
async fn elsewhere(store: &Store, key: &Key, named: &str) -> Result<Key> {
    let refused = |text| Err(Error::denied("FORBIDDEN", text));
    if !key.operator {
        return refused("X-MIOSA-Tenant names an organization that this key does not belong to");
    }
    let asked = named.to_owned();
    let found = store
        .look_up(move |tx| find_organization(tx, &asked))
        .await?;
    match found.and_then(|(id, slug)| key.clone().acting_as(id, slug)) {
        Some(key) => Ok(key),
        None => refused("X-MIOSA-Tenant names no organization of this installation"),
    }
}

/// The hash of the key that a request shows itself.
///
/// # Errors
/// 401 where it shows none.
pub fn shown_key(headers: &HeaderMap) -> Result<[u8; 32]> {
    bearer(headers).map(|token| Sha256::digest(token).into())
}

fn bearer(headers: &HeaderMap) -> Result<&str> {
    let missing = || Error::unauthorized("send an API key: Authorization: Bearer msk_...");
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values
        .next()
        .ok_or_else(missing)?
        .to_str()
        .map_err(|_| missing())?;
    if values.next().is_some() {
        return Err(Error::unauthorized(
            "there is more than one Authorization header",
        ));
    }
    match value.split_once(' ') {
        Some((scheme, token))
            if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() =>
        {
            Ok(token.trim())
        }
        _ => Err(missing()),
    }
}

fn invalid_token() -> Error {
    Error::unauthorized("the API key is unknown, revoked or expired")
}
