//! Look-ups and changes of the rows.

use rusqlite::{OptionalExtension, named_params, params};

use super::types::*;
use crate::access::caller::Caller;
use crate::audit::{self, Actor, Entry};
use crate::error::{Error, Result, TAKEN, is_unique_violation};
use crate::ids::{ProjectId, TenantId, WorkspaceId};
use crate::json::Object;
use crate::rules::config::{Config, ConfigFile};
use crate::rules::text::{free_slug, slugify};
use crate::store::{TURN, Tx, WriteTx};
use crate::{deleted, domains, limits, workspaces};

/// The live project with this id, if the caller may touch it.
///
/// # Errors
/// 404 `project not found`; 403 for another tenant's; then the route's scope.
pub fn find(tx: &Tx<'_>, caller: &Caller, id: ProjectId) -> Result<Project> {
    let project = reach(tx, caller, id)?;
    caller.check_scope()?;
    Ok(project)
}

/// As [`find`], for a project that is named in a body.
///
/// # Errors
/// 404, 403.
pub fn reach(tx: &Tx<'_>, caller: &Caller, id: ProjectId) -> Result<Project> {
    let project = one(tx, "p.id = ?1", params![id])?.ok_or_else(|| Error::not_found("project"))?;
    caller.within_reach(project.tenant_id, project.workspace_id)?;
    Ok(project)
}

pub(super) fn one(
    tx: &Tx<'_>,
    condition: &str,
    params: impl rusqlite::Params,
) -> Result<Option<Project>> {
    let sql = format!(
        "{SELECT} WHERE {condition} AND p.deleted_at IS NULL
             AND NOT EXISTS (SELECT 1 FROM imports i WHERE i.workspace_id = p.workspace_id)"
    );
    Ok(tx
        .prepare_cached(&sql)?
        .query_row(params, Project::from_row)
        .optional()?)
}

/// The workspace's project with this slug.
pub fn find_by_slug(tx: &Tx<'_>, workspace: WorkspaceId, slug: &str) -> Result<Option<Project>> {
    one(
        tx,
        "p.workspace_id = ?1 AND p.slug = ?2",
        params![workspace, slug],
    )
}

/// The slug of a new project: of its name, with a number behind it where a project of another name has that. The
/// same name again is probably the same request again, and is left to be refused.
pub(super) fn derived_slug(tx: &Tx<'_>, workspace: WorkspaceId, name: &str) -> Result<String> {
    let derived = slugify(name, "project");
    let first = find_by_slug(tx, workspace, &derived)?;
    if first.is_some_and(|project| project.name == name) {
        return Ok(derived);
    }
    free_slug(tx, &derived, |tx, slug| {
        Ok(find_by_slug(tx, workspace, slug)?.is_some())
    })
}

/// The organization's projects that are called so, by slug or by the caller's own id; two are as many as several.
///
/// # Errors
/// When the store fails.
pub fn named(
    tx: &Tx<'_>,
    tenant: TenantId,
    only: Option<WorkspaceId>,
    slug: Option<&str>,
    external: Option<&str>,
) -> Result<Vec<ProjectId>> {
    let (condition, name) = match (slug, external) {
        (_, Some(external)) => ("external_project_id = ?2", external),
        (slug, None) => ("slug = ?2", slug.unwrap_or("")),
    };
    let mut found = tx.prepare_cached(&format!(
        "SELECT id FROM projects WHERE tenant_id = ?1 AND {condition} AND deleted_at IS NULL
         AND (?3 IS NULL OR workspace_id = ?3) LIMIT 2"
    ))?;
    let ids = found.query_map(params![tenant, name, only], |row| row.get(0))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

/// The workspace's project with this id of the caller's.
pub fn find_by_external(
    tx: &Tx<'_>,
    workspace: WorkspaceId,
    external: &str,
) -> Result<Option<Project>> {
    one(
        tx,
        "p.workspace_id = ?1 AND p.external_project_id = ?2",
        params![workspace, external],
    )
}

/// The workspace's automatic project, if it has been needed yet.
pub fn default_of(tx: &Tx<'_>, workspace: WorkspaceId) -> Result<Option<Project>> {
    one(
        tx,
        "p.workspace_id = ?1 AND p.is_default = 1",
        params![workspace],
    )
}

/// A project to be inserted.
pub struct New<'a> {
    pub name: &'a str,
    pub slug: &'a str,
    pub external_project_id: Option<&'a str>,
    pub description: Option<&'a str>,
    pub metadata: Object,
    pub is_default: bool,
}

