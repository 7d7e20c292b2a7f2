//! Setting, clearing and verifying the domain of a level, and the endpoints that do so.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use rusqlite::{OptionalExtension, named_params};
use serde::Deserialize;
use tokio::sync::watch;
use utoipa::ToSchema;
use uuid::Uuid;

use super::dns::{Dns, DnsRecord};
use super::rows::forget;
use super::status::{self, Own, Source, State as Known};
use crate::access::caller::Caller;
use crate::audit::{self, Actor, Entry};
use crate::clock::{HOUR_MS, Timestamp};
use crate::db::Store;
use crate::domains::{DomainStatus, Scope};
use crate::error::{Error, Result, TAKEN};
use crate::http::{Look, Mutation, NoBody, Params, PathId, Reply, Seen, Single};
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
#[derive(Deserialize, ToSchema, Default, Clone)]
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

    /// The one behind a row of the store.
    fn of_row(tx: &Tx<'_>, scope: Scope, id: Uuid, tenant: TenantId) -> Result<Owner> {
        let workspace = match scope {
            Scope::Organization => None,
            Scope::Workspace => Some(WorkspaceId(id)),
            Scope::Project => tx
                .row(
                    "SELECT workspace_id FROM projects WHERE id = ?1 AND tenant_id = ?2",
                    (id.as_bytes(), tenant),
                    |row| row.get(0),
                )
                .optional()?,
        };
        Ok(Owner {
            scope,
            id,
            tenant,
            workspace,
        })
    }

    fn audit(
        &self,
        tx: &WriteTx<'_>,
        actor: Actor<'_>,
        what: &str,
        before: &DomainStatus,
        after: &DomainStatus,
    ) -> Result<()> {
        audit::record(
            tx,
            &Entry {
                actor,
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

/// For so long an organization that has typed a domain keeps others from doing so without proving it.
const CLAIM_MS: i64 = 72 * HOUR_MS;

/// The domain of another organization that stands in the way of `domain`: the same one, verified or claimed
/// not long ago; or one above it that is proven to be theirs, since their wildcard records would prove this
/// one too. An unproven one above does not count, or else a claim of `co.uk` would shut out a country.
fn claimed_by_other(tx: &Tx<'_>, tenant: TenantId, domain: &str) -> Result<Option<Claim>> {
    let sql = "SELECT max(dns_status = 'verified') FROM preview_domains
         WHERE domain = ?1 AND tenant_id <> ?2 AND (dns_status = 'verified' OR ?3 AND updated_at > ?4 AND updated_at <= ?5)";
    let mut statement = tx.prepare_cached(sql)?;
    // One that lies far ahead was made while the clock was wrong, and does not hold until that time comes.
    let (since, until) = (tx.now().plus_ms(-CLAIM_MS), tx.now().plus_ms(CLAIM_MS));
    for (name, same) in
        std::iter::once((domain, true)).chain(host::parents(domain).map(|parent| (parent, false)))
    {
        let verified: Option<bool> =
            statement.query_row((name, tenant, same, since, until), |row| row.get(0))?;
        if let Some(verified) = verified {
            return Ok(Some(Claim {
                name: name.to_owned(),
                yields: same && !verified,
            }));
        }
    }
    Ok(None)
}

/// What another organization says is theirs.
struct Claim {
    name: String,
    /// It is not verified, and is given up to who proves that the domain is theirs.
    yields: bool,
}

/// Takes a domain from other organizations that have claimed and not proven it.
fn take_over(tx: &WriteTx<'_>, config: &Config, tenant: TenantId, domain: &str) -> Result<()> {
    let sql = "SELECT scope, owner_id, tenant_id FROM preview_domains
         WHERE domain = ?1 AND tenant_id <> ?2 AND dns_status <> 'verified'";
    let mut statement = tx.prepare_cached(sql)?;
    let others: Vec<(Scope, [u8; 16], TenantId)> = statement
        .query_map((domain, tenant), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<Result<_, _>>()?;
    for (scope, id, other) in others {
        let owner = Owner::of_row(tx, scope, Uuid::from_bytes(id), other)?;
        let before = owner.status(tx, config)?;
        forget(tx, owner.scope, owner.id)?;
        let after = owner.status(tx, config)?;
        owner.audit(tx, Actor::System, "cleared", &before, &after)?;
    }
    Ok(())
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
    proven: bool,
) -> Result<DomainStatus> {
    let before = owner.status(tx, config)?;
    if before.preview_domain.as_deref() == Some(domain) {
        return Ok(before); // What was verified stays so.
    }
    match claimed_by_other(tx, owner.tenant, domain)? {
        Some(claim) if claim.yields && proven => {}
        Some(claim) if claim.yields => {
            let text = format!(
                "{TAKEN} by somebody who has not proven that it is theirs; if it is yours, add the TXT record {} with \
                 the value {} and send this again",
                DnsRecord::challenge(domain),
                status::proof(owner.tenant, domain)
            );
            return Err(Error::field("preview_domain", text));
        }
        Some(claim) if claim.name == domain => {
            return Err(Error::field("preview_domain", TAKEN));
        }
        Some(claim) => {
            let text = format!("{TAKEN}: {} above it is another organization's", claim.name);
            return Err(Error::field("preview_domain", text));
        }
        None => {}
    }
    take_over(tx, config, owner.tenant, domain)?;
    let sql = "INSERT INTO preview_domains (scope, owner_id, tenant_id, domain, dns_status, updated_at)
         VALUES (:scope, :owner, :tenant, :domain, 'pending', :now)
         ON CONFLICT (scope, owner_id) DO UPDATE SET domain = :domain, dns_status = 'pending', records = '[]',
             last_error = NULL, checked_at = NULL, verified_at = NULL, updated_at = :now, failing_since = NULL,
             checks = 0, next_check_at = NULL";
    tx.run(
        sql,
        named_params! {
            ":scope": owner.scope, ":owner": owner.id.as_bytes(), ":tenant": owner.tenant, ":domain": domain,
            ":now": tx.now(),
        },
    )?;
    let after = owner.status(tx, config)?;
    owner.audit(tx, Actor::Key(caller), "updated", &before, &after)?;
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
    owner.audit(tx, Actor::Key(caller), "cleared", &before, &after)?;
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
    set(tx, config, caller, &owner, &domain, false)?;
    let checked = Checked {
        records: DnsRecord::as_found(&domain, &config.proxy_host, found),
        domain,
        updated_at: tx.now(),
    };
    conclude(tx, config, Some(caller), &owner, Some(checked)).map(drop)
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
    let sql =
        "INSERT INTO preview_domains (scope, owner_id, tenant_id, domain, dns_status, updated_at)
         VALUES (?1, ?2, ?3, ?4, 'pending', ?5)";
    tx.run(sql, (scope, owner.as_bytes(), tenant, domain, tx.now()))?;
    Ok(())
}

/// What a check found, and for which state of the row it holds.
struct Checked {
    domain: String,
    updated_at: Timestamp,
    records: Vec<DnsRecord>,
}

/// How long wrong records of a verified domain are borne with, where nobody asked.
const DEGRADED_MS: i64 = 72 * HOUR_MS;

/// Until the next check by itself: soon where something is being set up or mended, then ever more rarely.
fn until_next(state: Known, degraded: bool, checks: i64) -> i64 {
    const MINUTE_MS: i64 = HOUR_MS / 60;
    let steps: &[i64] = match state {
        Known::Verified if !degraded => return 6 * HOUR_MS,
        _ => &[1, 5, 15, 60],
    };
    let step = usize::try_from(checks).unwrap_or(usize::MAX);
    steps.get(step).map_or(
        if degraded { 2 * HOUR_MS } else { 24 * HOUR_MS },
        |minutes| minutes * MINUTE_MS,
    )
}

/// Stores what a check found, unless the domain has changed meanwhile. Without a caller it is the server that
/// looked, by itself.
fn conclude(
    tx: &WriteTx<'_>,
    config: &Config,
    caller: Option<&Caller>,
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
    if verdict == Ok(Known::Verified) && own.state != Known::Verified {
        match claimed_by_other(tx, owner.tenant, &own.domain)? {
            Some(claim) if !claim.yields => {
                verdict = Err(format!(
                    "{} is another organization's, so its records prove nothing about {}",
                    claim.name, own.domain
                ));
            }
            _ => take_over(tx, config, owner.tenant, &own.domain)?,
        }
    }
    // No answer: the state stays what it was.
    let mut state = *verdict.as_ref().unwrap_or(&own.state);
    let mut failing_since = match verdict {
        Ok(Known::Verified) => None,
        _ => own.failing_since,
    };
    if caller.is_none() && own.state == Known::Verified && state != Known::Verified {
        let since = failing_since.unwrap_or(tx.now()).min(tx.now());
        if tx.now().0 - since.0 < DEGRADED_MS {
            (state, failing_since) = (Known::Verified, Some(since));
        }
    }
    failing_since = failing_since.filter(|_| state == Known::Verified);
    let degraded = failing_since.is_some();
    let changed = state != own.state || degraded != own.failing_since.is_some();
    let checks = if changed {
        0
    } else {
        own.checks.saturating_add(1)
    };
    let wait = until_next(state, degraded, checks);
    // Not all at once, should many have been set together.
    let spread = i64::from(tx.new_id::<Uuid>().as_bytes()[15]) * wait / 2560;
    // Kept when it is lost again, so that a domain that once worked is told from a new one.
    let verified_at = match (own.state, state) {
        (Known::Pending | Known::Failed, Known::Verified) => Some(tx.now()),
        _ => own.verified_at,
    };
    let sql = "UPDATE preview_domains SET dns_status = :state, records = :records, last_error = :error, checked_at = :now,
             verified_at = :verified_at, failing_since = :failing, checks = :checks, next_check_at = :next
         WHERE scope = :scope AND owner_id = :owner AND tenant_id = :tenant";
    tx.run(
        sql,
        named_params! {
            ":state": state, ":records": json::text(&checked.records)?, ":error": verdict.err(), ":now": tx.now(),
            ":verified_at": verified_at, ":failing": failing_since, ":checks": checks,
            ":next": tx.now().plus_ms(wait + spread), ":scope": owner.scope, ":owner": owner.id.as_bytes(), ":tenant": owner.tenant,
        },
    )?;
    let after = owner.status(tx, config)?;
    if changed {
        let actor = caller.map_or(Actor::System, Actor::Key);
        owner.audit(tx, actor, "checked", &before, &after)?;
    }
    Ok(after)
}

// ---------------------------------------------------------------------------------------------
// Checks by itself

/// Domains of one round.
const ROUND: i64 = 20;
/// Longer than any wait for the next check, with its spread.
const LONGEST_WAIT_MS: i64 = 48 * HOUR_MS;
/// How often it is looked for domains to check.
const LOOK: Duration = Duration::from_secs(20);

impl Domains {
    /// Asks the DNS, with no transaction open.
    async fn look(&self, own: Own) -> Result<Checked> {
        let random: Uuid = self.store.write(|tx| Ok(tx.new_id())).await?;
        let target = &self.config.proxy_host;
        let records = self
            .dns
            .check(&own.domain, target, own.proof(), random)
            .await?;
        Ok(Checked {
            domain: own.domain,
            updated_at: own.updated_at,
            records,
        })
    }

    /// Checks the domains whose turn it is. Returns how many those were.
    ///
    /// # Errors
    /// When the store fails, or too many checks wait.
    pub async fn check_due(&self) -> Result<usize> {
        let due = self.store.read(|tx| {
            let sql = "SELECT scope, owner_id, tenant_id FROM preview_domains
                 WHERE next_check_at IS NULL OR next_check_at <= ?1 OR next_check_at > ?3 ORDER BY next_check_at LIMIT ?2";
            let mut statement = tx.prepare_cached(
                sql,
            )?;
            // Nothing waits for so long: what lies further ahead was written while the clock was wrong.
            let beyond = tx.now().plus_ms(LONGEST_WAIT_MS);
            let rows = statement.query_map((tx.now(), ROUND, beyond), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
            let rows: Vec<(Scope, [u8; 16], TenantId)> = rows.collect::<Result<_, _>>()?;
            let mut owners = Vec::new();
            for (scope, id, tenant) in rows {
                let owner = Owner::of_row(tx, scope, Uuid::from_bytes(id), tenant)?;
                if let Some(own) = owner.own(tx)? {
                    owners.push((owner, own));
                }
            }
            Ok(owners)
        });
        let due = due.await?;
        let count = due.len();
        for (owner, own) in due {
            let checked = self.look(own).await?;
            let config = self.config.clone();
            self.store
                .write(move |tx| conclude(tx, &config, None, &owner, Some(checked)).map(drop))
                .await?;
        }
        Ok(count)
    }
}

/// Checks domains by itself until `stop` changes.
pub async fn watch(domains: Domains, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            _ = stop.changed() => return,
        }
        if let Err(e) = domains.check_due().await {
            tracing::warn!(error = e.message(), "preview domains were not checked");
        }
    }
}

// ---------------------------------------------------------------------------------------------
// Asked by a proxy

/// `GET /domains/ask`
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Asked {
    domain: Option<String>,
}

/// `GET /domains/ask?domain=`: 200 when a certificate for this host name may be asked for, else 404. Without a
/// key, since a proxy asks; it says no more than a look at the DNS does.
pub async fn ask(State(domains): State<Domains>, asked: Params<Asked>) -> Result<Response> {
    let asked = asked.get()?.domain.unwrap_or_default();
    let host = normalize_host(&asked).map_err(|e| Error::field("domain", e))?;
    let base = domains.config.base_domain.clone();
    let known = domains.store.read(move |tx| {
        for name in std::iter::once(host.as_str()).chain(host::parents(&host)) {
            if super::rows::is_verified(tx, name)? {
                return Ok(true);
            }
        }
        // Under the domain of this server: a computer that there is, or a port of one.
        let Some(label) = host
            .strip_suffix(&base)
            .and_then(|rest| rest.strip_suffix('.'))
        else {
            return Ok(host == base);
        };
        let slug = label.strip_suffix(".sandbox").unwrap_or(label);
        let slug = slug
            .split_once('-')
            .filter(|(port, _)| port.parse::<u16>().is_ok() && label.len() != slug.len())
            .map_or(slug, |(_, slug)| slug);
        let sql = "SELECT EXISTS (SELECT 1 FROM computers WHERE slug = ?1 AND deleted_at IS NULL)";
        Ok(tx.row(sql, [slug], |row| row.get(0))?)
    });
    if known.await? {
        Ok("a certificate may be asked for\n".into_response())
    } else {
        Err(Error::not_found("domain"))
    }
}

// ---------------------------------------------------------------------------------------------
// Handlers

impl Level {
    async fn show(self, domains: &Domains, caller: Caller) -> Result<Single<DomainStatus>> {
        let config = domains.config.clone();
        let status = domains
            .store
            .read(move |tx| self.find(tx, &caller)?.status(tx, &config));
        Ok(Single(status.await?))
    }

    /// The domain of a level as it is, for `If-Match`.
    fn look(domains: &Domains, level: fn(Uuid) -> Level) -> Look {
        let config = domains.config.clone();
        Arc::new(move |tx, caller, id| Seen::of(&level(id).find(tx, caller)?.status(tx, &config)?))
    }

    async fn set(self, domains: Domains, request: Mutation<Set>) -> Result<Response> {
        let proven = self.proven(&domains, &request).await?;
        request
            .run(move |tx, caller, input| {
                let owner = self.find(tx, caller)?;
                let domain = wanted(&domains.config, input?)?;
                let proven = proven.as_ref() == Some(&domain);
                set(tx, &domains.config, caller, &owner, &domain, proven).map(Reply::ok)
            })
            .await
    }

    /// The domain that is asked for, if another organization has claimed it without a proof and the DNS has one
    /// for the caller. Asked with no transaction open, before the one that decides.
    async fn proven(self, domains: &Domains, request: &Mutation<Set>) -> Result<Option<String>> {
        let Some(input) = request.peek().cloned() else {
            return Ok(None);
        };
        let (caller, config) = (request.caller.clone(), domains.config.clone());
        let contested = domains.store.read(move |tx| {
            let owner = self.find(tx, &caller)?;
            let Ok(domain) = wanted(&config, input) else {
                return Ok(None);
            };
            let claim = claimed_by_other(tx, owner.tenant, &domain)?;
            let proof = status::proof(owner.tenant, &domain);
            Ok(claim.filter(|claim| claim.yields).map(|_| (domain, proof)))
        });
        let Some((domain, proof)) = contested.await? else {
            return Ok(None);
        };
        let proven = domains.dns.proves(&domain, &proof).await;
        Ok(proven.then_some(domain))
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
        match own {
            Some(own) => domains.look(own).await.map(Some),
            None => Ok(None),
        }
    }

    async fn verify(self, domains: Domains, caller: Caller) -> Result<Single<DomainStatus>> {
        let checked = self.check(&domains, caller.clone()).await?;
        if checked.is_none() {
            return self.show(&domains, caller).await;
        }
        let config = domains.config.clone();
        let status = domains.store.write(move |tx| {
            let owner = self.find(tx, &caller)?; // It may have gone meanwhile.
            conclude(tx, &config, Some(&caller), &owner, checked)
        });
        Ok(Single(status.await?))
    }
}

/// `/workspaces/{id}/preview-domain`
pub mod workspace {
    use super::*;

    /// What `If-Match` is compared with.
    pub fn look(domains: &Domains) -> Look {
        Level::look(domains, |id| Level::Workspace(WorkspaceId(id)))
    }

    /// `GET`
    pub async fn show(
        State(domains): State<Domains>,
        caller: Caller,
        PathId(id): PathId<WorkspaceId>,
    ) -> Result<Single<DomainStatus>> {
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
    ) -> Result<Single<DomainStatus>> {
        Level::Workspace(id).verify(domains, caller).await
    }
}

/// `/projects/{id}/preview-domain`
pub mod project {
    use super::*;

    /// What `If-Match` is compared with.
    pub fn look(domains: &Domains) -> Look {
        Level::look(domains, |id| Level::Project(ProjectId(id)))
    }

    /// `GET`
    pub async fn show(
        State(domains): State<Domains>,
        caller: Caller,
        PathId(id): PathId<ProjectId>,
    ) -> Result<Single<DomainStatus>> {
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
    ) -> Result<Single<DomainStatus>> {
        Level::Project(id).verify(domains, caller).await
    }
}

/// `/tenant/preview-domain`
pub mod organization {
    use super::*;

    /// What `If-Match` is compared with.
    pub fn look(domains: &Domains) -> Look {
        Level::look(domains, |_| Level::Organization)
    }

    /// `GET`
    pub async fn show(
        State(domains): State<Domains>,
        caller: Caller,
    ) -> Result<Single<DomainStatus>> {
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
                conclude(tx, &config, Some(caller), &owner, checked).map(Reply::ok)
            })
            .await
    }
}
