//! Creating and cloning computers; workspace and project are found or made on the way.

use axum::extract::State;
use axum::response::Response;
use rusqlite::named_params;
use serde::Deserialize;
use utoipa::ToSchema;

use super::lifecycle::{Change, apps_text};
use super::machines::{kept, room};
use super::{ComputerTwice, Record, changed, find};
use crate::access::caller::Caller;
use crate::access::scopes::covers;
use crate::audit::Actor;
use crate::computers::Fleet;
use crate::error::{Error, Fields, Result};
use crate::http::{DryRunQuery, Mutation, Params, PathId, Reply};
use crate::ids::{ComputerId, ProjectId, SnapshotId, TenantId, WorkspaceId};
use crate::json::Object;
use crate::limits::{self, Growth};
use crate::projects::{self, Project};
use crate::rules::config::ConfigFile;
use crate::rules::driven_by::DrivenBy;
use crate::rules::size::Size;
use crate::rules::status::Status;
use crate::rules::text;
use crate::store::{Tx, WriteTx};
use crate::workspaces;
use crate::workspaces::types::MAX_AUTO_STOP_SECONDS;

/// Apps on one computer at most.
const MAX_APPS: usize = 100;

/// `POST /computers`. Workspace and project may each be named in one of several ways
/// (api-decisions.md, "Computers"); what is named by slug or by the caller's own id is made if it is not there.
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
#[schema(as = CreateComputer)]
pub struct Create {
    /// Human-readable name, 1 to 120 characters
    #[schema(required = true, nullable = false, min_length = 1, max_length = 120)]
    pub name: Option<String>,
    /// Template; the server's default one if left out
    pub template_type: Option<String>,
    /// Size; the workspace's default if left out
    #[schema(value_type = Option<Size>)]
    pub size: Option<String>,
    /// Workspace by id
    pub workspace_id: Option<WorkspaceId>,
    /// Workspace by slug; made if missing
    pub workspace_slug: Option<String>,
    /// Name of a workspace that is made
    pub workspace_name: Option<String>,
    /// Workspace by the caller's own id; made if missing
    #[schema(min_length = 1, max_length = 255)]
    pub external_workspace_id: Option<String>,
    /// Project by id
    pub project_id: Option<ProjectId>,
    /// Project by slug, inside the workspace; made if missing
    pub project_slug: Option<String>,
    /// Name of a project that is made
    pub project_name: Option<String>,
    /// Project by the caller's own id, inside the workspace; made if missing
    #[schema(min_length = 1, max_length = 255)]
    pub external_project_id: Option<String>,
    /// Attribution to an end user of the caller's
    #[schema(min_length = 1, max_length = 255)]
    pub external_user_id: Option<String>,
    /// The caller's own data
    pub metadata: Option<Object>,
    /// The caller's settings for it
    pub settings: Option<Object>,
    /// What is installed on it
    pub selected_apps: Option<Vec<String>>,
    /// public, tenant or key
    #[schema(value_type = Option<Visibility>)]
    pub visibility: Option<String>,
    /// Idle seconds after which it stops, 0 = never; the workspace's default if left out
    #[schema(minimum = 0, maximum = 2592000)]
    pub auto_stop_seconds: Option<i64>,
    /// simulated: this server moves it; external: an agent reports compute events; docker: a container engine
    /// runs it (where the server has one). Left out: the server's own
    #[schema(value_type = Option<DrivenBy>)]
    pub driver: Option<String>,
}

/// Who may see a computer's address.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "documents the values of a request field")]
pub enum Visibility {
    /// Everybody.
    Public,
    /// The organization.
    Tenant,
    /// Whoever has a key.
    Key,
}

/// `POST /computers/{id}/clone`: what is left out is as in the original.
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct CloneRequest {
    /// Name of the copy; `<name>-copy` if left out
    #[schema(min_length = 1, max_length = 120)]
    pub name: Option<String>,
    /// Size of the copy
    #[schema(value_type = Option<Size>)]
    pub size: Option<String>,
    /// A snapshot of the original that the copy begins with; without, it begins empty
    pub snapshot_id: Option<SnapshotId>,
}

