//! Projects: apps, sites or campaigns inside a workspace; computers belong to them.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use rusqlite::{OptionalExtension, Row, named_params, params};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::app::App;
use crate::audit::{self, Actor, Entry};
use crate::clock::Timestamp;
use crate::config::ConfigFile;
use crate::error::{Error, Fields, Result, TAKEN, is_unique_violation};
use crate::http::{Caller, List, Mutation, PageQuery, Params, Patch, PathId, Reply};
use crate::ids::{ProjectId, TenantId, WorkspaceId, parse_uuid};
use crate::json::{self, Object};
use crate::store::{Tx, WriteTx};
use crate::workspaces::{self, Deleted, free_slug};
use crate::{computers, domains, limits, text};

// ---------------------------------------------------------------------------------------------
// Shapes

/// A project.
#[derive(Serialize, ToSchema, Debug, Clone)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// The organization that it belongs to.
    pub tenant_id: TenantId,
    /// The workspace that it lies in.
    pub workspace_id: WorkspaceId,
    /// The workspace's id of the caller's.
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

impl Project {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
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

const SELECT: &str = "SELECT p.*, w.external_workspace_id
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
    project: Project,
    /// Always true here; left out of a 201.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    reused: bool,
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
    #[param(value_type = Option<uuid::Uuid>)]
    pub workspace_id: Option<String>,
    /// Only projects with this id of the caller's
    pub external_project_id: Option<String>,
}

/// A parameter that is an id, or 422.
///
/// # Errors
/// 422 when the text is not a UUID.
pub fn id_param<T: From<uuid::Uuid>>(name: &'static str, value: Option<&str>) -> Result<Option<T>> {
    match value {
        None => Ok(None),
        Some(text) => match parse_uuid(text) {
            Some(id) => Ok(Some(T::from(id))),
            None => Err(Error::field(name, "is not a valid UUID")),
        },
    }
}

// ---------------------------------------------------------------------------------------------
// Look-ups

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

fn one(tx: &Tx<'_>, condition: &str, params: impl rusqlite::Params) -> Result<Option<Project>> {
    let sql = format!("{SELECT} WHERE {condition} AND p.deleted_at IS NULL");
    Ok(tx
        .prepare_cached(&sql)?
        .query_row(params, Project::from_row)
        .optional()?)
}

/// The workspace's project with this slug.
///
/// # Errors
/// When the store fails.
pub fn find_by_slug(tx: &Tx<'_>, workspace: WorkspaceId, slug: &str) -> Result<Option<Project>> {
    one(
        tx,
        "p.workspace_id = ?1 AND p.slug = ?2",
        params![workspace, slug],
    )
}

/// The workspace's project with this id of the caller's.
///
/// # Errors
/// When the store fails.
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
///
/// # Errors
/// When the store fails.
pub fn default_of(tx: &Tx<'_>, workspace: WorkspaceId) -> Result<Option<Project>> {
    one(
        tx,
        "p.workspace_id = ?1 AND p.is_default = 1",
        params![workspace],
    )
}

// ---------------------------------------------------------------------------------------------
// Writing

