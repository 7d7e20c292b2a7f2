//! Look-ups and changes of the rows.

use rusqlite::{Connection, OptionalExtension, named_params};

use super::types::*;
use crate::access::auth::Uses;
use crate::access::caller::Caller;
use crate::access::key::{DEV_KEY, KeyType, hash};
use crate::access::networks;
use crate::audit::{self, Actor, Entry};
use crate::db::topics;
use crate::error::{Error, Result};
use crate::ids::{ApiKeyId, TenantId};
use crate::json;
use crate::store::{Tx, WriteTx};

/// A secret of 40 characters out of 62, 238 random bits, behind the prefix that clients expect.
pub(super) fn new_secret(tx: &WriteTx<'_>, key_type: KeyType) -> Result<String> {
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

/// Makes a key, and writes down who did.
///
/// # Errors
/// When the store fails.
pub fn insert(
    tx: &WriteTx<'_>,
    tenant: TenantId,
    actor: Actor<'_>,
    new: NewKey,
) -> Result<NewKeyView> {
    let secret = match new.fixed {
        Some(fixed) => fixed,
        None => new_secret(tx, new.key_type)?,
    };
    let id: ApiKeyId = tx.new_id();
    let sql = "INSERT INTO api_keys (id, tenant_id, workspace_id, external_user_id, name, key_type, purpose, operator,
             scopes, secret_hash, key_prefix, last4, rate_limit_rpm, status, expires_at, created_at, updated_at,
             allowed_ips)
         VALUES (:id, :tenant, :workspace, :user, :name, :type, :purpose, :operator,
             :scopes, :hash, :prefix, :last4, :rpm, 'active', :expires, :now, :now, :ips)";
    tx.run(
        sql,
        named_params! {
            ":id": id, ":tenant": tenant, ":workspace": new.workspace_id, ":user": new.external_user_id,
            ":name": new.name, ":type": new.key_type, ":purpose": new.purpose, ":operator": new.operator,
            ":scopes": json::text(&new.scopes)?, ":hash": hash(&secret), ":prefix": shown(&secret).0,
            ":last4": shown(&secret).1, ":rpm": new.rate_limit_rpm, ":expires": new.expires_at, ":now": tx.now(),
            ":ips": json::text(&new.allowed_ips.iter().map(networks::shown).collect::<Vec<_>>())?,
        },
    )?;
    tx.changed(topics::KEYS);
    let view = load(tx, id)?.ok_or_else(|| Error::internal("a new key is not there"))?;
    audit_key(tx, actor, "api_key.created", None, Some(&view))?;
    Ok(with_secret(view, secret))
}

/// What of a secret may be shown: its first and its last characters.
pub(super) fn shown(secret: &str) -> (&str, &str) {
    (
        &secret[..secret.len().min(PREFIX)],
        &secret[secret.len().saturating_sub(4)..],
    )
}

pub(super) fn with_secret(view: KeyView, secret: String) -> NewKeyView {
    NewKeyView {
        view,
        key: secret.clone(),
        token: secret.clone(),
        secret,
    }
}

pub(super) fn load(tx: &Tx<'_>, id: ApiKeyId) -> Result<Option<KeyView>> {
    let sql = "SELECT * FROM api_keys WHERE id = ?1 AND status <> 'revoked'";
    let key = tx.row(sql, [id], KeyView::from_row).optional()?;
    Ok(key.map(|key| key.at(tx.now())))
}

/// The key with this id, if the caller may manage it: 404, 403, then the route's scope. A key that
/// is limited to a workspace manages only keys that are limited to the same one.
pub fn find(tx: &Tx<'_>, caller: &Caller, id: ApiKeyId) -> Result<KeyView> {
    let key = load(tx, id)?.ok_or_else(|| Error::not_found("API key"))?;
    let limited = caller.only_workspace();
    if key.tenant_id != caller.tenant_id() || (limited.is_some() && key.workspace_id != limited) {
        return Err(Error::forbidden());
    }
    caller.check_scope()?;
    Ok(key)
}

