//! The route table: the index of the API, and the one source of the router, of the scope checks
//! and of the OpenAPI document. To add an endpoint, add a line here and a handler in its resource.

use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};
use utoipa::openapi::path::Parameter;
use utoipa::{IntoParams, ToSchema};

use crate::access::scopes::{Access, Reach};
use crate::api::app::App;
use crate::api::{log_filter, system};
use crate::billing::budgets::{self, BudgetView};
use crate::billing::document::{StatementView, Summary};
use crate::billing::owner::{OneProject, OneWorkspace, OwnOrganization};
use crate::billing::proof::Proof;
use crate::billing::{explain as explained, focus, handlers as statements, prices, rates};
use crate::http::{
    DeletedQuery, DryRunQuery, Heavy, Known, List, Look, MAX_BODY, NoBody, PageQuery, SchemaFn,
    schema_ref,
};
use crate::outbox::{events, webhooks};
use crate::share_links::links;
use crate::usage::ledger::verify::Verification;
use crate::usage::questions::table::TableQuery;
use crate::usage::questions::types::Series;
use crate::usage::questions::{
    credits, events as computer_events, explain, metrics, organization, rollup, series, sessions,
    verification, what_if, window,
};
use crate::usage::reports::{adjust, grant, ingest, past_usage};
use crate::{
    actions, api_keys, audit, backups, compute, computers, deleted, domains, export, previews,
    projects, refusals, tenants, workspaces,
};

/// One endpoint.
pub struct Route {
    pub method: Method,
    /// The path below [`BASE`](crate::rules::hosted::BASE), in the syntax of both axum and OpenAPI.
    pub path: &'static str,
    /// One line of documentation.
    pub summary: &'static str,
    /// Who may use it.
    pub access: Access,
    /// Whether it has to wait for its turn.
    pub(super) heavy: Heavy,
    pub(super) handler: MethodRouter<App>,
    pub(super) params: Vec<fn() -> Vec<Parameter>>,
    pub(super) body: Option<SchemaFn>,
    /// What the body is: JSON, unless said otherwise.
    pub(super) takes: &'static [&'static str],
    pub(super) replies: Vec<(u16, SchemaFn)>,
    /// What a reply of 200 is: JSON, unless said otherwise.
    pub content: &'static str,
    /// The reply of 200 can be had as a table, too.
    pub(super) or_csv: bool,
    /// There may be none of it: 404, though no id is in the path.
    pub(super) absent: bool,
    /// Names in query and body that clients of the hosted service send, accepted without effect.
    pub(super) ignored: &'static [&'static str],
    /// Fields by which a caller would narrow what it makes, beside those of every route; refused where they are not
    /// known.
    pub(super) narrowing: &'static [&'static str],
    /// With what the `If-Match` of a change is compared.
    pub(super) guard: Option<fn(&App) -> Look>,
    /// Its reply of 200 has an `ETag`.
    pub tagged: bool,
    /// A parameter that it does not know is refused: it would have chosen rows.
    pub exact: bool,
    /// It takes as long as what it runs: other limits hold than the usual time of a request.
    pub(super) long: bool,
    /// Under which names tools ask whether they may use it.
    pub tools: &'static [&'static str],
}

impl Route {
    fn new<H, T>(method: Method, path: &'static str, handler: H, summary: &'static str) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        // HEAD comes with GET.
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
        Route {
            handler: on(filter, handler),
            access: Access {
                scope: None,
                reach: Reach::Any,
                by_id: path.contains("{id}"),
                max_body: MAX_BODY,
            },
            heavy: Heavy::No,
            method,
            path,
            summary,
            params: Vec::new(),
            body: None,
            takes: &["application/json"],
            replies: Vec::new(),
            content: "application/json",
            or_csv: false,
            absent: false,
            ignored: &[],
            narrowing: &[],
            guard: None,
            tagged: false,
            exact: false,
            long: false,
            tools: &[],
        }
    }

    /// The names that its requests may use.
    pub fn known(&self) -> Known {
        let query = self.params.iter().flat_map(|params| params());
        Known::new(
            self.method.clone(),
            self.path,
            query.map(|parameter| parameter.name),
            self.body,
            self.ignored,
            self.narrowing,
        )
    }

    fn scope(mut self, scope: &'static str) -> Self {
        self.access.scope = Some(scope);
        self
    }

    fn heavy(mut self, heavy: Heavy) -> Self {
        self.heavy = heavy;
        self
    }

    fn reach(mut self, reach: Reach) -> Self {
        self.access.reach = reach;
        self
    }

    fn max_body(mut self, bytes: usize) -> Self {
        self.access.max_body = bytes;
        self
    }

    fn query<P: IntoParams>(mut self) -> Self {
        self.params
            .push(|| P::into_params(|| Some(utoipa::openapi::path::ParameterIn::Query)));
        self.exact |= self.method == Method::GET;
        self
    }

    fn paged(self) -> Self {
        self.query::<PageQuery>()
    }

    fn body<B: ToSchema>(mut self) -> Self {
        self.body = Some(schema_ref::<B>);
        self
    }

    /// The body is not JSON.
    fn takes<B: ToSchema>(mut self, content: &'static [&'static str]) -> Self {
        self.takes = content;
        self.body::<B>()
    }

    /// A reply of 200 that is not JSON.
    fn gives<R: ToSchema>(mut self, content: &'static str) -> Self {
        self.content = content;
        self.ok::<R>()
    }

    fn ok<R: ToSchema>(mut self) -> Self {
        self.replies.push((200, schema_ref::<R>));
        self
    }

    /// Rows, chosen by its parameters and no others.
    fn list<R: ToSchema>(mut self) -> Self {
        self.exact = true;
        self.ok::<List<R>>()
    }

    /// A list that is empty whatever it is asked for.
    fn nothing(self) -> Self {
        self.ok::<List<compute::Empty>>()
    }

    /// Its parameters are all that there is to choose by, though it answers with one object.
    fn exact(mut self) -> Self {
        self.exact = true;
        self
    }

    fn long(mut self) -> Self {
        self.long = true;
        self
    }

    /// What tools call it.
    fn tools(mut self, names: &'static [&'static str]) -> Self {
        self.tools = names;
        self
    }

    /// A reply that never ends: server-sent events whose data is an `R`.
    fn events<R: ToSchema>(self) -> Self {
        self.gives::<R>("text/event-stream")
    }

    /// Also as CSV, where the client asks for it.
    fn or_csv(mut self) -> Self {
        self.or_csv = true;
        self
    }

    /// There may be none.
    fn or_none(mut self) -> Self {
        self.absent = true;
        self
    }

    /// Clients of the hosted service send these; here they have no effect, with `--strict` neither.
    fn ignores(mut self, names: &'static [&'static str]) -> Self {
        self.ignored = names;
        self
    }

    /// One resource, with its `ETag`.
    fn single<R: ToSchema>(mut self) -> Self {
        self.tagged = true;
        self.ok::<R>()
    }

    /// A change that is made only to what `If-Match` names.
    fn guarded(mut self, look: fn(&App) -> Look) -> Self {
        self.guard = Some(look);
        self
    }

    /// These would narrow what is made, and are refused where they are not known.
    fn narrows(mut self, names: &'static [&'static str]) -> Self {
        self.narrowing = names;
        self
    }

    /// A reply of 207: a part of what was asked for was done.
    fn partly<R: ToSchema>(mut self) -> Self {
        self.replies.push((207, schema_ref::<R>));
        self
    }

    fn created<R: ToSchema>(mut self) -> Self {
        self.replies.push((201, schema_ref::<R>));
        self
    }
}

