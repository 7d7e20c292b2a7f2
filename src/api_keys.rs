//! API keys: shown once, stored as a hash, never stronger than the key that made them.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{OptionalExtension, Row, named_params};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::app::App;
use crate::audit::{self, Actor, Entry};
use crate::clock::Timestamp;
use crate::computers::Anything;
use crate::error::{Error, Fields, Result};
use crate::http::{Caller, Key, List, Mutation, PageQuery, Params, Patch, PathId, Reply, covers};
use crate::ids::{ApiKeyId, TenantId, WorkspaceId};
use crate::store::{Tx, WriteTx};
use crate::{json, text, workspaces};

/// The fixed key of development mode; it has operator rights and is refused otherwise.
pub const DEV_KEY: &str = "msk_u_dev";
/// Characters of a secret that may be shown: CONTRACT §1.2.
const PREFIX: usize = 12;
/// Scopes on one key at the most.
const MAX_SCOPES: usize = 50;

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

    fn parse(text: &str) -> Option<Self> {
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

/// An API key, without its secret.
#[derive(Serialize, ToSchema, Debug, Clone)]
pub struct KeyView {
    /// Its id.
    pub id: ApiKeyId,
    /// Whose.
    pub tenant_id: TenantId,
    /// The only workspace that it reaches; null = all.
    pub workspace_id: Option<WorkspaceId>,
    /// For people.
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
    /// When it was made.
    pub created_at: Timestamp,
    /// The same.
    pub inserted_at: Timestamp,
}

impl KeyView {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
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
            created_at,
            inserted_at: created_at,
        })
    }
}

/// A key with its secret, which is shown this once, under the three names that clients look for.
#[derive(Serialize, ToSchema, Debug, Clone)]
pub struct NewKeyView {
    #[serde(flatten)]
    view: KeyView,
    key: String,
    token: String,
    secret: String,
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
    data: KeyView,
}

/// One new key under `data`.
#[derive(Serialize, ToSchema)]
pub struct NewKeyReply {
    data: NewKeyView,
}

/// A key that opens nothing any more.
#[derive(Serialize, ToSchema)]
pub struct Revoked {
    data: RevokedKey,
    deleted: bool,
}

/// Its id and state.
#[derive(Serialize, ToSchema)]
pub struct RevokedKey {
    id: ApiKeyId,
    status: &'static str,
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
}

/// Whether a key works.
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
    /// For people.
    pub name: String,
    /// What it is for.
    pub key_type: KeyType,
    /// May act on the installation.
    pub operator: bool,
    /// Empty = everything within reach.
    pub scopes: Vec<String>,
    /// The only workspace.
    pub workspace_id: Option<WorkspaceId>,
    /// The only end user.
    pub external_user_id: Option<String>,
    /// What it is made for.
    pub purpose: Option<String>,
    /// Requests a minute.
    pub rate_limit_rpm: Option<i64>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// This secret instead of a random one: the fixed key of development mode.
    pub fixed: Option<&'static str>,
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

/// The hash that a secret is stored as and found by.
pub fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// A secret of 40 characters out of 62, 238 random bits, behind the prefix that clients expect.
fn new_secret(tx: &WriteTx<'_>, key_type: KeyType) -> Result<String> {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut secret = String::from(if key_type == KeyType::User {
        "msk_u_"
    } else {
        "msk_a_"
    });
    while secret.len() < 46 {
        // Bytes from 248 on would favour the first characters.
        let fair = tx.random::<64>()?.into_iter().filter(|byte| *byte < 248);
        secret.extend(
            fair.take(46 - secret.len())
                .map(|byte| char::from(ALPHABET[usize::from(byte) % 62])),
        );
    }
    Ok(secret)
}

