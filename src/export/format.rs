//! The lines of a capsule: JSON, one object a line, each under the name of what it is.
//!
//! The head comes first, then the workspace, projects, computers, preview domains, compute events and
//! audit rows, in that order; the last line sums up, and carries the SHA-256 of all bytes before it.
//! Nothing says whose it is: a capsule belongs to whoever imports it. Instants are milliseconds since
//! 1970, as in the database, so that nothing is lost on the way.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{ComputerId, ProjectId, WorkspaceId};
use crate::json::Object;
use crate::rules::size::Size;
use crate::rules::status::Status;
use crate::usage::ledger::attribution::Past;
use crate::usage::ledger::labels::PastMetadata;
use crate::usage::ledger::rates::Since;
use crate::usage::ledger::tariff::Price;
use crate::usage::ledger::transfer::{Consumed, ExportedEvent};

/// The version of the format. Whoever changes the meaning of a line raises it; a reader refuses what
/// is newer than itself.
pub const FORMAT: u32 = 2;
/// The oldest that is read: it has no fields that say what held before.
pub const OLDEST: u32 = 1;

/// One line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    Capsule(Head),
    /// The workspace with its settings.
    Workspace(Box<Workspace>),
    Project(Project),
    Computer(Box<Computer>),
    /// The preview domain of the workspace or of a project.
    PreviewDomain(PreviewDomain),
    Event(ExportedEvent),
    /// A row of the audit log.
    Audit(Box<Audit>),
    End(End),
}

/// The first line.
#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct Head {
    pub format: u32,
    /// Version of the schema that it was read from.
    pub schema: i64,
    pub made_by: String,
    /// The instant that the capsule shows.
    pub exported_at: i64,
    pub workspace_id: WorkspaceId,
    /// Slug of the organization that it comes from; for people.
    pub organization: String,
}

/// A workspace with its settings.
#[derive(Serialize, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
// The columns of workspaces, which schema.sql explains.
pub struct Workspace {
    pub id: WorkspaceId,
    pub name: String,
    pub slug: String,
    pub external_workspace_id: Option<String>,
    pub external_user_id: Option<String>,
    pub description: Option<String>,
    pub metadata: Object,
    pub max_computers: Option<i64>,
    pub max_computer_size: Option<Size>,
    pub default_computer_size: Size,
    pub default_auto_stop_seconds: i64,
    pub allowed_template_types: Vec<String>,
    pub created_at: i64,
    pub updated_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<i64>,
    /// Prices of the sizes, where it ran.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prices: Vec<Price>,
    /// Virtual CPUs of the sizes, where it ran.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vcpus: Vec<Since>,
    /// The zone of its days and months, its own or its organization's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tz: Option<String>,
    /// What `metadata` was before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub past_metadata: Vec<PastMetadata>,
}

/// A project.
#[derive(Serialize, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
// The columns of projects, which schema.sql explains.
pub struct Project {
    pub id: ProjectId,
    pub external_project_id: Option<String>,
    pub name: String,
    pub slug: String,
    pub description: Option<String>,
    pub metadata: Object,
    pub is_default: bool,
    pub created_at: i64,
    pub updated_at: i64,
    pub deleted_at: Option<i64>,
    /// What `external_project_id` was before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub past_external_ids: Vec<Past>,
    /// What `metadata` was before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub past_metadata: Vec<PastMetadata>,
}

/// A computer with what it consumed in this workspace.
#[derive(Serialize, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
// The columns of computers, which schema.sql explains.
pub struct Computer {
    pub id: ComputerId,
    pub project_id: ProjectId,
    pub name: String,
    pub slug: String,
    pub template_type: String,
    pub size: Size,
    pub status: Status,
    pub driver: String,
    pub visibility: String,
    pub metadata: Object,
    pub selected_apps: Vec<String>,
    pub settings: Object,
    pub external_user_id: Option<String>,
    pub external_project_id: Option<String>,
    pub auto_stop_seconds: i64,
    pub created_at: i64,
    pub updated_at: i64,
    pub started_at: Option<i64>,
    pub stopped_at: Option<i64>,
    pub deleted_at: Option<i64>,
    /// What `external_user_id` was before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub past_external_ids: Vec<Past>,
    /// What `metadata` was before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub past_metadata: Vec<PastMetadata>,
    /// Up to the instant of the export.
    pub usage: Consumed,
}

/// A preview domain. Whether its DNS records prove it is for the importing server to find out.
#[derive(Serialize, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub struct PreviewDomain {
    /// The project; `None` = the workspace itself.
    pub project_id: Option<ProjectId>,
    pub domain: String,
}

/// A row of the audit log.
#[derive(Serialize, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
// The columns of audit_log, which schema.sql explains.
pub struct Audit {
    pub at: i64,
    pub actor_type: String,
    pub actor_id: Option<Uuid>,
    pub actor_label: Option<String>,
    pub ip_address: Option<String>,
    pub request_id: Option<String>,
    pub r#type: String,
    pub resource_type: String,
    pub resource_id: Uuid,
    pub before: Option<Object>,
    pub after: Option<Object>,
    /// Of a person, or of an operator of another organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Object>,
}

/// How many lines of each kind there are.
#[derive(Serialize, Deserialize, utoipa::ToSchema, Clone, Copy, Default, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub struct Rows {
    /// Projects.
    pub projects: usize,
    /// Computers.
    pub computers: usize,
    /// Preview domains.
    pub preview_domains: usize,
    /// Compute events, corrections included.
    pub events: usize,
    /// Rows of the audit log.
    pub audit: usize,
}

/// The last line.
#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct End {
    pub rows: Rows,
    /// Everything that the workspace's computers consumed up to the instant of the export.
    pub usage: Consumed,
    /// Corrections up to then, signed micro-credits.
    pub corrections_micros: i64,
    /// SHA-256 of all lines before this one, line ends included.
    pub sha256: String,
}
