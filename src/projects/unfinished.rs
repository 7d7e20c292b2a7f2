//! Changes of more rows than one turn of the writer takes: a large project that moves, a large workspace
//! that is deleted or comes back.
//!
//! The first turn changes what names the place, and with it everything that is decided: the limits, the
//! answer, whose deed it is. The rows below follow in turns of their own, each of them whole. What is left
//! is seen from the rows themselves, so that a service that was killed carries on at its next start.

use std::time::Duration;

use crate::access::caller::Caller;
use crate::computers::Fleet;
use crate::computers::change::{self, Reached};
use crate::computers::restore;
use crate::db::Store;
use crate::error::{Error, Result};
use crate::ids::{ProjectId, WorkspaceId};
use crate::projects;
use crate::store::{Tx, WriteTx};

/// What is left to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unfinished {
    /// Computers of this project are not yet in its workspace.
    Move(ProjectId),
    /// Computers or projects of this workspace are not deleted yet.
    Delete(WorkspaceId),
    /// Computers or projects that went with this workspace are not back yet.
    Restore(WorkspaceId),
}

/// After a failure of the storage, before the next try.
const BREATHER: Duration = Duration::from_secs(1);

impl Unfinished {
    /// What a service that was killed has left, to be asked once at the start.
    pub fn all(tx: &Tx<'_>) -> Result<Vec<Unfinished>> {
        let sql = "SELECT DISTINCT p.id FROM computers c JOIN projects p ON p.id = c.project_id
             WHERE c.deleted_at IS NULL AND p.deleted_at IS NULL AND p.workspace_id <> c.workspace_id";
        let mut moves = tx.prepare(sql)?;
        let sql = "SELECT id FROM workspaces WHERE deleted_at IS NOT NULL AND (computer_count > 0 OR project_count > 0)
                 AND id NOT IN (SELECT workspace_id FROM imports)";
        let mut deletes = tx.prepare(sql)?;
        let sql = "SELECT deleted_with FROM projects p JOIN workspaces w ON w.id = p.deleted_with
             WHERE p.deleted_with IS NOT NULL AND w.deleted_at IS NULL
             UNION SELECT deleted_with FROM computers c JOIN workspaces w ON w.id = c.deleted_with
             WHERE c.deleted_with IS NOT NULL AND w.deleted_at IS NULL";
        let mut restores = tx.prepare(sql)?;
        let restores = restores.query_map([], |row| row.get(0).map(Unfinished::Restore))?;
        let moves = moves.query_map([], |row| row.get(0).map(Unfinished::Move))?;
        let moves = moves.collect::<rusqlite::Result<Vec<_>>>()?;
        let deletes = deletes.query_map([], |row| row.get(0).map(Unfinished::Delete))?;
        let mut all = deletes.collect::<rusqlite::Result<Vec<_>>>()?;
        all.extend(moves);
        all.extend(restores.collect::<rusqlite::Result<Vec<_>>>()?);
        Ok(all)
    }

    /// One turn, after what the last one came to. Returns how to go on, if something is left.
    pub fn turn(
        self,
        tx: &WriteTx<'_>,
        fleet: &Fleet,
        caller: Option<&Caller>,
        after: Option<Reached>,
    ) -> Result<Option<Option<Reached>>> {
        let left = match self {
            Unfinished::Move(project) => {
                return Ok(change::follow(tx, fleet, caller, project, after)?.map(Some));
            }
            Unfinished::Delete(workspace) => {
                change::delete_some(tx, fleet, caller, workspace)?
                    || projects::delete_some(tx, &fleet.config, caller, workspace)?
            }
            Unfinished::Restore(workspace) => {
                // It may have been deleted again before all was back.
                let sql = "SELECT deleted_at IS NULL FROM workspaces WHERE id = ?1";
                tx.row(sql, [workspace], |row| row.get(0))?
                    && (projects::restore::restore_some(tx, fleet, caller, workspace)?
                        || restore::restore_some(tx, fleet, caller, workspace)?)
            }
        };
        Ok(left.then_some(None))
    }

    /// Turn after turn until nothing is left, in the name of `caller`, or of the service.
    ///
    /// # Errors
    /// When the service stops before that, or this panics; the next start carries on.
    pub async fn finish(self, store: Store, fleet: Fleet, caller: Option<Caller>) -> Result<()> {
        // To its end, also when the client has left.
        let turns = tokio::spawn(async move {
            let mut after = None;
            loop {
                let (fleet, caller) = (fleet.clone(), caller.clone());
                let turn = store
                    .write_turn(move |tx| self.turn(tx, &fleet, caller.as_ref(), after))
                    .await;
                match turn {
                    Ok(Some(reached)) => after = reached,
                    Ok(None) => return,
                    Err(e) => {
                        tracing::warn!(error = e.message(), "a long change waits for the storage");
                        tokio::time::sleep(BREATHER).await;
                    }
                }
            }
        });
        turns.await.map_err(Error::internal)
    }
}
