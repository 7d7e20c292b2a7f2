//! Setting, clearing and verifying the domain of a level, and the endpoints that do so.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use rusqlite::named_params;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::dns::{Dns, DnsRecord};
use super::rows::forget;
use super::status::{self, Own, Source, State as Known};
use crate::access::caller::Caller;
use crate::audit::{self, Actor, Entry};
use crate::clock::Timestamp;
use crate::db::Store;
use crate::domains::{DomainStatus, Scope};
use crate::error::{Error, Result, TAKEN};
use crate::http::{Mutation, NoBody, PathId, Reply};
use crate::ids::{ProjectId, TenantId, WorkspaceId};
use crate::rules::config::Config;
use crate::rules::host::{self, normalize_host};
use crate::store::{Tx, WriteTx};
use crate::{json, projects, workspaces};

/// What the endpoints need of the service.
#[derive(Clone)]
pub struct Domains {
    pub store: Store,
    pub config: Arc<Config>,
    pub dns: Arc<Dns>,
}

/// `PUT` of a preview domain.
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
#[schema(as = SetDomain)]
pub struct Set {
    /// Host name of at least two parts, such as acme.com
    #[schema(nullable = false)]
    pub preview_domain: Option<String>,
    /// Another name of the same field, which some clients send
    #[schema(nullable = false)]
    pub domain: Option<String>,
}

// ---------------------------------------------------------------------------------------------
// Look-ups

/// The level that a request names.
#[derive(Clone, Copy)]
enum Level {
    Organization,
    Workspace(WorkspaceId),
    Project(ProjectId),
}

/// A level that exists and that the caller may touch, with those above it.
#[derive(Clone, Copy)]
struct Owner {
    scope: Scope,
    id: Uuid,
    tenant: TenantId,
    workspace: Option<WorkspaceId>,
}

impl Level {
    /// # Errors
    /// 404, 403 and the route's scope, as for the resource itself.
    fn find(self, tx: &Tx<'_>, caller: &Caller) -> Result<Owner> {
        let tenant = caller.tenant_id();
        Ok(match self {
            // The caller's own; reach and scope were asked for before the handler.
            Level::Organization => Owner {
                scope: Scope::Organization,
                id: tenant.0,
                tenant,
                workspace: None,
            },
            Level::Workspace(id) => {
                let workspace = Some(workspaces::find(tx, caller, id)?.view.id);
                Owner {
                    scope: Scope::Workspace,
                    id: id.0,
                    tenant,
                    workspace,
                }
            }
            Level::Project(id) => {
                let workspace = Some(projects::find(tx, caller, id)?.workspace_id);
                Owner {
                    scope: Scope::Project,
                    id: id.0,
                    tenant,
                    workspace,
                }
            }
        })
    }
}

impl Owner {
    /// What is known of the level's own domain.
    fn own(&self, tx: &Tx<'_>) -> Result<Option<Own>> {
        status::own(tx, self.tenant, self.scope, self.id)
    }

    /// The level as the API shows it.
    fn status(&self, tx: &Tx<'_>, config: &Config) -> Result<DomainStatus> {
        let own = self.own(tx)?;
        let above: &[Scope] = match self.scope {
            _ if own.is_some() => &[],
            Scope::Project => &[Scope::Workspace, Scope::Organization],
            Scope::Workspace => &[Scope::Organization],
            Scope::Organization => &[],
        };
        let mut inherited = None;
        for scope in above {
            let id = match (scope, self.workspace) {
                (Scope::Workspace, Some(workspace)) => workspace.0,
                _ => self.tenant.0,
            };
            inherited = status::own(tx, self.tenant, *scope, id)?
                .map(|own| (own.domain, Source::from(*scope)));
            if inherited.is_some() {
                break;
            }
        }
        Ok(DomainStatus::new(
            config, self.scope, self.id, own, inherited,
        ))
    }

    fn audit(
        &self,
        tx: &WriteTx<'_>,
        caller: &Caller,
        what: &str,
        before: &DomainStatus,
        after: &DomainStatus,
    ) -> Result<()> {
        audit::record(
            tx,
            &Entry {
                actor: Actor::Key(caller),
                tenant_id: self.tenant,
                workspace_id: self.workspace,
                kind: &format!("{}.preview_domain_{what}", self.scope.as_str()),
                resource: self.id,
                before: Some(before),
                after: Some(after),
            },
        )
    }
}

