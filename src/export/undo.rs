//! Taking back an import that was not finished.

use std::time::Duration;

use rusqlite::OptionalExtension;

use crate::db::Store;
use crate::error::Result;
use crate::ids::{TenantId, WorkspaceId};
use crate::store::{Tx, WriteTx};
use crate::usage::ledger::transfer::{self};
use crate::{domains, workspaces};

/// Rows that a turn removes of an import that is undone.
const ROWS: i64 = 100;
/// After a failure of the storage, before the next try.
const BREATHER: Duration = Duration::from_secs(1);

/// Imports that were begun and neither finished nor undone, to be asked once at the start.
pub fn interrupted(tx: &Tx<'_>) -> Result<Vec<WorkspaceId>> {
    let mut statement = tx.prepare("SELECT workspace_id FROM imports")?;
    let found = statement.query_map([], |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Removes what was written of a workspace that never came to light, turn after turn; nothing where there is
/// no such.
pub async fn undo(store: Store, workspace: WorkspaceId) {
    let mut at = Undoing::default();
    loop {
        let turn = store.write_turn(move |tx| at.turn(tx, workspace)).await;
        match turn {
            Ok(Some(next)) => at = next,
            Ok(None) => return,
            Err(e) => {
                tracing::warn!(
                    error = e.message(),
                    "undoing an import waits for the storage"
                );
                tokio::time::sleep(BREATHER).await;
            }
        }
    }
}

/// How far the removal has come: the next event, computer and project to look at.
#[derive(Default, Clone, Copy)]
pub(super) struct Undoing {
    event: i64,
    computer: i64,
    project: i64,
}

impl Undoing {
    /// One turn; where the next one goes on, if anything is left.
    fn turn(mut self, tx: &WriteTx<'_>, id: WorkspaceId) -> Result<Option<Self>> {
        let sql =
            "SELECT tenant_id, first_event, first_audit, audit_rows, last_project, last_computer
                 FROM imports WHERE workspace_id = ?1";
        let begun: Option<(TenantId, [i64; 5])> = tx
            .row(sql, [id], |row| {
                let number = |n| row.get::<_, i64>(n);
                let numbers = [number(1)?, number(2)?, number(3)?, number(4)?, number(5)?];
                Ok((row.get(0)?, numbers))
            })
            .optional()?;
        let Some((tenant, [event, audit, audit_rows, project, computer])) = begun else {
            return Ok(None);
        };
        if let Some(next) = transfer::forget_some(tx, id, self.event.max(event))? {
            self.event = next;
            return Ok(Some(self));
        }
        let sql = "DELETE FROM metered_computers WHERE tenant_id = ?1 AND workspace_id = ?2 AND computer_id IN
                 (SELECT computer_id FROM metered_computers WHERE tenant_id = ?1 AND workspace_id = ?2 LIMIT ?3)";
        let ran = tx.run(sql, (tenant, id, ROWS))?;
        let sql = "DELETE FROM audit_log WHERE workspace_id = ?1 AND seq IN
                 (SELECT seq FROM audit_log WHERE workspace_id = ?1 AND seq >= ?2 AND seq < ?2 + ?3 LIMIT ?4)";
        let told = tx.run(sql, (id, audit, audit_rows, ROWS))?;
        if ran + told > 0 {
            return Ok(Some(self));
        }
        let last = |sql| tx.row(sql, [], |row| row.get::<_, i64>(0));
        let from = self.computer.max(computer + 1);
        if from <= last("SELECT coalesce(max(rowid), 0) FROM computers")? {
            self.computer = from + ROWS + 1;
            // First out of the counters, which know a removal only as this change.
            for sql in [
                "DELETE FROM past_attributions WHERE subject IN
                     (SELECT id FROM computers WHERE workspace_id = ?1 AND rowid BETWEEN ?2 AND ?2 + ?3)",
                "DELETE FROM past_labels WHERE subject IN
                     (SELECT id FROM computers WHERE workspace_id = ?1 AND rowid BETWEEN ?2 AND ?2 + ?3)",
                "UPDATE computers SET deleted_at = 0
                 WHERE workspace_id = ?1 AND rowid BETWEEN ?2 AND ?2 + ?3 AND deleted_at IS NULL",
                "DELETE FROM computers WHERE workspace_id = ?1 AND rowid BETWEEN ?2 AND ?2 + ?3",
            ] {
                tx.run(sql, (id, from, ROWS))?;
            }
            return Ok(Some(self));
        }
        let from = self.project.max(project + 1);
        if from <= last("SELECT coalesce(max(rowid), 0) FROM projects")? {
            self.project = from + ROWS + 1;
            for sql in [
                "DELETE FROM preview_domains WHERE scope = 'project' AND owner_id IN
                     (SELECT id FROM projects WHERE workspace_id = ?1 AND rowid BETWEEN ?2 AND ?2 + ?3)",
                "DELETE FROM past_attributions WHERE subject IN
                     (SELECT id FROM projects WHERE workspace_id = ?1 AND rowid BETWEEN ?2 AND ?2 + ?3)",
                "DELETE FROM past_labels WHERE subject IN
                     (SELECT id FROM projects WHERE workspace_id = ?1 AND rowid BETWEEN ?2 AND ?2 + ?3)",
                "UPDATE projects SET deleted_at = 0
                 WHERE workspace_id = ?1 AND rowid BETWEEN ?2 AND ?2 + ?3 AND deleted_at IS NULL",
                "DELETE FROM projects WHERE workspace_id = ?1 AND rowid BETWEEN ?2 AND ?2 + ?3",
            ] {
                tx.run(sql, (id, from, ROWS))?;
            }
            return Ok(Some(self));
        }
        domains::forget(tx, domains::Scope::Workspace, id.0)?;
        workspaces::search::forget(tx, id)?;
        for sql in [
            "DELETE FROM imported_vcpus WHERE workspace_id = ?1",
            "DELETE FROM time_zones WHERE owner_id = ?1",
            "DELETE FROM past_labels WHERE subject = ?1",
            "DELETE FROM imports WHERE workspace_id = ?1",
            "DELETE FROM workspaces WHERE id = ?1",
        ] {
            tx.run(sql, [id])?;
        }
        Ok(None)
    }
}
