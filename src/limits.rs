//! Limits: the organization's ceilings over the workspace's caps.
//!
//! [`check`] is the one function that says whether a workspace may grow. Whoever adds, enlarges or
//! brings in a computer calls it inside the write transaction that does so; writes run one after
//! another, so two of them cannot both take the last place.

use rusqlite::{OptionalExtension, params};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::error::{Error, Fields, Refusal, Result};
use crate::ids::{ProjectId, TenantId, WorkspaceId};
use crate::rules::config::{ConfigFile, Limits};
use crate::rules::size::Size;
use crate::rules::text::count;
use crate::store::Tx;
use crate::workspaces::types::{Record, Settings};

/// What is about to come into a workspace.
pub struct Growth<'a> {
    /// Computers that the workspace gains.
    pub workspace: i64,
    /// Computers that the organization gains: 0 for a move inside it.
    pub tenant: i64,
    /// Their sizes, each once; empty where none grows.
    pub sizes: &'a [Size],
    /// Their templates, each once; empty where none is new to the workspace.
    pub templates: &'a [String],
    /// The project in which something will run that does not run now.
    pub starts_in: Option<ProjectId>,
}

struct Tenant {
    limits: Limits,
    workspaces: i64,
    projects: i64,
    computers: i64,
}

fn tenant(tx: &Tx<'_>, file: &ConfigFile, id: TenantId) -> Result<Tenant> {
    Ok(tx.row(
        "SELECT slug, workspace_count, project_count, computer_count FROM tenants WHERE id = ?1",
        params![id],
        |row| {
            Ok(Tenant {
                limits: file.limits_of(&row.get::<_, String>(0)?),
                workspaces: row.get(1)?,
                projects: row.get(2)?,
                computers: row.get(3)?,
            })
        },
    )?)
}

/// Whether `workspace` may take this growth.
///
/// # Errors
/// 422 `VALIDATION_FAILED` on `size` or `template_type`; 422 `LIMIT_EXCEEDED` for a number.
pub fn check(
    tx: &Tx<'_>,
    file: &ConfigFile,
    workspace: &Record,
    growth: &Growth<'_>,
) -> Result<()> {
    let settings = &workspace.settings;
    let tenant = tenant(tx, file, workspace.view.tenant_id)?;
    let mut fields = Fields::default();
    let mut refusal = None;
    let refused =
        |limit: &str, scope: &str, max: serde_json::Value, current: serde_json::Value| Refusal {
            workspace: Some(workspace.view.id),
            limit: limit.to_owned(),
            scope: scope.to_owned(),
            max,
            current,
        };
    for (cap, whose, scope) in [
        (settings.max_computer_size, "workspace", "workspace"),
        (tenant.limits.max_computer_size, "organization", "tenant"),
    ] {
        if let Some((cap, size)) =
            cap.and_then(|cap| Some((cap, growth.sizes.iter().max().filter(|s| **s > cap)?)))
        {
            fields.push(
                "size",
                format!("{size} is larger than the {whose}'s max_computer_size {cap}"),
            );
            refusal.get_or_insert_with(|| {
                refused("max_computer_size", scope, json!(cap), json!(size))
            });
        }
    }
    let allowed = &settings.allowed_template_types;
    if let Some(template) = growth
        .templates
        .iter()
        .find(|t| !allowed.is_empty() && !allowed.contains(t))
    {
        let list = allowed.join(", ");
        fields.push(
            "template_type",
            format!("{template} is not allowed in this workspace; allowed are {list}"),
        );
        refusal.get_or_insert_with(|| {
            refused(
                "allowed_template_types",
                "workspace",
                json!(allowed),
                json!(template),
            )
        });
    }
    fields.finish().map_err(|e| match refusal {
        Some(refusal) => e.refused_by(refusal),
        None => e,
    })?;

    if let Some(project) = growth.starts_in {
        check_start(tx, workspace.view.tenant_id, workspace.view.id, project)?;
    }
    let current = workspace.view.computer_count;
    if let Some(max) = exceeded(settings.max_computers, current, growth.workspace) {
        let name = &workspace.view.name;
        return Err(Error::limit(
            format!(
                "the workspace {name:?} has {current} computer(s) and its max_computers is {max}; delete or move a \
                 computer, or raise max_computers with PUT /api/v1/workspaces/{}/settings",
                workspace.view.id
            ),
            details(
                "max_computers",
                "workspace",
                max,
                current,
                "workspace settings",
            ),
        )
        .refused_in(Some(workspace.view.id)));
    }
    if let Some(max) = exceeded(tenant.limits.max_computers, tenant.computers, growth.tenant) {
        let error = ceiling("max_computers", "computer", max, tenant.computers);
        return Err(error.refused_in(Some(workspace.view.id)));
    }
    Ok(())
}