/// A project to be inserted.
pub struct New<'a> {
    /// Checked name.
    pub name: &'a str,
    /// Checked slug.
    pub slug: &'a str,
    /// Checked external id.
    pub external_project_id: Option<&'a str>,
    /// Checked description.
    pub description: Option<&'a str>,
    /// Checked metadata.
    pub metadata: Object,
    /// The automatic one.
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
    tx.prepare_cached(
        "INSERT INTO projects (id, tenant_id, workspace_id, external_project_id, name, slug, description, metadata,
             is_default, created_at, updated_at)
         VALUES (:id, :tenant, :workspace, :external, :name, :slug, :description, :metadata, :is_default, :now, :now)",
    )?
    .execute(named_params! {
        ":id": id, ":tenant": workspace.tenant_id, ":workspace": workspace.id, ":external": new.external_project_id,
        ":name": new.name, ":slug": new.slug, ":description": new.description, ":metadata": new.metadata,
        ":is_default": new.is_default, ":now": tx.now(),
    })
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
    project.audit(tx, caller, "project.created", None)?;
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
    fn audit(
        &self,
        tx: &WriteTx<'_>,
        caller: &Caller,
        kind: &str,
        before: Option<&Project>,
    ) -> Result<()> {
        let after = (kind != "project.deleted").then_some(self);
        audit::record(
            tx,
            &Entry {
                actor: Actor::Key(caller),
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

fn unique(e: rusqlite::Error) -> Error {
    if is_unique_violation(&e, "projects.slug") {
        Error::field("slug", TAKEN)
    } else if is_unique_violation(&e, "projects.external_project_id") {
        Error::field("external_project_id", TAKEN)
    } else {
        e.into()
    }
}

/// Marks every project of a workspace as deleted; their computers are gone already.
///
/// # Errors
/// When the store fails.
pub fn delete_all_in(tx: &WriteTx<'_>, caller: &Caller, workspace: WorkspaceId) -> Result<()> {
    let sql = format!("{SELECT} WHERE p.workspace_id = ?1 AND p.deleted_at IS NULL");
    let projects = tx
        .prepare_cached(&sql)?
        .query_map([workspace], Project::from_row)?
        .collect::<Result<Vec<_>, _>>()?;
    projects
        .iter()
        .try_for_each(|project| remove(tx, caller, project))
}

fn remove(tx: &WriteTx<'_>, caller: &Caller, project: &Project) -> Result<()> {
    domains::forget(tx, domains::Scope::Project, project.id.0)?;
    tx.prepare_cached(
        "UPDATE projects SET deleted_at = ?1, updated_at = ?1 WHERE id = ?2 AND tenant_id = ?3",
    )?
    .execute((tx.now(), project.id, caller.tenant_id()))?;
    project.audit(tx, caller, "project.deleted", Some(project))
}

// ---------------------------------------------------------------------------------------------
// Handlers

fn list_where(
    tx: &Tx<'_>,
    condition: &str,
    params: &[(&str, &dyn rusqlite::ToSql)],
    page: crate::http::Page,
) -> Result<List<Project>> {
    let total = tx
        .prepare_cached(&format!(
            "SELECT count(*) FROM projects p WHERE {condition} AND p.deleted_at IS NULL"
        ))?
        .query_row(params, |row| row.get(0))?;
    let sql = format!(
        "{SELECT} WHERE {condition} AND p.deleted_at IS NULL ORDER BY p.created_at, p.id LIMIT {} OFFSET {}",
        page.limit, page.offset
    );
    let data = tx
        .prepare(&sql)?
        .query_map(params, Project::from_row)?
        .collect::<Result<_, _>>()?;
    Ok(List { data, total })
}

/// `GET /projects`
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    page: Params<PageQuery>,
    filter: Params<Filter>,
) -> Result<Json<List<Project>>> {
    let (page, filter) = (page.get()?.page()?, filter.get()?);
    let workspace: Option<WorkspaceId> = id_param("workspace_id", filter.workspace_id.as_deref())?;
    let list = app.store.read(move |tx| {
        if let Some(id) = workspace {
            workspaces::reach(tx, &caller, id)?;
        }
        let tenant = caller.tenant_id();
        let workspace = workspace.or(caller.only_workspace());
        let mut condition = "p.tenant_id = :tenant".to_owned();
        let mut params: Vec<(&str, &dyn rusqlite::ToSql)> = vec![(":tenant", &tenant)];
        if let Some(id) = &workspace {
            condition += " AND p.workspace_id = :workspace";
            params.push((":workspace", id));
        }
        if let Some(external) = &filter.external_project_id {
            condition += " AND p.external_project_id = :external";
            params.push((":external", external));
        }
        list_where(tx, &condition, &params, page)
    });
    Ok(Json(list.await?))
}

/// `GET /workspaces/{id}/projects`
pub async fn list_in_workspace(
    State(app): State<App>,
    caller: Caller,
    PathId(id): PathId<WorkspaceId>,
    page: Params<PageQuery>,
) -> Result<Json<List<Project>>> {
    let list = app.store.read(move |tx| {
        workspaces::find(tx, &caller, id)?;
        list_where(
            tx,
            "p.workspace_id = :workspace",
            &[(":workspace", &id)],
            page.get()?.page()?,
        )
    });
    Ok(Json(list.await?))
}

/// `POST /projects`
pub async fn create(State(app): State<App>, request: Mutation<Create>) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let (project, reused) = create_or_reuse(tx, &app, caller, input?)?;
            let reply = Reused { project, reused };
            Ok(if reused {
                Reply::ok(reply)
            } else {
                Reply::created(reply)
            })
        })
        .await
}

fn create_or_reuse(
    tx: &WriteTx<'_>,
    app: &App,
    caller: &Caller,
    input: Create,
) -> Result<(Project, bool)> {
    let tenant = caller.tenant_id();
    let mut fields = Fields::default();
    let name = text::name(&mut fields, "name", input.name.as_deref());
    if let Some(slug) = &input.slug {
        text::slug(&mut fields, "slug", slug);
    }
    text::external_id(
        &mut fields,
        "external_project_id",
        input.external_project_id.as_deref(),
    );
    text::description(&mut fields, input.description.as_deref());
    text::metadata(&mut fields, "metadata", input.metadata.as_ref());
    fields.finish()?;

    let workspace = if let Some(id) = input.workspace_id {
        workspaces::reach(tx, caller, id)?
    } else if let Some(slug) = &input.workspace_slug {
        workspaces::find_by_slug(tx, tenant, slug)?.ok_or_else(|| Error::not_found("workspace"))?
    } else if let Some(external) = &input.external_workspace_id {
        workspaces::find_by_external(tx, tenant, external)?
            .ok_or_else(|| Error::not_found("workspace"))?
    } else {
        let text = "is required: name the workspace by workspace_id, workspace_slug or external_workspace_id";
        return Err(Error::field("workspace_id", text).with_code("WORKSPACE_REQUIRED"));
    };
    caller.within_reach(tenant, workspace.view.id)?;
    if let Some(external) = &input.external_project_id
        && let Some(existing) = find_by_external(tx, workspace.view.id, external)?
    {
        return Ok((existing, true));
    }
    let slug = input
        .slug
        .unwrap_or_else(|| text::slugify(&name, "project"));
    let new = New {
        name: &name,
        slug: &slug,
        external_project_id: input.external_project_id.as_deref(),
        description: input.description.as_deref(),
        metadata: input.metadata.unwrap_or_else(Object::empty),
        is_default: false,
    };
    Ok((
        insert(tx, &app.config.file, caller, &workspace.view, new)?,
        false,
    ))
}

