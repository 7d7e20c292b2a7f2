//! Workspaces: a tenant's customers, with the limits and defaults that hold inside each.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use rusqlite::{OptionalExtension, Row, named_params};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::app::App;
use crate::audit::{self, Actor, Entry};
use crate::catalog::{Catalog, Empty, Size};
use crate::clock::Timestamp;
use crate::error::{Error, Fields, Result, TAKEN, is_unique_violation};
use crate::http::{Caller, List, Mutation, PageQuery, Params, Patch, PathId, Reply};
use crate::ids::{TenantId, WorkspaceId};
use crate::json::{self, Object};
use crate::store::{Tx, WriteTx};
use crate::{computers, limits, projects, text};

// ---------------------------------------------------------------------------------------------
// Shapes

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

/// What a workspace lets its computers be.
#[derive(Serialize, ToSchema, Debug, Clone, PartialEq)]
pub struct Settings {
    /// Computers at the most; null = only the organization's ceiling.
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
    /// What a new workspace has (CONTRACT §0.4 no. 10).
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
    /// Live projects.
    pub project_count: i64,
}

impl Record {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Record {
            view: Workspace {
                id: row.get("id")?,
                tenant_id: row.get("tenant_id")?,
                name: row.get("name")?,
                slug: row.get("slug")?,
                external_workspace_id: row.get("external_workspace_id")?,
                description: row.get("description")?,
                metadata: row.get("metadata")?,
                is_default: row.get("is_default")?,
                computer_count: row.get("computer_count")?,
                created_at: row.get("created_at")?,
                updated_at: row.get("updated_at")?,
            },
            settings: Settings {
                max_computers: row.get("max_computers")?,
                max_computer_size: row.get("max_computer_size")?,
                default_computer_size: row.get("default_computer_size")?,
                default_auto_stop_seconds: row.get("default_auto_stop_seconds")?,
                allowed_template_types: json::column(row, "allowed_template_types")?,
            },
            project_count: row.get("project_count")?,
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
    workspace: Workspace,
    /// Always true here; left out of a 201.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    reused: bool,
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
    /// Computers at the most
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
}

/// The sizes that a cap may name (S).
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

/// The API page's reply and the workspace itself, since one client reads the one and one the other.
#[derive(Serialize, ToSchema)]
pub struct SettingsReply {
    workspace_id: WorkspaceId,
    settings: Settings,
    /// What holds once the organization's ceilings are applied, and where each value comes from.
    effective: limits::Effective,
    #[serde(flatten)]
    workspace: Workspace,
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
    /// Order: name, created_at, updated_at or computer_count, with a minus in front for the reverse;
    /// the default workspace first, then the oldest, if left out
    #[param(example = "-computer_count")]
    pub sort: Option<String>,
}

/// The order of a list as SQL. An unknown one is refused, since a wrong order looks like a right one.
fn order(sort: Option<&str>) -> Result<&'static str> {
    Ok(match sort {
        None => "w.is_default DESC, w.created_at, w.id",
        Some("name") => "w.name COLLATE NOCASE, w.id",
        Some("-name") => "w.name COLLATE NOCASE DESC, w.id DESC",
        Some("created_at") => "w.created_at, w.id",
        Some("-created_at") => "w.created_at DESC, w.id DESC",
        Some("updated_at") => "w.updated_at, w.id",
        Some("-updated_at") => "w.updated_at DESC, w.id DESC",
        Some("computer_count") => "w.computer_count, w.id",
        Some("-computer_count") => "w.computer_count DESC, w.id DESC",
        Some(_) => {
            return Err(Error::field(
                "sort",
                "must be one of: name, created_at, updated_at, computer_count; with a minus in front for the reverse",
            ));
        }
    })
}

/// `DELETE /workspaces/{id}` options.
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct DeleteQuery {
    /// Delete its computers and projects too
    #[param(value_type = Option<bool>)]
    pub force: Option<String>,
    /// Only say what would go
    #[param(value_type = Option<bool>)]
    pub dry_run: Option<String>,
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
    workspace_id: WorkspaceId,
    computers: StatsComputers,
    resources: Resources,
    settings: Settings,
}

