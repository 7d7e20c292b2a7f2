//! Preview domains as the store has them.

use rusqlite::OptionalExtension;
use uuid::Uuid;

use super::status::Scope;
use crate::error::Result;
use crate::store::{Tx, WriteTx};

/// SQL expression: the domain that holds for a row `c` of computers, NULL where nobody set one.
pub const OF_COMPUTER: &str = "COALESCE(
    (SELECT domain FROM preview_domains WHERE scope = 'project' AND owner_id = c.project_id),
    (SELECT domain FROM preview_domains WHERE scope = 'workspace' AND owner_id = c.workspace_id),
    (SELECT domain FROM preview_domains WHERE scope = 'organization' AND owner_id = c.tenant_id))";

/// Whether a domain was found to lead here, whoever's it is.
///
/// # Errors
/// When the store fails.
pub fn is_verified(tx: &Tx<'_>, domain: &str) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM preview_domains WHERE domain = ?1 AND dns_status = 'verified')";
    Ok(tx.row(sql, [domain], |row| row.get(0))?)
}

/// Removes the domain of an owner that is deleted. Returns which that was.
pub fn forget(tx: &WriteTx<'_>, scope: Scope, owner: Uuid) -> Result<Option<String>> {
    let sql = "SELECT domain FROM preview_domains WHERE scope = ?1 AND owner_id = ?2";
    let domain = tx
        .row(sql, (scope, owner.as_bytes()), |row| row.get(0))
        .optional()?;
    tx.run(
        "DELETE FROM preview_domains WHERE scope = ?1 AND owner_id = ?2",
        (scope, owner.as_bytes()),
    )?;
    Ok(domain)
}
