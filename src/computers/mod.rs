//! Computers: machines inside projects.
//!
//! * this file: shapes, look-ups, reading
//! * [`create`]: creating and cloning, with the resolution of workspace and project
//! * [`lifecycle`]: statuses, the built-in driver, idle auto-stop
//! * [`change`]: renaming, resizing, moving, deleting
//!
//! The row of a computer is its present; `compute_events` is its past, which is billed. Both are
//! written by [`lifecycle::Change`], in one transaction, and nowhere else.

mod change;
mod create;
mod lifecycle;
mod status;

use std::sync::LazyLock;

use axum::Json;
use axum::extract::State;
use rusqlite::{OptionalExtension, Row};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::app::App;
use crate::catalog::{REGION, Size};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::http::{Caller, List, Page, PageQuery, Params, PathId};
use crate::ids::{ComputerId, ProjectId, TenantId, WorkspaceId};
use crate::json::Object;
use crate::projects::id_param;
use crate::store::{Columns, Tx};
use crate::{domains, projects, workspaces};

pub use change::{
    AutoStop, Destroyed, Move, Resize, SetAutoStop, Update, auto_stop, delete, delete_all_in,
    follow_project, move_to, resize, set_auto_stop, update,
};
pub(crate) use create::create_computer;
pub use create::{CloneRequest, Create, clone, create};
pub(crate) use lifecycle::drive;
pub use lifecycle::{Change, next_due, restart, run_due, settle, start, stop};
pub use status::Status;

// ---------------------------------------------------------------------------------------------
// Shapes

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
    /// `simulated`: this server moves it; `external`: an agent reports what it does.
    pub driver: String,
    /// public, tenant or key.
    pub visibility: String,
    /// The caller's own data.
    pub metadata: Object,
    /// The workspace's id of the caller's.
    pub external_workspace_id: Option<String>,
    /// The caller's end user.
    pub external_user_id: Option<String>,
    /// The caller's own id of the project.
    pub external_project_id: Option<String>,
    /// Always null here.
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
    /// When it last came to rest.
    pub stopped_at: Option<Timestamp>,
}

/// A computer at both levels, since one client reads the object and another its `data`
/// (CONTRACT §7.8).
#[derive(Serialize, ToSchema)]
pub struct ComputerTwice {
    #[serde(flatten)]
    computer: Computer,
    success: bool,
    data: Computer,
}

impl ComputerTwice {
    fn new(computer: Computer) -> Self {
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
    computer: Computer,
    success: bool,
    message: String,
}

/// A body that is read but not needed: nothing, null, or any object.
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct Anything {}

/// Filters of computer lists.
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct Filter {
    /// Only computers of this workspace
    #[param(value_type = Option<uuid::Uuid>)]
    pub workspace_id: Option<String>,
    /// Only computers of this project
    #[param(value_type = Option<uuid::Uuid>)]
    pub project_id: Option<String>,
    /// Only computers with this status
    #[param(value_type = Option<Status>)]
    pub status: Option<String>,
    /// Only computers of this end user
    pub external_user_id: Option<String>,
}

/// A live computer as the store has it.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its id.
    pub id: ComputerId,
    /// Whose.
    pub tenant_id: TenantId,
    /// Where.
    pub workspace_id: WorkspaceId,
    /// Where.
    pub project_id: ProjectId,
    /// For people.
    pub name: String,
    /// Label in host names.
    pub slug: String,
    /// What it was made from.
    pub template_type: String,
    /// Its size.
    pub size: Size,
    /// Where it is in its life.
    pub status: Status,
    /// Moved by an agent outside, not by the built-in driver.
    pub external_driver: bool,
    /// public, tenant or key.
    pub visibility: String,
    /// The caller's own data.
    pub metadata: Object,
    /// What is installed on it.
    pub selected_apps: Vec<String>,
    /// The caller's settings for it.
    pub settings: Object,
    /// The workspace's id of the caller's.
    pub external_workspace_id: Option<String>,
    /// The caller's end user.
    pub external_user_id: Option<String>,
    /// The caller's own id of the project.
    pub external_project_id: Option<String>,
    /// Idle seconds after which it stops.
    pub auto_stop_seconds: i64,
    /// When the built-in driver has something to do.
    pub due_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it last began to run.
    pub started_at: Option<Timestamp>,
    /// When it last came to rest.
    pub stopped_at: Option<Timestamp>,
    /// The preview domain that holds for it; `None` = the server's.
    pub domain: Option<String>,
}

