//! What a new installation needs.

use crate::access::key::DEV_KEY;
use crate::api_keys::{self, NewKey};
use crate::audit::Actor;
use crate::rules::config::ConfigFile;
use crate::store::WriteTx;
use crate::tenants;

/// Whether anybody has ever used a key of this installation.
fn was_used(tx: &WriteTx<'_>) -> crate::error::Result<bool> {
    Ok(tx.query_row(
        "SELECT EXISTS (SELECT 1 FROM api_keys WHERE last_used_at IS NOT NULL)
             OR EXISTS (SELECT 1 FROM audit_log WHERE actor_type = 'api_key')",
        [],
        |row| row.get(0),
    )?)
}

/// Makes what a new installation needs. Returns the key to be shown, if there is one to show: the
/// first one, another one as long as none was ever used, the fixed one of development mode, or a new one
/// where nobody could act otherwise.
pub(crate) fn first_start(
    tx: &WriteTx<'_>,
    file: &ConfigFile,
    dev: bool,
) -> crate::error::Result<Option<String>> {
    let first = tenants::all(tx)?.first().map(|tenant| tenant.id);
    let Some(tenant) = first else {
        let fixed = dev.then_some(DEV_KEY);
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
        return Ok(Some(new.key.secret().to_owned()));
    };
    api_keys::set_dev_key(tx, tenant, dev)?;
    if dev {
        return Ok(Some(DEV_KEY.to_owned()));
    }
    let operator: bool = tx.query_row(
        "SELECT EXISTS (SELECT 1 FROM api_keys WHERE operator = 1 AND status = 'active'
             AND (expires_at IS NULL OR expires_at > ?1))",
        [tx.now()],
        |row| row.get(0),
    )?;
    if operator && was_used(tx)? {
        return Ok(None);
    }
    // Whoever was shown a key may not have seen it, or may have it still: the last one stays.
    let name = NewKey::operator().name;
    tx.run(
        "UPDATE api_keys SET status = 'revoked', updated_at = ?1
         WHERE operator = 1 AND name = ?2 AND status = 'active' AND last_used_at IS NULL AND id NOT IN
             (SELECT id FROM api_keys WHERE operator = 1 AND name = ?2 ORDER BY created_at DESC, id DESC LIMIT 1)",
        (tx.now(), &name),
    )?;
    Ok(Some(
        api_keys::insert(tx, tenant, NewKey::operator())?
            .secret()
            .to_owned(),
    ))
}
