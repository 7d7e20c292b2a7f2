//! Who asks: the key behind `Authorization: Bearer`, what it may reach, and the scope it needs.
//!
//! Every route under `/api/v1` passes [`Auth::identify`] first: 401 comes before anything else.
//! Found keys are remembered for a moment; a change of any key through this process voids all of
//! that before its caller is answered, one made by the command line is seen within a second.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use rusqlite::OptionalExtension;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::routes::{Access, Reach};
use crate::api_keys::KeyType;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::ids::{ApiKeyId, TenantId, WorkspaceId};
use crate::sessions;
use crate::store::{Store, Tx};

/// How long a found key is believed without looking again, milliseconds: the longest that a
/// revocation by the command line, another process, can go unseen.
const BELIEVE_MS: i64 = 1000;
/// Keys remembered at the most.
const REMEMBER: usize = 10_000;

/// What a key is, as the request sees it.
#[derive(Debug)]
pub struct Key {
    /// The key's row.
    pub id: ApiKeyId,
    /// The one organization it belongs to.
    pub tenant_id: TenantId,
    /// That organization's slug.
    pub tenant_slug: String,
    /// The only workspace it reaches; `None` = all.
    pub workspace_id: Option<WorkspaceId>,
    /// The only end user whose computers it reaches; `None` = all.
    pub external_user_id: Option<String>,
    /// user, admin or platform.
    pub key_type: KeyType,
    /// May act on the installation itself.
    pub operator: bool,
    /// Empty = everything within reach.
    pub scopes: Vec<String>,
    /// First 12 characters, for logs and the audit log.
    pub prefix: String,
    /// Requests a minute; `None` = the server's default.
    pub rate_limit_rpm: Option<NonZeroU32>,
    /// From then on it is refused.
    pub expires_at: Option<Timestamp>,
}

/// True when `granted` covers `required`: the same, `*`, `area:*`, or write where read is asked.
/// An empty list covers everything.
pub fn covers(granted: &[String], required: &str) -> bool {
    granted.is_empty()
        || granted.iter().any(|scope| {
            if scope == "*" || scope == required {
                return true;
            }
            let (Some((area, verb)), Some((needed_area, needed_verb))) =
                (scope.split_once(':'), required.split_once(':'))
            else {
                return false;
            };
            // Two spellings of one scope are in use (CONTRACT §15 no. 40).
            let area = if area == "audit_log" { "audit" } else { area };
            area == needed_area
                && (verb == "*"
                    || verb == needed_verb
                    || (verb == "write" && needed_verb == "read"))
        })
}

/// The credential check, with its memory.
#[derive(Default)]
pub struct Auth {
    known: RwLock<Known>,
    /// Last use per key since the last flush: one write a minute, not one a request.
    used: Mutex<HashMap<ApiKeyId, Timestamp>>,
}

#[derive(Default)]
struct Known {
    generation: u64,
    keys: HashMap<[u8; 32], (Arc<Key>, Timestamp)>,
}

impl Auth {
    /// The key behind the request's `Authorization` header, or behind the admin page's cookie where
    /// there is no such header.
    ///
    /// # Errors
    /// 401 `invalid_token`; 403 when `X-MIOSA-Tenant` names another organization, or when another
    /// site may have sent a request with a cookie.
    pub async fn identify(
        &self,
        store: &Store,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Arc<Key>> {
        let now = store.now();
        if !headers.contains_key(AUTHORIZATION)
            && let Some(token) = sessions::cookie(headers)
        {
            sessions::check_origin(method, headers)?;
            let key = sessions::identify(store, token).await?;
            return self.admit(Arc::new(key), headers, now);
        }
        let token = bearer(headers)?;
        let hash: [u8; 32] = Sha256::digest(token).into();
        let key = match self.remembered(store, &hash, now) {
            Some(key) => key,
            None => {
                // Read before the look-up: a change in between makes what is found worthless.
                let generation = store.signals().keys_generation();
                let found = store.look_up(move |tx| find_key(tx, &hash)).await?;
                let key = Arc::new(found.ok_or_else(invalid_token)?);
                self.remember(generation, hash, key.clone(), now);
                key
            }
        };
        self.admit(key, headers, now)
    }

    /// What holds for every key, however it came.
    fn admit(&self, key: Arc<Key>, headers: &HeaderMap, now: Timestamp) -> Result<Arc<Key>> {
        if key.expires_at.is_some_and(|at| at <= now) {
            return Err(invalid_token());
        }
        if let Some(tenant) = headers.get("x-miosa-tenant") {
            let tenant = tenant.to_str().unwrap_or("");
            if !tenant.is_empty()
                && tenant != key.tenant_slug
                && !tenant.eq_ignore_ascii_case(&key.tenant_id.to_string())
            {
                return Err(Error::denied(
                    "FORBIDDEN",
                    "X-MIOSA-Tenant names an organization that this key does not belong to",
                ));
            }
        }
        self.used
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key.id, now);
        Ok(key)
    }