/// The domain of another organization that stands in the way of `domain`: the same one; or one
/// above it that is proven to be theirs, since their wildcard records would prove this one too.
/// An unproven one above does not count, or else a claim of `co.uk` would shut out a country.
fn claimed_by_other(tx: &Tx<'_>, tenant: TenantId, domain: &str) -> Result<Option<String>> {
    let mut statement = tx.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM preview_domains
             WHERE domain = ?1 AND tenant_id <> ?2 AND (?3 OR dns_status = 'verified'))",
    )?;
    for (name, same) in
        std::iter::once((domain, true)).chain(host::parents(domain).map(|parent| (parent, false)))
    {
        if statement.query_row((name, tenant, same), |row| row.get(0))? {
            return Ok(Some(name.to_owned()));
        }
    }
    Ok(None)
}

// ---------------------------------------------------------------------------------------------
// Writing

/// The host name that the request gives, checked against everything but other organizations.
fn wanted(config: &Config, input: Set) -> Result<String> {
    let field = |text: String| Error::field("preview_domain", text);
    let checked = |text: String| normalize_host(&text).map_err(field);
    let domain = match (input.preview_domain, input.domain) {
        (None, None) => return Err(field("can't be blank; send DELETE to inherit again".into())),
        (Some(given), None) | (None, Some(given)) => checked(given)?,
        (Some(given), Some(other)) => {
            let domain = checked(given)?;
            if checked(other)? != domain {
                return Err(field(
                    "and domain are given with different values; send one of them".into(),
                ));
            }
            domain
        }
    };
    let ours = [&config.base_domain, &config.proxy_host]
        .into_iter()
        .find(|ours| host::is_within(&domain, ours));
    match ours {
        Some(ours) => Err(field(format!(
            "must not be {ours} or a name under it, which is this server's own; send a domain that you own"
        ))),
        None => Ok(domain),
    }
}

fn set(
    tx: &WriteTx<'_>,
    config: &Config,
    caller: &Caller,
    owner: &Owner,
    domain: &str,
) -> Result<DomainStatus> {
    let before = owner.status(tx, config)?;
    if before.preview_domain.as_deref() == Some(domain) {
        return Ok(before); // What was verified stays so.
    }
    match claimed_by_other(tx, owner.tenant, domain)? {
        Some(name) if name == domain => return Err(Error::field("preview_domain", TAKEN)),
        Some(name) => {
            let text = format!("{TAKEN}: {name} above it is another organization's");
            return Err(Error::field("preview_domain", text));
        }
        None => {}
    }
    tx.run(
        "INSERT INTO preview_domains (scope, owner_id, tenant_id, domain, dns_status, updated_at)
         VALUES (:scope, :owner, :tenant, :domain, 'pending', :now)
         ON CONFLICT (scope, owner_id) DO UPDATE SET domain = :domain, dns_status = 'pending', records = '[]',
             last_error = NULL, checked_at = NULL, verified_at = NULL, updated_at = :now",
        named_params! {
            ":scope": owner.scope, ":owner": owner.id.as_bytes(), ":tenant": owner.tenant, ":domain": domain,
            ":now": tx.now(),
        },
    )?;
    let after = owner.status(tx, config)?;
    owner.audit(tx, caller, "updated", &before, &after)?;
    Ok(after)
}

fn clear(
    tx: &WriteTx<'_>,
    config: &Config,
    caller: &Caller,
    owner: &Owner,
) -> Result<DomainStatus> {
    let before = owner.status(tx, config)?;
    if before.preview_domain.is_none() {
        return Ok(before);
    }
    forget(tx, owner.scope, owner.id)?;
    let after = owner.status(tx, config)?;
    owner.audit(tx, caller, "cleared", &before, &after)?;
    Ok(after)
}

/// Sets the domain of a workspace as if a check had found the first `found` of its records in place.
/// For scenarios, which ask no DNS.
///
/// # Errors
/// 422 when the domain cannot be had.
pub fn set_as_found(
    tx: &WriteTx<'_>,
    config: &Config,
    caller: &Caller,
    id: WorkspaceId,
    domain: &str,
    found: usize,
) -> Result<()> {
    let input = Set {
        preview_domain: Some(domain.to_owned()),
        domain: None,
    };
    let domain = wanted(config, input)?;
    let owner = Level::Workspace(id).find(tx, caller)?;
    set(tx, config, caller, &owner, &domain)?;
    let checked = Checked {
        records: DnsRecord::as_found(&domain, &config.proxy_host, found),
        domain,
        updated_at: tx.now(),
    };
    conclude(tx, config, caller, &owner, Some(checked)).map(drop)
}