/// What a new computer is made from, checked.
struct New {
    workspace_id: WorkspaceId,
    project: Project,
    name: String,
    template_type: String,
    size: Size,
    driver: DrivenBy,
    visibility: String,
    metadata: Object,
    settings: Object,
    selected_apps: Vec<String>,
    external_user_id: Option<String>,
    external_project_id: Option<String>,
    auto_stop_seconds: i64,
}

/// `POST /computers`
pub async fn create(
    State(fleet): State<Fleet>,
    dry: Params<DryRunQuery>,
    request: Mutation<Create>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let input = input?;
            dry.get()?.run(tx, || {
                let id = create_computer(tx, &fleet, caller, input)?;
                Ok(Reply::created(changed(tx, &fleet, id)?))
            })
        })
        .await
}

/// A computer as a request asks for it, with the workspace and the project that it names.
///
/// # Errors
/// As `POST /computers`.
pub fn create_computer(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    caller: &Caller,
    input: Create,
) -> Result<ComputerId> {
    let mut fields = Fields::default();
    let name = text::name(&mut fields, "name", input.name.as_deref());
    let size = input
        .size
        .as_deref()
        .and_then(|s| parse_size(&mut fields, s));
    let template = input
        .template_type
        .clone()
        .unwrap_or_else(|| fleet.catalog.default_template().to_owned());
    if !fleet.catalog.templates.contains(&template) {
        let known = fleet.catalog.templates.join(", ");
        fields.push(
            "template_type",
            format!("is not a template of this server; there are {known}"),
        );
    }
    let visibility = one_of(
        &mut fields,
        "visibility",
        input.visibility.clone(),
        &["public", "tenant", "key"],
    );
    let driver = driver(&mut fields, fleet, input.driver.as_deref(), &template);
    auto_stop(&mut fields, "auto_stop_seconds", input.auto_stop_seconds);
    text::metadata(&mut fields, "metadata", input.metadata.as_ref());
    text::metadata(&mut fields, "settings", input.settings.as_ref());
    let apps = input.selected_apps.clone().unwrap_or_default();
    if apps.len() > MAX_APPS
        || apps
            .iter()
            .any(|app| app.chars().count() > text::MAX_EXTERNAL_ID)
    {
        fields.push(
            "selected_apps",
            format!("should be at most {MAX_APPS} names of at most 255 characters"),
        );
    }
    for (field, value) in [
        ("external_user_id", &input.external_user_id),
        ("external_workspace_id", &input.external_workspace_id),
        ("external_project_id", &input.external_project_id),
    ] {
        text::external_id(&mut fields, field, value.as_deref());
    }
    fields.finish()?;

    // A delegated key acts for its end user and nobody else.
    let user = match (caller.only_user(), input.external_user_id.as_deref()) {
        (Some(own), Some(asked)) if own != asked => return Err(Error::forbidden()),
        (own, asked) => own.or(asked).map(str::to_owned),
    };
    let workspace = resolve_workspace(tx, &fleet.config.file, caller, &input)?;
    let project = resolve_project(tx, &fleet.config.file, caller, &workspace, &input)?;
    let size = size.unwrap_or(workspace.settings.default_computer_size);
    let growth = Growth {
        workspace: 1,
        tenant: 1,
        sizes: &[size],
        templates: std::slice::from_ref(&template),
        starts_in: (driver != DrivenBy::External).then_some(project.id),
    };
    limits::check(tx, &fleet.config.file, &workspace, &growth)?;
    if driver == DrivenBy::Docker {
        room::check(tx, fleet, size, None)?;
    }
    let new = New {
        workspace_id: workspace.view.id,
        external_project_id: project.external_project_id.clone(),
        project,
        name,
        template_type: template,
        size,
        driver,
        visibility,
        metadata: input.metadata.unwrap_or_else(Object::empty),
        settings: input.settings.unwrap_or_else(Object::empty),
        selected_apps: apps,
        external_user_id: user,
        auto_stop_seconds: input
            .auto_stop_seconds
            .unwrap_or(workspace.settings.default_auto_stop_seconds),
    };
    insert(tx, fleet, caller, new)
}