/// Makes a key.
///
/// # Errors
/// When the store fails.
pub fn insert(tx: &WriteTx<'_>, tenant: TenantId, new: NewKey) -> Result<NewKeyView> {
    let secret = match new.fixed {
        Some(fixed) => fixed.to_owned(),
        None => new_secret(tx, new.key_type)?,
    };
    let id: ApiKeyId = tx.new_id();
    tx.prepare_cached(
        "INSERT INTO api_keys (id, tenant_id, workspace_id, external_user_id, name, key_type, purpose, operator,
             scopes, secret_hash, key_prefix, last4, rate_limit_rpm, status, expires_at, created_at, updated_at)
         VALUES (:id, :tenant, :workspace, :user, :name, :type, :purpose, :operator,
             :scopes, :hash, :prefix, :last4, :rpm, 'active', :expires, :now, :now)",
    )?
    .execute(named_params! {
        ":id": id, ":tenant": tenant, ":workspace": new.workspace_id, ":user": new.external_user_id,
        ":name": new.name, ":type": new.key_type, ":purpose": new.purpose, ":operator": new.operator,
        ":scopes": json::text(&new.scopes)?, ":hash": hash(&secret), ":prefix": shown(&secret).0,
        ":last4": shown(&secret).1, ":rpm": new.rate_limit_rpm, ":expires": new.expires_at, ":now": tx.now(),
    })?;
    tx.keys_changed();
    let view = load(tx, id)?.ok_or_else(|| Error::internal("a new key is not there"))?;
    Ok(with_secret(view, secret))
}

/// What of a secret may be shown: its first and its last characters.
fn shown(secret: &str) -> (&str, &str) {
    (
        &secret[..secret.len().min(PREFIX)],
        &secret[secret.len().saturating_sub(4)..],
    )
}

fn with_secret(view: KeyView, secret: String) -> NewKeyView {
    NewKeyView {
        view,
        key: secret.clone(),
        token: secret.clone(),
        secret,
    }
}

fn load(tx: &Tx<'_>, id: ApiKeyId) -> Result<Option<KeyView>> {
    let sql = "SELECT * FROM api_keys WHERE id = ?1 AND status <> 'revoked'";
    Ok(tx
        .prepare_cached(sql)?
        .query_row([id], KeyView::from_row)
        .optional()?)
}

/// The key with this id, if the caller may manage it: 404, 403, then the route's scope. A key that
/// is limited to a workspace manages only keys that are limited to the same one.
fn find(tx: &Tx<'_>, caller: &Caller, id: ApiKeyId) -> Result<KeyView> {
    let key = load(tx, id)?.ok_or_else(|| Error::not_found("API key"))?;
    let limited = caller.only_workspace();
    if key.tenant_id != caller.tenant_id() || (limited.is_some() && key.workspace_id != limited) {
        return Err(Error::forbidden());
    }
    caller.check_scope()?;
    Ok(key)
}

/// The fixed key of development mode: there in it, gone outside it.
///
/// # Errors
/// When the store fails.
pub fn set_dev_key(tx: &WriteTx<'_>, tenant: TenantId, dev: bool) -> Result<()> {
    let there: bool = tx.query_row(
        "SELECT EXISTS (SELECT 1 FROM api_keys WHERE secret_hash = ?1)",
        [hash(DEV_KEY)],
        |row| row.get(0),
    )?;
    if dev && !there {
        insert(
            tx,
            tenant,
            NewKey {
                name: "development".into(),
                fixed: Some(DEV_KEY),
                ..NewKey::operator()
            },
        )?;
    } else if there {
        let status = if dev { "active" } else { "disabled" };
        tx.execute(
            "UPDATE api_keys SET status = ?1, updated_at = ?2 WHERE secret_hash = ?3 AND status <> ?1",
            (status, tx.now(), hash(DEV_KEY)),
        )?;
        tx.keys_changed();
    }
    Ok(())
}

/// Writes down when keys were last used.
///
/// # Errors
/// When the store fails.
pub fn record_uses(tx: &WriteTx<'_>, uses: &HashMap<ApiKeyId, Timestamp>) -> Result<()> {
    let mut statement = tx.prepare_cached(
        "UPDATE api_keys SET last_used_at = max(?1, coalesce(last_used_at, 0)) WHERE id = ?2",
    )?;
    for (id, at) in uses {
        statement.execute((at, id))?;
    }
    Ok(())
}