/// Whether something may be started, as far as budgets go: a look at the rows of those that are used up.
///
/// # Errors
/// 422 `LIMIT_EXCEEDED`.
pub fn check_start(
    tx: &Tx<'_>,
    tenant: TenantId,
    workspace: WorkspaceId,
    project: ProjectId,
) -> Result<()> {
    let sql = "SELECT scope, credits, used, until FROM budget_stops
         WHERE owner_id IN (?1, ?2, ?3) AND tenant_id = ?1 AND until > ?4 LIMIT 1";
    let found = tx.row(sql, (tenant, workspace, project, tx.now()), |row| {
        Ok((
            row.get::<_, String>(0)?,
            row.get(1)?,
            row.get(2)?,
            row.get::<_, Timestamp>(3)?,
        ))
    });
    let Some((scope, credits, used, until)) = found.optional()? else {
        return Ok(());
    };
    let path = match scope.as_str() {
        "organization" => "/api/v1/tenant/budget".to_owned(),
        "workspace" => format!("/api/v1/workspaces/{workspace}/budget"),
        _ => format!("/api/v1/projects/{project}/budget"),
    };
    Err(Error::limit(
        format!(
            "the budget of the {scope}, {}, is used up; nothing is started before {until}, unless it \
             is raised with PUT {path}",
            count(credits, "credit")
        ),
        details(
            "budget",
            if scope == "organization" {
                "tenant"
            } else {
                &scope
            },
            credits,
            used,
            "budget",
        ),
    )
    .refused_in(Some(workspace)))
}

/// Whether the organization may have one more workspace.
///
/// # Errors
/// 422 `LIMIT_EXCEEDED`.
pub fn check_workspaces(tx: &Tx<'_>, file: &ConfigFile, id: TenantId) -> Result<()> {
    if !file.any_limit(|limits| limits.max_workspaces) {
        return Ok(());
    }
    let tenant = tenant(tx, file, id)?;
    match exceeded(tenant.limits.max_workspaces, tenant.workspaces, 1) {
        Some(max) => Err(ceiling(
            "max_workspaces",
            "workspace",
            max,
            tenant.workspaces,
        )),
        None => Ok(()),
    }
}

/// Whether the organization may have one more project.
///
/// # Errors
/// 422 `LIMIT_EXCEEDED`.
pub fn check_projects(tx: &Tx<'_>, file: &ConfigFile, id: TenantId) -> Result<()> {
    let tenant = tenant(tx, file, id)?;
    match exceeded(tenant.limits.max_projects, tenant.projects, 1) {
        Some(max) => Err(ceiling("max_projects", "project", max, tenant.projects)),
        None => Ok(()),
    }
}

/// Whether the organization may take in a whole workspace with so many live projects and computers. The
/// workspace's own caps come with it, and may be below what it has, as they may anywhere.
///
/// # Errors
/// 422 `LIMIT_EXCEEDED`; 422 `VALIDATION_FAILED` on `size`.
pub fn check_import(
    tx: &Tx<'_>,
    file: &ConfigFile,
    id: TenantId,
    workspaces: usize,
    projects: usize,
    computers: usize,
    largest: Option<Size>,
) -> Result<()> {
    let tenant = tenant(tx, file, id)?;
    let more = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    for (limit, what, max, current, more) in [
        (
            "max_workspaces",
            "workspace",
            tenant.limits.max_workspaces,
            tenant.workspaces,
            more(workspaces),
        ),
        (
            "max_projects",
            "project",
            tenant.limits.max_projects,
            tenant.projects,
            more(projects),
        ),
        (
            "max_computers",
            "computer",
            tenant.limits.max_computers,
            tenant.computers,
            more(computers),
        ),
    ] {
        if let Some(max) = exceeded(max, current, more) {
            return Err(ceiling(limit, what, max, current));
        }
    }
    match (tenant.limits.max_computer_size, largest) {
        (Some(cap), Some(size)) if size > cap => Err(Error::field(
            "size",
            format!("{size} is larger than the organization's max_computer_size {cap}"),
        )),
        _ => Ok(()),
    }
}