/// A domain that comes with a workspace from another installation, as it is written here.
///
/// # Errors
/// 409 when it cannot be had here.
pub fn importable(tx: &Tx<'_>, config: &Config, tenant: TenantId, domain: &str) -> Result<String> {
    let input = Set {
        preview_domain: Some(domain.to_owned()),
        domain: None,
    };
    let refused = |why: &str| {
        Error::conflict(
            "CAPSULE_CONFLICT",
            format!(
                "the preview domain {domain:?} {why}; import with --without-domains (?without_domains=true)"
            ),
        )
    };
    let domain = wanted(config, input).map_err(|e| refused(e.message()))?;
    if claimed_by_other(tx, tenant, &domain)?.is_some() {
        return Err(refused(TAKEN));
    }
    Ok(domain)
}

/// Sets a domain that came with a workspace from another installation. Whether it is proven is for this
/// server to find out.
///
/// # Errors
/// 409 when it cannot be had here.
pub fn import(
    tx: &WriteTx<'_>,
    config: &Config,
    tenant: TenantId,
    scope: Scope,
    owner: Uuid,
    domain: &str,
) -> Result<()> {
    let domain = importable(tx, config, tenant, domain)?;
    tx.run(
        "INSERT INTO preview_domains (scope, owner_id, tenant_id, domain, dns_status, updated_at)
         VALUES (?1, ?2, ?3, ?4, 'pending', ?5)",
        (scope, owner.as_bytes(), tenant, domain, tx.now()),
    )?;
    Ok(())
}

/// What a check found, and for which state of the row it holds.
struct Checked {
    domain: String,
    updated_at: Timestamp,
    records: [DnsRecord; 2],
}

/// Stores what a check found, unless the domain has changed meanwhile.
fn conclude(
    tx: &WriteTx<'_>,
    config: &Config,
    caller: &Caller,
    owner: &Owner,
    checked: Option<Checked>,
) -> Result<DomainStatus> {
    let before = owner.status(tx, config)?;
    let (Some(own), Some(checked)) = (owner.own(tx)?, checked) else {
        return Ok(before);
    };
    if own.domain != checked.domain || own.updated_at != checked.updated_at {
        return Ok(before);
    }
    let mut verdict = status::verdict(&checked.records, own.verified_at.is_some());
    if verdict == Ok(Known::Verified)
        && own.state != Known::Verified
        && let Some(name) = claimed_by_other(tx, owner.tenant, &own.domain)?
    {
        verdict = Err(format!(
            "{name} is another organization's, so its records prove nothing about {}",
            own.domain
        ));
    }
    // No answer: the state stays what it was.
    let state = *verdict.as_ref().unwrap_or(&own.state);
    // Kept when it is lost again, so that a domain that once worked is told from a new one.
    let verified_at = match (own.state, state) {
        (Known::Pending | Known::Failed, Known::Verified) => Some(tx.now()),
        _ => own.verified_at,
    };
    tx.run(
        "UPDATE preview_domains SET dns_status = :state, records = :records, last_error = :error, checked_at = :now,
             verified_at = :verified_at
         WHERE scope = :scope AND owner_id = :owner AND tenant_id = :tenant",
        named_params! {
            ":state": state, ":records": json::text(&checked.records)?, ":error": verdict.err(), ":now": tx.now(),
            ":verified_at": verified_at, ":scope": owner.scope, ":owner": owner.id.as_bytes(), ":tenant": owner.tenant,
        },
    )?;
    let after = owner.status(tx, config)?;
    if state != own.state {
        owner.audit(tx, caller, "checked", &before, &after)?;
    }
    Ok(after)
}

// ---------------------------------------------------------------------------------------------
// Handlers

impl Level {
    async fn show(self, domains: &Domains, caller: Caller) -> Result<Json<DomainStatus>> {
        let config = domains.config.clone();
        let status = domains
            .store
            .read(move |tx| self.find(tx, &caller)?.status(tx, &config));
        Ok(Json(status.await?))
    }

    async fn set(self, domains: Domains, request: Mutation<Set>) -> Result<Response> {
        request
            .run(move |tx, caller, input| {
                let owner = self.find(tx, caller)?;
                let domain = wanted(&domains.config, input?)?;
                set(tx, &domains.config, caller, &owner, &domain).map(Reply::ok)
            })
            .await
    }

    async fn clear(self, domains: Domains, request: Mutation<NoBody>) -> Result<Response> {
        request
            .run(move |tx, caller, _| {
                let owner = self.find(tx, caller)?;
                clear(tx, &domains.config, caller, &owner).map(Reply::ok)
            })
            .await
    }