impl Record {
    /// Of the columns of [`SELECT`].
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let mut row = Columns::new(row);
        Ok(Record {
            id: row.get()?,
            tenant_id: row.get()?,
            workspace_id: row.get()?,
            project_id: row.get()?,
            name: row.get()?,
            slug: row.get()?,
            template_type: row.get()?,
            size: row.get()?,
            status: row.get()?,
            external_driver: row.get::<String>()? == "external",
            visibility: row.get()?,
            metadata: row.get()?,
            selected_apps: row.json()?,
            settings: row.get()?,
            external_workspace_id: row.get()?,
            external_user_id: row.get()?,
            external_project_id: row.get()?,
            auto_stop_seconds: row.get()?,
            due_at: row.get()?,
            created_at: row.get()?,
            updated_at: row.get()?,
            started_at: row.get()?,
            stopped_at: row.get()?,
            domain: row.get()?,
        })
    }

    /// As the API shows it.
    pub fn view(self, app: &App) -> Computer {
        let hardware = app.catalog.hardware(self.size);
        let domain = self
            .domain
            .unwrap_or_else(|| app.config.base_domain.clone());
        let url = format!("https://{}.sandbox.{domain}", self.slug);
        Computer {
            id: self.id,
            tenant_id: self.tenant_id,
            workspace_id: self.workspace_id,
            project_id: self.project_id,
            owner_user_id: None,
            name: self.name,
            template_type: self.template_type,
            size: self.size,
            vcpus: hardware.vcpus,
            cpu_count: hardware.vcpus,
            memory_mb: hardware.memory_mb,
            disk_gb: hardware.disk_gb,
            status: self.status,
            driver: if self.external_driver {
                "external"
            } else {
                "simulated"
            }
            .into(),
            metadata: self.metadata,
            external_workspace_id: self.external_workspace_id,
            external_user_id: self.external_user_id,
            external_project_id: self.external_project_id,
            vm_id: None,
            ip_address: None,
            region: REGION,
            desktop_url: format!("https://{}.computer.{domain}/desktop/index.html", self.slug),
            public_url: (self.visibility == "public").then(|| url.clone()),
            sandbox_url: url,
            slug: self.slug,
            visibility: self.visibility,
            preview_domain: domain,
            selected_apps: self.selected_apps,
            settings: self.settings,
            auto_stop_seconds: self.auto_stop_seconds,
            auto_stop_at: self.due_at.filter(|_| self.status == Status::Running),
            created_at: self.created_at,
            updated_at: self.updated_at,
            started_at: self.started_at,
            stopped_at: self.stopped_at,
        }
    }
}

static SELECT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT c.id, c.tenant_id, c.workspace_id, c.project_id, c.name, c.slug, c.template_type,
                c.size, c.status, c.driver, c.visibility, c.metadata, c.selected_apps, c.settings,
                w.external_workspace_id, c.external_user_id, c.external_project_id, c.auto_stop_seconds,
                c.due_at, c.created_at, c.updated_at, c.started_at, c.stopped_at, {} AS domain
         FROM computers c JOIN workspaces w ON w.id = c.workspace_id",
        domains::OF_COMPUTER
    )
});

// ---------------------------------------------------------------------------------------------
// Look-ups

/// The live computer with this id, whoever asks: for the service itself.
///
/// # Errors
/// When the store fails.
pub fn load(tx: &Tx<'_>, id: ComputerId) -> Result<Option<Record>> {
    let sql = format!("{} WHERE c.id = ?1 AND c.deleted_at IS NULL", *SELECT);
    Ok(tx
        .prepare_cached(&sql)?
        .query_row([id], Record::from_row)
        .optional()?)
}

/// The live computer with this id, if the caller may touch it.
///
/// # Errors
/// 404 `computer not found`; 403 for another tenant's, or another end user's under a delegated
/// key; then the route's scope.
pub fn find(tx: &Tx<'_>, caller: &Caller, id: ComputerId) -> Result<Record> {
    let computer = load(tx, id)?.ok_or_else(|| Error::not_found("computer"))?;
    caller.within_reach(computer.tenant_id, computer.workspace_id)?;
    if caller
        .only_user()
        .is_some_and(|user| computer.external_user_id.as_deref() != Some(user))
    {
        return Err(Error::forbidden());
    }
    caller.check_scope()?;
    Ok(computer)
}

/// The view of a computer that this transaction has just changed.
fn changed(tx: &Tx<'_>, app: &App, id: ComputerId) -> Result<Computer> {
    load(tx, id)?
        .map(|record| record.view(app))
        .ok_or_else(|| Error::not_found("computer"))
}

// ---------------------------------------------------------------------------------------------
// Reading