/// `GET /projects/{id}`
pub async fn show(
    State(app): State<App>,
    caller: Caller,
    PathId(id): PathId<ProjectId>,
) -> Result<Json<Project>> {
    Ok(Json(app.store.read(move |tx| find(tx, &caller, id)).await?))
}

/// `PATCH /projects/{id}`
pub async fn update(PathId(id): PathId<ProjectId>, request: Mutation<Update>) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let before = find(tx, caller, id)?;
            let input = input?;
            let mut fields = Fields::default();
            let name = match input.name {
                Patch::Absent => before.name.clone(),
                given => text::name(&mut fields, "name", given.value().map(String::as_str)),
            };
            match &input.slug {
                Patch::Absent => {}
                Patch::Null => fields.push("slug", "can't be blank"),
                Patch::Set(slug) => text::slug(&mut fields, "slug", slug),
            }
            text::description(&mut fields, input.description.value().map(String::as_str));
            let external = input.external_project_id.value().map(String::as_str);
            text::external_id(&mut fields, "external_project_id", external);
            text::metadata(&mut fields, "metadata", input.metadata.value());
            fields.finish()?;

            let mut project = before.clone();
            project.name = name;
            project.slug = input.slug.apply(Some(project.slug)).unwrap_or_default();
            project.description = input.description.apply(project.description);
            project.external_project_id = input.external_project_id.apply(project.external_project_id);
            project.metadata = input.metadata.apply(Some(project.metadata)).unwrap_or_else(Object::empty);
            if json::text(&project)? == json::text(&before)? {
                return Ok(Reply::ok(project)); // Nothing changed, so nothing moved either.
            }
            project.updated_at = tx.now();
            tx.prepare_cached(
                "UPDATE projects SET name = :name, slug = :slug, description = :description,
                     external_project_id = :external, metadata = :metadata, updated_at = :now
                 WHERE id = :id AND tenant_id = :tenant",
            )?
            .execute(named_params! {
                ":name": project.name, ":slug": project.slug, ":description": project.description,
                ":external": project.external_project_id, ":metadata": project.metadata, ":now": tx.now(),
                ":id": id, ":tenant": caller.tenant_id(),
            })
            .map_err(unique)?;
            project.audit(tx, caller, "project.updated", Some(&before))?;
            Ok(Reply::ok(project))
        })
        .await
}

/// `DELETE /projects/{id}`
pub async fn delete(
    PathId(id): PathId<ProjectId>,
    request: Mutation<computers::Anything>,
) -> Result<Response> {
    request
        .run(move |tx, caller, _| {
            let project = find(tx, caller, id)?;
            if project.is_default {
                return Err(Error::conflict(
                    "PROJECT_IS_DEFAULT",
                    "the default project cannot be deleted; it goes with its workspace",
                ));
            }
            if project.computer_count > 0 {
                return Err(
                    Error::conflict("PROJECT_HAS_COMPUTERS", "project has computers")
                        .with_details(serde_json::json!({ "computers": project.computer_count })),
                );
            }
            remove(tx, caller, &project)?;
            Ok(Reply::ok(Deleted::yes()))
        })
        .await
}

/// `POST /projects/{id}/move`
pub async fn move_to(
    State(app): State<App>,
    PathId(id): PathId<ProjectId>,
    request: Mutation<Move>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let before = find(tx, caller, id)?;
            let input = input?;
            let target = input
                .target_workspace_id
                .or(input.workspace_id)
                .ok_or_else(|| Error::field("target_workspace_id", "can't be blank"))?;
            let target = workspaces::reach(tx, caller, target)?;
            if target.view.id == before.workspace_id {
                return Ok(Reply::ok(before));
            }
            if before.is_default {
                return Err(Error::conflict(
                    "PROJECT_IS_DEFAULT",
                    "the default project stays in its workspace; move its computers instead",
                ));
            }
            // The project first: its computers follow into the place that it then has.
            tx.prepare_cached(
                "UPDATE projects SET workspace_id = ?1, updated_at = ?2 WHERE id = ?3 AND tenant_id = ?4",
            )?
            .execute((target.view.id, tx.now(), id, caller.tenant_id()))
            .map_err(unique)?;
            computers::follow_project(tx, &app, caller, id, &target)?;
            let after = one(tx, "p.id = ?1", params![id])?.ok_or_else(|| Error::not_found("project"))?;
            after.audit(tx, caller, "project.moved", Some(&before))?;
            Ok(Reply::ok(after))
        })
        .await
}