/// Computers by status. The four documented statuses are always there, others only when not zero.
#[derive(Serialize, ToSchema)]
pub struct StatsComputers {
    total: i64,
    by_status: std::collections::BTreeMap<String, i64>,
}

/// Sums over all live computers, stopped ones included.
#[derive(Serialize, ToSchema, Default)]
pub struct Resources {
    total_vcpus: i64,
    total_memory_mb: i64,
    total_disk_gb: i64,
}

// ---------------------------------------------------------------------------------------------
// Look-ups

/// The live workspace with this id, if the caller may touch it.
///
/// # Errors
/// 404 `workspace not found`; 403 for another tenant's; then the route's scope.
pub fn find(tx: &Tx<'_>, caller: &Caller, id: WorkspaceId) -> Result<Record> {
    let record = reach(tx, caller, id)?;
    caller.check_scope()?;
    Ok(record)
}

/// As [`find`], for a workspace that is named in a body: the route's scope was or will be asked
/// for on another row.
///
/// # Errors
/// 404, 403.
pub fn reach(tx: &Tx<'_>, caller: &Caller, id: WorkspaceId) -> Result<Record> {
    let found = tx
        .prepare_cached("SELECT * FROM workspaces WHERE id = ?1 AND deleted_at IS NULL")?
        .query_row([id], Record::from_row)
        .optional()?;
    let record = found.ok_or_else(|| Error::not_found("workspace"))?;
    caller.within_reach(record.view.tenant_id, id)?;
    Ok(record)
}

/// One live workspace of a tenant by a unique column.
fn find_by(
    tx: &Tx<'_>,
    tenant: TenantId,
    column: &'static str,
    value: &str,
) -> Result<Option<Record>> {
    let sql = format!(
        "SELECT * FROM workspaces WHERE tenant_id = ?1 AND {column} = ?2 AND deleted_at IS NULL"
    );
    Ok(tx
        .prepare_cached(&sql)?
        .query_row((tenant, value), Record::from_row)
        .optional()?)
}

/// The tenant's workspace with this slug.
///
/// # Errors
/// When the store fails.
pub fn find_by_slug(tx: &Tx<'_>, tenant: TenantId, slug: &str) -> Result<Option<Record>> {
    find_by(tx, tenant, "slug", slug)
}

/// The tenant's workspace with this id of the caller's.
///
/// # Errors
/// When the store fails.
pub fn find_by_external(tx: &Tx<'_>, tenant: TenantId, external: &str) -> Result<Option<Record>> {
    find_by(tx, tenant, "external_workspace_id", external)
}

/// The tenant's default workspace, which always exists.
///
/// # Errors
/// When the store fails.
pub fn default_of(tx: &Tx<'_>, tenant: TenantId) -> Result<Record> {
    Ok(tx
        .prepare_cached("SELECT * FROM workspaces WHERE tenant_id = ?1 AND is_default = 1")?
        .query_row([tenant], Record::from_row)?)
}

// ---------------------------------------------------------------------------------------------
// Writing

/// A workspace to be inserted.
pub struct New<'a> {
    /// Whose.
    pub tenant_id: TenantId,
    /// Checked name.
    pub name: &'a str,
    /// Checked slug.
    pub slug: &'a str,
    /// Checked external id.
    pub external_workspace_id: Option<&'a str>,
    /// Checked end user.
    pub external_user_id: Option<&'a str>,
    /// Checked description.
    pub description: Option<&'a str>,
    /// Checked metadata.
    pub metadata: Object,
    /// Only for a tenant's first.
    pub is_default: bool,
}