/// Who is to move it: whom the request names, or the server's own. A machine needs an image.
fn driver(fields: &mut Fields, fleet: &Fleet, asked: Option<&str>, template: &str) -> DrivenBy {
    let engine = fleet.config.engine.as_ref();
    let own = engine.map_or(DrivenBy::Simulated, |_| DrivenBy::Docker);
    let driver = match asked.map(str::parse) {
        None => own,
        Some(Ok(driver)) => driver,
        Some(Err(_)) => {
            fields.push("driver", "must be one of simulated, external, docker");
            return own;
        }
    };
    if driver == DrivenBy::Docker {
        match engine {
            None => fields.push(
                "driver",
                "docker needs a server that was started with --driver docker",
            ),
            Some(engine) if !engine.images.contains_key(template) => {
                let known: Vec<&str> = engine.images.keys().map(String::as_str).collect();
                fields.push(
                    "template_type",
                    format!(
                        "has no image on this server; [images] names those of {}",
                        known.join(", ")
                    ),
                );
            }
            Some(_) => {}
        }
    }
    driver
}

pub(super) fn parse_size(fields: &mut Fields, text: &str) -> Option<Size> {
    text.parse()
        .map_err(|why: String| fields.push("size", why))
        .ok()
}

/// A word out of a list; the first one if none is given.
pub(super) fn one_of(
    fields: &mut Fields,
    field: &'static str,
    value: Option<String>,
    allowed: &[&str],
) -> String {
    match value {
        None => allowed.first().copied().unwrap_or_default().to_owned(),
        Some(value) => {
            if !allowed.contains(&value.as_str()) {
                fields.push(field, format!("must be one of {}", allowed.join(", ")));
            }
            value
        }
    }
}

pub(super) fn auto_stop(fields: &mut Fields, field: &'static str, seconds: Option<i64>) {
    if seconds.is_some_and(|s| !(0..=MAX_AUTO_STOP_SECONDS).contains(&s)) {
        fields.push(
            field,
            format!("must be 0 (never) to {MAX_AUTO_STOP_SECONDS} seconds (30 days)"),
        );
    }
}

/// By id, by slug, by the caller's own id, or the default one.
fn resolve_workspace(
    tx: &WriteTx<'_>,
    file: &ConfigFile,
    caller: &Caller,
    input: &Create,
) -> Result<workspaces::Record> {
    let tenant = caller.tenant_id();
    let (found, slug, external) = if let Some(id) = input.workspace_id {
        return workspaces::reach(tx, caller, id);
    } else if let Some(slug) = &input.workspace_slug {
        (
            workspaces::find_by_slug(tx, tenant, slug)?,
            Some(slug.clone()),
            input.external_workspace_id.as_deref(),
        )
    } else if let Some(external) = &input.external_workspace_id {
        (
            workspaces::find_by_external(tx, tenant, external)?,
            None,
            Some(external.as_str()),
        )
    } else if let Some(id) = input.project_id {
        // The project alone says where.
        let project = projects::reach(tx, caller, id)?;
        return workspaces::reach(tx, caller, project.workspace_id);
    } else if let Some(only) = caller.only_workspace() {
        return workspaces::reach(tx, caller, only);
    } else {
        (Some(workspaces::default_of(tx, tenant)?), None, None)
    };
    if let Some(record) = found {
        caller.within_reach(tenant, record.view.id)?;
        return Ok(record);
    }
    may_make(caller, "workspaces:write")?;
    if caller.only_workspace().is_some() || caller.only_user().is_some() {
        return Err(Error::forbidden());
    }
    let mut fields = Fields::default();
    let given = input
        .workspace_name
        .as_deref()
        .or(slug.as_deref())
        .or(external)
        .unwrap_or("workspace");
    let given: String = given.chars().take(text::MAX_NAME).collect();
    let name = text::name(
        &mut fields,
        "workspace_name",
        Some(&input.workspace_name.clone().unwrap_or(given)),
    );
    let slug = match slug {
        Some(slug) => {
            text::slug(&mut fields, "workspace_slug", &slug);
            slug
        }
        None => {
            let derived = text::slugify(&name, "workspace");
            text::free_slug(tx, &derived, |tx, slug| {
                workspaces::slug_taken(tx, tenant, slug)
            })?
        }
    };
    fields.finish()?;
    let new = workspaces::New {
        tenant_id: tenant,
        name: &name,
        slug: &slug,
        external_workspace_id: external,
        external_user_id: None,
        description: None,
        metadata: Object::empty(),
        is_default: false,
    };
    Ok(workspaces::insert(tx, file, Actor::Key(caller), new)?.record)
}