/// The cap, if `more` on top of `current` goes over it. What does not grow is never refused, so a
/// cap may be lowered below present use.
fn exceeded(max: Option<i64>, current: i64, more: i64) -> Option<i64> {
    max.filter(|max| more > 0 && current + more > *max)
}

fn ceiling(limit: &str, what: &str, max: i64, current: i64) -> Error {
    Error::limit(
        format!(
            "the organization has {current} {what}(s) and its {limit} is {max}; delete a {what}, or have the \
             operator raise {limit} in the configuration of this server"
        ),
        details(limit, "tenant", max, current, "server configuration"),
    )
    .refused_in(None)
}

fn details(limit: &str, scope: &str, max: i64, current: i64, source: &str) -> serde_json::Value {
    json!({ "limit": limit, "scope": scope, "max": max, "current": current, "source": source })
}

/// What stops something from being made.
#[derive(Serialize, ToSchema, Debug)]
pub struct StoppedBy {
    /// max_computers, max_computer_size or budget.
    pub limit: &'static str,
    /// workspace, tenant or project: whose limit it is.
    pub scope: String,
    pub max: serde_json::Value,
    pub current: serde_json::Value,
    /// What a request would be told.
    pub message: String,
}

/// How many more of a size there may be.
#[derive(Serialize, ToSchema, Debug)]
pub struct SizeHeadroom {
    pub size: Size,
    /// Computers that may still be created; null = any number.
    pub computers: Option<i64>,
    /// What stops the one after them; null = nothing does.
    pub stopped_by: Option<StoppedBy>,
}

/// What may still be created in a workspace, by size: as many as [`check`] lets through, and what it says of the
/// next one.
///
/// # Errors
/// When the store fails.
pub fn headroom(
    tx: &Tx<'_>,
    file: &ConfigFile,
    workspace: &Record,
    project: Option<ProjectId>,
) -> Result<Vec<SizeHeadroom>> {
    let tenant = tenant(tx, file, workspace.view.tenant_id)?;
    let room = |max: Option<i64>, current: i64| max.map(|max| (max - current).max(0));
    let left = smaller(
        room(
            workspace.settings.max_computers,
            workspace.view.computer_count,
        ),
        room(tenant.limits.max_computers, tenant.computers),
    )
    .value;
    let refusal = |size: Size, more: i64| {
        let growth = Growth {
            workspace: more,
            tenant: more,
            sizes: &[size],
            templates: &[],
            starts_in: project.or(Some(ProjectId(workspace.view.id.0))),
        };
        check(tx, file, workspace, &growth).err()
    };
    Size::ALL
        .into_iter()
        .map(|size| {
            let first = refusal(size, 1);
            let (computers, error) = match (first, left) {
                (Some(error), _) => (Some(0), Some(error)),
                (None, Some(left)) => (Some(left), refusal(size, left + 1)),
                (None, None) => (None, None),
            };
            let stopped_by = match error {
                Some(error) if error.status().is_client_error() => {
                    Some(stopped_by(workspace, &tenant, size, &error))
                }
                Some(error) => return Err(error),
                None => None,
            };
            Ok(SizeHeadroom {
                size,
                computers,
                stopped_by,
            })
        })
        .collect()
}

