//! What requests and replies look like.

use std::hash::{DefaultHasher, Hash};

use ipnet::IpNet;
use rusqlite::Row;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::key::KeyType;
use crate::access::person::Person;
use crate::access::scopes::misspelt;
use crate::clock::Timestamp;
use crate::error::Fields;
use crate::http::Versioned;
use crate::ids::{ApiKeyId, TenantId, WorkspaceId};
use crate::json::{self, Patch};

/// Characters at the beginning of a secret that may be shown, to tell keys apart.
pub(super) const PREFIX: usize = 12;
/// Scopes on one key at most.
const MAX_SCOPES: usize = 50;

/// An API key, without its secret.
#[derive(Serialize, ToSchema, Debug, Clone)]
#[schema(as = ApiKey)]
pub struct KeyView {
    /// Its id.
    pub id: ApiKeyId,
    /// The organization that it belongs to.
    pub tenant_id: TenantId,
    /// The only workspace that it reaches; null = all.
    pub workspace_id: Option<WorkspaceId>,
    /// Display name.
    pub name: String,
    /// user, admin or platform.
    pub key_type: KeyType,
    /// What it was made for.
    pub key_purpose: Option<String>,
    /// May act on the installation itself.
    pub operator: bool,
    /// First characters of the secret.
    pub key_prefix: String,
    /// The same.
    pub prefix: String,
    /// Last characters of the secret.
    pub last4: String,
    /// What it may do; empty = everything within its reach.
    pub scopes: Vec<String>,
    /// Requests a minute; null = the server's default.
    pub rate_limit_rpm: Option<i64>,
    /// active, disabled or revoked.
    pub status: String,
    /// The only end user whose computers it reaches; null = all.
    pub external_user_id: Option<String>,
    /// From then on it is refused.
    pub expires_at: Option<Timestamp>,
    /// About when it was last used.
    pub last_used_at: Option<Timestamp>,
    /// The address from which that was.
    pub last_used_ip: Option<String>,
    /// The only addresses and networks that it may be used from; empty = from everywhere.
    pub allowed_ips: Vec<String>,
    /// Until when the secret before the last rotation works, too; null = it does not.
    pub previous_secret_expires_at: Option<Timestamp>,
    /// Who signs in by name, where nobody holds a secret; left out of keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<Person>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The same.
    pub inserted_at: Timestamp,
}

impl KeyView {
    pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let key_prefix: String = row.get("key_prefix")?;
        let created_at = row.get("created_at")?;
        Ok(KeyView {
            id: row.get("id")?,
            tenant_id: row.get("tenant_id")?,
            workspace_id: row.get("workspace_id")?,
            name: row.get("name")?,
            key_type: row.get("key_type")?,
            key_purpose: row.get("purpose")?,
            operator: row.get("operator")?,
            prefix: key_prefix.clone(),
            key_prefix,
            last4: row.get("last4")?,
            scopes: json::column(row, "scopes")?,
            rate_limit_rpm: row.get("rate_limit_rpm")?,
            status: row.get("status")?,
            external_user_id: row.get("external_user_id")?,
            expires_at: row.get("expires_at")?,
            last_used_at: row.get("last_used_at")?,
            last_used_ip: row.get("last_used_ip")?,
            allowed_ips: json::column(row, "allowed_ips")?,
            previous_secret_expires_at: row.get("previous_until")?,
            person: Person::from_row(row)?,
            created_at,
            inserted_at: created_at,
        })
    }
}

impl KeyView {
    /// As it is at this instant: a secret whose time is over is none.
    pub(super) fn at(mut self, now: Timestamp) -> Self {
        self.previous_secret_expires_at = self.previous_secret_expires_at.filter(|at| *at > now);
        self
    }
}

/// A key with its secret, which is shown this once, under the three names that clients look for.
#[derive(Serialize, ToSchema, Debug, Clone)]
#[schema(as = NewApiKey)]
pub struct NewKeyView {
    #[serde(flatten)]
    pub(super) view: KeyView,
    pub(super) key: String,
    pub(super) token: String,
    pub(super) secret: String,
}

impl NewKeyView {
    /// The secret.
    pub fn secret(&self) -> &str {
        &self.secret
    }
}

/// One key under `data`, where one client looks only.
#[derive(Serialize, ToSchema)]
pub struct KeyReply {
    pub(super) data: KeyView,
}

impl Versioned for KeyReply {
    /// Not when it was last used.
    fn version(&self, hash: &mut DefaultHasher) {
        let key = &self.data;
        let secret = (&key.key_prefix, &key.last4, key.expires_at);
        (
            key.id,
            &key.name,
            &key.scopes,
            &key.status,
            &key.allowed_ips,
            secret,
        )
            .hash(hash);
    }
}

/// One new key under `data`.
#[derive(Serialize, ToSchema)]
pub struct NewKeyReply {
    pub(super) data: NewKeyView,
}

/// A key that opens nothing any more.
#[derive(Serialize, ToSchema)]
pub struct Revoked {
    pub(super) data: RevokedKey,
    pub(super) deleted: bool,
}

/// Its id and state.
#[derive(Serialize, ToSchema)]
pub struct RevokedKey {
    pub(super) id: ApiKeyId,
    pub(super) status: &'static str,
}