/// Inserts a workspace; the unique indexes decide.
///
/// # Errors
/// 422 when the slug or the external id has been taken; a ceiling of the organization.
pub fn insert(
    tx: &WriteTx<'_>,
    file: &crate::config::ConfigFile,
    actor: Actor<'_>,
    new: New<'_>,
) -> Result<Record> {
    limits::check_workspaces(tx, file, new.tenant_id)?;
    let id: WorkspaceId = tx.new_id();
    tx.prepare_cached(
        "INSERT INTO workspaces (id, tenant_id, name, slug, external_workspace_id, external_user_id, description,
             metadata, is_default, created_at, updated_at)
         VALUES (:id, :tenant, :name, :slug, :external, :user, :description, :metadata, :is_default, :now, :now)",
    )?
    .execute(named_params! {
        ":id": id, ":tenant": new.tenant_id, ":name": new.name, ":slug": new.slug,
        ":external": new.external_workspace_id, ":user": new.external_user_id, ":description": new.description,
        ":metadata": new.metadata, ":is_default": new.is_default, ":now": tx.now(),
    })
    .map_err(unique)?;
    let record = Record {
        view: Workspace {
            id,
            tenant_id: new.tenant_id,
            name: new.name.to_owned(),
            slug: new.slug.to_owned(),
            external_workspace_id: new.external_workspace_id.map(str::to_owned),
            description: new.description.map(str::to_owned),
            metadata: new.metadata,
            is_default: new.is_default,
            computer_count: 0,
            created_at: tx.now(),
            updated_at: tx.now(),
        },
        settings: Settings::initial(),
        project_count: 0,
    };
    record.audit(tx, actor, "workspace.created", None)?;
    Ok(record)
}

impl Record {
    fn audit(
        &self,
        tx: &WriteTx<'_>,
        actor: Actor<'_>,
        kind: &str,
        before: Option<&Workspace>,
    ) -> Result<()> {
        let after = (kind != "workspace.deleted").then_some(&self.view);
        audit::record(
            tx,
            &Entry {
                actor,
                tenant_id: self.view.tenant_id,
                workspace_id: Some(self.view.id),
                kind,
                resource: self.view.id.0,
                before,
                after,
            },
        )
    }
}

fn unique(e: rusqlite::Error) -> Error {
    if is_unique_violation(&e, "workspaces.slug") {
        Error::field("slug", TAKEN)
    } else if is_unique_violation(&e, "workspaces.external_workspace_id") {
        Error::field("external_workspace_id", TAKEN)
    } else {
        e.into()
    }
}

/// The first of `slug`, `slug-2`, `slug-3`, ... that no live row of `scope` has. Looks at about
/// log n of them, so that a thousand of one name do not cost a thousand look-ups.
///
/// # Errors
/// When the store fails.
pub fn free_slug(
    tx: &Tx<'_>,
    slug: &str,
    taken: impl Fn(&Tx<'_>, &str) -> Result<bool>,
) -> Result<String> {
    if !taken(tx, slug)? {
        return Ok(slug.to_owned());
    }
    let nth = |n: u64| text::with_suffix(slug, &n.to_string());
    let (mut low, mut high) = (1, 2);
    while taken(tx, &nth(high))? {
        (low, high) = (high, high * 2);
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if taken(tx, &nth(middle))? {
            low = middle
        } else {
            high = middle
        }
    }
    Ok(nth(high))
}

/// Whether a live workspace of the tenant has this slug.
///
/// # Errors
/// When the store fails.
pub fn slug_taken(tx: &Tx<'_>, tenant: TenantId, slug: &str) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM workspaces WHERE tenant_id = ?1 AND slug = ?2 AND deleted_at IS NULL)";
    Ok(tx
        .prepare_cached(sql)?
        .query_row((tenant, slug), |row| row.get(0))?)
}

// ---------------------------------------------------------------------------------------------
// Handlers

/// `GET /workspaces`
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    page: Params<PageQuery>,
    filter: Params<Filter>,
) -> Result<Json<List<Workspace>>> {
    let (page, filter) = (page.get()?.page()?, filter.get()?);
    let order = order(filter.sort.as_deref())?;
    let only = caller.only_workspace();
    let list = app.store.read(move |tx| {
        let condition = "w.tenant_id = :tenant AND w.deleted_at IS NULL
             AND (:only IS NULL OR w.id = :only)
             AND (:external IS NULL OR w.external_workspace_id = :external)
             AND (:slug IS NULL OR w.slug = :slug)
             AND (:q IS NULL OR instr(lower(w.name), :q) OR instr(w.slug, :q)
                  OR instr(lower(w.external_workspace_id), :q) OR instr(lower(hex(w.id)), replace(:q, '-', '')))";
        let q = filter.q.as_deref().map(str::trim).filter(|q| !q.is_empty()).map(str::to_lowercase);
        let params = named_params! {
            ":tenant": caller.tenant_id(), ":only": only, ":external": filter.external_workspace_id,
            ":slug": filter.slug, ":q": q,
        };
        let whole = only.is_none() && filter.external_workspace_id.is_none() && filter.slug.is_none() && q.is_none();
        let total = if whole {
            tx.prepare_cached("SELECT workspace_count FROM tenants WHERE id = ?1")?
                .query_row([caller.tenant_id()], |row| row.get(0))?
        } else {
            tx.prepare_cached(&format!("SELECT count(*) FROM workspaces w WHERE {condition}"))?
                .query_row(params, |row| row.get(0))?
        };
        let sql = format!(
            "SELECT w.* FROM workspaces w WHERE {condition}
             ORDER BY {order} LIMIT {} OFFSET {}",
            page.limit, page.offset
        );
        let mut statement = tx.prepare(&sql)?;
        let data = statement.query_map(params, |row| Ok(Record::from_row(row)?.view))?.collect::<Result<_, _>>()?;
        Ok(List { data, total })
    });
    Ok(Json(list.await?))
}

