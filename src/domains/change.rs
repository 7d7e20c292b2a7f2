//! Setting and clearing the domain of a level.

use rusqlite::named_params;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::check::{Checked, conclude};
use super::claims::{claimed_by_other, take_over};
use super::dns::DnsRecord;
use super::owner::{Level, Owner};
use super::rows::forget;
use super::status::{self};
use crate::access::caller::Caller;
use crate::audit::Actor;
use crate::domains::{DomainStatus, Scope};
use crate::error::{Error, Result, TAKEN};
use crate::ids::{TenantId, WorkspaceId};
use crate::rules::config::Config;
use crate::rules::host::{self, normalize_host};
use crate::store::{Tx, WriteTx};

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

/// The host name that the request gives, checked against everything but other organizations.
pub(super) fn wanted(config: &Config, input: Set) -> Result<String> {
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

pub(super) fn set(
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

pub(super) fn clear(
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