/// `POST /api-keys`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
#[schema(as = CreateKey)]
pub struct Create {
    /// Human-readable name, 1 to 120 characters
    #[schema(required = true, nullable = false, min_length = 1, max_length = 120)]
    pub name: Option<String>,
    /// What it may do; empty = everything that the key asking may do
    pub scopes: Option<Vec<String>>,
    /// When it ends; never if left out
    #[schema(value_type = Option<Timestamp>)]
    pub expires_at: Option<String>,
    /// user, admin or platform
    #[schema(value_type = Option<KeyType>)]
    pub key_type: Option<String>,
    /// What it is made for
    #[schema(max_length = 255)]
    pub purpose: Option<String>,
    /// Requests a minute
    #[schema(minimum = 1)]
    pub rate_limit_rpm: Option<i64>,
    /// The only workspace that it shall reach
    pub workspace_id: Option<WorkspaceId>,
    /// Addresses and networks (CIDR) that it may be used from; empty or left out: those of the key asking
    #[schema(max_items = 50)]
    pub allowed_ips: Option<Vec<String>>,
}

/// `POST /api-keys/scoped`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct CreateScoped {
    /// The end user whose computers it shall reach
    #[schema(required = true, nullable = false, min_length = 1, max_length = 255)]
    pub external_user_id: Option<String>,
    /// What it may do; at least one
    #[schema(required = true, nullable = false, min_items = 1)]
    pub scopes: Option<Vec<String>>,
    /// When it ends; never if left out
    #[schema(value_type = Option<Timestamp>)]
    pub expires_at: Option<String>,
    /// Human-readable name
    #[schema(min_length = 1, max_length = 120)]
    pub name: Option<String>,
    /// The only workspace that it shall reach
    pub workspace_id: Option<WorkspaceId>,
    /// Addresses and networks (CIDR) that it may be used from; empty or left out: those of the key asking
    #[schema(max_items = 50)]
    pub allowed_ips: Option<Vec<String>>,
}

/// `POST /api-keys/{id}/rotate`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
#[schema(as = RotateKey)]
pub struct Rotate {
    /// For so long the old secret works, too; 0, if left out, and 7 days at most
    #[schema(minimum = 0, maximum = 604800)]
    pub grace_seconds: Option<i64>,
}

/// `PATCH /api-keys/{id}`: what is left out stays as it is.
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
#[schema(as = UpdateKey)]
pub struct Update {
    /// New name
    #[schema(value_type = Option<String>, nullable = false, min_length = 1, max_length = 120)]
    pub name: Patch<String>,
    /// New scopes
    pub scopes: Option<Vec<String>>,
    /// active or disabled
    #[schema(value_type = Option<Switch>)]
    pub status: Option<String>,
    /// Addresses and networks (CIDR) that it may be used from; empty: from everywhere
    #[schema(max_items = 50)]
    pub allowed_ips: Option<Vec<String>>,
}

/// Whether a key works.
#[expect(dead_code, reason = "documents the values of a field")]
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum Switch {
    /// It works.
    Active,
    /// It is refused until it is active again.
    Disabled,
}

/// A key to be made.
pub struct NewKey {
    pub name: String,
    /// What it is for.
    pub key_type: KeyType,
    /// May act on the installation.
    pub operator: bool,
    /// Empty = everything within reach.
    pub scopes: Vec<String>,
    pub workspace_id: Option<WorkspaceId>,
    /// The only end user.
    pub external_user_id: Option<String>,
    /// What it is made for.
    pub purpose: Option<String>,
    pub rate_limit_rpm: Option<i64>,
    pub expires_at: Option<Timestamp>,
    /// The only networks that it may be used from; empty = from everywhere.
    pub allowed_ips: Vec<IpNet>,
    /// This secret instead of a random one: the fixed key of development mode, or one that was known before the
    /// first start.
    pub fixed: Option<String>,
}

impl NewKey {
    /// A user key of the whole organization with every scope.
    pub fn named(name: &str) -> Self {
        NewKey {
            name: name.to_owned(),
            key_type: KeyType::User,
            operator: false,
            scopes: Vec::new(),
            workspace_id: None,
            external_user_id: None,
            purpose: None,
            rate_limit_rpm: None,
            expires_at: None,
            allowed_ips: Vec::new(),
            fixed: None,
        }
    }

    /// The key of whoever runs this installation.
    pub fn operator() -> Self {
        NewKey {
            key_type: KeyType::Platform,
            operator: true,
            ..NewKey::named("operator")
        }
    }
}

/// A set of scopes for keys of a usual purpose.
#[derive(Serialize, ToSchema)]
pub struct Preset {
    /// What it is called.
    pub(super) name: &'static str,
    /// What it is for.
    pub(super) description: &'static str,
    /// The scopes to make a key with.
    pub(super) scopes: &'static [&'static str],
    /// Always true: an organization has none of its own here.
    pub(super) builtin: bool,
}

/// Scopes that there are, so that none restricts a key to nothing because it is misspelt.
pub fn check_scopes(fields: &mut Fields, field: &'static str, scopes: &[String]) {
    if scopes.len() > MAX_SCOPES {
        fields.push(field, format!("should be at most {MAX_SCOPES}"));
    } else if let Some(why) = scopes.iter().find_map(|scope| misspelt(scope)) {
        fields.push(field, why);
    }
}