/// `POST /workspaces`
pub async fn create(State(app): State<App>, request: Mutation<Create>) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let input = input?;
            let (record, reused) = create_or_reuse(tx, &app, caller, input)?;
            let reply = Reused {
                workspace: record.view,
                reused,
            };
            Ok(if reused {
                Reply::ok(reply)
            } else {
                Reply::created(reply)
            })
        })
        .await
}

/// The order of decisions is CONTRACT §5.2 with §0.4 nos. 1 and 2.
fn create_or_reuse(
    tx: &WriteTx<'_>,
    app: &App,
    caller: &Caller,
    input: Create,
) -> Result<(Record, bool)> {
    let tenant = caller.tenant_id();
    let mut fields = Fields::default();
    let name = text::name(&mut fields, "name", input.name.as_deref());
    if let Some(slug) = &input.slug {
        text::slug(&mut fields, "slug", slug);
    }
    text::external_id(
        &mut fields,
        "external_workspace_id",
        input.external_workspace_id.as_deref(),
    );
    text::external_id(
        &mut fields,
        "external_user_id",
        input.external_user_id.as_deref(),
    );
    text::description(&mut fields, input.description.as_deref());
    text::metadata(&mut fields, "metadata", input.metadata.as_ref());
    fields.finish()?;

    if let Some(external) = &input.external_workspace_id
        && let Some(existing) = find_by_external(tx, tenant, external)?
    {
        return Ok((existing, true));
    }
    let duplicates = input.allow_duplicate_name.unwrap_or(false);
    let slug = match input.slug {
        Some(slug) => slug,
        None => {
            let derived = text::slugify(&name, "workspace");
            if duplicates {
                free_slug(tx, &derived, |tx, slug| slug_taken(tx, tenant, slug))?
            } else {
                refuse_same_name(tx, tenant, &name)?;
                derived
            }
        }
    };
    let new = New {
        tenant_id: tenant,
        name: &name,
        slug: &slug,
        external_workspace_id: input.external_workspace_id.as_deref(),
        external_user_id: input.external_user_id.as_deref(),
        description: input.description.as_deref(),
        metadata: input.metadata.unwrap_or_else(Object::empty),
        is_default: false,
    };
    Ok((
        insert(tx, &app.config.file, Actor::Key(caller), new)?,
        false,
    ))
}

/// The same name again without a slug of its own: the caller probably repeats itself.
fn refuse_same_name(tx: &Tx<'_>, tenant: TenantId, name: &str) -> Result<()> {
    let existing = tx
        .prepare_cached(
            "SELECT * FROM workspaces WHERE tenant_id = ?1 AND name = ?2 AND deleted_at IS NULL
             ORDER BY created_at, id LIMIT 1",
        )?
        .query_row((tenant, name), Record::from_row)
        .optional()?;
    match existing {
        Some(existing) => Err(Error::field("slug", TAKEN)
            .with_code("WORKSPACE_NAME_EXISTS")
            .with_existing(existing.view)),
        None => Ok(()),
    }
}