    fn remembered(&self, store: &Store, hash: &[u8; 32], now: Timestamp) -> Option<Arc<Key>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if known.generation != store.signals().keys_generation() {
            return None;
        }
        let (key, at) = known.keys.get(hash)?;
        // A clock that stepped back must not make an entry believable for longer.
        (at.0 <= now.0 && now.0 - at.0 < BELIEVE_MS).then(|| key.clone())
    }

    fn remember(&self, generation: u64, hash: [u8; 32], key: Arc<Key>, now: Timestamp) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.generation < generation || known.keys.len() >= REMEMBER {
            known.keys.clear();
            known.generation = known.generation.max(generation);
        }
        if known.generation == generation {
            known.keys.insert(hash, (key, now));
        }
    }

    /// Takes the uses since the last call, for [`crate::api_keys::record_uses`].
    pub fn take_uses(&self) -> HashMap<ApiKeyId, Timestamp> {
        std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner))
    }
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

impl Key {
    /// From a row of `api_keys` with its organization's slug as `tenant_slug`.
    pub(crate) fn from_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Key {
            id: row.get("id")?,
            tenant_id: row.get("tenant_id")?,
            tenant_slug: row.get("tenant_slug")?,
            workspace_id: row.get("workspace_id")?,
            external_user_id: row.get("external_user_id")?,
            key_type: row.get("key_type")?,
            operator: row.get("operator")?,
            scopes: crate::json::column(row, "scopes")?,
            prefix: row.get("key_prefix")?,
            rate_limit_rpm: row
                .get::<_, Option<i64>>("rate_limit_rpm")?
                .and_then(|rpm| NonZeroU32::new(u32::try_from(rpm).unwrap_or(u32::MAX))),
            expires_at: row.get("expires_at")?,
        })
    }
}

/// The active key whose secret has this hash; it may have expired.
///
/// # Errors
/// When the store fails.
pub fn find_key(tx: &Tx<'_>, hash: &[u8; 32]) -> Result<Option<Key>> {
    let found = tx
        .row(
            "SELECT k.*, t.slug AS tenant_slug FROM api_keys k JOIN tenants t ON t.id = k.tenant_id
             WHERE k.secret_hash = ?1 AND k.status = 'active'",
            [hash],
            |row| Ok((Key::from_row(row)?, row.get::<_, [u8; 32]>("secret_hash")?)),
        )
        .optional()?;
    Ok(found
        .filter(|(_, stored)| bool::from(stored.ct_eq(hash)))
        .map(|(key, _)| key))
}

/// Who asks, on which route, from where. Every handler has one.
#[derive(Clone)]
pub struct Caller {
    key: Arc<Key>,
    access: Access,
    request_id: Arc<str>,
    ip: Option<IpAddr>,
}

impl Caller {
    /// Somebody who acts without a request: a scenario, in the name of a key.
    pub(crate) fn without_request(key: Key, label: &str) -> Self {
        Caller {
            key: Arc::new(key),
            access: Access {
                scope: None,
                reach: Reach::Any,
                by_id: false,
                max_body: 0,
            },
            request_id: label.into(),
            ip: None,
        }
    }

