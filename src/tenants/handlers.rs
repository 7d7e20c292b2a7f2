//! The endpoints.

use std::hash::{DefaultHasher, Hash};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use rusqlite::{OptionalExtension, Row};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::rows::{derived_slug, insert};
use crate::access::caller::Caller;
use crate::access::key::KeyType;
use crate::api_keys::{NewKey, NewKeyView};
use crate::audit::{self, Actor, Entry};
use crate::clock::Timestamp;
use crate::compute::Empty;
use crate::db::Store;
use crate::error::{Error, Fields, Result};
use crate::http::{List, Look, Mutation, PathId, Reply, Seen, Single, Versioned};
use crate::ids::{TenantId, WorkspaceId};
use crate::json::{Object, Patch};
use crate::rules::config::Config;
use crate::rules::text;
use crate::store::Tx;
use crate::usage::ledger::intervals::credits_spent;
use crate::{limits, time_zones, workspaces};

/// What every organization of this server is on.
const PLAN: &str = "Self-hosted";

/// An organization.
#[derive(Serialize, ToSchema, Debug, Clone)]
#[schema(as = Organization)]
pub struct TenantView {
    /// Its id.
    pub id: TenantId,
    /// For people.
    pub name: String,
    /// For configuration and headers; fixed.
    pub slug: String,
    /// What this key is in it.
    pub role: &'static str,
    /// Machine-readable plan.
    pub plan: String,
    /// Plan for people.
    pub plan_name: &'static str,
    /// Credits granted less credits used.
    pub credit_balance: i64,
    /// Where it runs.
    pub region: &'static str,
    /// Always empty here.
    pub settings: Object,
    /// Always null here.
    pub branding: Option<Empty>,
    /// When it was made.
    pub inserted_at: Timestamp,
    /// The same.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Versioned for TenantView {
    fn version(&self, hash: &mut DefaultHasher) {
        (self.id, &self.name, &self.slug, self.updated_at).hash(hash);
    }
}

/// `POST /platform/tenants`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
#[schema(as = CreateTenant)]
pub struct Create {
    /// Human-readable name, 1 to 120 characters
    #[schema(required = true, nullable = false, min_length = 1, max_length = 120)]
    pub name: Option<String>,
    /// URL-safe identifier; derived from the name if left out
    #[schema(pattern = "^[a-z0-9][a-z0-9-]{0,79}$")]
    pub slug: Option<String>,
    /// Whole credits that it starts with
    #[schema(minimum = 0)]
    pub credits_granted: Option<i64>,
}

/// A new organization, its default workspace, and its first key, shown once.
#[derive(Serialize, ToSchema)]
pub struct Created {
    #[serde(flatten)]
    tenant: TenantView,
    default_workspace_id: WorkspaceId,
    api_key: NewKeyView,
}

/// `PUT /tenants/{id}`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct Rename {
    /// New name
    #[schema(required = true, nullable = false, min_length = 1, max_length = 120)]
    pub name: Option<String>,
}

/// What holds in all of the organization.
#[derive(Serialize, ToSchema)]
pub struct TenantSettings {
    tenant_id: TenantId,
    /// IANA time zone of its days and months, where a workspace has none of its own; null: UTC.
    tz: Option<String>,
}

impl Versioned for TenantSettings {
    fn version(&self, hash: &mut DefaultHasher) {
        (self.tenant_id, &self.tz).hash(hash);
    }
}

/// `PUT /tenant/settings`: what is left out stays as it is, null clears it.
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct SetTenantSettings {
    /// IANA time zone of its days and months
    #[schema(value_type = Option<String>, example = "Europe/Budapest")]
    pub tz: Patch<String>,
}

/// `GET /whoami`
#[derive(Serialize, ToSchema)]
pub struct Whoami {
    user: WhoUser,
    organization: Named,
    workspace: Named,
    plan: PlanName,
    scopes: Vec<String>,
    operator: bool,
    key: WhoKey,
}

/// The key, in place of the user that it has none of.
#[derive(Serialize, ToSchema)]
pub struct WhoUser {
    id: crate::ids::ApiKeyId,
    email: Option<String>,
    name: String,
}

/// Something with a name and a slug.
#[derive(Serialize, ToSchema)]
pub struct Named {
    id: uuid::Uuid,
    name: String,
    slug: String,
}

/// The plan.
#[derive(Serialize, ToSchema)]
pub struct PlanName {
    name: &'static str,
}

/// What the key itself is.
#[derive(Serialize, ToSchema)]
pub struct WhoKey {
    id: crate::ids::ApiKeyId,
    key_prefix: String,
    key_type: KeyType,
    workspace_id: Option<WorkspaceId>,
    external_user_id: Option<String>,
    expires_at: Option<Timestamp>,
}

