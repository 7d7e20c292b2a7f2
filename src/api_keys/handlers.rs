//! The endpoints.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use ipnet::IpNet;
use rusqlite::{ToSql, named_params};

use super::rows::*;
use super::types::*;
use crate::access::caller::Caller;
use crate::access::key::{Key, KeyType, hash};
use crate::access::networks;
use crate::access::scopes::covers;
use crate::audit::Actor;
use crate::clock::Timestamp;
use crate::db::{Store, topics};
use crate::error::{Error, Fields, Result};
use crate::http::cursor::Order;
use crate::http::{
    List, Look, Mutation, NoBody, Page, PageQuery, Params, PathId, Reply, Seen, Single,
};
use crate::ids::ApiKeyId;
use crate::json::{self, Patch};
use crate::rules::grace::grace_ms;
use crate::rules::text;
use crate::store::WriteTx;
use crate::workspaces;

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

/// Nor is it good at addresses where the maker is not.
fn within_networks(maker: &Key, networks: &[IpNet]) -> Result<()> {
    if networks::within(&maker.allowed_ips, networks) {
        return Ok(());
    }
    let own: Vec<String> = maker.allowed_ips.iter().map(networks::shown).collect();
    Err(Error::denied(
        "FORBIDDEN",
        format!(
            "a key that is bound to addresses manages only keys that are bound to some of them: {}",
            own.join(", ")
        ),
    ))
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

/// `GET /api-keys`
pub async fn list(
    State(store): State<Store>,
    caller: Caller,
    page: Params<PageQuery>,
) -> Result<List<KeyView>> {
    let page = page.get()?.page()?;
    let list = store.read(move |tx| {
        let condition =
            "tenant_id = :tenant AND status <> 'revoked' AND (:workspace IS NULL OR workspace_id = :workspace)";
        let params = (caller.tenant_id(), caller.only_workspace());
        let total = tx
            .prepare_cached(&format!("SELECT count(*) FROM api_keys WHERE {condition}"))?
            .query_row(
                named_params! { ":tenant": params.0, ":workspace": params.1 },
                |row| row.get(0),
            )?;
        let order = Order {
            columns: &["created_at", "id"],
            descending: false,
        };
        let mut condition = condition.to_owned();
        let mut params: Vec<(&str, &dyn ToSql)> =
            vec![(":tenant", &params.0), (":workspace", &params.1)];
        page.narrow(&order, &mut condition, &mut params)?;
        let sql = format!(
            "SELECT * FROM api_keys WHERE {condition} ORDER BY {} {}",
            order.sql(),
            Page::SQL
        );
        let data: Vec<KeyView> = tx
            .prepare(&sql)?
            .query_map(params.as_slice(), |row| {
                Ok(KeyView::from_row(row)?.at(tx.now()))
            })?
            .collect::<Result<_, _>>()?;
        let next = page.next(tx, &order, "api_keys", &data, |last| ("id", &last.id))?;
        Ok(page.linked(data, total, next))
    });
    list.await
}

/// `GET /api-keys/presets`
pub async fn presets(_: Caller) -> Json<List<Preset>> {
    let preset = |name, description, scopes| Preset {
        name,
        description,
        scopes,
        builtin: true,
    };
    Json(List::whole(vec![
        preset(
            "full-access",
            "Everything within the reach of the key",
            &["*"],
        ),
        preset(
            "read-only",
            "Looks at everything but API keys, changes nothing",
            &[
                "workspaces:read",
                "projects:read",
                "computers:read",
                "usage:read",
                "audit:read",
                "webhooks:read",
            ],
        ),
        preset(
            "developer",
            "Makes and runs computers in the workspaces that there are",
            &[
                "workspaces:read",
                "projects:write",
                "computers:write",
                "usage:read",
            ],
        ),
        preset(
            "billing",
            "Reads usage and credits, and the names of what they belong to",
            &["workspaces:read", "projects:read", "usage:read"],
        ),
        preset(
            "agent",
            "Reports what external computers do",
            &["computers:write"],
        ),
    ]))
}

/// `GET /api-keys/{id}`
pub async fn show(
    State(store): State<Store>,
    caller: Caller,
    PathId(id): PathId<ApiKeyId>,
) -> Result<Single<KeyReply>> {
    let data = store.read(move |tx| find(tx, &caller, id)).await?;
    Ok(Single(KeyReply { data }))
}

/// A key as it is, for `If-Match`.
pub fn look() -> Look {
    Arc::new(|tx, caller, id| {
        let data = find(tx, caller, ApiKeyId(id))?;
        Seen::of(&KeyReply { data })
    })
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
            check_scopes(&mut fields, "scopes", &scopes);
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
            let allowed_ips = networks::read(
                &mut fields,
                "allowed_ips",
                &input.allowed_ips.unwrap_or_default(),
            );
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
                allowed_ips,
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
            check_scopes(&mut fields, "scopes", &scopes);
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
            let allowed_ips = networks::read(
                &mut fields,
                "allowed_ips",
                &input.allowed_ips.unwrap_or_default(),
            );
            fields.finish()?;
            let new = NewKey {
                name,
                scopes,
                workspace_id: input.workspace_id,
                external_user_id: user.map(str::to_owned),
                expires_at,
                allowed_ips,
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
    if new.allowed_ips.is_empty() {
        new.allowed_ips.clone_from(&maker.allowed_ips);
    }
    within_networks(maker, &new.allowed_ips)?;
    match new.workspace_id {
        Some(id) => drop(workspaces::reach(tx, caller, id)?),
        None => new.workspace_id = maker.workspace_id,
    }
    // An operator key of one workspace would reach the whole installation.
    new.operator &= new.workspace_id.is_none();
    let data = insert(tx, caller.tenant_id(), Actor::Key(caller), new)?;
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
                check_scopes(&mut fields, "scopes", scopes);
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
            let allowed_ips = match &input.allowed_ips {
                Some(given) => networks::read(&mut fields, "allowed_ips", given),
                None => networks_of(&before),
            };
            fields.finish()?;
            not_stronger(caller, &before)?;
            within_networks(caller.key(), &allowed_ips)?;
            if let Some(scopes) = &input.scopes {
                within(caller.key(), scopes)?;
                is_key(&before)?;
            }
            let scopes = input.scopes.unwrap_or_else(|| before.scopes.clone());
            let status = input.status.unwrap_or_else(|| before.status.clone());
            let sql = "UPDATE api_keys SET name = ?1, scopes = ?2, status = ?3, updated_at = ?4, allowed_ips = ?7
                 WHERE id = ?5 AND tenant_id = ?6";
            tx.run(
                sql,
                (
                    name,
                    json::text(&scopes)?,
                    status,
                    tx.now(),
                    id,
                    caller.tenant_id(),
                    json::text(&allowed_ips.iter().map(networks::shown).collect::<Vec<_>>())?,
                ),
            )?;
            tx.changed(topics::KEYS);
            let data = load(tx, id)?.ok_or_else(|| Error::not_found("API key"))?;
            audit_key(
                tx,
                Actor::Key(caller),
                "api_key.updated",
                Some(&before),
                Some(&data),
            )?;
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
    within_networks(caller.key(), &networks_of(key))?;
    within(caller.key(), &key.scopes)
}

/// What a person may do is the sign-in provider's to say, and there is no secret.
fn is_key(key: &KeyView) -> Result<()> {
    match &key.person {
        None => Ok(()),
        Some(person) => Err(Error::conflict(
            "IS_A_PERSON",
            format!(
                "{} signs in by name: role and secret are with the sign-in provider; disable or revoke the access here, or change it there",
                person.name
            ),
        )),
    }
}

fn networks_of(key: &KeyView) -> Vec<IpNet> {
    let texts = key.allowed_ips.iter();
    texts.filter_map(|text| networks::parse(text)).collect()
}

/// `POST /api-keys/{id}/rotate`
pub async fn rotate(PathId(id): PathId<ApiKeyId>, request: Mutation<Rotate>) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let before = find(tx, caller, id)?;
            let grace = grace_ms(input?.grace_seconds)?;
            not_stronger(caller, &before)?;
            is_key(&before)?;
            let secret = new_secret(tx, before.key_type)?;
            let sql = "UPDATE api_keys SET secret_hash = ?1, key_prefix = ?2, last4 = ?3, updated_at = ?4,
                     previous_secret_hash = CASE WHEN ?7 IS NOT NULL THEN secret_hash END, previous_until = ?7
                 WHERE id = ?5 AND tenant_id = ?6";
            tx.run(
                sql,
                (
                    hash(&secret),
                    shown(&secret).0,
                    shown(&secret).1,
                    tx.now(),
                    id,
                    caller.tenant_id(),
                    grace.map(|grace| tx.now().plus_ms(grace)),
                ),
            )?;
            tx.changed(topics::KEYS);
            let view = load(tx, id)?.ok_or_else(|| Error::not_found("API key"))?;
            audit_key(
                tx,
                Actor::Key(caller),
                "api_key.rotated",
                Some(&before),
                Some(&view),
            )?;
            Ok(Reply::ok(NewKeyReply {
                data: with_secret(view, secret),
            })
            .secret())
        })
        .await
}

/// `DELETE /api-keys/{id}`
pub async fn revoke(PathId(id): PathId<ApiKeyId>, request: Mutation<NoBody>) -> Result<Response> {
    request
        .run(move |tx, caller, _| {
            let before = find(tx, caller, id)?;
            if before.operator && !caller.key().operator {
                return Err(Error::denied(
                    "FORBIDDEN",
                    "only an operator key can revoke an operator key",
                ));
            }
            within(caller.key(), &before.scopes)?;
            revoke_key(tx, Actor::Key(caller), id)?;
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
