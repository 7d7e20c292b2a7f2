//! Computers as requests and replies show them.

use std::hash::{DefaultHasher, Hash};

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::activity::LastActivity;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::http::{Param, Versioned};
use crate::ids::{ComputerId, ProjectId, TenantId, WorkspaceId};
use crate::json::Object;
use crate::rules::size::Size;
use crate::rules::status::Status;

impl Versioned for Computer {
    /// Its status is in it: who deletes what is stopped does not mean what runs again.
    fn version(&self, hash: &mut DefaultHasher) {
        let place = (self.id, self.workspace_id, self.project_id);
        let kind = (
            self.size,
            self.status,
            &self.visibility,
            self.auto_stop_seconds,
        );
        let ids = (&self.external_user_id, &self.external_project_id);
        let own = (
            self.metadata.text(),
            self.settings.text(),
            &self.selected_apps,
        );
        (place, &self.name, &self.slug, kind, ids, own).hash(hash);
    }
}

/// A computer.
#[derive(Serialize, ToSchema, Debug, Clone)]
pub struct Computer {
    /// Its id.
    pub id: ComputerId,
    /// The organization that it belongs to.
    pub tenant_id: TenantId,
    /// The workspace that it is in now.
    pub workspace_id: WorkspaceId,
    /// The project that it is in now.
    pub project_id: ProjectId,
    /// Always null here: keys have no user.
    pub owner_user_id: Option<uuid::Uuid>,
    /// For people.
    pub name: String,
    /// The label in its host names; unique in the organization.
    pub slug: String,
    /// What it was made from.
    pub template_type: String,
    /// Its size.
    pub size: Size,
    /// Virtual CPUs of that size.
    pub vcpus: i64,
    /// The same.
    pub cpu_count: i64,
    /// Memory of that size, MB.
    pub memory_mb: i64,
    /// Disk of that size, GB.
    pub disk_gb: i64,
    /// Where it is in its life.
    pub status: Status,
    /// `simulated`: this server moves it; `external`: an agent reports what it does; `docker`: a container engine runs it.
    pub driver: String,
    /// public, tenant or key.
    pub visibility: String,
    /// The caller's own data.
    pub metadata: Object,
    /// The caller's own id for the workspace.
    pub external_workspace_id: Option<String>,
    /// The caller's end user.
    pub external_user_id: Option<String>,
    /// The caller's own id of the project.
    pub external_project_id: Option<String>,
    /// The container, where an engine runs it; otherwise null.
    pub vm_id: Option<String>,
    /// Always null here.
    pub ip_address: Option<String>,
    /// Where it runs.
    pub region: &'static str,
    /// Its address.
    pub sandbox_url: String,
    /// Its desktop's address.
    pub desktop_url: String,
    /// Its address when it is public.
    pub public_url: Option<String>,
    /// The domain of these addresses.
    pub preview_domain: String,
    /// What is installed on it.
    pub selected_apps: Vec<String>,
    /// The caller's settings for it.
    pub settings: Object,
    /// Idle seconds after which it stops; 0 = never.
    pub auto_stop_seconds: i64,
    /// When it will stop for being idle, as things stand.
    pub auto_stop_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it last began to run.
    pub started_at: Option<Timestamp>,
    /// When it last stopped.
    pub stopped_at: Option<Timestamp>,
    /// It runs with the size it had before: the engine takes the new one up at the next start, or in a moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub resize_pending: Option<bool>,
    /// `advisory`: the engine cannot hold it to its disk size.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub disk_limit: Option<&'static str>,
    /// What is wrong with its machine, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub fault: Option<String>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub fault_since: Option<Timestamp>,
    /// What last kept it awake, where an engine runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub last_activity: Option<LastActivity>,
}

/// A computer at both levels, since one client reads the object and another its `data`.
#[derive(Serialize, ToSchema)]
pub struct ComputerTwice {
    #[serde(flatten)]
    pub computer: Computer,
    pub success: bool,
    data: Computer,
}

impl ComputerTwice {
    pub fn new(computer: Computer) -> Self {
        ComputerTwice {
            data: computer.clone(),
            computer,
            success: true,
        }
    }
}

/// A computer after a start, stop or restart.
#[derive(Serialize, ToSchema)]
pub struct Moved {
    #[serde(flatten)]
    pub computer: Computer,
    pub success: bool,
    pub message: String,
}

/// Filters of computer lists.
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct Filter {
    /// Only computers of this workspace
    #[param(inline)]
    pub workspace_id: Param<WorkspaceId>,
    /// Only computers of this project
    #[param(inline)]
    pub project_id: Param<ProjectId>,
    /// Only computers with this status
    #[param(value_type = Option<Status>)]
    pub status: Option<String>,
    /// Another name of `status`
    #[param(value_type = Option<Status>)]
    pub state: Option<String>,
    /// Only computers of this end user
    pub external_user_id: Option<String>,
    /// Only those with this in name, slug or id; case does not matter
    pub q: Option<String>,
    /// Order: name, status, size, created_at, started_at, auto_stop_seconds or credits (of the last seven days), with a
    /// minus in front for the reverse; the newest first if left out
    #[param(example = "-credits")]
    pub sort: Option<String>,
}

impl Filter {
    /// The status that is asked for; `Some(None)` = one that no computer here ever has.
    pub(super) fn status(&self) -> Result<Option<Option<Status>>> {
        if let (Some(status), Some(state)) = (&self.status, &self.state)
            && status != state
        {
            return Err(Error::field(
                "state",
                "is another name of status; send one of them",
            ));
        }
        let Some(text) = self.status.as_deref().or(self.state.as_deref()) else {
            return Ok(None);
        };
        match Status::asked(text) {
            Some(asked) => Ok(Some(asked)),
            None => {
                let known = Status::ALL.map(Status::as_str).join(", ");
                let name = if self.status.is_some() {
                    "status"
                } else {
                    "state"
                };
                Err(Error::field(
                    name,
                    format!("is not a status; allowed are {known}"),
                ))
            }
        }
    }
}
