//! People who sign in by name: each has a row among the keys of an organization, with a secret that nobody knows. So
//! what is done by a person is done by somebody, who can be listed, disabled and revoked like a key.

use rusqlite::{OptionalExtension, named_params};
use sha2::{Digest, Sha256};

use super::rows::{audit_key, shown};
use super::types::KeyView;
use crate::access::key::{Key, KeyType};
use crate::access::person::Person;
use crate::audit::Actor;
use crate::db::topics;
use crate::error::{Error, Result};
use crate::ids::{ApiKeyId, TenantId};
use crate::json;
use crate::rules::role::{Role, scopes_of};
use crate::store::WriteTx;

/// The row of a person in an organization as it is from now on, and its secret's hash.
///
/// # Errors
/// 403 where the access was disabled or revoked here, whatever the provider says.
pub fn arrive(
    tx: &WriteTx<'_>,
    tenant: TenantId,
    person: &Person,
    roles: &[Role],
) -> Result<(Key, [u8; 32])> {
    let sql = "SELECT * FROM api_keys WHERE tenant_id = ?1 AND issuer = ?2 AND subject = ?3";
    let known = tx.row(
        sql,
        (tenant, &person.issuer, &person.subject),
        KeyView::from_row,
    );
    let id = match known.optional()? {
        Some(known) => again(tx, &known, person, roles)?,
        None => first_time(tx, tenant, person, roles)?,
    };
    // Whoever has moved to another organization is not signed in to the one before any longer.
    let sql = "DELETE FROM sessions WHERE key_id IN
             (SELECT id FROM api_keys WHERE issuer = ?1 AND subject = ?2 AND tenant_id <> ?3)";
    tx.run(sql, (&person.issuer, &person.subject, tenant))?;
    let sql =
        "SELECT k.*, t.slug AS tenant_slug FROM api_keys k JOIN tenants t ON t.id = k.tenant_id
             WHERE k.id = ?1 AND k.tenant_id = ?2";
    Ok(tx.row(sql, (id, tenant), |row| {
        Ok((Key::from_row(row)?, row.get("secret_hash")?))
    })?)
}

fn key_type(roles: &[Role]) -> KeyType {
    match roles.iter().max() {
        Some(Role::Operator) => KeyType::Platform,
        Some(Role::Admin) => KeyType::Admin,
        _ => KeyType::User,
    }
}

fn first_time(
    tx: &WriteTx<'_>,
    tenant: TenantId,
    person: &Person,
    roles: &[Role],
) -> Result<ApiKeyId> {
    let id: ApiKeyId = tx.new_id();
    // For logs: the same person is the same there, and is not named.
    let digest = Sha256::digest(format!("{} {}", person.issuer, person.subject));
    let prefix = format!("oidc_{}", data_encoding::HEXLOWER.encode(&digest[..8]));
    let sql = "INSERT INTO api_keys (id, tenant_id, name, key_type, operator, scopes, secret_hash, key_prefix, last4, status,
             created_at, updated_at, issuer, subject, email)
         VALUES (:id, :tenant, :name, :type, :operator, :scopes, :hash, :prefix, :last4, 'active', :now, :now,
             :issuer, :subject, :email)";
    tx.run(
        sql,
        named_params! {
            ":id": id, ":tenant": tenant, ":name": person.name, ":type": key_type(roles),
            ":operator": roles.contains(&Role::Operator), ":scopes": json::text(&scopes_of(roles))?,
            ":hash": tx.random::<32>()?, ":prefix": shown(&prefix).0, ":last4": shown(&prefix).1, ":now": tx.now(),
            ":issuer": person.issuer, ":subject": person.subject, ":email": person.email,
        },
    )?;
    changed(tx, tenant, id, None)?;
    Ok(id)
}

fn again(tx: &WriteTx<'_>, known: &KeyView, person: &Person, roles: &[Role]) -> Result<ApiKeyId> {
    if known.status != "active" {
        return Err(Error::denied(
            "FORBIDDEN",
            format!(
                "The access of {} to this installation is {}. Ask whoever runs it.",
                person.shown(),
                known.status
            ),
        ));
    }
    let scopes = scopes_of(roles);
    let operator = roles.contains(&Role::Operator);
    let same = (&known.name, &known.scopes, known.operator, &known.person)
        == (&person.name, &scopes, operator, &Some(person.clone()));
    if !same {
        let sql = "UPDATE api_keys SET name = ?1, email = ?2, scopes = ?3, operator = ?4, key_type = ?5, updated_at = ?6
             WHERE id = ?7 AND tenant_id = ?8";
        tx.run(
            sql,
            (
                &person.name,
                &person.email,
                json::text(&scopes)?,
                operator,
                key_type(roles),
                tx.now(),
                known.id,
                known.tenant_id,
            ),
        )?;
        changed(tx, known.tenant_id, known.id, Some(known))?;
    }
    Ok(known.id)
}

fn changed(
    tx: &WriteTx<'_>,
    tenant: TenantId,
    id: ApiKeyId,
    before: Option<&KeyView>,
) -> Result<()> {
    tx.changed(topics::KEYS);
    let sql = "SELECT * FROM api_keys WHERE id = ?1 AND tenant_id = ?2";
    let after = tx.row(sql, (id, tenant), KeyView::from_row)?;
    let kind = match before {
        Some(_) => "api_key.updated",
        None => "api_key.created",
    };
    audit_key(tx, Actor::System, kind, before, Some(&after))
}