macro_rules! methods {
    ($($name:ident $method:ident;)*) => {$(
        fn $name<H: Handler<T, App>, T: 'static>(path: &'static str, handler: H, summary: &'static str) -> Route {
            Route::new(Method::$method, path, handler, summary)
        }
    )*};
}
methods! { get GET; post POST; put PUT; patch PATCH; delete DELETE; }

/// What clients send along with a new computer that concerns machines.
const NOT_CREATED: &[&str] = &[
    "agent_runtime_profile_id",
    "agent_profile_id",
    "skip_agent_runtime_profile",
    "setup_file",
    "environment",
    "environment_id",
    "env_id",
    "no_env",
    "env",
    "fail_fast",
    "compute_placement_request",
    "allow_provision",
    "gpu_model",
    "gpu_count",
    "region",
];

/// By what a key or a webhook could be limited.
const LIMITS_OF_REACH: &[&str] = &[
    "workspace_id",
    "workspace_ids",
    "workspaces",
    "project_id",
    "project_ids",
    "projects",
    "computer_id",
    "computer_ids",
    "computers",
    "external_user_id",
    "external_user_ids",
    "tenant_id",
    "role",
    "permissions",
    "filter",
    "filters",
];

/// Methods and paths of the table.
pub fn names() -> Vec<(Method, &'static str)> {
    table()
        .into_iter()
        .map(|route| (route.method, route.path))
        .collect()
}

/// What tools may ask for.
pub fn capabilities() -> actions::Capabilities {
    let served = table();
    actions::Capabilities::new(
        served
            .iter()
            .flat_map(|route| route.tools.iter().map(|name| (*name, route.access.scope))),
    )
}

