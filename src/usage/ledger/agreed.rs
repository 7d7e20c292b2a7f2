//! Rates that an organization, or one of its workspaces, has instead of the size table.
//!
//! What an entry says holds from its instant on, and never before it was set: what was metered keeps its
//! price. Entries that lie ahead can be replaced or taken back, those that have begun to hold stay for ever, so
//! that what is reported late costs what it would have cost in time.

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::TenantId;
use crate::rules::size::Size;
use crate::store::{Tx, WriteTx};

/// From an instant on, an hour of this size costs so much.
#[derive(Clone, Debug)]
pub struct Entry {
    pub size: Size,
    /// From when it holds.
    pub holds_from: Timestamp,
    /// From when it was asked to.
    pub effective_from: Timestamp,
    /// Credits per hour; `None`: again what holds above.
    pub rate: Option<i64>,
    pub set_at: Timestamp,
    pub set_by: String,
}

/// All entries of an organization or workspace, by size and time.
pub fn list(tx: &Tx<'_>, tenant: TenantId, owner: Uuid) -> Result<Vec<Entry>> {
    let sql = "SELECT size, holds_from, effective_from, rate, set_at, set_by FROM agreed_rates
         WHERE owner_id = ?1 AND tenant_id = ?2 ORDER BY size, holds_from";
    let entries = tx
        .prepare_cached(sql)?
        .query_map((owner.as_bytes().as_slice(), tenant), |row| {
            Ok(Entry {
                size: row.get(0)?,
                holds_from: row.get(1)?,
                effective_from: row.get(2)?,
                rate: row.get(3)?,
                set_at: row.get(4)?,
                set_by: row.get(5)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(entries)
}

/// Whether anything was agreed with a workspace of an organization.
pub fn any_workspace(tx: &Tx<'_>, tenant: TenantId) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM agreed_rates WHERE tenant_id = ?1 AND owner_id <> ?1)";
    Ok(tx.row(sql, [tenant], |row| row.get(0))?)
}

/// Sets the rate of a size from an instant on, now at the earliest.
pub fn set(
    tx: &WriteTx<'_>,
    tenant: TenantId,
    owner: Uuid,
    size: Size,
    effective_from: Timestamp,
    rate: Option<i64>,
    by: &str,
) -> Result<()> {
    let sql = "INSERT INTO agreed_rates (owner_id, tenant_id, size, holds_from, effective_from, rate, applied, set_at, set_by)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?8)
         ON CONFLICT (owner_id, size, holds_from) DO UPDATE SET effective_from = excluded.effective_from,
             rate = excluded.rate, applied = 0, set_at = excluded.set_at, set_by = excluded.set_by";
    tx.run(
        sql,
        (
            owner.as_bytes().as_slice(),
            tenant,
            size,
            effective_from.max(tx.now()),
            effective_from,
            rate,
            tx.now(),
            by,
        ),
    )?;
    Ok(())
}

/// Takes back what lies ahead: of one instant, or all of it. Returns how many entries that were.
pub fn withdraw(
    tx: &WriteTx<'_>,
    tenant: TenantId,
    owner: Uuid,
    of: Option<Timestamp>,
) -> Result<usize> {
    let sql = "DELETE FROM agreed_rates WHERE owner_id = ?1 AND tenant_id = ?2 AND holds_from > ?3
         AND (?4 IS NULL OR holds_from = ?4)";
    let owner = owner.as_bytes().as_slice();
    Ok(tx.run(sql, (owner, tenant, tx.now(), of))?)
}
