//! Checks of domains, asked for or by itself.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::named_params;
use tokio::sync::watch;
use uuid::Uuid;

use super::claims::{claimed_by_other, take_over};
use super::dns::{Dns, DnsRecord};
use super::owner::Owner;
use super::status::{self, Own, State as Known};
use crate::access::caller::Caller;
use crate::audit::Actor;
use crate::clock::{HOUR_MS, Timestamp};
use crate::db::Store;
use crate::domains::{DomainStatus, Scope};
use crate::error::Result;
use crate::ids::TenantId;
use crate::json;
use crate::rules::config::Config;
use crate::store::WriteTx;

/// What the endpoints need of the service.
#[derive(Clone)]
pub struct Domains {
    pub store: Store,
    pub config: Arc<Config>,
    pub dns: Arc<Dns>,
}

/// What a check found, and for which state of the row it holds.
pub(super) struct Checked {
    pub domain: String,
    pub updated_at: Timestamp,
    pub records: Vec<DnsRecord>,
}

/// How long wrong records of a verified domain are borne with, where nobody asked.
pub(super) const DEGRADED_MS: i64 = 72 * HOUR_MS;

/// Until the next check by itself: soon where something is being set up or mended, then ever more rarely.
pub(super) fn until_next(state: Known, degraded: bool, checks: i64) -> i64 {
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
pub(super) fn conclude(
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

/// Domains of one round.
pub(super) const ROUND: i64 = 20;
/// Longer than any wait for the next check, with its spread.
pub(super) const LONGEST_WAIT_MS: i64 = 48 * HOUR_MS;
/// How often it is looked for domains to check.
pub(super) const LOOK: Duration = Duration::from_secs(20);

impl Domains {
    /// Asks the DNS, with no transaction open.
    pub(super) async fn look(&self, own: Own) -> Result<Checked> {
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
