//! Deleted projects that come back.

use axum::extract::State;
use axum::response::Response;
use rusqlite::{OptionalExtension, named_params};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::rows::{find, find_by_external, find_by_slug, one};
use super::types::{Project, SELECT};
use crate::access::caller::Caller;
use crate::audit::Actor;
use crate::clock::Timestamp;
use crate::computers::Fleet;
use crate::deleted::{Lost, not_kept, parent_first};
use crate::domains::restore::bring_back;
use crate::domains::{self};
use crate::error::{Error, Fields, Result, TAKEN};
use crate::http::{Mutation, PathId, Reply};
use crate::ids::{ProjectId, WorkspaceId};
use crate::json::Patch;
use crate::rules::text::{self, free_slug};
use crate::store::{TURN, Tx, WriteTx};
use crate::{limits, workspaces};

/// `POST /projects/{id}/restore`: other names, where another project has them by now.
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct RestoreProject {
    /// Another slug than it had
    #[schema(pattern = "^[a-z0-9][a-z0-9-]{0,79}$")]
    pub slug: Option<String>,
    /// Another id of the caller's than it had; null: none
    #[schema(value_type = Option<String>, min_length = 1, max_length = 255)]
    pub external_project_id: Patch<String>,
}

/// A project that is there again.
#[derive(Serialize, ToSchema)]
pub struct RestoredProject {
    #[serde(flatten)]
    project: Project,
    /// What could not be given back; empty where it is as it was.
    not_restored: Vec<Lost>,
}

/// What is kept of a deleted one.
struct Kept {
    until: Option<Timestamp>,
    with: Option<WorkspaceId>,
    domain: Option<String>,
}

/// `POST /projects/{id}/restore`
pub async fn restore(
    State(fleet): State<Fleet>,
    PathId(id): PathId<ProjectId>,
    request: Mutation<RestoreProject>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let mut not_restored = Vec::new();
            if one(tx, "p.id = ?1", rusqlite::params![id])?.is_some() {
                input?;
            } else {
                let before = find_deleted(tx, caller, id)?;
                not_restored.extend(restore_one(tx, &fleet, caller, before, input?)?);
            }
            Ok(Reply::ok(RestoredProject {
                project: find(tx, caller, id)?,
                not_restored,
            }))
        })
        .await
}

/// A deleted project, if the caller may touch it.
fn find_deleted(tx: &Tx<'_>, caller: &Caller, id: ProjectId) -> Result<Project> {
    let sql = format!(
        "{SELECT} WHERE p.id = ?1 AND NOT EXISTS (SELECT 1 FROM imports i WHERE i.workspace_id = p.workspace_id)"
    );
    let found = tx.prepare_cached(&sql)?.query_row([id], Project::from_row);
    let project = found
        .optional()?
        .ok_or_else(|| Error::not_found("project"))?;
    caller.within_reach(project.tenant_id, project.workspace_id)?;
    caller.check_scope()?;
    Ok(project)
}

fn restore_one(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    caller: &Caller,
    mut project: Project,
    input: RestoreProject,
) -> Result<Option<Lost>> {
    let sql = "SELECT restorable_until, deleted_with, lost_domain FROM projects WHERE id = ?1";
    let kept = tx.row(sql, [project.id], |row| {
        Ok(Kept {
            until: row.get(0)?,
            with: row.get(1)?,
            domain: row.get(2)?,
        })
    })?;
    if kept.until.is_none() {
        return Err(not_kept("project"));
    }
    let sql = "SELECT deleted_at IS NOT NULL FROM workspaces WHERE id = ?1";
    let gone: bool = tx.row(sql, [project.workspace_id], |row| row.get(0))?;
    if let Some(workspace) = kept.with.or(gone.then_some(project.workspace_id)) {
        return Err(parent_first("project", "workspace", workspace.0));
    }
    workspaces::reach(tx, caller, project.workspace_id)?;
    project.slug = input.slug.unwrap_or(project.slug);
    project.external_project_id = input.external_project_id.apply(project.external_project_id);
    check_names(tx, &project)?;
    limits::check_projects(tx, &fleet.config.file, project.tenant_id)?;
    live_again(tx, Actor::Key(caller), &mut project)?;
    let owner = (domains::Scope::Project, project.id.0);
    bring_back(tx, &fleet.config, caller, owner, kept.domain)
}

/// Another may have its names by now.
fn check_names(tx: &Tx<'_>, project: &Project) -> Result<()> {
    let mut fields = Fields::default();
    text::slug(&mut fields, "slug", &project.slug);
    let external = project.external_project_id.as_deref();
    text::external_id(&mut fields, "external_project_id", external);
    if let Some(other) = find_by_slug(tx, project.workspace_id, &project.slug)? {
        fields.push(
            "slug",
            format!(
                "{TAKEN} by the project {:?}; send another slug with the restore",
                other.name
            ),
        );
    }
    let other = match external {
        Some(external) => find_by_external(tx, project.workspace_id, external)?,
        None => None,
    };
    if let Some(other) = other {
        fields.push(
            "external_project_id",
            format!(
                "{TAKEN} by the project {:?}; send another one with the restore, or null",
                other.name
            ),
        );
    }
    fields.finish()
}

fn live_again(tx: &WriteTx<'_>, actor: Actor<'_>, project: &mut Project) -> Result<()> {
    project.updated_at = tx.now();
    let sql = "UPDATE projects SET slug = :slug, external_project_id = :external, updated_at = :now, deleted_at = NULL,
             restorable_until = NULL, deleted_with = NULL, lost_domain = NULL
         WHERE id = :id AND tenant_id = :tenant";
    tx.run(
        sql,
        named_params! {
            ":slug": project.slug, ":external": project.external_project_id, ":now": tx.now(), ":id": project.id,
            ":tenant": project.tenant_id,
        },
    )?;
    project.audit(tx, actor, "project.restored", None)
}

/// Brings back projects that went with a workspace. Returns whether some are left.
pub fn restore_some(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    caller: Option<&Caller>,
    workspace: WorkspaceId,
) -> Result<bool> {
    let sql = format!(
        "{SELECT} WHERE p.deleted_with = ?1 ORDER BY p.id LIMIT {}",
        TURN + 1
    );
    let mut statement = tx.prepare_cached(&sql)?;
    let projects = statement
        .query_map([workspace], |row| {
            Ok((
                Project::from_row(row)?,
                row.get::<_, Option<String>>("lost_domain")?,
            ))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let count = projects.len();
    for (n, (mut project, domain)) in projects.into_iter().take(TURN).enumerate() {
        // Somebody may have been quick, and made one in the workspace that is there again.
        project.slug = free_slug(tx, &project.slug, |tx, slug| {
            Ok(find_by_slug(tx, workspace, slug)?.is_some())
        })?;
        if let Some(external) = &project.external_project_id
            && find_by_external(tx, workspace, external)?.is_some()
        {
            project.external_project_id = None;
        }
        live_again(tx, caller.map_or(Actor::System, Actor::Key), &mut project)?;
        if let Some(caller) = caller {
            let owner = (domains::Scope::Project, project.id.0);
            bring_back(tx, &fleet.config, caller, owner, domain)?;
        }
        if n + 1 < count && tx.turn_is_over() {
            return Ok(true);
        }
    }
    Ok(count > TURN)
}
