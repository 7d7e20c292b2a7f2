//! The time zone in which an organization, or one of its workspaces, counts its days and months.

use jiff::tz::TimeZone;
use rusqlite::OptionalExtension;
use uuid::Uuid;

use crate::error::{Fields, Result};
use crate::ids::{TenantId, WorkspaceId};
use crate::json::Patch;
use crate::store::{Tx, WriteTx};

/// What to say of a name that is none.
pub const WANTED: &str = "must be an IANA time zone such as UTC, Europe/Budapest or Asia/Kathmandu";

/// The name of a zone as the database of zones writes it. `Err` says what is allowed.
pub fn canonical(text: &str) -> Result<String, &'static str> {
    let zone = TimeZone::get(text).map_err(|_| WANTED)?;
    Ok(zone.iana_name().ok_or(WANTED)?.to_owned())
}

/// What was set for one organization or workspace itself.
pub fn own(tx: &Tx<'_>, tenant: TenantId, owner: Uuid) -> Result<Option<String>> {
    let sql = "SELECT name FROM time_zones WHERE owner_id = ?1 AND tenant_id = ?2";
    let owner = owner.as_bytes().as_slice();
    Ok(tx.row(sql, (owner, tenant), |row| row.get(0)).optional()?)
}

/// What holds: the workspace's own, or that of its organization; `None` where neither was set.
pub fn of(tx: &Tx<'_>, tenant: TenantId, workspace: Option<WorkspaceId>) -> Result<Option<String>> {
    if let Some(workspace) = workspace
        && let Some(name) = own(tx, tenant, workspace.0)?
    {
        return Ok(Some(name));
    }
    own(tx, tenant, tenant.0)
}

/// The zone after a request, or what is wrong with it.
pub fn patched(fields: &mut Fields, patch: Patch<String>, old: Option<String>) -> Option<String> {
    match patch {
        Patch::Absent => old,
        Patch::Null => None,
        Patch::Set(text) => canonical(&text)
            .map_err(|text| fields.push("tz", text))
            .ok(),
    }
}

/// Sets it, or clears it.
pub fn set(tx: &WriteTx<'_>, tenant: TenantId, owner: Uuid, name: Option<&str>) -> Result<()> {
    let owner = owner.as_bytes().as_slice();
    match name {
        Some(name) => tx.run(
            "INSERT INTO time_zones (owner_id, tenant_id, name) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET name = excluded.name",
            (owner, tenant, name),
        )?,
        None => tx.run(
            "DELETE FROM time_zones WHERE owner_id = ?1 AND tenant_id = ?2",
            (owner, tenant),
        )?,
    };
    Ok(())
}
