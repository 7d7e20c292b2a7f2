//! What a new installation needs.

use crate::access::key::{DEV_KEY, find_key, hash};
use crate::api_keys::{self, NewKey};
use crate::audit::Actor;
use crate::ids::ApiKeyId;
use crate::rules::config::ConfigFile;
use crate::store::WriteTx;
use crate::tenants;

/// Whether anybody has ever used a key of this installation.
fn was_used(tx: &WriteTx<'_>) -> crate::error::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM api_keys WHERE last_used_at IS NOT NULL)
             OR EXISTS (SELECT 1 FROM audit_log WHERE actor_type = 'api_key')";
    Ok(tx.query_row(sql, [], |row| row.get(0))?)
}

/// Whether this is the key of an operator, who then needs no other.
fn is_operators(tx: &WriteTx<'_>, key: &str) -> bool {
    let found = find_key(tx, &hash(key));
    found.is_ok_and(|found| found.is_some_and(|key| key.operator))
}

/// Makes what a new installation needs. Returns the key to be shown, if there is one to show: the
/// first one, another one as long as none was ever used, the fixed one of development mode, or a new one
/// where nobody could act otherwise. One that was `given` for the first start is shown by nobody.
pub(crate) fn first_start(
    tx: &WriteTx<'_>,
    file: &ConfigFile,
    dev: bool,
    given: Option<String>,
) -> crate::error::Result<Option<String>> {
    let first = tenants::first(tx)?;
    let Some(tenant) = first else {
        let known = given.is_some();
        let fixed = given.or_else(|| dev.then(|| DEV_KEY.to_owned()));
        let key = NewKey {
            fixed,
            ..NewKey::operator()
        };
        let new = tenants::insert(
            tx,
            file,
            Actor::Operator,
            "Default organization",
            "default",
            0,
            key,
        )?;
        return Ok((!known).then(|| new.key.secret().to_owned()));
    };
    api_keys::set_dev_key(tx, tenant, dev)?;
    if dev {
        return Ok(Some(DEV_KEY.to_owned()));
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM api_keys WHERE operator = 1 AND status = 'active' AND subject IS NULL
             AND (expires_at IS NULL OR expires_at > ?1))";
    let operator: bool = tx.query_row(sql, [tx.now()], |row| row.get(0))?;
    if operator && (was_used(tx)? || given.is_some_and(|key| is_operators(tx, &key))) {
        return Ok(None);
    }
    // Whoever was shown a key may not have seen it, or may have it still: the last one stays.
    let name = NewKey::operator().name;
    let sql = "SELECT id FROM api_keys WHERE operator = 1 AND name = ?1 AND status = 'active' AND last_used_at IS NULL
             AND id NOT IN (SELECT id FROM api_keys WHERE operator = 1 AND name = ?1
                 ORDER BY created_at DESC, id DESC LIMIT 1)";
    let shown: Vec<ApiKeyId> = tx
        .prepare(sql)?
        .query_map([&name], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for id in shown {
        api_keys::revoke_key(tx, Actor::System, id)?;
    }
    Ok(Some(
        api_keys::insert(tx, tenant, Actor::Operator, NewKey::operator())?
            .secret()
            .to_owned(),
    ))
}