/// Every endpoint below [`BASE`](crate::rules::hosted::BASE).
#[rustfmt::skip]
pub fn table() -> Vec<Route> {
    use Heavy::{Asks, With, Yes};
    /// What each of all rows used is added up for it.
    const BY_CREDITS: Heavy = Asks("sort", &["credits", "-credits"]);
    use Reach::{Operator, Shared, Tenant};
    use compute::{CatalogReply, Pricing, Region, ComputeRegion, SizeRow, Template};
    use computers::auto_stop::AutoStop;
    use computers::change::Destroyed;
    use computers::{Computer, ComputerTwice, Moved};
    use domains::DomainStatus;
    use projects::Project;
    use tenants::handlers::TenantView;
    use webhooks::WebhookView;
    use workspaces::settings::SettingsReply;
    use workspaces::{Deleted, Stats, Workspace};
    vec![
        // --- workspaces (the API page) ---
        get("/workspaces", workspaces::handlers::list, "List workspaces").scope("workspaces:read").paged().query::<workspaces::Filter>().list::<Workspace>().tools(&["workspace.list"]).heavy(BY_CREDITS),
        post("/workspaces", workspaces::handlers::create, "Create a workspace").scope("workspaces:write").reach(Tenant).body::<workspaces::Create>().created::<Workspace>().ok::<workspaces::Reused>().tools(&["workspace.create"]),
        get("/workspaces/{id}", workspaces::handlers::show, "Get a workspace").scope("workspaces:read").single::<Workspace>().tools(&["workspace.get"]),
        patch("/workspaces/{id}", workspaces::handlers::update, "Update a workspace").scope("workspaces:write").reach(Shared).body::<workspaces::Update>().ok::<Workspace>().tools(&["workspace.update"]).guarded(|_| workspaces::handlers::look()),
        delete("/workspaces/{id}", workspaces::handlers::delete, "Delete an empty workspace, or with force all in it").scope("workspaces:write").reach(Shared).query::<workspaces::DeleteQuery>().ok::<Deleted>().tools(&["workspace.delete"]).guarded(|_| workspaces::handlers::look()),
        post("/workspaces/{id}/restore", workspaces::restore::restore, "Bring back a deleted workspace with all that went with it; computers come back stopped").scope("workspaces:write").reach(Tenant).body::<workspaces::restore::RestoreWorkspace>().ok::<workspaces::restore::RestoredWorkspace>(),
        get("/deleted", deleted::list, "Deleted workspaces, projects and computers that can be restored").scope("workspaces:read").reach(Shared).paged().query::<deleted::DeletedFilter>().list::<deleted::Restorable>(),
        get("/workspaces/{id}/settings", workspaces::settings::settings, "Read limits and defaults").scope("workspaces:read").single::<SettingsReply>(),
        put("/workspaces/{id}/settings", workspaces::settings::update_settings, "Set limits and defaults").scope("workspaces:write").reach(Shared).query::<DryRunQuery>().body::<workspaces::UpdateSettings>().ok::<SettingsReply>().tools(&["workspace.settings.update"]).guarded(|app| workspaces::settings::look_at_settings(&app.fleet)),
        get("/workspaces/{id}/headroom", workspaces::settings::headroom, "How many more computers of each size, and what stops the next one").exact().scope("workspaces:read").reach(Shared).ok::<workspaces::settings::Headroom>(),
        get("/workspaces/{id}/computers", computers::handlers::list_in_workspace, "List computers in a workspace").scope("computers:read").paged().query::<computers::Filter>().list::<Computer>().tools(&["workspace.computers.list"]).heavy(BY_CREDITS),
        get("/workspaces/{id}/projects", projects::handlers::list_in_workspace, "List projects in a workspace").scope("projects:read").paged().list::<Project>().tools(&["workspace.projects.list"]),
        get("/workspaces/{id}/stats", workspaces::handlers::stats, "Computer counts and resource totals").exact().scope("workspaces:read").reach(Shared).ok::<Stats>().tools(&["workspace.stats"]),
        get("/workspaces/{id}/usage", series::workspace_series, "Credits and compute hours over time").scope("usage:read").reach(Shared).query::<window::PeriodQuery>().query::<series::SeriesQuery>().query::<DeletedQuery>().ok::<Series>().or_csv().tools(&["workspace.usage"]).heavy(With("group_by")),
        get("/workspaces/{id}/usage/explain", explain::explain, "The intervals and events behind one bucket").scope("usage:read").reach(Shared).query::<explain::ExplainQuery>().query::<DeletedQuery>().ok::<explain::Explanation>().heavy(Yes),
        post("/workspaces/{id}/settings/what-if", what_if::what_if, "What other limits would have refused in the last 30 days").scope("workspaces:read").reach(Shared).body::<workspaces::UpdateSettings>().ok::<what_if::WhatIf>().heavy(Yes),
        get("/workspaces/{id}/share-links", links::list, "Links by which a customer sees the workspace without a key").scope("tenant:admin").reach(Tenant).paged().list::<links::ShareLink>(),
        post("/workspaces/{id}/share-links", links::make, "Make a link by which a customer sees usage, statements and domain").scope("tenant:admin").reach(Tenant).body::<links::MakeLink>().created::<links::MadeLink>(),
        delete("/workspaces/{id}/share-links/{lid}", links::revoke, "Revoke a share link").scope("tenant:admin").reach(Tenant).ok::<links::RevokedLink>(),
        get("/workspaces/{id}/refusals", refusals::of_workspace, "What limits refused in a workspace, newest first").scope("workspaces:read").reach(Shared).paged().query::<refusals::RefusalQuery>().list::<refusals::RefusalView>(),
        get("/refusals", refusals::of_organization, "What limits refused in the organization, newest first").scope("workspaces:read").reach(Tenant).paged().query::<refusals::RefusalQuery>().list::<refusals::RefusalView>(),
        get("/preview-domains", domains::list::list, "Preview domains of the organization, its workspaces and projects").scope("workspaces:read").reach(Tenant).paged().query::<domains::list::DomainFilter>().list::<domains::list::DomainRow>(),
        get("/workspaces/{id}/preview-domain", domains::handlers::workspace::show, "Read the preview domain").scope("workspaces:read").single::<DomainStatus>(),
        put("/workspaces/{id}/preview-domain", domains::handlers::workspace::set, "Set the preview domain").scope("workspaces:write").reach(Shared).body::<domains::change::Set>().ok::<DomainStatus>().guarded(|app| domains::handlers::workspace::look(&app.domains)),
        delete("/workspaces/{id}/preview-domain", domains::handlers::workspace::clear, "Clear the preview domain and inherit again").scope("workspaces:write").reach(Shared).ok::<DomainStatus>().guarded(|app| domains::handlers::workspace::look(&app.domains)),
        get("/workspaces/{id}/preview-domain/verify", domains::handlers::workspace::verify, "Check DNS readiness").scope("workspaces:read").reach(Shared).single::<DomainStatus>(),
        get("/workspaces/{id}/sandboxes", workspaces::handlers::nothing, "Not part of this server: always empty").scope("workspaces:read").nothing(),
        get("/workspaces/{id}/deployments", workspaces::handlers::nothing, "Not part of this server: always empty").scope("workspaces:read").nothing(),
        get("/workspaces/{id}/databases", workspaces::handlers::nothing, "Not part of this server: always empty").scope("workspaces:read").nothing(),

        get("/workspaces/{id}/export", export::handlers::export, "The workspace as one file, with its history").scope("tenant:admin").reach(Tenant).query::<DeletedQuery>().gives::<export::handlers::File>(export::CONTENT).heavy(Yes),
        post("/workspaces/import", export::handlers::import, "Bring in a workspace that was exported").scope("tenant:admin").reach(Tenant).max_body(export::MAX_BODY).query::<export::handlers::ImportQuery>().takes::<export::handlers::File>(export::TAKEN).created::<export::import::Imported>().ok::<export::import::Imported>(),

        // --- projects ---
        get("/projects", projects::handlers::list, "List projects").scope("projects:read").paged().query::<projects::Filter>().list::<Project>().tools(&["project.list"]),
        post("/projects", projects::handlers::create, "Create a project").scope("projects:write").reach(Shared).body::<projects::Create>().created::<Project>().ok::<projects::Reused>().tools(&["project.create"]),
        get("/projects/{id}", projects::handlers::show, "Get a project").scope("projects:read").single::<Project>().tools(&["project.get"]),
        patch("/projects/{id}", projects::handlers::update, "Update a project").scope("projects:write").reach(Shared).body::<projects::Update>().ok::<Project>().tools(&["project.update"]).guarded(|_| projects::handlers::look()),
        delete("/projects/{id}", projects::handlers::delete, "Delete an empty project").scope("projects:write").reach(Shared).ok::<Deleted>().tools(&["project.delete"]).guarded(|_| projects::handlers::look()),
        post("/projects/{id}/restore", projects::restore::restore, "Bring back a deleted project").scope("projects:write").reach(Shared).body::<projects::restore::RestoreProject>().ok::<projects::restore::RestoredProject>(),
        post("/projects/{id}/move", projects::handlers::move_to, "Move a project and its computers to another workspace").scope("projects:write").reach(Shared).body::<projects::Move>().ok::<Project>(),
        get("/projects/{id}/preview-domain", domains::handlers::project::show, "Read the preview domain").scope("projects:read").single::<DomainStatus>(),
        put("/projects/{id}/preview-domain", domains::handlers::project::set, "Set the preview domain").scope("projects:write").reach(Shared).body::<domains::change::Set>().ok::<DomainStatus>().guarded(|app| domains::handlers::project::look(&app.domains)),
        delete("/projects/{id}/preview-domain", domains::handlers::project::clear, "Clear the preview domain and inherit again").scope("projects:write").reach(Shared).ok::<DomainStatus>().guarded(|app| domains::handlers::project::look(&app.domains)),
        get("/projects/{id}/preview-domain/verify", domains::handlers::project::verify, "Check DNS readiness").scope("projects:read").reach(Shared).single::<DomainStatus>(),

        // --- computers ---
        get("/computers", computers::handlers::list, "List computers").scope("computers:read").paged().query::<computers::Filter>().list::<Computer>().tools(&["computer.list"]).heavy(BY_CREDITS),
        post("/computers", computers::create::create, "Create a computer, and its workspace and project where named by slug").scope("computers:write").query::<DryRunQuery>().body::<computers::create::Create>().ignores(NOT_CREATED).created::<Computer>().tools(&["computer.create"]),
        get("/computers/{id}", computers::handlers::show, "Get a computer").scope("computers:read").single::<Computer>().tools(&["computer.get"]),
        patch("/computers/{id}", computers::change::update, "Update a computer").scope("computers:write").body::<computers::change::Update>().ok::<Computer>().tools(&["computer.update"]).guarded(|app| computers::handlers::look(&app.fleet)),
        put("/computers/{id}", computers::change::update, "Update a computer (as PATCH)").scope("computers:write").body::<computers::change::Update>().ok::<Computer>().guarded(|app| computers::handlers::look(&app.fleet)),
        delete("/computers/{id}", computers::change::delete, "Delete a computer, running or not").scope("computers:write").ok::<Destroyed>().tools(&["computer.destroy"]).guarded(|app| computers::handlers::look(&app.fleet)),
        post("/computers/{id}/restore", computers::restore::restore, "Bring back a deleted computer, stopped").scope("computers:write").body::<NoBody>().ok::<computers::restore::RestoredComputer>(),
        post("/computers/{id}/start", computers::start_stop::start, "Start a computer").scope("computers:write").body::<NoBody>().ok::<Moved>().tools(&["computer.start"]).guarded(|app| computers::handlers::look(&app.fleet)),
        post("/computers/{id}/stop", computers::start_stop::stop, "Stop a computer").scope("computers:write").body::<NoBody>().ok::<Moved>().tools(&["computer.stop"]).guarded(|app| computers::handlers::look(&app.fleet)),
        post("/computers/{id}/restart", computers::start_stop::restart, "Restart a running computer").scope("computers:write").body::<NoBody>().ok::<Moved>().tools(&["computer.restart"]).guarded(|app| computers::handlers::look(&app.fleet)),
        post("/computers/{id}/resize", computers::change::resize, "Change the size").scope("computers:write").body::<computers::change::Resize>().ignores(&["cpu_count", "memory_mb"]).ok::<ComputerTwice>().tools(&["computer.resize"]).guarded(|app| computers::handlers::look(&app.fleet)),
        patch("/computers/{id}/resize", computers::change::resize, "Change the size (as POST)").scope("computers:write").body::<computers::change::Resize>().ignores(&["cpu_count", "memory_mb"]).ok::<ComputerTwice>().guarded(|app| computers::handlers::look(&app.fleet)),
        post("/computers/{id}/clone", computers::create::clone, "Make another computer like this one").scope("computers:write").body::<computers::create::CloneRequest>().created::<ComputerTwice>().tools(&["computer.clone"]),
        post("/computers/{id}/move", computers::change::move_to, "Move a computer to another workspace or project").scope("computers:write").body::<computers::change::Move>().ignores(&["host_id", "region"]).ok::<ComputerTwice>().tools(&["computer.move"]).guarded(|app| computers::handlers::look(&app.fleet)),
        post("/computers/{id}/keep-alive", computers::notices::keep_alive, "Begin the idle time of a running computer anew").scope("computers:write").body::<NoBody>().ok::<AutoStop>(),
        get("/computers/{id}/auto-stop", computers::change::auto_stop, "Read the idle auto-stop").scope("computers:read").single::<AutoStop>().tools(&["computer.auto_stop.get"]),
        patch("/computers/{id}/auto-stop", computers::change::set_auto_stop, "Set the idle auto-stop; 0 = never").scope("computers:write").body::<computers::change::SetAutoStop>().ok::<AutoStop>().tools(&["computer.auto_stop.update"]).guarded(|_| computers::auto_stop::look_at_auto_stop()),
        get("/computers/{id}/metrics", metrics::computer_metrics, "CPU, memory and credits over time").scope("computers:read").query::<metrics::MetricsQuery>().ok::<metrics::Metrics>().tools(&["computer.metrics"]).heavy(Yes),
        get("/computers/{id}/events", events::of_computer, "The compute events behind its usage, newest first; with Accept: text/event-stream its live events").scope("usage:read").paged().query::<events::StreamQuery>().query::<DeletedQuery>().list::<computer_events::EventView>().heavy(Yes),

        // --- usage and credits of the organization ---
        get("/usage", rollup::rollup, "Usage by end user, project or workspace").scope("usage:read").reach(Tenant).query::<rollup::RollupQuery>().query::<TableQuery>().ok::<rollup::Rollup>().or_csv().tools(&["usage.get"]).heavy(Yes),
        get("/usage/export", focus::export, "Usage and its cost as FOCUS, a row for each computer and day").scope("usage:read").reach(Tenant).query::<window::PeriodQuery>().query::<focus::ExportQuery>().gives::<focus::File>("text/csv").heavy(Yes),
        get("/usage/series", organization::organization_series, "Credits and compute hours of the organization over time").scope("usage:read").reach(Tenant).query::<window::PeriodQuery>().ok::<organization::OrganizationSeries>().heavy(Yes),
        get("/usage/summary", rollup::summary, "Usage of a period in one object").scope("usage:read").reach(Tenant).query::<rollup::SummaryQuery>().ok::<rollup::Summary>().tools(&["usage.summary"]).heavy(Yes),
        get("/usage/sessions", sessions::sessions, "Uninterrupted running intervals").scope("usage:read").paged().query::<sessions::SessionsQuery>().query::<TableQuery>().ok::<sessions::Sessions>().or_csv().tools(&["usage.sessions"]).heavy(Yes),
        get("/credits/balance", credits::balance, "Credits granted, spent and left").scope("usage:read").reach(Tenant).ok::<credits::Balance>().tools(&["credits.balance"]).heavy(Yes),
        get("/credits/transactions", credits::transactions, "Credits earned and spent, newest first").scope("usage:read").reach(Tenant).paged().query::<TableQuery>().ok::<credits::Transactions>().or_csv().heavy(Yes),
        get("/credits/usage", credits::credits_usage, "Credits of the present month by kind").exact().scope("usage:read").reach(Tenant).ok::<credits::CreditsUsage>().heavy(Yes),
        post("/compute-events", ingest::ingest, "Report what computers of the driver external did").scope("computers:write").max_body(ingest::MAX_BODY).query::<ingest::IngestQuery>().body::<ingest::Ingest>().ok::<ingest::Ingested>().partly::<ingest::Ingested>(),
        get("/usage/adjustments", adjust::list, "Corrections, newest first").scope("usage:read").reach(Tenant).paged().query::<adjust::AdjustmentsQuery>().list::<adjust::Adjustment>(),
        post("/usage/adjustments", adjust::adjust, "Correct the usage of a workspace").reach(Operator).body::<adjust::Adjust>().created::<adjust::Adjustment>().ok::<adjust::Adjustment>(),
        post("/admin/credits/grant", grant::grant, "Give an organization credits").reach(Operator).body::<grant::Credits>().created::<grant::CreditEntry>(),
        post("/admin/credits/refund", grant::refund, "Give an organization credits back").reach(Operator).body::<grant::Credits>().created::<grant::CreditEntry>(),
        post("/admin/credits/deduct", grant::deduct, "Take credits from an organization").reach(Operator).body::<grant::Credits>().created::<grant::CreditEntry>(),
        post("/workspaces/{id}/history", past_usage::bring_in, "Bring in what ran before it was metered here, as JSON or CSV").reach(Operator).max_body(past_usage::MAX_BODY).query::<past_usage::HistoryQuery>().query::<DryRunQuery>().takes::<past_usage::History>(past_usage::TAKEN).ok::<past_usage::BroughtIn>(),
        post("/admin/rates", rates::set, "Set what an hour of a size costs an organization or workspace, from a time on").reach(Operator).query::<DryRunQuery>().body::<rates::SetRates>().ok::<rates::RatesReply>(),
        post("/admin/rates/withdraw", rates::withdraw, "Take back rates that lie ahead").reach(Operator).body::<rates::WithdrawRates>().ok::<rates::RatesReply>(),
        get("/usage/verify", verification::show, "Recompute all usage from the raw events and compare").reach(Operator).ok::<Verification>().heavy(Yes),

        // --- the bill ---
        get("/tenant/prices", prices::of_organization, "What credits cost in money").scope("usage:read").reach(Tenant).single::<prices::PricesReply>(),
        put("/tenant/prices", prices::put::<OwnOrganization>, "Set what credits cost, from a month on").scope("tenant:admin").reach(Tenant).body::<prices::SetPrices>().ok::<prices::PricesReply>().guarded(|_| prices::look::<OwnOrganization>()),
        get("/workspaces/{id}/prices", prices::of_workspace, "What credits of a workspace cost in money").scope("usage:read").reach(Shared).query::<DeletedQuery>().single::<prices::PricesReply>(),
        put("/workspaces/{id}/prices", prices::put::<OneWorkspace>, "Set what credits of a workspace cost, where that differs").scope("tenant:admin").reach(Tenant).body::<prices::SetPrices>().ok::<prices::PricesReply>().guarded(|_| prices::look::<OneWorkspace>()),
        get("/tenant/rates", rates::of_organization, "What an hour of each size costs in credits, and what was agreed").scope("usage:read").reach(Tenant).single::<rates::RatesReply>(),
        get("/workspaces/{id}/rates", rates::of_workspace, "What an hour of each size costs a workspace in credits, and what was agreed").scope("usage:read").reach(Shared).query::<DeletedQuery>().single::<rates::RatesReply>(),
        get("/workspaces/{id}/statements", statements::list, "Statements of a workspace, newest first").scope("usage:read").reach(Shared).paged().query::<DeletedQuery>().list::<Summary>(),
        post("/workspaces/{id}/statements", statements::make, "Make the statement of a month that is over").scope("tenant:admin").reach(Tenant).query::<DeletedQuery>().body::<statements::MakeStatement>().created::<StatementView>().ok::<StatementView>(),
        get("/workspaces/{id}/statements/{number}", statements::show, "A statement; also as CSV, as a page for print and as PDF").scope("usage:read").reach(Shared).query::<statements::LooksQuery>().query::<DeletedQuery>().single::<StatementView>().or_csv(),
        get("/workspaces/{id}/statements/{number}/explain", explained::explain, "The intervals and events behind a line").scope("usage:read").reach(Shared).query::<explained::LineQuery>().query::<DeletedQuery>().ok::<explained::LineExplanation>().heavy(Yes),
        get("/statements", statements::all, "Statements of the organization, newest first; a month as one CSV or a zip of PDFs").scope("usage:read").reach(Tenant).paged().query::<statements::AllQuery>().list::<Summary>().or_csv(),
        post("/statements", statements::make_of_month, "Make the statements of all workspaces of a month that is over").scope("tenant:admin").reach(Tenant).body::<statements::MakeStatement>().ok::<statements::Made>().heavy(Yes).long(),
        get("/statements/verify", statements::verify, "Prove from the raw events that statements say what happened").scope("usage:read").reach(Tenant).ok::<Proof>().heavy(Yes),
        get("/budgets", budgets::list, "Budgets of the organization, its workspaces and projects, and how they stand").scope("usage:read").reach(Tenant).list::<BudgetView>().heavy(Yes),
        get("/tenant/budget", budgets::show::<OwnOrganization>, "The budget of the organization, and how it stands").exact().or_none().scope("usage:read").reach(Tenant).single::<BudgetView>().heavy(Yes),
        put("/tenant/budget", budgets::set::<OwnOrganization>, "Set what the organization may use in a period").scope("tenant:admin").reach(Tenant).body::<budgets::SetBudget>().ok::<BudgetView>().guarded(|_| budgets::look::<OwnOrganization>()),
        delete("/tenant/budget", budgets::delete::<OwnOrganization>, "Delete the budget of the organization").scope("tenant:admin").reach(Tenant).ok::<budgets::Gone>().guarded(|_| budgets::look::<OwnOrganization>()),
        get("/workspaces/{id}/budget", budgets::show::<OneWorkspace>, "The budget of a workspace, and how it stands").exact().scope("usage:read").reach(Shared).single::<BudgetView>(),
        put("/workspaces/{id}/budget", budgets::set::<OneWorkspace>, "Set what a workspace may use in a period").scope("tenant:admin").reach(Tenant).body::<budgets::SetBudget>().ok::<BudgetView>().guarded(|_| budgets::look::<OneWorkspace>()),
        delete("/workspaces/{id}/budget", budgets::delete::<OneWorkspace>, "Delete the budget of a workspace").scope("tenant:admin").reach(Tenant).ok::<budgets::Gone>().guarded(|_| budgets::look::<OneWorkspace>()),
        get("/projects/{id}/budget", budgets::show::<OneProject>, "The budget of a project, and how it stands").exact().scope("usage:read").reach(Shared).single::<BudgetView>().heavy(Yes),
        put("/projects/{id}/budget", budgets::set::<OneProject>, "Set what a project may use in a period").scope("tenant:admin").reach(Tenant).body::<budgets::SetBudget>().ok::<BudgetView>().guarded(|_| budgets::look::<OneProject>()),
        delete("/projects/{id}/budget", budgets::delete::<OneProject>, "Delete the budget of a project").scope("tenant:admin").reach(Tenant).ok::<budgets::Gone>().guarded(|_| budgets::look::<OneProject>()),

        // --- the organization and who asks ---
        get("/whoami", tenants::handlers::whoami, "Who this key is").ok::<tenants::handlers::Whoami>(),
        get("/platform/tenants", tenants::handlers::list, "List organizations that this key sees").list::<TenantView>().tools(&["organization.list"]),
        post("/platform/tenants", tenants::handlers::create, "Create an organization with its first key").reach(Operator).body::<tenants::handlers::Create>().created::<tenants::handlers::Created>(),
        get("/platform/tenants/current", tenants::handlers::current, "The organization of this key").single::<TenantView>().tools(&["organization.current", "organization.switch"]),
        post("/platform/tenants/{id}/switch", tenants::handlers::switch, "Always refused: a key belongs to one organization").body::<NoBody>(),
        put("/tenants/{id}", tenants::handlers::rename, "Rename the organization").scope("tenant:admin").reach(Tenant).body::<tenants::handlers::Rename>().ok::<TenantView>().guarded(|_| tenants::handlers::look()),
        get("/tenant/plan", tenants::handlers::plan, "Ceilings of the organization and what is used").ok::<tenants::handlers::Plan>(),
        get("/tenant/settings", tenants::handlers::settings, "What holds in all of the organization").scope("workspaces:read").single::<tenants::handlers::TenantSettings>(),
        put("/tenant/settings", tenants::handlers::set_settings, "Set what holds in all of the organization").scope("tenant:admin").reach(Tenant).body::<tenants::handlers::SetTenantSettings>().ok::<tenants::handlers::TenantSettings>().guarded(|_| tenants::handlers::look_at_settings()),
        get("/tenant/preview-domain", domains::handlers::organization::show, "Read the organization's preview domain").scope("workspaces:read").reach(Tenant).single::<DomainStatus>(),
        put("/tenant/preview-domain", domains::handlers::organization::set, "Set the organization's preview domain").scope("tenant:admin").reach(Tenant).body::<domains::change::Set>().ok::<DomainStatus>().guarded(|app| domains::handlers::organization::look(&app.domains)),
        delete("/tenant/preview-domain", domains::handlers::organization::clear, "Clear the organization's preview domain").scope("tenant:admin").reach(Tenant).ok::<DomainStatus>().guarded(|app| domains::handlers::organization::look(&app.domains)),
        post("/tenant/preview-domain/verify", domains::handlers::organization::verify, "Check DNS readiness").scope("tenant:admin").reach(Tenant).body::<NoBody>().ok::<DomainStatus>(),

        // --- what happened, and what is happening ---
        get("/audit-log", audit::list, "Who changed what, newest first").scope("audit:read").query::<audit::ListQuery>().ok::<audit::Page>().or_csv(),
        get("/events/stream", events::stream, "Live events (server-sent events); those that the key may not read are left out").query::<events::StreamQuery>().events::<events::StreamEvent>(),
        get("/tenant/events/stream", events::stream, "Live events (as /events/stream)").query::<events::StreamQuery>().ignores(&["scope"]).events::<events::StreamEvent>(),
        get("/overview", system::overview, "The organization at a glance").scope("usage:read").reach(Tenant).ok::<system::Overview>().heavy(Yes),
        get("/system/backups", backups::list, "The backups in the configured directory").reach(Operator).ok::<backups::BackupList>(),
        post("/system/backups", backups::create, "Make a backup now; other requests go on meanwhile").reach(Operator).body::<NoBody>().created::<backups::BackupView>(),
        get("/system/backups/{name}", backups::download, "Download a backup").reach(Operator).gives::<backups::BackupFile>(backups::CONTENT),
        get("/system/log", log_filter::show, "What is logged").reach(Operator).ok::<log_filter::LogView>(),
        put("/system/log", log_filter::set, "Change what is logged until the next start").reach(Operator).body::<log_filter::SetLog>().ok::<log_filter::LogView>(),
        get("/system", system::system, "The installation at a glance").reach(Operator).ok::<system::System>(),

        // --- API keys ---
        get("/api-keys", api_keys::handlers::list, "List API keys").scope("keys:admin").reach(Shared).paged().list::<api_keys::KeyView>().tools(&["api.key.list"]),
        post("/api-keys", api_keys::handlers::create, "Create an API key; its secret is shown once").scope("keys:admin").reach(Shared).body::<api_keys::Create>().narrows(LIMITS_OF_REACH).created::<api_keys::NewKeyReply>().tools(&["api.key.create"]),
        post("/api-keys/scoped", api_keys::handlers::create_scoped, "Create a key for one end user").scope("keys:admin").reach(Shared).body::<api_keys::CreateScoped>().narrows(LIMITS_OF_REACH).created::<api_keys::NewKeyReply>(),
        get("/api-keys/presets", api_keys::handlers::presets, "Sets of scopes for keys of usual purposes").scope("keys:admin").reach(Shared).list::<api_keys::Preset>(),
        get("/api-keys/{id}", api_keys::handlers::show, "Get an API key").scope("keys:admin").reach(Shared).single::<api_keys::KeyReply>(),
        patch("/api-keys/{id}", api_keys::handlers::update, "Rename, re-scope, disable or enable an API key").scope("keys:admin").reach(Shared).body::<api_keys::Update>().narrows(LIMITS_OF_REACH).ok::<api_keys::KeyReply>().guarded(|_| api_keys::handlers::look()),
        post("/api-keys/{id}/rotate", api_keys::handlers::rotate, "Replace the secret; the old one stops working, at once or after grace_seconds").scope("keys:admin").reach(Shared).body::<api_keys::Rotate>().ok::<api_keys::NewKeyReply>().guarded(|_| api_keys::handlers::look()),
        delete("/api-keys/{id}", api_keys::handlers::revoke, "Revoke an API key").scope("keys:admin").reach(Shared).ok::<api_keys::Revoked>().tools(&["api.key.delete"]).guarded(|_| api_keys::handlers::look()),

        // --- webhooks ---
        get("/webhooks", webhooks::handlers::list, "List webhooks").scope("webhooks:read").reach(Tenant).paged().query::<webhooks::WebhookFilter>().list::<WebhookView>().tools(&["webhook.list"]),
        post("/webhooks", webhooks::handlers::create, "Create a webhook; its secret is shown once").scope("webhooks:write").reach(Tenant).body::<webhooks::Create>().narrows(LIMITS_OF_REACH).created::<webhooks::NewWebhookReply>().tools(&["webhook.create"]),
        get("/webhooks/events", webhooks::handlers::event_types, "The types of events that a webhook may ask for").scope("webhooks:read").list::<webhooks::catalog::EventType>(),
        get("/webhooks/{id}", webhooks::handlers::show, "Get a webhook").scope("webhooks:read").reach(Tenant).single::<webhooks::WebhookReply>(),
        patch("/webhooks/{id}", webhooks::handlers::update, "Change, disable or enable a webhook").scope("webhooks:write").reach(Tenant).body::<webhooks::Update>().narrows(LIMITS_OF_REACH).ok::<webhooks::WebhookReply>().guarded(|_| webhooks::handlers::look()),
        delete("/webhooks/{id}", webhooks::handlers::delete, "Delete a webhook; what waits for it is not sent").scope("webhooks:write").reach(Tenant).ok::<webhooks::Deleted>().tools(&["webhook.delete"]).guarded(|_| webhooks::handlers::look()),
        post("/webhooks/{id}/rotate", webhooks::handlers::rotate, "Replace the secret; what is sent from now on is signed with the new one, for grace_seconds with both").scope("webhooks:write").reach(Tenant).body::<webhooks::Rotate>().ok::<webhooks::NewWebhookReply>().guarded(|_| webhooks::handlers::look()),
        post("/webhooks/{id}/replay-failed", webhooks::handlers::replay_failed, "Send again all that was given up since an instant").scope("webhooks:write").reach(Tenant).body::<webhooks::ReplayFailed>().ok::<webhooks::ReplayedReply>(),
        post("/webhooks/{id}/test", webhooks::handlers::test, "Send a test and wait for what comes of it").scope("webhooks:write").reach(Tenant).body::<NoBody>().ok::<webhooks::DeliveryReply>().tools(&["webhook.test"]),
        get("/webhooks/{id}/deliveries", webhooks::handlers::deliveries, "Deliveries of the last seven days, newest first").scope("webhooks:read").reach(Tenant).paged().query::<webhooks::DeliveryFilter>().ok::<webhooks::DeliveryPage>(),
        get("/webhooks/{id}/deliveries/{did}", webhooks::handlers::delivery, "One delivery, with the body that is sent").scope("webhooks:read").reach(Tenant).single::<webhooks::DeliveryReply>(),
        post("/webhooks/{id}/deliveries/{did}/replay", webhooks::handlers::replay, "Send a delivery again and wait for what comes of it").scope("webhooks:write").reach(Tenant).body::<NoBody>().ok::<webhooks::DeliveryReply>(),

        // --- what there is to run ---
        get("/compute/sizes", compute::sizes, "Sizes").list::<SizeRow>(),
        get("/compute/regions", compute::compute_regions, "Regions").list::<ComputeRegion>(),
        get("/compute/templates", compute::templates, "Templates").list::<Template>(),
        get("/compute/templates/{name}", compute::template, "One template").ok::<compute::TemplateReply>(),
        get("/compute/catalog", compute::catalog, "Products, templates and sizes").ok::<CatalogReply>(),
        get("/compute/pricing", compute::pricing, "Rates by size").ok::<Pricing>(),
        get("/settings/compute-pricing", compute::pricing, "Rates by size").ok::<Pricing>().tools(&["settings.compute.pricing"]),
        get("/regions", compute::regions, "Regions").list::<Region>().tools(&["region.list", "computer.list.regions"]),
        get("/regions/{name}", compute::region, "One region").ok::<Region>(),
        get("/templates", compute::templates_legacy, "Templates").ok::<compute::Templates>().tools(&["product.template.list", "product.template.get", "product.template.readiness", "template.list"]),

        // --- action authority ---
        get("/actions/catalog", actions::catalog, "Capabilities that tools may ask for").list::<actions::Capability>(),
        post("/actions/authorize", actions::authorize, "May this key use a capability?").body::<actions::Authorize>().ok::<actions::AuthorizeReply>(),

        // --- lists of other products, which clients read on the way ---
        get("/sandboxes", compute::nothing, "Not part of this server: always empty").nothing().tools(&["sandbox.list"]),
        get("/deployments", compute::nothing, "Not part of this server: always empty").nothing().tools(&["deployment.list"]),
        get("/databases", compute::nothing, "Not part of this server: always empty").nothing().tools(&["database.list"]),
        get("/volumes", compute::nothing, "Not part of this server: always empty").nothing().tools(&["volume.list"]),
        get("/storage/buckets", compute::nothing, "Not part of this server: always empty").nothing().tools(&["storage.bucket.list"]),
        get("/functions", compute::nothing, "Not part of this server: always empty").nothing().tools(&["function.list"]),
        get("/cron-jobs", compute::nothing, "Not part of this server: always empty").nothing().tools(&["cron.list"]),
    ]
}

