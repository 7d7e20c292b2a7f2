//! What requests and replies look like.

use std::hash::{DefaultHasher, Hash};

use rusqlite::Row;
use rusqlite::types::Value;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::http::cursor::Order;
use crate::http::{Param, Versioned};
use crate::ids::{TenantId, WorkspaceId};
use crate::json::{Object, Patch};
use crate::rules::size::Size;
use crate::store::{Columns, columns};

/// A workspace: the eleven keys of the API page, always all present.
#[derive(Serialize, ToSchema, Debug, Clone)]
pub struct Workspace {
    /// Its id.
    pub id: WorkspaceId,
    /// The organization that it belongs to.
    pub tenant_id: TenantId,
    /// For people.
    pub name: String,
    /// For URLs; unique inside the organization.
    pub slug: String,
    /// The caller's own id; unique inside the organization.
    pub external_workspace_id: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// The caller's own data.
    pub metadata: Object,
    /// The one that computers land in when they name none.
    pub is_default: bool,
    /// Live computers, whatever their status.
    pub computer_count: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it, or its settings, last changed.
    pub updated_at: Timestamp,
}

impl Versioned for Workspace {
    fn version(&self, hash: &mut DefaultHasher) {
        let texts = (
            &self.external_workspace_id,
            &self.description,
            self.metadata.text(),
        );
        (self.id, &self.name, &self.slug, texts, self.updated_at).hash(hash);
    }
}

/// What a workspace lets its computers be.
#[derive(Serialize, ToSchema, Debug, Clone, PartialEq)]
pub struct Settings {
    /// Computers at most; null = only the organization's ceiling.
    pub max_computers: Option<i64>,
    /// Largest size; null = only the organization's ceiling.
    pub max_computer_size: Option<Size>,
    /// Size of a computer that names none.
    pub default_computer_size: Size,
    /// Idle seconds after which new computers stop; 0 = never.
    pub default_auto_stop_seconds: i64,
    /// Templates that may be used; empty = all.
    pub allowed_template_types: Vec<String>,
}

impl Settings {
    /// What a new workspace has.
    pub fn initial() -> Self {
        Settings {
            max_computers: None,
            max_computer_size: None,
            default_computer_size: Size::Small,
            default_auto_stop_seconds: 0,
            allowed_template_types: Vec::new(),
        }
    }
}

/// Longest idle auto-stop: 30 days, in seconds.
pub const MAX_AUTO_STOP_SECONDS: i64 = 2_592_000;

/// A live workspace as the store has it.
#[derive(Debug, Clone)]
pub struct Record {
    /// What the API shows.
    pub view: Workspace,
    /// What its computers may be.
    pub settings: Settings,
    pub project_count: i64,
}

// Of the table `workspaces`, called `w`.
columns! { Workspace {
    id: ["w.id"],
    tenant_id: ["w.tenant_id"],
    name: ["w.name"],
    slug: ["w.slug"],
    external_workspace_id: ["w.external_workspace_id"],
    description: ["w.description"],
    metadata: ["w.metadata"],
    is_default: ["w.is_default"],
    computer_count: ["w.computer_count"],
    created_at: ["w.created_at"],
    updated_at: ["w.updated_at"],
} }

columns! { Settings {
    max_computers: ["w.max_computers"],
    max_computer_size: ["w.max_computer_size"],
    default_computer_size: ["w.default_computer_size"],
    default_auto_stop_seconds: ["w.default_auto_stop_seconds"],
    allowed_template_types: json ["w.allowed_template_types"],
} }

impl Record {
    /// What [`Record::from_row`] reads.
    pub(super) fn columns() -> String {
        [Workspace::COLUMNS, Settings::COLUMNS, &["w.project_count"]]
            .concat()
            .join(", ")
    }

    pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let mut row = Columns::new(row);
        Ok(Record {
            view: Workspace::from_columns(&mut row)?,
            settings: Settings::from_columns(&mut row)?,
            project_count: row.get()?,
        })
    }
}