    /// The organization that everything is limited to.
    pub fn tenant_id(&self) -> TenantId {
        self.key.tenant_id
    }

    /// The key's row.
    pub fn key_id(&self) -> ApiKeyId {
        self.key.id
    }

    /// The key itself.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The id of this request, as in `x-request-id`.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// The client's address.
    pub fn ip(&self) -> Option<IpAddr> {
        self.ip
    }

    /// The workspace that a limited key is limited to.
    pub fn only_workspace(&self) -> Option<WorkspaceId> {
        self.key.workspace_id
    }

    /// The end user that a delegated key is limited to.
    pub fn only_user(&self) -> Option<&str> {
        self.key.external_user_id.as_deref()
    }

    /// Whether a row of `tenant` and `workspace` may be touched by this key on this route. Every
    /// look-up of a single row ends here: 403 for what is out of reach, then the route's scope.
    ///
    /// # Errors
    /// 403.
    pub fn authorize(&self, tenant: TenantId, workspace: WorkspaceId) -> Result<()> {
        self.within_reach(tenant, workspace)?;
        self.check_scope()
    }

    /// As [`Caller::authorize`] for a second row of the same request (the target of a move).
    ///
    /// # Errors
    /// 403.
    pub fn within_reach(&self, tenant: TenantId, workspace: WorkspaceId) -> Result<()> {
        let out_of_reach = self.key.tenant_id != tenant
            || self.key.workspace_id.is_some_and(|only| only != workspace);
        if out_of_reach {
            Err(Error::forbidden())
        } else {
            Ok(())
        }
    }

    /// The scope that the route needs.
    ///
    /// # Errors
    /// 403 `insufficient_scope`.
    pub fn check_scope(&self) -> Result<()> {
        match self.access.scope {
            Some(scope) if !covers(&self.key.scopes, scope) => Err(Error::denied(
                "insufficient_scope",
                format!("this key lacks the scope {scope}"),
            )
            .with_details(serde_json::json!({ "required": scope }))),
            _ => Ok(()),
        }
    }
}

/// Put into the request by the edge.
#[derive(Clone)]
pub(crate) struct Identity {
    pub key: Arc<Key>,
    pub request_id: Arc<str>,
    pub ip: Option<IpAddr>,
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let identity = parts.extensions.get::<Identity>().cloned();
        let access = parts.extensions.get::<Access>().copied();
        let (
            Some(Identity {
                key,
                request_id,
                ip,
            }),
            Some(access),
        ) = (identity, access)
        else {
            return Err(Error::internal(
                "a handler outside the route table asked for its caller",
            ));
        };
        let caller = Caller {
            key,
            access,
            request_id,
            ip,
        };
        match access.reach {
            Reach::Operator if !caller.key.operator => {
                return Err(Error::denied(
                    "FORBIDDEN",
                    "only an operator key of this installation may do this",
                ));
            }
            Reach::Shared if caller.key.external_user_id.is_some() => {
                return Err(Error::forbidden());
            }
            Reach::Tenant
                if caller.key.workspace_id.is_some() || caller.key.external_user_id.is_some() =>
            {
                return Err(Error::forbidden());
            }
            _ => {}
        }
        // With an id in the path the row decides first (404, 403); `authorize` asks for the scope.
        if !access.by_id {
            caller.check_scope()?;
        }
        Ok(caller)
    }
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn scopes_cover_what_they_say() {
        let scopes = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (granted, required, expected) in [
            (scopes(&[]), "workspaces:write", true),
            (scopes(&["*"]), "workspaces:write", true),
            (scopes(&["workspaces:*"]), "workspaces:write", true),
            (scopes(&["workspaces:write"]), "workspaces:read", true),
            (scopes(&["workspaces:read"]), "workspaces:write", false),
            (scopes(&["computers:*"]), "workspaces:read", false),
            (scopes(&["audit_log:read"]), "audit:read", true),
            (scopes(&["nonsense"]), "workspaces:read", false),
        ] {
            assert_eq!(
                covers(&granted, required),
                expected,
                "{granted:?} {required}"
            );
        }
    }
}