/// The keys of an organization, oldest first; for the command line.
///
/// # Errors
/// When the store fails.
pub fn all(tx: &Tx<'_>, tenant: Option<TenantId>) -> Result<Vec<KeyView>> {
    let mut statement = tx.prepare(
        "SELECT * FROM api_keys WHERE status <> 'revoked' AND (?1 IS NULL OR tenant_id = ?1) ORDER BY created_at, id",
    )?;
    Ok(statement
        .query_map([tenant], KeyView::from_row)?
        .collect::<Result<_, _>>()?)
}

/// Takes a key out of use for good.
///
/// # Errors
/// When the store fails. False when there is no such key.
pub fn set_revoked(tx: &WriteTx<'_>, id: ApiKeyId) -> Result<bool> {
    let done = tx.execute(
        "UPDATE api_keys SET status = 'revoked', updated_at = ?1 WHERE id = ?2 AND status <> 'revoked'",
        (tx.now(), id),
    )?;
    tx.keys_changed();
    Ok(done > 0)
}

fn audit_key(
    tx: &WriteTx<'_>,
    caller: &Caller,
    kind: &str,
    before: Option<&KeyView>,
    after: Option<&KeyView>,
) -> Result<()> {
    let Some(key) = after.or(before) else {
        return Ok(());
    };
    audit::record(
        tx,
        &Entry {
            actor: Actor::Key(caller),
            tenant_id: key.tenant_id,
            workspace_id: key.workspace_id,
            kind,
            resource: key.id.0,
            before,
            after,
        },
    )
}

// ---------------------------------------------------------------------------------------------
// No key mints a stronger one

/// Scopes of a form that a scope can have: `*`, `area:verb`, `area:*`.
fn check_scopes(fields: &mut Fields, scopes: &[String]) {
    let word = |w: &str| {
        !w.is_empty()
            && w.bytes()
                .all(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'-'))
    };
    let fits = |s: &String| {
        s == "*"
            || s.split_once(':')
                .is_some_and(|(area, verb)| word(area) && (verb == "*" || word(verb)))
    };
    if scopes.len() > MAX_SCOPES {
        fields.push("scopes", format!("should be at most {MAX_SCOPES}"));
    } else if let Some(bad) = scopes.iter().find(|s| s.len() > 64 || !fits(s)) {
        fields.push(
            "scopes",
            format!("{bad:?} is not a scope; write area:read, area:write, area:* or *"),
        );
    }
}

/// Each new scope must be covered by the maker's; all (an empty list) only by all.
fn within(maker: &Key, scopes: &[String]) -> Result<()> {
    let all = scopes.is_empty() && !maker.scopes.is_empty() && !covers(&maker.scopes, "*:*");
    match scopes.iter().find(|scope| !covers_scope(maker, scope)) {
        None if !all => Ok(()),
        beyond => Err(Error::denied(
            "insufficient_scope",
            format!(
                "a key cannot give more than it has; it lacks {}",
                beyond.map_or(
                    "some scopes: name the ones that the new key shall have",
                    String::as_str
                )
            ),
        )),
    }
}

fn covers_scope(maker: &Key, scope: &str) -> bool {
    let wanted = if scope == "*" { "*:*" } else { scope };
    covers(&maker.scopes, wanted)
}

fn expiry(
    fields: &mut Fields,
    maker: &Key,
    now: Timestamp,
    text: Option<&str>,
) -> Option<Timestamp> {
    let asked = match text.map(Timestamp::parse) {
        None => None,
        Some(Some(at)) if at > now => Some(at),
        Some(Some(_)) => {
            fields.push("expires_at", "must be in the future");
            None
        }
        Some(None) => {
            fields.push(
                "expires_at",
                "must be a time in RFC 3339, such as 2027-01-31T00:00:00Z",
            );
            None
        }
    };
    // Nor does it live longer than the key that made it.
    match (asked, maker.expires_at) {
        (Some(asked), Some(end)) => Some(asked.min(end)),
        (asked, end) => asked.or(end),
    }
}

// ---------------------------------------------------------------------------------------------
// Handlers