/// `GET /tenant/plan`: a limit that is left out is no limit.
#[derive(Serialize, ToSchema)]
pub struct Plan {
    id: TenantId,
    name: &'static str,
    plan: String,
    status: &'static str,
    limits: std::collections::BTreeMap<&'static str, i64>,
    usage: std::collections::BTreeMap<&'static str, i64>,
    metadata: Object,
    created_at: Timestamp,
    updated_at: Timestamp,
}

struct Record {
    id: TenantId,
    name: String,
    slug: String,
    plan: String,
    credits_granted: i64,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Record {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Record {
            id: row.get("id")?,
            name: row.get("name")?,
            slug: row.get("slug")?,
            plan: row.get("plan")?,
            credits_granted: row.get("credits_granted")?,
            created_at: row.get("created_at")?,
            updated_at: row.get("updated_at")?,
        })
    }

    fn view(self, tx: &Tx<'_>, role: &'static str) -> Result<TenantView> {
        Ok(TenantView {
            credit_balance: self.credits_granted - credits_spent(tx, self.id)?,
            id: self.id,
            name: self.name,
            slug: self.slug,
            role,
            plan: self.plan,
            plan_name: PLAN,
            region: crate::rules::catalog::REGION,
            settings: Object::empty(),
            branding: None,
            inserted_at: self.created_at,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

fn load(tx: &Tx<'_>, id: TenantId) -> Result<Record> {
    let found = tx
        .row(
            "SELECT * FROM tenants WHERE id = ?1",
            [id],
            Record::from_row,
        )
        .optional()?;
    found.ok_or_else(|| Error::not_found("organization"))
}

fn role(caller: &Caller) -> &'static str {
    match caller.key().key_type {
        KeyType::Platform => "owner",
        KeyType::Admin => "admin",
        KeyType::User => "member",
    }
}

// ---------------------------------------------------------------------------------------------
// Handlers

/// `GET /platform/tenants`: an operator sees all, everybody else their own.
pub async fn list(State(store): State<Store>, caller: Caller) -> Result<Json<List<TenantView>>> {
    let list = store.read(move |tx| {
        let own = (!caller.key().operator).then_some(caller.tenant_id());
        let mut statement = tx.prepare_cached(
            "SELECT * FROM tenants WHERE ?1 IS NULL OR id = ?1 ORDER BY created_at, id",
        )?;
        let records = statement
            .query_map([own], Record::from_row)?
            .collect::<Result<Vec<_>, _>>()?;
        let data = records
            .into_iter()
            .map(|r| r.view(tx, role(&caller)))
            .collect::<Result<Vec<_>>>()?;
        Ok(List::whole(data))
    });
    Ok(Json(list.await?))
}

/// `GET /platform/tenants/current`
pub async fn current(State(store): State<Store>, caller: Caller) -> Result<Single<TenantView>> {
    let view = store.read(move |tx| load(tx, caller.tenant_id())?.view(tx, role(&caller)));
    Ok(Single(view.await?))
}

/// The organization as it is, for `If-Match`.
pub fn look() -> Look {
    Arc::new(|tx, caller, id| {
        let tenant = load(tx, TenantId(id))?;
        if TenantId(id) != caller.tenant_id() {
            return Err(Error::forbidden());
        }
        Seen::of(&tenant.view(tx, role(caller))?)
    })
}

/// `POST /platform/tenants`
pub async fn create(
    State(config): State<Arc<Config>>,
    request: Mutation<Create>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let input = input?;
            let mut fields = Fields::default();
            let name = text::name(&mut fields, "name", input.name.as_deref());
            let slug = match input.slug {
                Some(slug) => slug,
                None => derived_slug(tx, &name)?,
            };
            text::slug(&mut fields, "slug", &slug);
            let credits = input.credits_granted.unwrap_or(0);
            if credits < 0 {
                fields.push("credits_granted", "must be 0 or more");
            }
            fields.finish()?;
            let key = NewKey {
                key_type: KeyType::Admin,
                ..NewKey::named("first key")
            };
            let new = insert(
                tx,
                &config.file,
                Actor::Key(caller),
                &name,
                &slug,
                credits,
                key,
            )?;
            let created = Created {
                tenant: load(tx, new.id)?.view(tx, "owner")?,
                default_workspace_id: new.default_workspace,
                api_key: new.key,
            };
            Ok(Reply::created(created).secret())
        })
        .await
}

/// `POST /platform/tenants/{id}/switch`: what a session can do and a key cannot.
pub async fn switch(_: Caller, Path(_): Path<String>) -> Error {
    Error::denied(
        "FORBIDDEN",
        "an API key belongs to one organization; use a key of the other one",
    )
}