/// What there is besides where a container engine runs computers.
#[rustfmt::skip]
pub fn machines() -> Vec<Route> {
    use computers::machines::{exec, files, logs, terminal};
    vec![
        post("/computers/{id}/exec", exec::exec, "Run a command and wait for it").scope("computers:exec").body::<exec::Exec>().ok::<exec::Ran>().long(),
        post("/computers/{id}/exec/python", exec::python, "Run Python and wait for it").scope("computers:exec").body::<exec::Exec>().ok::<exec::Ran>().long(),
        post("/computers/{id}/commands", exec::commands, "Run a command with input and a directory, and wait for it").scope("computers:exec").body::<exec::Command>().ok::<exec::Ran>().long(),
        get("/computers/{id}/exec/stream", terminal::stream, "A terminal, or a program with its streams, as a WebSocket").scope("computers:exec").query::<terminal::StreamQuery>().long(),
        get("/computers/{id}/terminal", terminal::list, "Terminals that are open").scope("computers:exec").ok::<terminal::TerminalList>(),
        post("/computers/{id}/terminal", terminal::open, "Prepare a terminal, which begins when its WebSocket is opened").scope("computers:exec").body::<terminal::Open>().ok::<terminal::Terminal>(),
        delete("/computers/{id}/terminal/{sid}", terminal::end, "Close a terminal").scope("computers:exec").body::<NoBody>().ok::<terminal::Ended>(),
        post("/computers/{id}/pty/{sid}/resize", terminal::resize, "Change the size of a terminal").scope("computers:exec").body::<terminal::Resize>().ok::<terminal::Terminal>(),
        get("/computers/{id}/tunnel/{port}", previews::tunnel, "Bytes to a port and back, as a WebSocket").scope("computers:exec").long(),
        get("/computers/{id}/files", files::list, "List a directory").scope("computers:files").query::<files::PathQuery>().ok::<files::FileList>(),
        delete("/computers/{id}/files", files::delete, "Delete a file, or a directory with all below it").scope("computers:files").body::<files::Change>().ok::<files::Done>(),
        get("/computers/{id}/files/readdir", files::readdir, "List a directory").scope("computers:files").query::<files::PathQuery>().ok::<files::Directory>(),
        get("/computers/{id}/files/download", files::download, "The bytes of a file").scope("computers:files").query::<files::PathQuery>().gives::<files::Upload>("application/octet-stream").long(),
        post("/computers/{id}/files/upload", files::upload, "Put a file in").scope("computers:files").takes::<files::Upload>(&["multipart/form-data"]).ok::<files::Done>().long(),
        post("/computers/{id}/files/write", files::write, "Write a file").scope("computers:files").body::<files::Change>().max_body(files::MAX_WRITE).ok::<files::Done>(),
        post("/computers/{id}/files/stat", files::stat, "What a file is").scope("computers:files").body::<files::Change>().ok::<files::FileStat>(),
        post("/computers/{id}/files/mkdir", files::mkdir, "Make a directory").scope("computers:files").body::<files::Change>().ok::<files::Done>(),
        post("/computers/{id}/files/rename", files::rename, "Rename or move a file").scope("computers:files").body::<files::Change>().ok::<files::Done>(),
        post("/computers/{id}/files/copy", files::copy, "Copy a file").scope("computers:files").body::<files::Change>().ok::<files::Done>(),
        post("/computers/{id}/files/chmod", files::chmod, "Change the permissions of a file").scope("computers:files").body::<files::Change>().ok::<files::Done>(),
        get("/computers/{id}/logs", logs::show, "What its own program wrote last").scope("computers:exec").query::<logs::LogsQuery>().ok::<logs::Logs>(),
        get("/computers/{id}/logs/stream", logs::follow, "What its own program writes, as it comes").scope("computers:exec").query::<logs::LogsQuery>().events::<logs::Logs>().long(),
    ]
}