/// `POST /workspaces`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
#[schema(as = CreateWorkspace)]
pub struct Create {
    /// Human-readable name, 1 to 120 characters
    #[schema(required = true, nullable = false, min_length = 1, max_length = 120)]
    pub name: Option<String>,
    /// URL-safe identifier; derived from the name if left out
    #[schema(pattern = "^[a-z0-9][a-z0-9-]{0,79}$")]
    pub slug: Option<String>,
    /// The caller's own id of this customer; unique in the organization
    #[schema(min_length = 1, max_length = 255)]
    pub external_workspace_id: Option<String>,
    /// For people
    #[schema(max_length = 2000)]
    pub description: Option<String>,
    /// The caller's own data
    pub metadata: Option<Object>,
    /// Attribution to an end user of the caller's
    #[schema(min_length = 1, max_length = 255)]
    pub external_user_id: Option<String>,
    /// Make another workspace of a name that is there already
    pub allow_duplicate_name: Option<bool>,
}

/// The workspace that had the external id already; nothing was created or changed.
#[derive(Serialize, ToSchema)]
#[schema(as = ReusedWorkspace)]
pub struct Reused {
    #[serde(flatten)]
    pub(super) workspace: Workspace,
    /// Always true here; left out of a 201.
    pub(super) reused: bool,
}

/// Either reply to a request to create one.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Shown {
    New(Box<RawValue>),
    Reused(Reused),
}

/// `PATCH /workspaces/{id}`: what is left out stays as it is.
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
#[schema(as = UpdateWorkspace)]
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
    pub external_workspace_id: Patch<String>,
    /// Replaces all metadata; null empties it
    #[schema(value_type = Option<Object>)]
    pub metadata: Patch<Object>,
}

/// `PUT /workspaces/{id}/settings`: what is left out stays as it is, null resets to the initial value.
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct UpdateSettings {
    /// Computers at most
    #[schema(value_type = Option<i64>, minimum = 0)]
    pub max_computers: Patch<i64>,
    /// Largest size: small, medium or large
    #[schema(value_type = Option<CapSize>)]
    pub max_computer_size: Patch<String>,
    /// Size of computers that name none
    #[schema(value_type = Option<Size>)]
    pub default_computer_size: Patch<String>,
    /// Idle seconds after which new computers stop; 0 = never
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 2592000)]
    pub default_auto_stop_seconds: Patch<i64>,
    /// Templates that may be used; empty = all
    #[schema(value_type = Option<Vec<String>>)]
    pub allowed_template_types: Patch<Vec<String>>,
    /// IANA time zone of its days and months; null = the organization's
    #[schema(value_type = Option<String>, example = "Europe/Budapest")]
    pub tz: Patch<String>,
}

/// The sizes that a cap may name.
#[expect(dead_code, reason = "documents the values of a field")]
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum CapSize {
    /// Small.
    Small,
    /// Medium.
    Medium,
    /// Large.
    Large,
}

/// `GET /workspaces` filters.
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct Filter {
    /// Only the workspace with this id of the caller's
    pub external_workspace_id: Option<String>,
    /// Only the workspace with this slug
    pub slug: Option<String>,
    /// Only workspaces whose name, slug, external id or id contains this text
    #[param(max_length = 255)]
    pub q: Option<String>,
    /// Order: name, created_at, updated_at, computer_count or credits (of the last thirty days), with a minus in front for
    /// the reverse; the default workspace first, then the oldest, if left out
    #[param(example = "-computer_count")]
    pub sort: Option<String>,
}

/// The order of a list.
#[derive(Clone, Copy)]
pub(super) struct Sorted {
    pub by: Order,
    /// The default workspace, of which there is one, comes before all others.
    pub default_first: bool,
    /// By what they used, which no column has.
    pub credits: bool,
    /// No index has this order, but it has the default workspace and all others in it: two lists to merge.
    pub merged: bool,
}