/// `GET /api-keys`
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    page: Params<PageQuery>,
) -> Result<Json<List<KeyView>>> {
    let page = page.get()?.page()?;
    let list = app.store.read(move |tx| {
        let condition =
            "tenant_id = ?1 AND status <> 'revoked' AND (?2 IS NULL OR workspace_id = ?2)";
        let params = (caller.tenant_id(), caller.only_workspace());
        let total = tx
            .prepare_cached(&format!("SELECT count(*) FROM api_keys WHERE {condition}"))?
            .query_row(params, |row| row.get(0))?;
        let sql = format!(
            "SELECT * FROM api_keys WHERE {condition} ORDER BY created_at, id LIMIT {} OFFSET {}",
            page.limit, page.offset
        );
        let data = tx
            .prepare(&sql)?
            .query_map(params, KeyView::from_row)?
            .collect::<Result<_, _>>()?;
        Ok(List { data, total })
    });
    Ok(Json(list.await?))
}

/// `GET /api-keys/{id}`
pub async fn show(
    State(app): State<App>,
    caller: Caller,
    PathId(id): PathId<ApiKeyId>,
) -> Result<Json<KeyReply>> {
    let data = app.store.read(move |tx| find(tx, &caller, id)).await?;
    Ok(Json(KeyReply { data }))
}

/// `POST /api-keys`
pub async fn create(request: Mutation<Create>) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let input = input?;
            let maker = caller.key();
            let mut fields = Fields::default();
            let name = text::name(&mut fields, "name", input.name.as_deref());
            let scopes = input.scopes.unwrap_or_default();
            check_scopes(&mut fields, &scopes);
            let expires_at = expiry(&mut fields, maker, tx.now(), input.expires_at.as_deref());
            text::limited(&mut fields, "purpose", input.purpose.as_deref(), 0, 255);
            let key_type = match input.key_type.as_deref() {
                None => KeyType::User,
                Some(text) => KeyType::parse(text).unwrap_or_else(|| {
                    fields.push("key_type", "must be user, admin or platform");
                    KeyType::User
                }),
            };
            if input.rate_limit_rpm.is_some_and(|n| n < 1) {
                fields.push("rate_limit_rpm", "must be 1 or more");
            }
            fields.finish()?;
            if key_type == KeyType::Platform && !maker.operator {
                return Err(Error::denied(
                    "FORBIDDEN",
                    "only an operator key can make a platform key",
                ));
            }
            let new = NewKey {
                name,
                key_type,
                operator: key_type == KeyType::Platform,
                scopes,
                workspace_id: input.workspace_id,
                purpose: input.purpose,
                rate_limit_rpm: input.rate_limit_rpm,
                expires_at,
                ..NewKey::named("")
            };
            mint(tx, caller, new)
        })
        .await
}

/// `POST /api-keys/scoped`
pub async fn create_scoped(request: Mutation<CreateScoped>) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let input = input?;
            let mut fields = Fields::default();
            let user = input
                .external_user_id
                .as_deref()
                .map(str::trim)
                .filter(|user| !user.is_empty());
            if user.is_none() {
                fields.push("external_user_id", "can't be blank");
            }
            text::external_id(&mut fields, "external_user_id", user);
            let scopes = input.scopes.unwrap_or_default();
            if scopes.is_empty() {
                fields.push(
                    "scopes",
                    "can't be blank: a key for an end user names what it may do",
                );
            }
            check_scopes(&mut fields, &scopes);
            let expires_at = expiry(
                &mut fields,
                caller.key(),
                tx.now(),
                input.expires_at.as_deref(),
            );
            let default = user.map(|user| user.chars().take(text::MAX_NAME).collect::<String>());
            let name = text::name(
                &mut fields,
                "name",
                input.name.as_deref().or(default.as_deref()),
            );
            fields.finish()?;
            let new = NewKey {
                name,
                scopes,
                workspace_id: input.workspace_id,
                external_user_id: user.map(str::to_owned),
                expires_at,
                ..NewKey::named("")
            };
            mint(tx, caller, new)
        })
        .await
}

/// Makes a key that is no stronger than the caller's.
fn mint(tx: &WriteTx<'_>, caller: &Caller, mut new: NewKey) -> Result<Reply<NewKeyReply>> {
    let maker = caller.key();
    within(maker, &new.scopes)?;
    if new.scopes.is_empty() {
        new.scopes.clone_from(&maker.scopes);
    }
    match new.workspace_id {
        Some(id) => drop(workspaces::reach(tx, caller, id)?),
        None => new.workspace_id = maker.workspace_id,
    }
    // An operator key of one workspace would reach the whole installation.
    new.operator &= new.workspace_id.is_none();
    let data = insert(tx, caller.tenant_id(), new)?;
    audit_key(tx, caller, "api_key.created", None, Some(&data.view))?;
    Ok(Reply::created(NewKeyReply { data }).secret())
}

