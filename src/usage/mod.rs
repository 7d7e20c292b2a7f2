//! Usage (being written).
use crate::catalog::Size;
use crate::clock::Timestamp;
use crate::computers::Status;
use crate::error::Result;
use crate::ids::{ComputerId, ProjectId, TenantId, WorkspaceId};
use crate::store::WriteTx;

/// From `at` on, this computer is in this state.
pub struct Event<'a> {
    /// The reporter's id of the event; `None` = our own.
    pub event_id: Option<&'a str>,
    /// Whose.
    pub tenant_id: TenantId,
    /// Where after the event.
    pub workspace_id: WorkspaceId,
    /// Where after the event.
    pub project_id: ProjectId,
    /// Which computer.
    pub computer_id: ComputerId,
    /// computer.running, computer.resized, ...
    pub kind: &'a str,
    /// Effective from.
    pub at: Timestamp,
    /// Status after the event; only `running` is billable.
    pub status: Status,
    /// Size after the event.
    pub size: Size,
    /// Credits per hour of that size in force at `at`.
    pub rate: i64,
}

/// Appends the event; in the same transaction as the change of the computer's row.
/// Returns the instant from which on it is effective: never before an earlier event of the computer.
pub fn append(tx: &WriteTx<'_>, event: &Event<'_>) -> Result<Timestamp> {
    let _ = tx;
    Ok(event.at)
}
