//! API keys as a request sees them.

use std::net::IpAddr;
use std::num::NonZeroU32;

use ipnet::IpNet;
use rusqlite::OptionalExtension;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::Serialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use utoipa::ToSchema;

use super::networks;
use super::person::Person;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::ids::{ApiKeyId, TenantId, WorkspaceId, parse_uuid};
use crate::store::Tx;

/// The fixed key of development mode; it has operator rights and is refused otherwise.
pub const DEV_KEY: &str = "msk_u_dev";

/// What a key is for.
#[derive(Serialize, ToSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    /// An application.
    User,
    /// A person who runs an organization.
    Admin,
    /// The operator of this installation.
    Platform,
}

impl KeyType {
    /// The word of the API and of the store.
    pub fn as_str(self) -> &'static str {
        match self {
            KeyType::User => "user",
            KeyType::Admin => "admin",
            KeyType::Platform => "platform",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [KeyType::User, KeyType::Admin, KeyType::Platform]
            .into_iter()
            .find(|t| t.as_str() == text)
    }
}

impl ToSql for KeyType {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for KeyType {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        KeyType::parse(value.as_str()?).ok_or(FromSqlError::InvalidType)
    }
}

/// The hash that a secret is stored as and found by.
pub fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// What a key is, as the request sees it.
#[derive(Debug, Clone)]
pub struct Key {
    pub id: ApiKeyId,
    /// The one organization it belongs to.
    pub tenant_id: TenantId,
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
    /// The only networks that it may be used from; empty = from everywhere.
    pub allowed_ips: Vec<IpNet>,
    /// It was found by the secret before its last one, which ends with `expires_at`.
    pub replaced: bool,
    /// Who signs in by name in its place.
    pub person: Option<Person>,
    /// The slug of its own organization, where an operator acts as another one.
    pub acts_from: Option<String>,
}

impl Key {
    /// From a row of `api_keys` with its organization's slug as `tenant_slug`.
    pub fn from_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
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
            allowed_ips: crate::json::column::<Vec<String>>(row, "allowed_ips")?
                .iter()
                .map(|text| networks::parse(text).ok_or(rusqlite::Error::InvalidQuery))
                .collect::<Result<_, _>>()?,
            replaced: false,
            person: Person::from_row(row)?,
            acts_from: None,
        })
    }

    /// The same for an organization: its own, or another one, which only an operator's is.
    pub fn acting_as(self, tenant_id: TenantId, tenant_slug: String) -> Option<Self> {
        if tenant_id == self.tenant_id {
            return Some(self);
        }
        let whole = self.workspace_id.is_none() && self.external_user_id.is_none();
        (self.operator && whole).then_some(Key {
            acts_from: Some(self.tenant_slug),
            tenant_id,
            tenant_slug,
            ..self
        })
    }

    /// What the audit log calls who has it.
    pub fn label(&self) -> &str {
        self.person
            .as_ref()
            .map_or(&self.prefix, |person| &person.name)
    }

    /// Whether it may be used from this address.
    ///
    /// # Errors
    /// 403 that says the address.
    pub fn check_address(&self, ip: Option<IpAddr>) -> Result<()> {
        if networks::is_among(&self.allowed_ips, ip) {
            return Ok(());
        }
        let from = ip.map_or_else(|| "an unknown address".to_owned(), |ip| ip.to_string());
        Err(Error::denied(
            "IP_NOT_ALLOWED",
            format!(
                "this key may not be used from {from}; its allowed_ips say from where, and behind a proxy the server's \
                 --trusted-proxy decides which address counts"
            ),
        )
        .with_details(serde_json::json!({ "address": ip })))
    }
}

/// The organization of a slug, or of an id as text.
pub fn find_organization(tx: &Tx<'_>, named: &str) -> Result<Option<(TenantId, String)>> {
    let id = parse_uuid(named).map(TenantId);
    let sql = "SELECT id, slug FROM tenants WHERE slug = ?1 OR id = ?2";
    let found = tx.row(sql, (named, id), |row| Ok((row.get(0)?, row.get(1)?)));
    Ok(found.optional()?)
}

/// The active key whose secret has this hash; it may have expired.
pub fn find_key(tx: &Tx<'_>, hash: &[u8; 32]) -> Result<Option<Key>> {
    let sql =
        "SELECT k.*, t.slug AS tenant_slug FROM api_keys k JOIN tenants t ON t.id = k.tenant_id
             WHERE k.secret_hash = ?1 AND k.status = 'active'";
    let found = tx
        .row(sql, [hash], |row| {
            Ok((Key::from_row(row)?, row.get::<_, [u8; 32]>("secret_hash")?))
        })
        .optional()?;
    match found {
        Some((key, stored)) => Ok(bool::from(stored.ct_eq(hash)).then_some(key)),
        None => find_by_previous(tx, hash),
    }
}

/// The key that had this secret before its last rotation, while that is still good.
fn find_by_previous(tx: &Tx<'_>, hash: &[u8; 32]) -> Result<Option<Key>> {
    let sql =
        "SELECT k.*, t.slug AS tenant_slug FROM api_keys k JOIN tenants t ON t.id = k.tenant_id
             WHERE k.previous_secret_hash = ?1 AND k.status = 'active' AND k.previous_until > ?2";
    let found = tx
        .row(sql, (hash, tx.now()), |row| {
            let until: Timestamp = row.get("previous_until")?;
            let stored: [u8; 32] = row.get("previous_secret_hash")?;
            Ok((Key::from_row(row)?, until, stored))
        })
        .optional()?;
    Ok(found
        .filter(|(_, _, stored)| bool::from(stored.ct_eq(hash)))
        .map(|(key, until, _)| Key {
            expires_at: Some(key.expires_at.map_or(until, |at| at.min(until))),
            replaced: true,
            ..key
        }))
}