fn stopped_by(workspace: &Record, tenant: &Tenant, size: Size, error: &Error) -> StoppedBy {
    let message = error.message().to_owned();
    let told = error.details();
    let text = |name: &str| told.get(name).and_then(|value| value.as_str());
    match text("limit") {
        Some(limit) => StoppedBy {
            limit: if limit == "budget" {
                "budget"
            } else {
                "max_computers"
            },
            scope: text("scope").unwrap_or_default().to_owned(),
            max: told["max"].clone(),
            current: told["current"].clone(),
            message,
        },
        None => {
            let own = workspace.settings.max_computer_size;
            let of_workspace = own.is_some_and(|cap| size > cap);
            let max = if of_workspace {
                own
            } else {
                tenant.limits.max_computer_size
            };
            StoppedBy {
                limit: "max_computer_size",
                scope: if of_workspace { "workspace" } else { "tenant" }.to_owned(),
                max: json!(max),
                current: json!(size),
                message,
            }
        }
    }
}

/// A setting as it holds, and where it comes from: `workspace`, `organization` or `default`.
#[derive(Serialize, ToSchema, Debug)]
pub struct Sourced<T> {
    /// What holds; null = no limit.
    pub value: T,
    /// Who set it.
    pub source: &'static str,
}

/// The settings of a workspace under the ceilings of its organization.
#[derive(Serialize, ToSchema, Debug)]
pub struct Effective {
    /// The smaller of both caps.
    pub max_computers: Sourced<Option<i64>>,
    /// The smaller of both caps.
    pub max_computer_size: Sourced<Option<Size>>,
    /// Size of a computer that names none.
    pub default_computer_size: Sourced<Size>,
    /// Idle seconds until new computers stop; 0 = never.
    pub default_auto_stop_seconds: Sourced<i64>,
    /// Templates that may be used; empty = all.
    pub allowed_template_types: Sourced<Vec<String>>,
    /// Computers that may still be created here; null = any number.
    pub headroom_computers: Option<i64>,
    /// Computers beyond the cap, after it was lowered.
    pub over_limit: i64,
}

/// What holds for a workspace.
pub fn effective(tx: &Tx<'_>, file: &ConfigFile, record: &Record) -> Result<Effective> {
    let tenant = tenant(tx, file, record.view.tenant_id)?;
    let (own, initial) = (&record.settings, Settings::initial());
    let count = record.view.computer_count;
    let room = |max: Option<i64>, current: i64| max.map(|max| max - current);
    let left = smaller(
        room(own.max_computers, count),
        room(tenant.limits.max_computers, tenant.computers),
    )
    .value;
    Ok(Effective {
        max_computers: smaller(own.max_computers, tenant.limits.max_computers),
        max_computer_size: smaller(own.max_computer_size, tenant.limits.max_computer_size),
        default_computer_size: sourced(own.default_computer_size, initial.default_computer_size),
        default_auto_stop_seconds: sourced(
            own.default_auto_stop_seconds,
            initial.default_auto_stop_seconds,
        ),
        allowed_template_types: sourced(
            own.allowed_template_types.clone(),
            initial.allowed_template_types,
        ),
        headroom_computers: left.map(|left| left.max(0)),
        over_limit: own.max_computers.map_or(0, |max| (count - max).max(0)),
    })
}

fn smaller<T: Ord + Copy>(workspace: Option<T>, organization: Option<T>) -> Sourced<Option<T>> {
    match (workspace, organization) {
        (Some(own), Some(ceiling)) if ceiling < own => Sourced {
            value: organization,
            source: "organization",
        },
        (Some(_), _) => Sourced {
            value: workspace,
            source: "workspace",
        },
        (None, Some(_)) => Sourced {
            value: organization,
            source: "organization",
        },
        (None, None) => Sourced {
            value: None,
            source: "default",
        },
    }
}

fn sourced<T: PartialEq>(value: T, initial: T) -> Sourced<T> {
    let source = if value == initial {
        "default"
    } else {
        "workspace"
    };
    Sourced { value, source }
}

/// The ceilings of an organization and what is used of each: `(name, ceiling, used)`.
pub fn ceilings(
    tx: &Tx<'_>,
    file: &ConfigFile,
    id: TenantId,
) -> Result<[(&'static str, Option<i64>, i64); 3]> {
    let t = tenant(tx, file, id)?;
    Ok([
        ("max_workspaces", t.limits.max_workspaces, t.workspaces),
        ("max_projects", t.limits.max_projects, t.projects),
        ("max_computers", t.limits.max_computers, t.computers),
    ])
}