/// Inside the workspace: by id, by slug, by the caller's own id, or the default one.
fn resolve_project(
    tx: &WriteTx<'_>,
    file: &ConfigFile,
    caller: &Caller,
    workspace: &workspaces::Record,
    input: &Create,
) -> Result<Project> {
    let here = workspace.view.id;
    if let Some(id) = input.project_id {
        return project_in(tx, caller, here, id);
    }
    let (found, slug, external) = if let Some(slug) = &input.project_slug {
        (
            projects::find_by_slug(tx, here, slug)?,
            Some(slug.clone()),
            input.external_project_id.as_deref(),
        )
    } else if let Some(external) = &input.external_project_id {
        (
            projects::find_by_external(tx, here, external)?,
            None,
            Some(external.as_str()),
        )
    } else {
        return projects::default_or_create(tx, file, caller, &workspace.view);
    };
    if let Some(project) = found {
        return Ok(project);
    }
    may_make(caller, "projects:write")?;
    let mut fields = Fields::default();
    let given = input
        .project_name
        .as_deref()
        .or(slug.as_deref())
        .or(external)
        .unwrap_or("project");
    let given: String = given.chars().take(text::MAX_NAME).collect();
    let name = text::name(
        &mut fields,
        "project_name",
        Some(&input.project_name.clone().unwrap_or(given)),
    );
    let slug = match slug {
        Some(slug) => {
            text::slug(&mut fields, "project_slug", &slug);
            slug
        }
        None => {
            let derived = text::slugify(&name, "project");
            text::free_slug(tx, &derived, |tx, slug| {
                Ok(projects::find_by_slug(tx, here, slug)?.is_some())
            })?
        }
    };
    fields.finish()?;
    let new = projects::New {
        name: &name,
        slug: &slug,
        external_project_id: external,
        description: None,
        metadata: Object::empty(),
        is_default: false,
    };
    projects::insert(tx, file, caller, &workspace.view, new)
}

/// A project by id, which must lie in that workspace.
///
/// # Errors
/// 404, 403; 422 when it lies in another workspace.
pub(super) fn project_in(
    tx: &Tx<'_>,
    caller: &Caller,
    workspace: WorkspaceId,
    id: ProjectId,
) -> Result<Project> {
    let project = projects::reach(tx, caller, id)?;
    if project.workspace_id != workspace {
        return Err(Error::field("project_id", "lies in another workspace"));
    }
    Ok(project)
}

/// A key that may only make computers does not make what holds them either.
fn may_make(caller: &Caller, scope: &'static str) -> Result<()> {
    if covers(&caller.key().scopes, scope) {
        return Ok(());
    }
    Err(Error::denied(
        "insufficient_scope",
        format!("what is named here does not exist, and this key lacks {scope} to make it"),
    )
    .with_details(serde_json::json!({ "required": scope })))
}

fn insert(tx: &WriteTx<'_>, fleet: &Fleet, caller: &Caller, new: New) -> Result<ComputerId> {
    let id: ComputerId = tx.new_id();
    let slug = text::slugify(&new.name, "computer");
    let slug = host_label(tx, caller.tenant_id(), new.driver, &slug, id)?;
    let sql = "INSERT INTO computers (id, tenant_id, workspace_id, project_id, name, slug, template_type, size, status,
             driver, visibility, metadata, selected_apps, settings, external_user_id, external_project_id,
             auto_stop_seconds, created_at, updated_at)
         VALUES (:id, :tenant, :workspace, :project, :name, :slug, :template, :size, :status,
             :driver, :visibility, :metadata, :apps, :settings, :user, :external_project,
             :auto_stop, :now, :now)";
    tx.run(
        sql,
        named_params! {
            ":id": id, ":tenant": caller.tenant_id(), ":workspace": new.workspace_id, ":project": new.project.id,
            ":name": new.name, ":slug": slug, ":template": new.template_type, ":size": new.size,
            ":status": Status::Provisioning, ":driver": new.driver,
            ":visibility": new.visibility, ":metadata": new.metadata, ":apps": apps_text(&new.selected_apps)?,
            ":settings": new.settings, ":user": new.external_user_id, ":external_project": new.external_project_id,
            ":auto_stop": new.auto_stop_seconds, ":now": tx.now(),
        },
    )?;
    let record =
        super::load(tx, id)?.ok_or_else(|| Error::internal("a new computer is not there"))?;
    let actor = Actor::Key(caller);
    Change {
        kind: Status::Provisioning.event(),
        at: tx.now(),
        actor,
    }
    .apply(tx, fleet, None, record)?;
    Ok(id)
}

