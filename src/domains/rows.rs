//! Preview domains as the store has them.

use uuid::Uuid;

use super::status::Scope;
use crate::error::Result;
use crate::store::WriteTx;

/// SQL expression: the domain that holds for a row `c` of computers, NULL where nobody set one.
pub const OF_COMPUTER: &str = "COALESCE(
    (SELECT domain FROM preview_domains WHERE scope = 'project' AND owner_id = c.project_id),
    (SELECT domain FROM preview_domains WHERE scope = 'workspace' AND owner_id = c.workspace_id),
    (SELECT domain FROM preview_domains WHERE scope = 'organization' AND owner_id = c.tenant_id))";

/// Removes the domain of an owner that is deleted.
pub fn forget(tx: &WriteTx<'_>, scope: Scope, owner: Uuid) -> Result<()> {
    tx.run(
        "DELETE FROM preview_domains WHERE scope = ?1 AND owner_id = ?2",
        (scope, owner.as_bytes()),
    )?;
    Ok(())
}