/// Inserts a project; the unique indexes decide.
///
/// # Errors
/// 422 when the slug or the external id has been taken; a ceiling of the organization.
pub fn insert(
    tx: &WriteTx<'_>,
    file: &ConfigFile,
    caller: &Caller,
    workspace: &workspaces::Workspace,
    new: New<'_>,
) -> Result<Project> {
    limits::check_projects(tx, file, workspace.tenant_id)?;
    let id: ProjectId = tx.new_id();
    let sql = "INSERT INTO projects (id, tenant_id, workspace_id, external_project_id, name, slug, description, metadata,
             is_default, created_at, updated_at)
         VALUES (:id, :tenant, :workspace, :external, :name, :slug, :description, :metadata, :is_default, :now, :now)";
    tx.run(
        sql,
        named_params! {
            ":id": id, ":tenant": workspace.tenant_id, ":workspace": workspace.id, ":external": new.external_project_id,
            ":name": new.name, ":slug": new.slug, ":description": new.description, ":metadata": new.metadata,
            ":is_default": new.is_default, ":now": tx.now(),
        },
    )
    .map_err(unique)?;
    let project = Project {
        id,
        tenant_id: workspace.tenant_id,
        workspace_id: workspace.id,
        external_workspace_id: workspace.external_workspace_id.clone(),
        external_project_id: new.external_project_id.map(str::to_owned),
        name: new.name.to_owned(),
        slug: new.slug.to_owned(),
        description: new.description.map(str::to_owned),
        metadata: new.metadata,
        settings: Object::empty(),
        is_default: new.is_default,
        computer_count: 0,
        created_at: tx.now(),
        updated_at: tx.now(),
    };
    project.audit(tx, Actor::Key(caller), "project.created", None)?;
    Ok(project)
}

/// The workspace's automatic project, made if it was not needed before.
///
/// # Errors
/// A ceiling of the organization, or the store.
pub fn default_or_create(
    tx: &WriteTx<'_>,
    file: &ConfigFile,
    caller: &Caller,
    workspace: &workspaces::Workspace,
) -> Result<Project> {
    if let Some(project) = default_of(tx, workspace.id)? {
        return Ok(project);
    }
    // A customer may have called a project of theirs "default" before.
    let slug = free_slug(tx, "default", |tx, slug| {
        Ok(find_by_slug(tx, workspace.id, slug)?.is_some())
    })?;
    let new = New {
        name: "Default",
        slug: &slug,
        external_project_id: None,
        description: None,
        metadata: Object::empty(),
        is_default: true,
    };
    insert(tx, file, caller, workspace, new)
}

impl Project {
    pub(super) fn audit(
        &self,
        tx: &WriteTx<'_>,
        actor: Actor<'_>,
        kind: &str,
        before: Option<&Project>,
    ) -> Result<()> {
        let after = (kind != "project.deleted").then_some(self);
        audit::record(
            tx,
            &Entry {
                actor,
                tenant_id: self.tenant_id,
                workspace_id: Some(self.workspace_id),
                kind,
                resource: self.id.0,
                before,
                after,
            },
        )
    }
}

pub(super) fn unique(e: rusqlite::Error) -> Error {
    if is_unique_violation(&e, "projects.slug") {
        Error::field("slug", TAKEN)
    } else if is_unique_violation(&e, "projects.external_project_id") {
        Error::field("external_project_id", TAKEN)
    } else {
        e.into()
    }
}

/// Deletes projects of a workspace. Returns whether some are left.
pub fn delete_some(
    tx: &WriteTx<'_>,
    config: &Config,
    caller: Option<&Caller>,
    workspace: WorkspaceId,
) -> Result<bool> {
    let sql = format!(
        "{SELECT} WHERE p.workspace_id = ?1 AND p.deleted_at IS NULL LIMIT {}",
        TURN + 1
    );
    let projects = tx
        .prepare_cached(&sql)?
        .query_map([workspace], Project::from_row)?
        .collect::<Result<Vec<_>, _>>()?;
    for (n, project) in projects.iter().take(TURN).enumerate() {
        remove(tx, config, caller, project, Some(workspace))?;
        if n + 1 < projects.len() && tx.turn_is_over() {
            return Ok(true);
        }
    }
    Ok(projects.len() > TURN)
}

/// Deletes a project, by itself or with its workspace.
pub(super) fn remove(
    tx: &WriteTx<'_>,
    config: &Config,
    caller: Option<&Caller>,
    project: &Project,
    with: Option<WorkspaceId>,
) -> Result<()> {
    let domain = domains::forget(tx, domains::Scope::Project, project.id.0)?;
    let until = deleted::until(tx, config);
    let sql = "UPDATE projects SET deleted_at = :now, updated_at = :now, restorable_until = :until,
             deleted_with = :with, lost_domain = :domain
         WHERE id = :id AND tenant_id = :tenant";
    tx.run(
        sql,
        named_params! {
            ":now": tx.now(), ":until": until, ":with": with.filter(|_| until.is_some()),
            ":domain": domain.filter(|_| until.is_some()), ":id": project.id, ":tenant": project.tenant_id,
        },
    )?;
    let actor = caller.map_or(Actor::System, Actor::Key);
    project.audit(tx, actor, "project.deleted", Some(project))
}