/// `PATCH /api-keys/{id}`
pub async fn update(PathId(id): PathId<ApiKeyId>, request: Mutation<Update>) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let before = find(tx, caller, id)?;
            let input = input?;
            let mut fields = Fields::default();
            let name = match input.name {
                Patch::Absent => before.name.clone(),
                given => text::name(&mut fields, "name", given.value().map(String::as_str)),
            };
            if let Some(scopes) = &input.scopes {
                check_scopes(&mut fields, scopes);
            }
            if input
                .status
                .as_deref()
                .is_some_and(|s| s != "active" && s != "disabled")
            {
                fields.push(
                    "status",
                    "must be active or disabled; DELETE revokes for good",
                );
            }
            fields.finish()?;
            not_stronger(caller, &before)?;
            if let Some(scopes) = &input.scopes {
                within(caller.key(), scopes)?;
            }
            let scopes = input.scopes.unwrap_or_else(|| before.scopes.clone());
            let status = input.status.unwrap_or_else(|| before.status.clone());
            tx.prepare_cached(
                "UPDATE api_keys SET name = ?1, scopes = ?2, status = ?3, updated_at = ?4
                 WHERE id = ?5 AND tenant_id = ?6",
            )?
            .execute((
                name,
                json::text(&scopes)?,
                status,
                tx.now(),
                id,
                caller.tenant_id(),
            ))?;
            tx.keys_changed();
            let data = load(tx, id)?.ok_or_else(|| Error::not_found("API key"))?;
            audit_key(tx, caller, "api_key.updated", Some(&before), Some(&data))?;
            Ok(Reply::ok(KeyReply { data }))
        })
        .await
}

/// Changing or rotating a key is as good as having it.
fn not_stronger(caller: &Caller, key: &KeyView) -> Result<()> {
    if key.operator && !caller.key().operator {
        return Err(Error::denied(
            "FORBIDDEN",
            "only an operator key can change an operator key",
        ));
    }
    within(caller.key(), &key.scopes)
}

/// `POST /api-keys/{id}/rotate`
pub async fn rotate(PathId(id): PathId<ApiKeyId>, request: Mutation<Anything>) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let before = find(tx, caller, id)?;
            input?;
            not_stronger(caller, &before)?;
            let secret = new_secret(tx, before.key_type)?;
            tx.prepare_cached(
                "UPDATE api_keys SET secret_hash = ?1, key_prefix = ?2, last4 = ?3, updated_at = ?4
                 WHERE id = ?5 AND tenant_id = ?6",
            )?
            .execute((
                hash(&secret),
                shown(&secret).0,
                shown(&secret).1,
                tx.now(),
                id,
                caller.tenant_id(),
            ))?;
            tx.keys_changed();
            let view = load(tx, id)?.ok_or_else(|| Error::not_found("API key"))?;
            audit_key(tx, caller, "api_key.rotated", Some(&before), Some(&view))?;
            Ok(Reply::ok(NewKeyReply {
                data: with_secret(view, secret),
            })
            .secret())
        })
        .await
}

/// `DELETE /api-keys/{id}`
pub async fn revoke(PathId(id): PathId<ApiKeyId>, request: Mutation<Anything>) -> Result<Response> {
    request
        .run(move |tx, caller, _| {
            let before = find(tx, caller, id)?;
            if before.operator && !caller.key().operator {
                return Err(Error::denied(
                    "FORBIDDEN",
                    "only an operator key can revoke an operator key",
                ));
            }
            set_revoked(tx, id)?;
            audit_key(tx, caller, "api_key.revoked", Some(&before), None)?;
            Ok(Reply::ok(Revoked {
                data: RevokedKey {
                    id,
                    status: "revoked",
                },
                deleted: true,
            }))
        })
        .await
}