/// What `sort` asks for. An unknown order is refused, since a wrong one looks like a right one.
pub(super) fn order(sort: Option<&str>) -> Result<Sorted> {
    let (word, descending) = match sort.and_then(|sort| sort.strip_prefix('-')) {
        Some(word) => (Some(word), true),
        None => (sort, false),
    };
    let columns: &[&str] = match word {
        None => &["w.is_default", "w.created_at", "w.id"],
        Some("name") => &["w.name COLLATE NOCASE", "w.id"],
        Some("created_at") => &["w.created_at", "w.id"],
        Some("updated_at") => &["w.updated_at", "w.id"],
        Some("computer_count") => &["w.computer_count", "w.id"],
        Some("credits") => &[],
        Some(_) => {
            return Err(Error::field(
                "sort",
                "must be one of: name, created_at, updated_at, computer_count, credits; with a minus in front for the reverse",
            ));
        }
    };
    Ok(Sorted {
        by: Order {
            columns,
            descending,
        },
        default_first: word.is_none(),
        credits: word == Some("credits"),
        merged: word == Some("created_at"),
    })
}

impl Sorted {
    /// For `ORDER BY`.
    pub fn sql(&self) -> String {
        if self.default_first {
            "w.is_default DESC, w.created_at, w.id".to_owned()
        } else {
            self.by.sql()
        }
    }

    /// The condition for what comes behind a row with these values.
    pub fn beyond(&self, values: &[Value]) -> String {
        if !self.default_first {
            return self.by.beyond();
        }
        // Behind the default one all others come, behind another one those that are younger.
        let others = "w.is_default = 0 AND :after0 IS NOT NULL";
        if values.first() == Some(&Value::Integer(1)) {
            format!("{others} AND :after1 IS NOT NULL AND :after2 IS NOT NULL")
        } else {
            format!("{others} AND (w.created_at, w.id) > (:after1, :after2)")
        }
    }
}

/// `DELETE /workspaces/{id}` options.
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct DeleteQuery {
    /// Delete its computers and projects too
    #[param(inline)]
    pub force: Param<bool>,
    /// Only say what would go
    #[param(inline)]
    pub dry_run: Param<bool>,
}

/// What went, or would go.
#[derive(Serialize, ToSchema)]
pub struct Deleted {
    /// Whether it is gone.
    pub deleted: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    /// What was inside went with it.
    pub force: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    /// Nothing was done.
    pub dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// What went with it.
    pub resources: Option<Contents>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// What would go with it.
    pub would_delete: Option<Contents>,
}

impl Deleted {
    /// `{"deleted": true}`
    pub fn yes() -> Self {
        Deleted {
            deleted: true,
            force: false,
            dry_run: false,
            resources: None,
            would_delete: None,
        }
    }
}

/// What lies in a workspace.
#[derive(Serialize, ToSchema, Clone, Copy)]
pub struct Contents {
    /// Live computers.
    pub computers: i64,
    /// Live projects.
    pub projects: i64,
}

/// `GET /workspaces/{id}/stats`
#[derive(Serialize, ToSchema)]
pub struct Stats {
    pub(super) workspace_id: WorkspaceId,
    pub(super) computers: StatsComputers,
    pub(super) resources: Resources,
    pub(super) settings: Settings,
}

/// Computers by status. The four documented statuses are always there, others only when not zero.
#[derive(Serialize, ToSchema)]
pub struct StatsComputers {
    pub(super) total: i64,
    pub(super) by_status: std::collections::BTreeMap<String, i64>,
}

/// Sums over all live computers, stopped ones included.
#[derive(Serialize, ToSchema, Default)]
pub struct Resources {
    pub(super) total_vcpus: i64,
    pub(super) total_memory_mb: i64,
    pub(super) total_disk_gb: i64,
}
