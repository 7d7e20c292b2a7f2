//! Snapshots, as the store has them: what a computer was at an instant, which the engine keeps as an image.
//!
//! The row stays when the image is gone: what was kept counts in the usage of its time. Space counts from when a
//! snapshot was ready until somebody asked to delete it.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Value, ValueRef};
use rusqlite::{OptionalExtension, named_params};
use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::computers::Record;
use crate::db::topics;
use crate::error::{Error, Result};
use crate::http::cursor::Order;
use crate::http::{List, Page};
use crate::ids::{ComputerId, SnapshotId, TenantId, WorkspaceId};
use crate::rules::size::Size;
use crate::store::{Columns, Tx, WriteTx, columns};

/// How far a snapshot has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = SnapshotStatus)]
pub enum Stage {
    Creating,
    Ready,
    Failed,
    /// Nobody sees it any more; its image goes when nothing is made from it any more.
    Deleting,
    Deleted,
}

impl Stage {
    const ALL: [(Stage, &'static str); 5] = [
        (Stage::Creating, "creating"),
        (Stage::Ready, "ready"),
        (Stage::Failed, "failed"),
        (Stage::Deleting, "deleting"),
        (Stage::Deleted, "deleted"),
    ];
}

impl ToSql for Stage {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let name = Stage::ALL.iter().find(|(stage, _)| stage == self);
        Ok(name.map_or("failed", |(_, name)| name).into())
    }
}

impl FromSql for Stage {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let text = value.as_str()?;
        let found = Stage::ALL.iter().find(|(_, name)| *name == text);
        found
            .map(|(stage, _)| *stage)
            .ok_or_else(|| FromSqlError::Other(text.to_owned().into()))
    }
}

