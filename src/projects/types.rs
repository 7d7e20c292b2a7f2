//! What requests and replies look like.

use std::hash::{DefaultHasher, Hash};

use rusqlite::Row;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::clock::Timestamp;
use crate::http::{Param, Versioned};
use crate::ids::{ProjectId, TenantId, WorkspaceId};
use crate::json::{Object, Patch};

/// A project.
#[derive(Serialize, ToSchema, Debug, Clone)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// The organization that it belongs to.
    pub tenant_id: TenantId,
    /// The workspace that it lies in.
    pub workspace_id: WorkspaceId,
    /// The caller's own id for the workspace.
    pub external_workspace_id: Option<String>,
    /// The caller's own id; unique inside the workspace.
    pub external_project_id: Option<String>,
    /// For people.
    pub name: String,
    /// For URLs; unique inside the workspace.
    pub slug: String,
    /// For people.
    pub description: Option<String>,
    /// The caller's own data.
    pub metadata: Object,
    /// Always empty here.
    pub settings: Object,
    /// Made when a computer named no project.
    pub is_default: bool,
    /// Live computers, whatever their status.
    pub computer_count: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Versioned for Project {
    fn version(&self, hash: &mut DefaultHasher) {
        let texts = (
            &self.external_project_id,
            &self.description,
            self.metadata.text(),
        );
        let place = (self.id, self.workspace_id);
        (place, &self.name, &self.slug, texts, self.updated_at).hash(hash);
    }
}

impl Project {
    pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Project {
            id: row.get("id")?,
            tenant_id: row.get("tenant_id")?,
            workspace_id: row.get("workspace_id")?,
            external_workspace_id: row.get("external_workspace_id")?,
            external_project_id: row.get("external_project_id")?,
            name: row.get("name")?,
            slug: row.get("slug")?,
            description: row.get("description")?,
            metadata: row.get("metadata")?,
            settings: Object::empty(),
            is_default: row.get("is_default")?,
            computer_count: row.get("computer_count")?,
            created_at: row.get("created_at")?,
            updated_at: row.get("updated_at")?,
        })
    }
}

pub(super) const SELECT: &str = "SELECT p.*, w.external_workspace_id
    FROM projects p JOIN workspaces w ON w.id = p.workspace_id";

/// `POST /projects`: exactly one workspace is named.
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
#[schema(as = CreateProject)]
pub struct Create {
    /// Workspace by id
    pub workspace_id: Option<WorkspaceId>,
    /// Workspace by slug
    pub workspace_slug: Option<String>,
    /// Workspace by the caller's own id
    pub external_workspace_id: Option<String>,
    /// Human-readable name, 1 to 120 characters
    #[schema(required = true, nullable = false, min_length = 1, max_length = 120)]
    pub name: Option<String>,
    /// URL-safe identifier; derived from the name if left out
    #[schema(pattern = "^[a-z0-9][a-z0-9-]{0,79}$")]
    pub slug: Option<String>,
    /// For people
    #[schema(max_length = 2000)]
    pub description: Option<String>,
    /// The caller's own data
    pub metadata: Option<Object>,
    /// The caller's own id; the project that has it already is answered with 200
    #[schema(min_length = 1, max_length = 255)]
    pub external_project_id: Option<String>,
}

/// The project that had the external id already; nothing was created or changed.
#[derive(Serialize, ToSchema)]
#[schema(as = ReusedProject)]
pub struct Reused {
    #[serde(flatten)]
    pub(super) project: Project,
    /// Always true here; left out of a 201.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) reused: bool,
}

/// `PATCH /projects/{id}`: what is left out stays as it is.
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
#[schema(as = UpdateProject)]
pub struct Update {
    /// New name
    #[schema(value_type = Option<String>, nullable = false, min_length = 1, max_length = 120)]
    pub name: Patch<String>,
    /// New slug
    #[schema(value_type = Option<String>, nullable = false, pattern = "^[a-z0-9][a-z0-9-]{0,79}$")]
    pub slug: Patch<String>,
    /// New description; null clears it
    #[schema(value_type = Option<String>, max_length = 2000)]
    pub description: Patch<String>,
    /// New external id; null clears it
    #[schema(value_type = Option<String>, min_length = 1, max_length = 255)]
    pub external_project_id: Patch<String>,
    /// Replaces all metadata; null empties it
    #[schema(value_type = Option<Object>)]
    pub metadata: Patch<Object>,
}

/// `POST /projects/{id}/move`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
#[schema(as = MoveProject)]
pub struct Move {
    /// The workspace to move to
    #[schema(required = true, nullable = false)]
    pub target_workspace_id: Option<WorkspaceId>,
    /// Another name of the same
    pub workspace_id: Option<WorkspaceId>,
}

/// `GET /projects` filters.
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct Filter {
    /// Only projects of this workspace
    #[param(inline)]
    pub workspace_id: Param<WorkspaceId>,
    /// Only projects with this id of the caller's
    pub external_project_id: Option<String>,
    /// Only those with this in name, slug or id; case does not matter
    pub q: Option<String>,
}