/// The slug of the name; where another computer of the organization has it, with the end of the
/// new id, which nobody else has. Where it is a host name, other organizations have their part in it, too, and
/// there has to be room for a port before it.
pub(super) fn host_label(
    tx: &Tx<'_>,
    tenant: TenantId,
    driver: DrivenBy,
    slug: &str,
    id: ComputerId,
) -> Result<String> {
    let reached = driver == DrivenBy::Docker;
    // A label of a host name has 63 characters, and `65535-` may stand before this one.
    let room = if reached { 57 } else { 63 };
    let taken = |slug: &str| -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM computers WHERE slug = ?1 AND driver = 'docker' AND deleted_at IS NULL)";
        if reached && tx.row(sql, [slug], |row| row.get(0))? {
            return Ok(true);
        }
        let sql = "SELECT EXISTS (SELECT 1 FROM computers WHERE tenant_id = ?1 AND slug = ?2 AND deleted_at IS NULL)";
        Ok(tx.row(sql, (tenant, slug), |row| row.get(0))?)
    };
    let hex = id.0.simple().to_string();
    let whole: String = slug.chars().take(room).collect();
    for label in [
        whole.trim_end_matches('-').to_owned(),
        cut(slug, &hex[26..], room),
    ] {
        if !taken(&label)? {
            return Ok(label);
        }
    }
    Ok(cut(slug, &hex, room))
}

/// `slug-suffix` in `room` characters.
fn cut(slug: &str, suffix: &str, room: usize) -> String {
    let room = (room - 1 - suffix.len()).min(slug.len());
    format!("{}-{suffix}", slug[..room].trim_end_matches('-'))
}

/// `POST /computers/{id}/clone`
pub async fn clone(
    State(fleet): State<Fleet>,
    PathId(id): PathId<ComputerId>,
    request: Mutation<CloneRequest>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let original = find(tx, caller, id)?;
            let copy = clone_computer(tx, &fleet, caller, original, input?)?;
            Ok(Reply::created(ComputerTwice::new(changed(
                tx, &fleet, copy,
            )?)))
        })
        .await
}

/// Another computer like this one.
///
/// # Errors
/// As `POST /computers/{id}/clone`.
pub fn clone_computer(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    caller: &Caller,
    original: Record,
    input: CloneRequest,
) -> Result<ComputerId> {
    let mut fields = Fields::default();
    let copy_name = || {
        let head: String = original
            .name
            .chars()
            .take(text::MAX_NAME - "-copy".len())
            .collect();
        format!("{head}-copy")
    };
    let name = text::name(
        &mut fields,
        "name",
        Some(&input.name.unwrap_or_else(copy_name)),
    );
    let size = input
        .size
        .as_deref()
        .map_or(Some(original.size), |s| parse_size(&mut fields, s));
    fields.finish()?;
    let size = size.unwrap_or(original.size);
    let snapshot = match input.snapshot_id {
        Some(id) => Some(kept::usable(tx, &original, id)?),
        None => None,
    };
    let workspace = workspaces::reach(tx, caller, original.workspace_id)?;
    let growth = Growth {
        workspace: 1,
        tenant: 1,
        sizes: &[size],
        templates: std::slice::from_ref(&original.template_type),
        starts_in: (original.driver != DrivenBy::External).then_some(original.project_id),
    };
    limits::check(tx, &fleet.config.file, &workspace, &growth)?;
    if original.driver == DrivenBy::Docker {
        room::check(tx, fleet, size, None)?;
    }
    let new = New {
        workspace_id: original.workspace_id,
        project: projects::reach(tx, caller, original.project_id)?,
        name,
        template_type: original.template_type,
        size,
        driver: original.driver,
        visibility: original.visibility,
        metadata: original.metadata,
        settings: original.settings,
        selected_apps: original.selected_apps,
        external_user_id: original.external_user_id,
        external_project_id: original.external_project_id,
        auto_stop_seconds: original.auto_stop_seconds,
    };
    let copy = insert(tx, fleet, caller, new)?;
    if let Some(snapshot) = &snapshot {
        kept::begin_with(tx, copy, snapshot)?;
    }
    Ok(copy)
}
