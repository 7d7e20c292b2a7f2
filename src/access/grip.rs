//! What a connection that stays open was opened with: it lasts as long as that opens anything.

use std::net::IpAddr;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use rusqlite::OptionalExtension;

use super::auth::Auth;
use super::caller::Caller;
use super::key::Key;
use super::session;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::{ApiKeyId, TenantId};
use crate::store::Tx;

/// A key, or a session of the admin page, and from where it was used.
#[derive(Clone)]
pub struct Grip {
    key: ApiKeyId,
    /// The session whose end is the end of the connection too.
    session: Option<[u8; 32]>,
    ip: Option<IpAddr>,
    /// For which organization: an operator's may be another one.
    organization: (TenantId, String),
    /// A secret that was replaced opens nothing from then on.
    until: Option<Timestamp>,
}

impl Grip {
    /// What a request came with.
    pub fn of(auth: &Auth, caller: &Caller, headers: &HeaderMap) -> Self {
        let session = if headers.contains_key(AUTHORIZATION) {
            None
        } else {
            let token = auth.cookies.token(headers);
            token.map(|token| session::token_hash(&token))
        };
        Grip {
            key: caller.key_id(),
            session,
            ip: caller.ip(),
            organization: (caller.tenant_id(), caller.key().tenant_slug.clone()),
            until: caller.key().expires_at.filter(|_| caller.key().replaced),
        }
    }

    /// The key as it is now, if it still opens anything from here.
    ///
    /// # Errors
    /// When the store fails.
    pub fn holds(&self, tx: &Tx<'_>) -> Result<Option<Key>> {
        let found = if let Some(token) = &self.session {
            session::find(tx, token)?.map(|(key, _)| key)
        } else if self.until.is_some_and(|until| until <= tx.now()) {
            None
        } else {
            let sql = "SELECT k.*, t.slug AS tenant_slug FROM api_keys k JOIN tenants t ON t.id = k.tenant_id
                WHERE k.id = ?1 AND k.status = 'active' AND (k.expires_at IS NULL OR k.expires_at > ?2)";
            tx.row(sql, (self.key, tx.now()), Key::from_row)
                .optional()?
        };
        let found = found.filter(|key| key.check_address(self.ip).is_ok());
        let (id, slug) = self.organization.clone();
        Ok(found.and_then(|key| key.acting_as(id, slug)))
    }
}