/// `PUT /tenants/{id}`
pub async fn rename(PathId(id): PathId<TenantId>, request: Mutation<Rename>) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let before = load(tx, id)?;
            if id != caller.tenant_id() {
                return Err(Error::forbidden());
            }
            caller.check_scope()?;
            let mut fields = Fields::default();
            let name = text::name(&mut fields, "name", input?.name.as_deref());
            fields.finish()?;
            tx.run(
                "UPDATE tenants SET name = ?1, updated_at = ?2 WHERE id = ?3",
                (&name, tx.now(), id),
            )?;
            audit::record(
                tx,
                &Entry {
                    actor: Actor::Key(caller),
                    tenant_id: id,
                    workspace_id: None,
                    kind: "organization.updated",
                    resource: id.0,
                    before: Some(&serde_json::json!({ "name": before.name })),
                    after: Some(&serde_json::json!({ "name": name })),
                },
            )?;
            Ok(Reply::ok(load(tx, id)?.view(tx, role(caller))?))
        })
        .await
}

/// `GET /tenant/settings`
pub async fn settings(
    State(store): State<Store>,
    caller: Caller,
) -> Result<Single<TenantSettings>> {
    let tenant_id = caller.tenant_id();
    let tz = store.read(move |tx| time_zones::of(tx, tenant_id, None));
    Ok(Single(TenantSettings {
        tenant_id,
        tz: tz.await?,
    }))
}

/// What holds in the organization, for `If-Match`.
pub fn look_at_settings() -> Look {
    Arc::new(|tx, caller, _| {
        let tenant_id = caller.tenant_id();
        let tz = time_zones::of(tx, tenant_id, None)?;
        Seen::of(&TenantSettings { tenant_id, tz })
    })
}

/// `PUT /tenant/settings`
pub async fn set_settings(request: Mutation<SetTenantSettings>) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let tenant_id = caller.tenant_id();
            let old = time_zones::of(tx, tenant_id, None)?;
            let mut fields = Fields::default();
            let tz = time_zones::patched(&mut fields, input?.tz, old.clone());
            fields.finish()?;
            time_zones::set(tx, tenant_id, tenant_id.0, tz.as_deref())?;
            audit::record(
                tx,
                &Entry {
                    actor: Actor::Key(caller),
                    tenant_id,
                    workspace_id: None,
                    kind: "organization.updated",
                    resource: tenant_id.0,
                    before: Some(&serde_json::json!({ "tz": old })),
                    after: Some(&serde_json::json!({ "tz": tz })),
                },
            )?;
            Ok(Reply::ok(TenantSettings { tenant_id, tz }))
        })
        .await
}

/// `GET /whoami`
pub async fn whoami(State(store): State<Store>, caller: Caller) -> Result<Json<Whoami>> {
    let who = store.read(move |tx| {
        let tenant = load(tx, caller.tenant_id())?;
        let workspace = match caller.only_workspace() {
            Some(id) => workspaces::reach(tx, &caller, id)?,
            None => workspaces::default_of(tx, caller.tenant_id())?,
        };
        let key = caller.key();
        let scopes = if key.scopes.is_empty() {
            vec!["*".to_owned()]
        } else {
            key.scopes.clone()
        };
        Ok(Whoami {
            user: WhoUser {
                id: key.id,
                email: key.person.as_ref().and_then(|person| person.email.clone()),
                name: match &key.person {
                    Some(person) => person.name.clone(),
                    None => format!("API key {}", key.prefix),
                },
            },
            organization: Named {
                id: tenant.id.0,
                name: tenant.name,
                slug: tenant.slug,
            },
            workspace: Named {
                id: workspace.view.id.0,
                name: workspace.view.name,
                slug: workspace.view.slug,
            },
            plan: PlanName { name: PLAN },
            scopes,
            operator: key.operator,
            key: WhoKey {
                id: key.id,
                key_prefix: key.prefix.clone(),
                key_type: key.key_type,
                workspace_id: key.workspace_id,
                external_user_id: key.external_user_id.clone(),
                expires_at: key.expires_at,
            },
        })
    });
    Ok(Json(who.await?))
}

/// `GET /tenant/plan`
pub async fn plan(
    State(store): State<Store>,
    State(config): State<Arc<Config>>,
    caller: Caller,
) -> Result<Json<Plan>> {
    let config = config.clone();
    let plan = store.read(move |tx| {
        let tenant = load(tx, caller.tenant_id())?;
        let rows = limits::ceilings(tx, &config.file, tenant.id)?;
        Ok(Plan {
            id: tenant.id,
            name: PLAN,
            plan: tenant.plan,
            status: "active",
            limits: rows
                .iter()
                .filter_map(|(name, max, _)| Some((*name, (*max)?)))
                .collect(),
            usage: rows.iter().map(|(name, _, used)| (*name, *used)).collect(),
            metadata: Object::empty(),
            created_at: tenant.created_at,
            updated_at: tenant.updated_at,
        })
    });
    Ok(Json(plan.await?))
}