/// The fixed key of development mode: there in it, gone outside it.
pub fn set_dev_key(tx: &WriteTx<'_>, tenant: TenantId, dev: bool) -> Result<()> {
    let there: bool = tx.query_row(
        "SELECT EXISTS (SELECT 1 FROM api_keys WHERE secret_hash = ?1)",
        [hash(DEV_KEY)],
        |row| row.get(0),
    )?;
    if dev && !there {
        let key = NewKey {
            name: "development".into(),
            fixed: Some(DEV_KEY.to_owned()),
            ..NewKey::operator()
        };
        insert(tx, tenant, Actor::System, key)?;
    } else if there {
        let status = if dev { "active" } else { "disabled" };
        let changed = tx
            .row(
                "SELECT * FROM api_keys WHERE secret_hash = ?1 AND status <> ?2",
                (hash(DEV_KEY), status),
                KeyView::from_row,
            )
            .optional()?;
        if let Some(before) = changed {
            tx.run(
                "UPDATE api_keys SET status = ?1, updated_at = ?2 WHERE id = ?3 AND tenant_id = ?4",
                (status, tx.now(), before.id, before.tenant_id),
            )?;
            tx.changed(topics::KEYS);
            let after = load(tx, before.id)?;
            let kind = "api_key.updated";
            audit_key(tx, Actor::System, kind, Some(&before), after.as_ref())?;
        }
    }
    Ok(())
}

/// Writes down when keys were last used, and from where.
pub fn record_uses(tx: &WriteTx<'_>, uses: &Uses) -> Result<()> {
    let sql = "UPDATE api_keys SET last_used_ip = CASE WHEN ?1 >= coalesce(last_used_at, 0) THEN ?3 ELSE last_used_ip END,
             last_used_at = max(?1, coalesce(last_used_at, 0)) WHERE id = ?2";
    let mut statement = tx.prepare_cached(sql)?;
    for (id, (at, ip)) in uses {
        statement.execute((at, id, ip.map(|ip| ip.to_string())))?;
    }
    Ok(())
}

/// The keys of an organization, oldest first; for the command line.
pub fn all(tx: &Tx<'_>, tenant: Option<TenantId>) -> Result<Vec<KeyView>> {
    let mut statement = tx.prepare(
        "SELECT * FROM api_keys WHERE status <> 'revoked' AND (?1 IS NULL OR tenant_id = ?1) ORDER BY created_at, id",
    )?;
    Ok(statement
        .query_map([tenant], KeyView::from_row)?
        .collect::<Result<_, _>>()?)
}

/// Takes a key out of use for good, and writes down who did.
///
/// # Errors
/// When the store fails. False when there is no such key.
pub fn revoke_key(tx: &WriteTx<'_>, actor: Actor<'_>, id: ApiKeyId) -> Result<bool> {
    let Some(before) = load(tx, id)? else {
        return Ok(false);
    };
    tx.run(
        "UPDATE api_keys SET status = 'revoked', updated_at = ?1 WHERE id = ?2 AND tenant_id = ?3",
        (tx.now(), id, before.tenant_id),
    )?;
    tx.changed(topics::KEYS);
    audit_key(tx, actor, "api_key.revoked", Some(&before), None)?;
    Ok(true)
}

/// What became of keys since a backup holds on when it is restored: one that was revoked because it had
/// leaked does not open anything again.
pub fn carry_revocations(restored: &Connection) -> rusqlite::Result<usize> {
    // Either of the two may be older than these columns.
    let has = "SELECT count(*) FROM pragma_table_info('api_keys', ?1) WHERE name = 'allowed_ips'";
    let both = ["main", "present"].iter().try_fold(true, |both, file| {
        let n: i64 = restored.query_row(has, [file], |row| row.get(0))?;
        Ok::<_, rusqlite::Error>(both && n == 1)
    })?;
    let narrowed = if both {
        // Where it may be used from is as it is now, and so is the secret before the last rotation.
        let sql = "UPDATE api_keys SET
                 (allowed_ips, previous_secret_hash, previous_until) =
                 (SELECT allowed_ips, previous_secret_hash, previous_until FROM present.api_keys p WHERE p.id = api_keys.id)
             WHERE EXISTS (SELECT 1 FROM present.api_keys p WHERE p.id = api_keys.id
                 AND (p.allowed_ips <> api_keys.allowed_ips
                      OR p.previous_secret_hash IS NOT api_keys.previous_secret_hash))";
        restored.execute(sql, [])?
    } else {
        0
    };
    let sql = "UPDATE api_keys SET
             (status, secret_hash, key_prefix, last4, updated_at) =
             (SELECT status, secret_hash, key_prefix, last4, updated_at FROM present.api_keys p WHERE p.id = api_keys.id)
         WHERE EXISTS (SELECT 1 FROM present.api_keys p WHERE p.id = api_keys.id
             AND (p.secret_hash <> api_keys.secret_hash OR p.status <> api_keys.status AND p.status <> 'active'))";
    let revoked = restored.execute(sql, [])?;
    Ok(revoked.max(narrowed))
}

pub(super) fn audit_key(
    tx: &WriteTx<'_>,
    actor: Actor<'_>,
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
            actor,
            tenant_id: key.tenant_id,
            workspace_id: key.workspace_id,
            kind,
            resource: key.id.0,
            before,
            after,
        },
    )
}
