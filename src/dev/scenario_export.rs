//! A scenario of the present state: a bug report is a file and a number.

use std::collections::BTreeMap;

use rusqlite::Row;
use serde_json::{Map, Value};

use super::scenario::{Clock, Computer, Scenario, Workspace};
use super::state;
use crate::clock::{DAY_MS, Timestamp};
use crate::error::{Error, Result};
use crate::ids::{ComputerId, TenantId, WorkspaceId};
use crate::rules::size::Size;
use crate::store::Tx;

/// The scenario of an organization as it is now, with the history of its computers.
///
/// What a file cannot say is left out: keys, corrections, the audit log, what outside agents
/// reported. A computer that moved is told where it is now.
pub fn save(tx: &Tx<'_>, tenant: TenantId) -> Result<String> {
    let (organization, slug, credits, start) = tx.query_row(
        "SELECT name, slug, credits_granted, created_at FROM tenants WHERE id = ?1",
        [tenant],
        |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get::<_, Timestamp>(3)?,
            ))
        },
    )?;
    let rhythms = match state::kept(tx)? {
        Some(kept) => {
            Scenario::parse(&kept.scenario)
                .map_err(state::unreadable)?
                .rhythms
        }
        None => BTreeMap::new(),
    };
    let start = Timestamp(start.0.div_euclid(DAY_MS) * DAY_MS);
    // Up to the next whole minute, which is what a file can say.
    let end = tx.now().plus_ms(59_999);
    let days = (end.0 - start.0).div_euclid(DAY_MS);
    let scenario = Scenario {
        about: format!("Saved at {}", tx.now()),
        organization,
        slug,
        credits,
        start,
        days: u32::try_from(days).unwrap_or(0),
        until: Clock::of(end),
        rhythms,
        workspaces: workspaces(tx, tenant, start)?,
    };
    toml::to_string(&scenario).map_err(Error::internal)
}

/// The columns of a workspace that the file has.
fn workspaces(tx: &Tx<'_>, tenant: TenantId, start: Timestamp) -> Result<Vec<Workspace>> {
    let sql = "SELECT w.*, d.domain, d.dns_status FROM workspaces w
         LEFT JOIN preview_domains d ON d.scope = 'workspace' AND d.owner_id = w.id
         WHERE w.tenant_id = ?1 AND w.deleted_at IS NULL ORDER BY w.created_at, w.id";
    let mut statement = tx.prepare(sql)?;
    let read = |row: &Row<'_>| {
        let created: Timestamp = row.get("created_at")?;
        let auto_stop: i64 = row.get("default_auto_stop_seconds")?;
        let id: WorkspaceId = row.get("id")?;
        let verified = row.get::<_, Option<String>>("dns_status")?.as_deref() == Some("verified");
        let workspace = Workspace {
            name: row.get("name")?,
            external_id: row.get("external_workspace_id")?,
            description: row.get("description")?,
            day: day_of(created, start),
            max_computers: row.get("max_computers")?,
            max_computer_size: row.get("max_computer_size")?,
            auto_stop_seconds: (auto_stop != 0).then_some(auto_stop),
            domain: row.get("domain")?,
            domain_records: if verified { 2 } else { 0 },
            metadata: metadata(row)?,
            ..Workspace::default()
        };
        Ok((id, workspace))
    };
    let found: Vec<(WorkspaceId, Workspace)> = statement
        .query_map([tenant], read)?
        .collect::<Result<_, _>>()?;
    let mut all = Vec::new();
    for (id, mut workspace) in found {
        let sql = "SELECT name FROM projects WHERE tenant_id = ?1 AND workspace_id = ?2 AND deleted_at IS NULL
                     AND is_default = 0 ORDER BY created_at, id";
        workspace.projects = tx
            .prepare_cached(sql)?
            .query_map((tenant, id), |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        workspace.computers = computers(tx, tenant, id)?;
        all.push(workspace);
    }
    Ok(all)
}

fn day_of(at: Timestamp, start: Timestamp) -> u32 {
    u32::try_from((at.0 - start.0).div_euclid(DAY_MS)).unwrap_or(0)
}

fn computers(tx: &Tx<'_>, tenant: TenantId, workspace: WorkspaceId) -> Result<Vec<Computer>> {
    let sql = "SELECT c.*, p.name AS project_name, p.is_default AS default_project FROM computers c
         JOIN projects p ON p.id = c.project_id
         WHERE c.tenant_id = ?1 AND c.workspace_id = ?2 AND c.deleted_at IS NULL AND c.driver = 'simulated'
         ORDER BY c.created_at, c.id";
    let mut statement = tx.prepare_cached(sql)?;
    let read = |row: &Row<'_>| {
        let default_project: bool = row.get("default_project")?;
        let mut metadata = metadata(row)?;
        let rhythm = match metadata.remove("rhythm") {
            Some(Value::String(name)) => Some(name),
            _ => None,
        };
        let id: ComputerId = row.get("id")?;
        let computer = Computer {
            name: row.get("name")?,
            count: 1,
            project: (!default_project)
                .then(|| row.get("project_name"))
                .transpose()?,
            size: row.get::<_, Option<Size>>("size")?,
            template: row.get("template_type")?,
            rhythm,
            auto_stop_seconds: row.get("auto_stop_seconds")?,
            user: row.get("external_user_id")?,
            day: 0,
            at: super::scenario::morning(),
            history: Vec::new(),
            metadata,
        };
        Ok((id, computer))
    };
    let found: Vec<(ComputerId, Computer)> = statement
        .query_map((tenant, workspace), read)?
        .collect::<Result<_, _>>()?;
    found
        .into_iter()
        .map(|(id, computer)| {
            let history = history(tx, tenant, id)?;
            Ok(Computer {
                history,
                ..computer
            })
        })
        .collect()
}

/// The states of a computer, one a line.
fn history(tx: &Tx<'_>, tenant: TenantId, computer: ComputerId) -> Result<Vec<String>> {
    let mut statement = tx.prepare_cached(
        "SELECT at, status, size FROM compute_events WHERE tenant_id = ?1 AND computer_id = ?2 ORDER BY at, seq",
    )?;
    let rows = statement.query_map((tenant, computer), |row| {
        let at: Timestamp = row.get(0)?;
        let (status, size): (String, String) = (row.get(1)?, row.get(2)?);
        Ok(format!("{} {status} {size}", at.rfc3339_ms()))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A row's `metadata`, without what TOML has no word for.
fn metadata(row: &Row<'_>) -> rusqlite::Result<Map<String, Value>> {
    let mut map: Map<String, Value> = crate::json::column(row, "metadata")?;
    map.retain(|_, value| !value.is_null());
    Ok(map)
}