/// `GET /workspaces/{id}`
pub async fn show(
    State(app): State<App>,
    caller: Caller,
    PathId(id): PathId<WorkspaceId>,
) -> Result<Json<Workspace>> {
    let record = app.store.read(move |tx| find(tx, &caller, id)).await?;
    Ok(Json(record.view))
}

/// `PATCH /workspaces/{id}`
pub async fn update(
    PathId(id): PathId<WorkspaceId>,
    request: Mutation<Update>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let mut record = find(tx, caller, id)?;
            let before = record.view.clone();
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
            let external = input.external_workspace_id.value().map(String::as_str);
            text::external_id(&mut fields, "external_workspace_id", external);
            text::metadata(&mut fields, "metadata", input.metadata.value());
            fields.finish()?;

            let view = &mut record.view;
            view.name = name;
            view.slug = input.slug.apply(Some(view.slug.clone())).unwrap_or_default();
            view.description = input.description.apply(view.description.take());
            view.external_workspace_id = input.external_workspace_id.apply(view.external_workspace_id.take());
            view.metadata = input.metadata.apply(Some(view.metadata.clone())).unwrap_or_else(Object::empty);
            if json::text(&*view)? == json::text(&before)? {
                return Ok(Reply::ok(record.view)); // Nothing changed, so nothing moved either.
            }
            view.updated_at = tx.now();
            tx.prepare_cached(
                "UPDATE workspaces SET name = :name, slug = :slug, description = :description,
                     external_workspace_id = :external, metadata = :metadata, updated_at = :now
                 WHERE id = :id AND tenant_id = :tenant",
            )?
            .execute(named_params! {
                ":name": view.name, ":slug": view.slug, ":description": view.description,
                ":external": view.external_workspace_id, ":metadata": view.metadata, ":now": tx.now(),
                ":id": id, ":tenant": caller.tenant_id(),
            })
            .map_err(unique)?;
            record.audit(tx, Actor::Key(caller), "workspace.updated", Some(&before))?;
            Ok(Reply::ok(record.view))
        })
        .await
}

/// `GET /workspaces/{id}/settings`
pub async fn settings(
    State(app): State<App>,
    caller: Caller,
    PathId(id): PathId<WorkspaceId>,
) -> Result<Json<SettingsReply>> {
    let config = app.config.clone();
    let reply = app.store.read(move |tx| {
        let record = find(tx, &caller, id)?;
        settings_reply(tx, &config.file, record)
    });
    Ok(Json(reply.await?))
}

fn settings_reply(
    tx: &Tx<'_>,
    file: &crate::config::ConfigFile,
    record: Record,
) -> Result<SettingsReply> {
    Ok(SettingsReply {
        workspace_id: record.view.id,
        effective: limits::effective(tx, file, &record)?,
        settings: record.settings,
        workspace: record.view,
    })
}

/// `PUT /workspaces/{id}/settings`
pub async fn update_settings(
    State(app): State<App>,
    PathId(id): PathId<WorkspaceId>,
    request: Mutation<UpdateSettings>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let mut record = find(tx, caller, id)?;
            let before = record.settings.clone();
            record.settings = merge_settings(&app.catalog, before.clone(), input?)?;
            let s = &record.settings;
            record.view.updated_at = tx.now();
            tx.prepare_cached(
                "UPDATE workspaces SET max_computers = ?1, max_computer_size = ?2, default_computer_size = ?3,
                     default_auto_stop_seconds = ?4, allowed_template_types = ?5, updated_at = ?6
                 WHERE id = ?7 AND tenant_id = ?8",
            )?
            .execute((
                s.max_computers,
                s.max_computer_size,
                s.default_computer_size,
                s.default_auto_stop_seconds,
                json::text(&s.allowed_template_types)?,
                tx.now(),
                id,
                caller.tenant_id(),
            ))?;
            audit::record(
                tx,
                &Entry {
                    actor: Actor::Key(caller),
                    tenant_id: caller.tenant_id(),
                    workspace_id: Some(id),
                    kind: "workspace.settings_updated",
                    resource: id.0,
                    before: Some(&before),
                    after: Some(&record.settings),
                },
            )?;
            settings_reply(tx, &app.config.file, record).map(Reply::ok)
        })
        .await
}

