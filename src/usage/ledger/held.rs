//! What holds for a computer by its events.

use std::sync::LazyLock;

use rusqlite::OptionalExtension;

use super::event;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::{ComputerId, ProjectId, WorkspaceId};
use crate::rules::size::Size;
use crate::rules::status::Status;
use crate::store::Tx;

/// What holds for a computer by its events.
pub struct Held {
    pub at: Timestamp,
    pub status: Status,
    pub size: Size,
    pub workspace_id: WorkspaceId,
    pub project_id: ProjectId,
    /// When the next event, dated ahead of the clock, will hold.
    pub next: Option<Timestamp>,
}

static LAST: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {} FROM compute_events e WHERE computer_id = ?1
             AND (at <= ?2 OR (event_id IS NULL AND stated <> 0 AND NOT EXISTS (SELECT 1 FROM compute_events v
             WHERE v.computer_id = e.computer_id AND v.at = e.at AND v.seq > e.seq AND v.type = 'computer.voided')))
         ORDER BY at DESC, seq DESC LIMIT 1",
        event::Stored::COLUMNS
    )
});

/// What holds for a computer now, whatever its row says: reports from outside may be dated ahead, and
/// are invisible until then. Our own events hold at once, also after the clock stepped back, until they are
/// made void.
pub fn held(tx: &Tx<'_>, computer: ComputerId) -> Result<Option<Held>> {
    let last = tx
        .row(LAST.as_str(), (computer, tx.now()), event::Stored::from_row)
        .optional()?;
    let Some(last) = last else {
        return Ok(None);
    };
    let next = tx
        .row(
            "SELECT at FROM compute_events WHERE computer_id = ?1 AND at > ?2 ORDER BY at LIMIT 1",
            (computer, tx.now().0.max(last.at)),
            |row| row.get(0),
        )
        .optional()?;
    Ok(Some(Held {
        at: Timestamp(last.at),
        status: last.state.status,
        size: last.state.size,
        workspace_id: last.state.workspace,
        project_id: last.state.project,
        next,
    }))
}
