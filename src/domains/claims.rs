//! Organizations that say that the same domain is theirs.

use uuid::Uuid;

use super::owner::Owner;
use super::rows::forget;
use crate::audit::Actor;
use crate::clock::HOUR_MS;
use crate::domains::Scope;
use crate::error::Result;
use crate::ids::TenantId;
use crate::rules::config::Config;
use crate::rules::host::{self};
use crate::store::{Tx, WriteTx};

/// For so long an organization that has typed a domain keeps others from doing so without proving it.
pub(super) const CLAIM_MS: i64 = 72 * HOUR_MS;

/// The domain of another organization that stands in the way of `domain`: the same one, verified or claimed
/// not long ago; or one above it that is proven to be theirs, since their wildcard records would prove this
/// one too. An unproven one above does not count, or else a claim of `co.uk` would shut out a country.
pub(super) fn claimed_by_other(
    tx: &Tx<'_>,
    tenant: TenantId,
    domain: &str,
) -> Result<Option<Claim>> {
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
pub(super) struct Claim {
    pub name: String,
    /// It is not verified, and is given up to who proves that the domain is theirs.
    pub yields: bool,
}

/// Takes a domain from other organizations that have claimed and not proven it.
pub(super) fn take_over(
    tx: &WriteTx<'_>,
    config: &Config,
    tenant: TenantId,
    domain: &str,
) -> Result<()> {
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