/// The settings after the request, or every field that is wrong with it.
fn merge_settings(catalog: &Catalog, old: Settings, input: UpdateSettings) -> Result<Settings> {
    let initial = Settings::initial();
    let mut fields = Fields::default();
    let mut new = old;
    match input.max_computers {
        Patch::Absent => {}
        Patch::Null => new.max_computers = None,
        Patch::Set(n) if n >= 0 => new.max_computers = Some(n),
        Patch::Set(_) => fields.push("max_computers", "must be 0 or more, or null for no cap"),
    }
    match input.max_computer_size {
        Patch::Absent => {}
        Patch::Null => new.max_computer_size = None,
        Patch::Set(text) => match text.parse() {
            Ok(size @ (Size::Small | Size::Medium | Size::Large)) => {
                new.max_computer_size = Some(size)
            }
            _ => fields.push(
                "max_computer_size",
                "must be small, medium or large, or null for no cap",
            ),
        },
    }
    match input.default_computer_size {
        Patch::Absent => {}
        Patch::Null => new.default_computer_size = initial.default_computer_size,
        Patch::Set(text) => match text.parse() {
            Ok(size) => new.default_computer_size = size,
            Err(why) => fields.push("default_computer_size", why),
        },
    }
    match input.default_auto_stop_seconds {
        Patch::Absent => {}
        Patch::Null => new.default_auto_stop_seconds = initial.default_auto_stop_seconds,
        Patch::Set(n) if (0..=MAX_AUTO_STOP_SECONDS).contains(&n) => {
            new.default_auto_stop_seconds = n
        }
        Patch::Set(_) => {
            fields.push(
                "default_auto_stop_seconds",
                format!("must be 0 (never) to {MAX_AUTO_STOP_SECONDS}"),
            );
        }
    }
    match input.allowed_template_types {
        Patch::Absent => {}
        Patch::Null => new.allowed_template_types = initial.allowed_template_types,
        Patch::Set(list) => {
            if let Some(unknown) = list.iter().find(|name| !catalog.templates.contains(name)) {
                let known = catalog.templates.join(", ");
                fields.push(
                    "allowed_template_types",
                    format!("has no template {unknown:?}; there are {known}"),
                );
            }
            new.allowed_template_types = list;
        }
    }
    if let Some(max) = new
        .max_computer_size
        .filter(|max| new.default_computer_size > *max)
    {
        let text = format!(
            "default_computer_size {} is larger than max_computer_size {max}",
            new.default_computer_size
        );
        fields.push("default_computer_size", text.clone());
        fields.push("max_computer_size", text);
    }
    fields.finish().map(|()| new)
}

/// `DELETE /workspaces/{id}`
pub async fn delete(
    State(app): State<App>,
    PathId(id): PathId<WorkspaceId>,
    query: Params<DeleteQuery>,
    request: Mutation<computers::Anything>,
) -> Result<Response> {
    request
        .run(move |tx, caller, _| {
            let record = find(tx, caller, id)?;
            let query = query.get()?;
            let mut fields = Fields::default();
            let force = flag(&mut fields, "force", query.force.as_deref());
            let dry_run = flag(&mut fields, "dry_run", query.dry_run.as_deref());
            fields.finish()?;
            delete_workspace(tx, &app, caller, &record, force, dry_run).map(Reply::ok)
        })
        .await
}