/// The screen of machines that have one.
#[rustfmt::skip]
pub fn desktops() -> Vec<Route> {
    use computers::machines::desktop::{acts, links, looks, viewer, windows};
    vec![
        get("/computers/{id}/desktop/screenshot", looks::screenshot, "A picture of the screen").scope("computers:desktop").gives::<looks::Picture>("image/png"),
        post("/computers/{id}/desktop/screenshot/region", looks::region, "A picture of a part of the screen").scope("computers:desktop").body::<looks::ScreenRegion>().gives::<looks::Picture>("image/png"),
        get("/computers/{id}/desktop/screen-size", looks::screen_size, "How large the screen is").scope("computers:desktop").ok::<windows::Extent>(),
        get("/computers/{id}/desktop/cursor", looks::cursor, "Where the pointer is").scope("computers:desktop").ok::<windows::Place>(),
        get("/computers/{id}/desktop/environment", looks::environment, "What kind of desktop it is").scope("computers:desktop").ok::<looks::Environment>(),
        get("/computers/{id}/desktop/accessibility-tree", looks::tree, "The windows, as a tree").scope("computers:desktop").ok::<looks::Tree>(),
        get("/computers/{id}/desktop/clipboard", looks::clipboard, "The text in the clipboard").scope("computers:desktop").ok::<looks::Clipboard>(),
        post("/computers/{id}/desktop/clipboard", looks::copy, "Put a text into the clipboard").scope("computers:desktop").body::<looks::CopyText>().ok::<acts::Acted>(),
        post("/computers/{id}/desktop/click", acts::click, "Click").scope("computers:desktop").body::<acts::ScreenPoint>().ok::<acts::Acted>(),
        post("/computers/{id}/desktop/double-click", acts::double_click, "Click twice").scope("computers:desktop").body::<acts::ScreenPoint>().ok::<acts::Acted>(),
        post("/computers/{id}/desktop/move", acts::move_to, "Move the pointer").scope("computers:desktop").body::<acts::ScreenPoint>().ok::<acts::Acted>(),
        post("/computers/{id}/desktop/mouse-down", acts::mouse_down, "Press a button of the mouse").scope("computers:desktop").body::<acts::ScreenPoint>().ok::<acts::Acted>(),
        post("/computers/{id}/desktop/mouse-up", acts::mouse_up, "Let a button of the mouse go").scope("computers:desktop").body::<acts::ScreenPoint>().ok::<acts::Acted>(),
        post("/computers/{id}/desktop/drag", acts::drag, "Drag from one place to another").scope("computers:desktop").body::<acts::Drag>().ok::<acts::Acted>(),
        post("/computers/{id}/desktop/scroll", acts::scroll, "Turn the wheel").scope("computers:desktop").body::<acts::Scroll>().ok::<acts::Acted>(),
        post("/computers/{id}/desktop/type", acts::type_text, "Type a text").scope("computers:desktop").body::<acts::Typing>().ok::<acts::Acted>().long(),
        post("/computers/{id}/desktop/key", acts::key, "Press a key, or several together").scope("computers:desktop").body::<acts::KeyPress>().ok::<acts::Acted>(),
        post("/computers/{id}/desktop/hotkey", acts::hotkey, "Press keys together").scope("computers:desktop").body::<acts::Hotkey>().ok::<acts::Acted>(),
        post("/computers/{id}/desktop/key-down", acts::key_down, "Hold a key down").scope("computers:desktop").body::<acts::KeyPress>().ok::<acts::Acted>(),
        post("/computers/{id}/desktop/key-up", acts::key_up, "Let a key go").scope("computers:desktop").body::<acts::KeyPress>().ok::<acts::Acted>(),
        post("/computers/{id}/desktop/wait", acts::wait, "Wait").scope("computers:desktop").body::<acts::Wait>().ok::<acts::Acted>().long(),
        post("/computers/{id}/desktop/launch", acts::launch, "Start a program on the screen").scope("computers:desktop").body::<acts::Launch>().ok::<acts::Acted>(),
        get("/computers/{id}/desktop/windows", windows::list, "Windows that are open").scope("computers:desktop").ok::<windows::WindowList>(),
        post("/computers/{id}/desktop/window/focus", windows::focus, "Give a window the keyboard").scope("computers:desktop").body::<windows::Focus>().ok::<acts::Acted>(),
        get("/computers/{id}/desktop/window/{wid}/size", windows::size, "How large a window is").scope("computers:desktop").ok::<windows::Extent>(),
        get("/computers/{id}/desktop/window/{wid}/position", windows::position, "Where a window is").scope("computers:desktop").ok::<windows::Place>(),
        post("/computers/{id}/desktop/window/{wid}/resize", windows::resize, "Change the size of a window").scope("computers:desktop").body::<windows::Resized>().ok::<acts::Acted>(),
        post("/computers/{id}/desktop/window/{wid}/move", windows::move_to, "Move a window").scope("computers:desktop").body::<windows::MovedTo>().ok::<acts::Acted>(),
        post("/computers/{id}/desktop/window/{wid}/maximize", windows::maximize, "Make a window as large as the screen").scope("computers:desktop").body::<NoBody>().ok::<acts::Acted>(),
        post("/computers/{id}/desktop/window/{wid}/minimize", windows::minimize, "Put a window away").scope("computers:desktop").body::<NoBody>().ok::<acts::Acted>(),
        post("/computers/{id}/desktop/window/{wid}/close", windows::close, "Close a window").scope("computers:desktop").body::<NoBody>().ok::<acts::Acted>(),
        get("/computers/{id}/desktop/stream", viewer::stream, "The screen as it changes: RFB over a WebSocket").scope("computers:desktop").query::<viewer::ViewQuery>().long(),
        get("/computers/{id}/desktop-links", links::list, "Links to the screen that are open").scope("computers:desktop").ok::<links::DesktopLinkList>(),
        post("/computers/{id}/desktop-links", links::make, "Make a link to the screen, for who has no key").scope("computers:desktop").body::<links::MakeDesktopLink>().created::<links::MadeDesktopLink>(),
        delete("/computers/{id}/desktop-links/{sid}", links::revoke, "Take a link to the screen back").scope("computers:desktop").body::<NoBody>().ok::<links::RevokedDesktopLink>(),
        get("/computers/{id}/embed", links::embed, "Make a link to the screen, for a page of yours").scope("computers:desktop").query::<links::EmbedQuery>().ok::<links::MadeDesktopLink>(),
        post("/computers/{id}/stream-token", links::stream_token, "Make a link to the screen, for a viewer of yours").scope("computers:desktop").body::<NoBody>().ok::<links::MadeDesktopLink>(),
        get("/computers/{id}/vnc-credentials", links::credentials, "By what a viewer reaches the screen").scope("computers:desktop").ok::<links::VncCredentials>(),
        get("/computers/{id}/viewer-password", links::password, "Whether the screen has a password: never").scope("computers:desktop").ok::<links::ViewerPassword>(),
    ]
}