    /// Asks the DNS, with no transaction open; `None` when there is no domain to ask for.
    async fn check(self, domains: &Domains, caller: Caller) -> Result<Option<Checked>> {
        let own = domains
            .store
            .read(move |tx| self.find(tx, &caller)?.own(tx))
            .await?;
        let Some(Own {
            domain, updated_at, ..
        }) = own
        else {
            return Ok(None);
        };
        let random: Uuid = domains.store.write(|tx| Ok(tx.new_id())).await?;
        let records = domains
            .dns
            .check(&domain, &domains.config.proxy_host, random)
            .await?;
        Ok(Some(Checked {
            domain,
            updated_at,
            records,
        }))
    }

    async fn verify(self, domains: Domains, caller: Caller) -> Result<Json<DomainStatus>> {
        let checked = self.check(&domains, caller.clone()).await?;
        if checked.is_none() {
            return self.show(&domains, caller).await;
        }
        let config = domains.config.clone();
        let status = domains.store.write(move |tx| {
            let owner = self.find(tx, &caller)?; // It may have gone meanwhile.
            conclude(tx, &config, &caller, &owner, checked)
        });
        Ok(Json(status.await?))
    }
}

/// `/workspaces/{id}/preview-domain`
pub mod workspace {
    use super::*;

    /// `GET`
    pub async fn show(
        State(domains): State<Domains>,
        caller: Caller,
        PathId(id): PathId<WorkspaceId>,
    ) -> Result<Json<DomainStatus>> {
        Level::Workspace(id).show(&domains, caller).await
    }

    /// `PUT`
    pub async fn set(
        State(domains): State<Domains>,
        PathId(id): PathId<WorkspaceId>,
        request: Mutation<Set>,
    ) -> Result<Response> {
        Level::Workspace(id).set(domains, request).await
    }

    /// `DELETE`
    pub async fn clear(
        State(domains): State<Domains>,
        PathId(id): PathId<WorkspaceId>,
        request: Mutation<NoBody>,
    ) -> Result<Response> {
        Level::Workspace(id).clear(domains, request).await
    }

    /// `GET .../verify`
    pub async fn verify(
        State(domains): State<Domains>,
        caller: Caller,
        PathId(id): PathId<WorkspaceId>,
    ) -> Result<Json<DomainStatus>> {
        Level::Workspace(id).verify(domains, caller).await
    }
}

/// `/projects/{id}/preview-domain`
pub mod project {
    use super::*;

    /// `GET`
    pub async fn show(
        State(domains): State<Domains>,
        caller: Caller,
        PathId(id): PathId<ProjectId>,
    ) -> Result<Json<DomainStatus>> {
        Level::Project(id).show(&domains, caller).await
    }

    /// `PUT`
    pub async fn set(
        State(domains): State<Domains>,
        PathId(id): PathId<ProjectId>,
        request: Mutation<Set>,
    ) -> Result<Response> {
        Level::Project(id).set(domains, request).await
    }

    /// `DELETE`
    pub async fn clear(
        State(domains): State<Domains>,
        PathId(id): PathId<ProjectId>,
        request: Mutation<NoBody>,
    ) -> Result<Response> {
        Level::Project(id).clear(domains, request).await
    }

    /// `GET .../verify`
    pub async fn verify(
        State(domains): State<Domains>,
        caller: Caller,
        PathId(id): PathId<ProjectId>,
    ) -> Result<Json<DomainStatus>> {
        Level::Project(id).verify(domains, caller).await
    }
}

/// `/tenant/preview-domain`
pub mod organization {
    use super::*;

    /// `GET`
    pub async fn show(
        State(domains): State<Domains>,
        caller: Caller,
    ) -> Result<Json<DomainStatus>> {
        Level::Organization.show(&domains, caller).await
    }

    /// `PUT`
    pub async fn set(State(domains): State<Domains>, request: Mutation<Set>) -> Result<Response> {
        Level::Organization.set(domains, request).await
    }

    /// `DELETE`
    pub async fn clear(
        State(domains): State<Domains>,
        request: Mutation<NoBody>,
    ) -> Result<Response> {
        Level::Organization.clear(domains, request).await
    }

    /// `POST .../verify`: the question is asked before the transaction that may find the reply of
    /// an earlier request with the same Idempotency-Key; asking twice changes nothing.
    pub async fn verify(
        State(domains): State<Domains>,
        request: Mutation<NoBody>,
    ) -> Result<Response> {
        let checked = Level::Organization
            .check(&domains, request.caller.clone())
            .await?;
        let config = domains.config;
        request
            .run(move |tx, caller, input| {
                let owner = Level::Organization.find(tx, caller)?;
                input?;
                conclude(tx, &config, caller, &owner, checked).map(Reply::ok)
            })
            .await
    }
}
