//! Computers as the store has them: look-ups, and the order in which they are permitted.

use std::sync::LazyLock;

use rusqlite::{OptionalExtension, Row};

use crate::access::caller::Caller;
use crate::clock::Timestamp;
use crate::domains;
use crate::error::{Error, Result};
use crate::ids::{ComputerId, ProjectId, TenantId, WorkspaceId};
use crate::json::Object;
use crate::rules::driven_by::DrivenBy;
use crate::rules::size::Size;
use crate::rules::status::Status;
use crate::store::{Columns, Tx, columns};

/// The setting by which a visit starts it.
pub const WAKES: &str = "wake_on_request";

/// A live computer as the store has it.
#[derive(Debug, Clone)]
pub struct Record {
    pub id: ComputerId,
    pub tenant_id: TenantId,
    pub workspace_id: WorkspaceId,
    pub project_id: ProjectId,
    pub name: String,
    /// Label in host names.
    pub slug: String,
    /// What it was made from.
    pub template_type: String,
    pub size: Size,
    /// Where it is in its life.
    pub status: Status,
    /// Who moves it.
    pub driver: DrivenBy,
    /// public, tenant or key.
    pub visibility: String,
    /// The caller's own data.
    pub metadata: Object,
    /// What is installed on it.
    pub selected_apps: Vec<String>,
    /// The caller's settings for it.
    pub settings: Object,
    /// The workspace's id of the caller's.
    pub external_workspace_id: Option<String>,
    /// The caller's end user.
    pub external_user_id: Option<String>,
    /// The caller's own id of the project.
    pub external_project_id: Option<String>,
    /// Idle seconds after which it stops.
    pub auto_stop_seconds: i64,
    /// When the built-in driver has something to do.
    pub due_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it last began to run.
    pub started_at: Option<Timestamp>,
    /// When it last came to rest.
    pub stopped_at: Option<Timestamp>,
    /// The preview domain that holds for it; `None` = the server's.
    pub domain: Option<String>,
    /// A container engine's id of it.
    pub engine_ref: Option<String>,
    /// The size to which a container engine holds it.
    pub held_to: Option<Size>,
    /// What is wrong with it.
    pub fault: Option<String>,
    /// Since when.
    pub fault_since: Option<Timestamp>,
    /// When something last kept it awake, where an engine runs it.
    pub active_at: Option<Timestamp>,
    /// What that was.
    pub active_by: Option<String>,
}

columns! { Record {
    id: ["c.id"],
    tenant_id: ["c.tenant_id"],
    workspace_id: ["c.workspace_id"],
    project_id: ["c.project_id"],
    name: ["c.name"],
    slug: ["c.slug"],
    template_type: ["c.template_type"],
    size: ["c.size"],
    status: ["c.status"],
    driver: ["c.driver"],
    visibility: ["c.visibility"],
    metadata: ["c.metadata"],
    selected_apps: json ["c.selected_apps"],
    settings: ["c.settings"],
    external_workspace_id: ["w.external_workspace_id"],
    external_user_id: ["c.external_user_id"],
    external_project_id: ["c.external_project_id"],
    auto_stop_seconds: ["c.auto_stop_seconds"],
    due_at: ["c.due_at"],
    created_at: ["c.created_at"],
    updated_at: ["c.updated_at"],
    started_at: ["c.started_at"],
    stopped_at: ["c.stopped_at"],
    domain: [domains::OF_COMPUTER],
    engine_ref: ["m.engine_ref"],
    held_to: ["m.held_to"],
    fault: ["m.fault"],
    fault_since: ["m.fault_since"],
    active_at: ["a.at"],
    active_by: ["a.by"],
} }

impl Record {
    /// Of a row of [`SELECT`].
    pub fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Self::from_columns(&mut Columns::new(row))
    }
}

pub static SELECT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {} FROM computers c JOIN workspaces w ON w.id = c.workspace_id
         LEFT JOIN machines m ON m.computer_id = c.id
         LEFT JOIN computer_activity a ON a.computer_id = m.computer_id",
        Record::COLUMNS.join(", ")
    )
});

// ---------------------------------------------------------------------------------------------
// Look-ups

static LIVE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{} WHERE c.id = ?1 AND c.deleted_at IS NULL
             AND NOT EXISTS (SELECT 1 FROM imports i WHERE i.workspace_id = c.workspace_id)",
        *SELECT
    )
});

/// The live computer with this id, whoever asks: for the service itself.
pub fn load(tx: &Tx<'_>, id: ComputerId) -> Result<Option<Record>> {
    Ok(tx.row(LIVE.as_str(), [id], Record::from_row).optional()?)
}

/// The live computer with this id, if the caller may touch it.
///
/// # Errors
/// 404 `computer not found`; 403 for another tenant's, or another end user's under a delegated
/// key; then the route's scope.
pub fn find(tx: &Tx<'_>, caller: &Caller, id: ComputerId) -> Result<Record> {
    let computer = load(tx, id)?.ok_or_else(|| Error::not_found("computer"))?;
    caller.within_reach(computer.tenant_id, computer.workspace_id)?;
    if caller
        .only_user()
        .is_some_and(|user| computer.external_user_id.as_deref() != Some(user))
    {
        return Err(Error::forbidden());
    }
    caller.check_scope()?;
    Ok(computer)
}