/// By which addresses machines are reached, what their programs find, and what is kept of them: what does not need one
/// that runs.
#[rustfmt::skip]
pub fn addresses() -> Vec<Route> {
    use computers::machines::{around, disk, env, kept, snapshots, variables};
    use previews::ports;
    vec![
        get("/computers/{id}/ports", ports::list, "Where its programs listen, and by which addresses that is reached").scope("computers:read").ok::<ports::PortList>(),
        post("/computers/{id}/ports", ports::create, "Say who may look at a port").scope("computers:write").body::<ports::SetPort>().created::<ports::Port>(),
        patch("/computers/{id}/ports/{port}", ports::update, "Change who may look at a port").scope("computers:write").body::<ports::SetPort>().ok::<ports::Port>(),
        delete("/computers/{id}/ports/{port}", ports::delete, "Let a port be as visible as the computer").scope("computers:write").body::<NoBody>().ok::<ports::Unset>(),
        get("/computers/{id}/env", env::list, "Variables that its programs find").scope("computers:exec").ok::<env::VariableList>(),
        post("/computers/{id}/env", env::create, "Set a variable").scope("computers:exec").body::<env::SetVariable>().created::<variables::Variable>(),
        patch("/computers/{id}/env/{name}", env::update, "Change a variable").scope("computers:exec").body::<env::SetVariable>().ok::<variables::Variable>(),
        delete("/computers/{id}/env/{name}", env::delete, "Unset a variable").scope("computers:exec").body::<NoBody>().ok::<env::Unset>(),
        get("/computers/{id}/disk", disk::export, "All files of it as a tar file").scope("computers:files").gives::<disk::Disk>("application/x-tar").long(),
        get("/snapshots", snapshots::everywhere, "Snapshots of the organization, newest first").scope("computers:read").reach(Reach::Tenant).paged().query::<snapshots::SnapshotFilter>().list::<kept::Snapshot>(),
        get("/computers/{id}/snapshots", snapshots::list, "Its snapshots, newest first").scope("computers:read").ok::<snapshots::SnapshotList>(),
        post("/computers/{id}/snapshots", snapshots::create, "Take a snapshot").scope("computers:write").body::<snapshots::NewSnapshot>().created::<kept::Snapshot>(),
        get("/computers/{id}/snapshots/{sid}", snapshots::show, "Get a snapshot").scope("computers:read").ok::<kept::Snapshot>(),
        delete("/computers/{id}/snapshots/{sid}", snapshots::delete, "Delete a snapshot").scope("computers:write").body::<NoBody>().ok::<kept::Snapshot>(),
        get("/computers/{id}/snapshots/{sid}/events", snapshots::events, "How far a snapshot has come, until that is over").scope("computers:read").events::<snapshots::Progress>().long(),
        post("/computers/{id}/restore/{sid}", snapshots::restore, "Make a computer that begins with a snapshot").scope("computers:write").body::<snapshots::Restore>().created::<snapshots::Restored>(),
        get("/computers/{id}/apps", around::apps, "What was to be installed on it").scope("computers:read").ok::<around::AppList>(),
        get("/computers/{id}/volumes", around::volumes, "Its volume").scope("computers:read").ok::<around::VolumeList>(),
        get("/computers/{id}/network-policy", around::network_policy, "What it reaches").scope("computers:read").ok::<around::NetworkPolicy>(),
        get(
            "/computers/{id}/urls",
            previews::addresses,
            "By which addresses it is reached",
        )
        .scope("computers:read")
        .ok::<previews::AddressList>(),
        get(
            "/computers/{id}/ports/{port}/url",
            previews::address,
            "By which address a port is reached",
        )
        .scope("computers:read")
        .ok::<previews::Address>(),
        post(
            "/computers/{id}/preview-links",
            previews::link,
            "A link that opens what is not public",
        )
        .scope("computers:write")
        .body::<previews::LinkRequest>()
        .created::<previews::Link>(),
    ]
}