/// `GET /computers/{id}`
pub async fn show(
    State(app): State<App>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
) -> Result<Json<Computer>> {
    let record = app.store.look_up(move |tx| find(tx, &caller, id)).await?;
    Ok(Json(record.view(&app)))
}

/// `GET /computers`
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    page: Params<PageQuery>,
    filter: Params<Filter>,
) -> Result<Json<List<Computer>>> {
    let (page, filter) = (page.get()?.page()?, filter.get()?);
    let store = app.store.clone();
    let list = store.read(move |tx| {
        let workspace = id_param("workspace_id", filter.workspace_id.as_deref())?;
        if let Some(id) = workspace {
            workspaces::reach(tx, &caller, id)?;
        }
        list_where(
            tx,
            &app,
            &caller,
            workspace.or(caller.only_workspace()),
            &filter,
            page,
        )
    });
    Ok(Json(list.await?))
}

/// `GET /workspaces/{id}/computers`
pub async fn list_in_workspace(
    State(app): State<App>,
    caller: Caller,
    PathId(id): PathId<WorkspaceId>,
    page: Params<PageQuery>,
    filter: Params<Filter>,
) -> Result<Json<List<Computer>>> {
    let store = app.store.clone();
    let list = store.read(move |tx| {
        workspaces::find(tx, &caller, id)?;
        let (page, filter) = (page.get()?.page()?, filter.get()?);
        if id_param("workspace_id", filter.workspace_id.as_deref())?
            .is_some_and(|other: WorkspaceId| other != id)
        {
            return Err(Error::field(
                "workspace_id",
                "is not the workspace of the path; leave it out",
            ));
        }
        list_where(tx, &app, &caller, Some(id), &filter, page)
    });
    Ok(Json(list.await?))
}

/// The narrowest index that fits comes from the conditions that are really there.
fn list_where(
    tx: &Tx<'_>,
    app: &App,
    caller: &Caller,
    workspace: Option<WorkspaceId>,
    filter: &Filter,
    page: Page,
) -> Result<List<Computer>> {
    let tenant = caller.tenant_id();
    let project: Option<ProjectId> = id_param("project_id", filter.project_id.as_deref())?;
    if let Some(id) = project {
        projects::reach(tx, caller, id)?;
    }
    let status = match filter.status.as_deref() {
        None => None,
        Some(text) => Some(text.parse::<Status>().map_err(|_| {
            let known = Status::ALL.map(Status::as_str).join(", ");
            Error::field("status", format!("is not a status; allowed are {known}"))
        })?),
    };
    let user = caller.only_user().or(filter.external_user_id.as_deref());
    let mut condition = "c.tenant_id = :tenant AND c.deleted_at IS NULL".to_owned();
    let mut params: Vec<(&str, &dyn rusqlite::ToSql)> = vec![(":tenant", &tenant)];
    if let Some(id) = &workspace {
        condition += " AND c.workspace_id = :workspace";
        params.push((":workspace", id));
    }
    if let Some(id) = &project {
        condition += " AND c.project_id = :project";
        params.push((":project", id));
    }
    if let Some(status) = &status {
        condition += " AND c.status = :status";
        params.push((":status", status));
    }
    if let Some(user) = &user {
        condition += " AND c.external_user_id = :user";
        params.push((":user", user));
    }
    if caller.only_user().is_some()
        && filter
            .external_user_id
            .as_deref()
            .is_some_and(|asked| Some(asked) != user)
    {
        return Ok(List {
            data: Vec::new(),
            total: 0,
        });
    }
    // What a counter knows is not counted; without other conditions they are :tenant and one more.
    let count = match (&workspace, &project, params.len()) {
        (None, None, 1) => "SELECT computer_count FROM tenants WHERE id = :tenant".into(),
        (Some(_), None, 2) => {
            "SELECT computer_count FROM workspaces WHERE id = :workspace AND tenant_id = :tenant"
                .into()
        }
        (None, Some(_), 2) => {
            "SELECT computer_count FROM projects WHERE id = :project AND tenant_id = :tenant".into()
        }
        _ => format!("SELECT count(*) FROM computers c WHERE {condition}"),
    };
    let total = tx
        .prepare_cached(&count)?
        .query_row(params.as_slice(), |row| row.get(0))?;
    params.extend(page.params());
    let mut statement = tx.prepare_cached(&format!(
        "{} WHERE {condition} ORDER BY c.created_at DESC, c.id DESC {}",
        *SELECT,
        Page::SQL
    ))?;
    let rows = statement.query_map(params.as_slice(), Record::from_row)?;
    let data = rows
        .map(|row| row.map(|record| record.view(app)))
        .collect::<Result<_, _>>()?;
    Ok(List { data, total })
}