/// A row of `snapshots`.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Snapshot)]
pub struct Snapshot {
    pub id: SnapshotId,
    pub computer_id: ComputerId,
    pub tenant_id: TenantId,
    /// Where the computer was when it was taken: that workspace's space it takes.
    pub workspace_id: WorkspaceId,
    pub comment: Option<String>,
    pub status: Stage,
    /// The snapshot that its computer began with.
    pub parent_snapshot_id: Option<SnapshotId>,
    pub template_type: String,
    pub size: Size,
    /// Bytes that are kept besides the image of the template; null until it is ready.
    pub rootfs_size_bytes: Option<i64>,
    /// Why it failed.
    pub error: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

columns! { Snapshot {
    id: ["id"],
    computer_id: ["computer_id"],
    tenant_id: ["tenant_id"],
    workspace_id: ["workspace_id"],
    comment: ["comment"],
    status: ["status"],
    parent_snapshot_id: ["parent_id"],
    template_type: ["template_type"],
    size: ["size"],
    rootfs_size_bytes: ["bytes"],
    error: ["error"],
    created_at: ["created_at"],
    updated_at: ["updated_at"],
} }

fn select(condition: &str) -> String {
    let columns = Snapshot::COLUMNS.join(", ");
    format!("SELECT {columns} FROM snapshots WHERE {condition}")
}

/// One of them, also one that nobody sees any more.
pub fn load(tx: &Tx<'_>, id: SnapshotId) -> Result<Option<Snapshot>> {
    Ok(tx
        .prepare_cached(&select("id = ?1"))?
        .query_row([id], |row| Snapshot::from_columns(&mut Columns::new(row)))
        .optional()?)
}

/// A snapshot of this computer that can be seen.
///
/// # Errors
/// 404.
pub fn of(tx: &Tx<'_>, computer: &Record, id: SnapshotId) -> Result<Snapshot> {
    load(tx, id)?
        .filter(|s| s.computer_id == computer.id && s.tenant_id == computer.tenant_id)
        .filter(|s| !matches!(s.status, Stage::Deleting | Stage::Deleted))
        .ok_or_else(|| Error::not_found("snapshot"))
}

/// A snapshot of this computer that another one can begin with.
///
/// # Errors
/// 404; 409 `SNAPSHOT_NOT_READY`.
pub fn usable(tx: &Tx<'_>, computer: &Record, id: SnapshotId) -> Result<Snapshot> {
    let snapshot = of(tx, computer, id)?;
    match (snapshot.status, &snapshot.error) {
        (Stage::Ready, _) => Ok(snapshot),
        (_, Some(why)) => Err(Error::conflict(
            "SNAPSHOT_NOT_READY",
            format!("this snapshot could not be taken: {why}"),
        )),
        _ => Err(Error::conflict(
            "SNAPSHOT_NOT_READY",
            "this snapshot is being taken; try again in a moment",
        )),
    }
}

/// Those of a computer that can be seen, the newest first.
pub fn all(tx: &Tx<'_>, computer: ComputerId) -> Result<Vec<Snapshot>> {
    let sql = select(
        "computer_id = ?1 AND status IN ('creating', 'ready', 'failed') ORDER BY created_at DESC, id DESC",
    );
    let mut statement = tx.prepare_cached(&sql)?;
    let found = statement.query_map([computer], |row| {
        Snapshot::from_columns(&mut Columns::new(row))
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Those of an organization that can be seen, or of one of its workspaces, the newest first.
pub fn everywhere(
    tx: &Tx<'_>,
    tenant: TenantId,
    workspace: Option<WorkspaceId>,
    page: &Page,
) -> Result<List<Snapshot>> {
    let mut place = "status IN ('creating', 'ready', 'failed')".to_owned();
    let mut params: Vec<(&str, &dyn ToSql)> = vec![(":tenant", &tenant)];
    if let Some(workspace) = &workspace {
        place.push_str(" AND workspace_id = :workspace");
        params.push((":workspace", workspace));
    }
    let total = tx
        .prepare_cached(&format!(
            "SELECT count(*) FROM snapshots WHERE tenant_id = :tenant AND {place}"
        ))?
        .query_row(params.as_slice(), |row| row.get(0))?;
    let order = Order {
        columns: &["created_at", "id"],
        descending: true,
    };
    page.narrow(&order, &mut place, &mut params)?;
    let sql = select(&format!(
        "tenant_id = :tenant AND {place} ORDER BY {} {}",
        order.sql(),
        Page::SQL
    ));
    let data = tx
        .prepare_cached(&sql)?
        .query_map(params.as_slice(), |row| {
            Snapshot::from_columns(&mut Columns::new(row))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let last = data.last().filter(|_| page.is_full(data.len()));
    let next = last.and_then(|last| {
        page.link(&[
            Value::Integer(last.created_at.0),
            Value::Blob(last.id.0.as_bytes().to_vec()),
        ])
    });
    Ok(page.linked(data, total, next))
}

/// One is to be taken.
pub fn ask(tx: &WriteTx<'_>, c: &Record, comment: Option<&str>) -> Result<SnapshotId> {
    let id: SnapshotId = tx.new_id();
    let sql = "INSERT INTO snapshots (id, tenant_id, workspace_id, computer_id, status, comment, parent_id, template_type,
             size, created_at, updated_at, look_at)
         VALUES (:id, :tenant, :workspace, :computer, 'creating', :comment, :parent, :template, :size, :now, :now, :now)";
    tx.run(
        sql,
        named_params! {
            ":id": id, ":tenant": c.tenant_id, ":workspace": c.workspace_id, ":computer": c.id, ":comment": comment,
            ":parent": origin(tx, c.id)?, ":template": c.template_type, ":size": c.size, ":now": tx.now(),
        },
    )?;
    tx.changed(topics::MACHINES);
    Ok(id)
}

/// It is there, and takes so much. False: nobody wants it any more.
pub fn ready(tx: &WriteTx<'_>, id: SnapshotId, bytes: i64) -> Result<bool> {
    let sql = "UPDATE snapshots SET status = 'ready', bytes = ?1, ready_at = ?2, updated_at = ?2, look_at = NULL
         WHERE id = ?3 AND status = 'creating'";
    Ok(tx.run(sql, (bytes, tx.now(), id))? > 0)
}

/// It could not be taken. False: nobody wants it any more.
pub fn failed(tx: &WriteTx<'_>, id: SnapshotId, why: &str) -> Result<bool> {
    let sql = "UPDATE snapshots SET status = 'failed', error = ?1, updated_at = ?2, look_at = NULL
         WHERE id = ?3 AND status = 'creating'";
    Ok(tx.run(sql, (why, tx.now(), id))? > 0)
}

/// Nobody sees it any more.
pub fn drop(tx: &WriteTx<'_>, id: SnapshotId) -> Result<()> {
    let sql =
        "UPDATE snapshots SET status = 'deleting', gone_at = ?1, updated_at = ?1, look_at = ?1
         WHERE id = ?2 AND status IN ('creating', 'ready', 'failed')";
    tx.run(sql, (tx.now(), id))?;
    tx.changed(topics::MACHINES);
    Ok(())
}

/// Those of a computer that is gone go with it, and what it began with is free.
pub fn forget(tx: &WriteTx<'_>, computer: ComputerId) -> Result<()> {
    for snapshot in all(tx, computer)? {
        drop(tx, snapshot.id)?;
    }
    let Some(origin) = origin(tx, computer)? else {
        return Ok(());
    };
    tx.run(
        "DELETE FROM computer_origins WHERE computer_id = ?1",
        [computer],
    )?;
    later(tx, origin, 0)
}

/// Its image is gone.
pub fn gone(tx: &WriteTx<'_>, id: SnapshotId) -> Result<()> {
    let sql =
        "UPDATE snapshots SET status = 'deleted', updated_at = ?1, look_at = NULL WHERE id = ?2";
    tx.run(sql, (tx.now(), id))?;
    Ok(())
}

/// It is looked at again later.
pub fn later(tx: &WriteTx<'_>, id: SnapshotId, ms: i64) -> Result<()> {
    let sql = "UPDATE snapshots SET look_at = ?1 WHERE id = ?2 AND look_at IS NOT NULL";
    tx.run(sql, (tx.now().plus_ms(ms), id))?;
    tx.changed(topics::MACHINES);
    Ok(())
}

/// The one with which something is to be done that has waited longest.
pub fn due(tx: &Tx<'_>) -> Result<Option<SnapshotId>> {
    let sql = "SELECT id FROM snapshots WHERE look_at <= ?1 ORDER BY look_at LIMIT 1";
    Ok(tx.row(sql, [tx.now()], |row| row.get(0)).optional()?)
}

/// The snapshot that a computer began with.
pub fn origin(tx: &Tx<'_>, computer: ComputerId) -> Result<Option<SnapshotId>> {
    let sql = "SELECT snapshot_id FROM computer_origins WHERE computer_id = ?1";
    Ok(tx.row(sql, [computer], |row| row.get(0)).optional()?)
}

/// A computer begins with a snapshot, and with the variables that the original has: its image has those of then.
pub fn begin_with(tx: &WriteTx<'_>, computer: ComputerId, snapshot: &Snapshot) -> Result<()> {
    let sql =
        "INSERT INTO computer_origins (computer_id, tenant_id, snapshot_id) VALUES (?1, ?2, ?3)";
    tx.run(sql, (computer, snapshot.tenant_id, snapshot.id))?;
    let sql = "INSERT INTO computer_env (computer_id, tenant_id, name, value, updated_at)
         SELECT ?1, tenant_id, name, value, ?3 FROM computer_env WHERE computer_id = ?2";
    tx.run(sql, (computer, snapshot.computer_id, tx.now()))?;
    Ok(())
}

/// How many computers began with it that somebody has.
pub fn used_by(tx: &Tx<'_>, id: SnapshotId) -> Result<i64> {
    let sql = "SELECT count(*) FROM computer_origins o JOIN computers c ON c.id = o.computer_id
         WHERE o.snapshot_id = ?1 AND c.deleted_at IS NULL";
    Ok(tx.row(sql, [id], |row| row.get(0))?)
}

/// Its image is needed: besides what somebody has, a deleted computer needs it that may come back, or that the engine
/// has not removed yet.
pub fn is_needed(tx: &Tx<'_>, id: SnapshotId) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM computer_origins WHERE snapshot_id = ?1)";
    Ok(tx.row(sql, [id], |row| row.get(0))?)
}

/// What is kept at present.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kept {
    pub of_computer: i64,
    pub of_workspace: i64,
    pub bytes_of_workspace: i64,
}

/// What is kept at present of a computer, and in its workspace.
pub fn kept(tx: &Tx<'_>, c: &Record) -> Result<Kept> {
    let sql = "SELECT coalesce(sum(computer_id = ?1), 0), count(*), coalesce(sum(bytes), 0) FROM snapshots
         WHERE workspace_id = ?2 AND tenant_id = ?3 AND status IN ('creating', 'ready')";
    let found = tx.row(sql, (c.id, c.workspace_id, c.tenant_id), |row| {
        Ok(Kept {
            of_computer: row.get(0)?,
            of_workspace: row.get(1)?,
            bytes_of_workspace: row.get(2)?,
        })
    });
    Ok(found?)
}

/// What was kept, on a line of its own in the usage.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = StorageUsage)]
pub struct Storage {
    /// GB of snapshots times the hours for which they were kept; 1 GB is 10^9 bytes.
    pub gb_hours: f64,
    /// GB that are kept at the end of the period.
    pub gb: f64,
    /// What it costs: nothing, for now.
    pub price: &'static str,
    /// The same in whole credits.
    pub credits_used: i64,
}

/// What an organization, or one workspace of it, kept between two instants.
pub fn storage(
    tx: &Tx<'_>,
    tenant: TenantId,
    workspace: Option<WorkspaceId>,
    from: Timestamp,
    to: Timestamp,
) -> Result<Storage> {
    let sql = "SELECT coalesce(sum(bytes * 1.0 * (min(coalesce(gone_at, :to), :to) - max(ready_at, :from))), 0.0),
             coalesce(sum(CASE WHEN coalesce(gone_at, :to) >= :to THEN bytes END), 0)
         FROM snapshots WHERE tenant_id = :tenant AND (:workspace IS NULL OR workspace_id = :workspace)
             AND ready_at < :to AND coalesce(gone_at, :to) > :from";
    let params =
        named_params! { ":tenant": tenant, ":workspace": workspace, ":from": from, ":to": to };
    let (byte_ms, bytes): (f64, i64) = tx.row(sql, params, |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rounded = |value: f64| (value * 1e6).round() / 1e6;
    Ok(Storage {
        gb_hours: rounded(byte_ms / 1e9 / 3_600_000.0),
        gb: rounded(bytes as f64 / 1e9),
        price: "free",
        credits_used: 0,
    })
}