fn delete_workspace(
    tx: &WriteTx<'_>,
    app: &App,
    caller: &Caller,
    record: &Record,
    force: bool,
    dry_run: bool,
) -> Result<Deleted> {
    let id = record.view.id;
    if record.view.is_default {
        return Err(Error::conflict(
            "WORKSPACE_IS_DEFAULT",
            "the default workspace cannot be deleted",
        ));
    }
    let contents = Contents {
        computers: record.view.computer_count,
        projects: record.project_count,
    };
    if dry_run {
        return Ok(Deleted {
            deleted: false,
            dry_run: true,
            would_delete: Some(contents),
            ..Deleted::yes()
        });
    }
    if !force {
        if contents.computers > 0 {
            return Err(
                Error::conflict("WORKSPACE_HAS_COMPUTERS", "workspace has computers")
                    .with_details(serde_json::json!(contents)),
            );
        }
        // The automatic default project is no content of the customer's (CONTRACT §0.4 no. 6).
        if contents.projects > i64::from(projects::default_of(tx, id)?.is_some()) {
            return Err(
                Error::conflict("WORKSPACE_HAS_PROJECTS", "workspace has projects")
                    .with_details(serde_json::json!(contents)),
            );
        }
    }
    computers::delete_all_in(tx, app, caller, id)?;
    projects::delete_all_in(tx, caller, id)?;
    crate::domains::forget(tx, crate::domains::Scope::Workspace, id.0)?;
    tx.prepare_cached(
        "UPDATE workspaces SET deleted_at = ?1, updated_at = ?1 WHERE id = ?2 AND tenant_id = ?3",
    )?
    .execute((tx.now(), id, caller.tenant_id()))?;
    // A key of a workspace that is gone opens nothing, but must not look alive either.
    tx.prepare_cached(
        "UPDATE api_keys SET status = 'revoked', updated_at = ?1 WHERE workspace_id = ?2",
    )?
    .execute((tx.now(), id))?;
    tx.keys_changed();
    record.audit(
        tx,
        Actor::Key(caller),
        "workspace.deleted",
        Some(&record.view),
    )?;
    Ok(if force {
        Deleted {
            force,
            resources: Some(contents),
            ..Deleted::yes()
        }
    } else {
        Deleted::yes()
    })
}

/// `true`, `1` and the empty value are yes; absent, `false` and `0` are no.
fn flag(fields: &mut Fields, name: &'static str, value: Option<&str>) -> bool {
    match value {
        None | Some("false" | "0") => false,
        Some("true" | "1" | "") => true,
        Some(_) => {
            fields.push(name, "must be true or false");
            false
        }
    }
}

/// `GET /workspaces/{id}/stats`
pub async fn stats(
    State(app): State<App>,
    caller: Caller,
    PathId(id): PathId<WorkspaceId>,
) -> Result<Json<Stats>> {
    let catalog = app.catalog.clone();
    let stats = app.store.read(move |tx| {
        let record = find(tx, &caller, id)?;
        let mut by_status: std::collections::BTreeMap<String, i64> =
            ["running", "stopped", "provisioning", "error"]
                .map(|status| (status.to_owned(), 0))
                .into();
        let (mut total, mut resources) = (0, Resources::default());
        let mut statement = tx.prepare_cached(
            "SELECT status, size, count(*) FROM computers
             WHERE workspace_id = ?1 AND deleted_at IS NULL GROUP BY status, size",
        )?;
        let mut rows = statement.query([id])?;
        while let Some(row) = rows.next()? {
            let (status, size, count): (String, Size, i64) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            let hardware = catalog.hardware(size);
            *by_status.entry(status).or_default() += count;
            total += count;
            resources.total_vcpus += count * hardware.vcpus;
            resources.total_memory_mb += count * hardware.memory_mb;
            resources.total_disk_gb += count * hardware.disk_gb;
        }
        Ok(Stats {
            workspace_id: id,
            computers: StatsComputers { total, by_status },
            resources,
            settings: record.settings,
        })
    });
    Ok(Json(stats.await?))
}

/// `GET` of a list of another product inside a workspace
pub async fn nothing(
    State(app): State<App>,
    caller: Caller,
    PathId(id): PathId<WorkspaceId>,
) -> Result<Json<List<Empty>>> {
    app.store
        .read(move |tx| find(tx, &caller, id).map(drop))
        .await?;
    Ok(Json(List {
        data: Vec::new(),
        total: 0,
    }))
}
