//! A preview domain as the API shows it and as the store keeps it.

use std::hash::{DefaultHasher, Hash};

use data_encoding::HEXLOWER;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{OptionalExtension, Row};
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use super::dns::{DnsRecord, RecordStatus};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::http::Versioned;
use crate::ids::TenantId;
use crate::json;
use crate::rules::config::Config;
use crate::store::Tx;

/// Whose domain it is.
#[derive(Serialize, ToSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
#[schema(as = DomainScope)]
pub enum Scope {
    /// The whole tenant.
    Organization,
    /// One workspace.
    Workspace,
    /// One project.
    Project,
}

impl Scope {
    /// The word of the API and of the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Organization => "organization",
            Scope::Workspace => "workspace",
            Scope::Project => "project",
        }
    }
}

impl FromSql for Scope {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_str()? {
            "organization" => Ok(Scope::Organization),
            "workspace" => Ok(Scope::Workspace),
            "project" => Ok(Scope::Project),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

impl ToSql for Scope {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

/// Which level the effective domain comes from.
#[derive(Serialize, ToSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
#[schema(as = DomainSource)]
pub enum Source {
    /// The project itself.
    Project,
    /// The workspace itself, or the one that the project lies in.
    Workspace,
    /// The organization.
    Organization,
    /// Nobody set one: the base domain of this server.
    Platform,
}

impl From<Scope> for Source {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Organization => Source::Organization,
            Scope::Workspace => Source::Workspace,
            Scope::Project => Source::Project,
        }
    }
}

/// Whether the level's own domain can be used.
#[derive(Serialize, ToSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
#[schema(as = DomainReadiness)]
pub enum Status {
    /// There is none: the domain is inherited.
    NotConfigured,
    /// It is set, but the DNS does not lead here.
    PendingDns,
    /// The DNS leads here.
    Configured,
}

/// What the last check found.
#[derive(Serialize, ToSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub enum DnsStatus {
    /// There is nothing to check.
    NotConfigured,
    /// No check yet, or records are still missing.
    Pending,
    /// Every record leads here.
    Verified,
    /// It led here and is taken to do so still, but records have been wrong for some time, up to three days.
    Degraded,
    /// A record leads elsewhere, or one that was verified is gone.
    Failed,
    /// The DNS could not be asked; `status` and `verified` are those of the last answer.
    Error,
}

/// URLs under the effective domain, with placeholders.
#[derive(Serialize, ToSchema, Debug)]
pub struct UrlExamples {
    /// A computer or sandbox
    default_preview: String,
    /// A port of one
    port_preview: String,
    /// A deployment
    deployment: String,
}

/// The record of an organization's domain in one line.
#[derive(Serialize, ToSchema, Debug)]
pub struct DnsInstructions {
    #[serde(rename = "type")]
    kind: &'static str,
    name: String,
    value: String,
}

/// The preview domain of a level. The first seven fields are those of the API page.
#[derive(Serialize, ToSchema, Debug)]
pub struct DomainStatus {
    /// The level
    pub scope: Scope,
    /// The id of the organization, workspace or project
    pub id: Uuid,
    /// Its own domain; null when it inherits
    #[schema(required = true)]
    pub preview_domain: Option<String>,
    /// The domain that holds here
    pub effective_domain: String,
    /// Whether its own domain can be used
    pub status: Status,
    /// What the last check of its own domain found
    pub dns_status: DnsStatus,
    /// What URLs look like
    pub url_examples: UrlExamples,
    /// The level that the effective domain comes from
    pub source: Source,
    /// Whether the DNS leads here, as far as is known
    pub verified: bool,
    /// Since when it does; null when it does not
    #[schema(required = true)]
    pub verified_at: Option<Timestamp>,
    /// The last check
    #[schema(required = true)]
    pub checked_at: Option<Timestamp>,
    /// Why the last check could not ask the DNS; null when it could
    #[schema(required = true)]
    pub last_error: Option<String>,
    /// The host that the records must lead to
    pub target: String,
    /// The same as `target`
    pub cname_target: String,
    /// The records that the domain needs, with what the last check found
    pub records: Vec<DnsRecord>,
    /// The same as `preview_domain` (organization only)
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<Option<String>>,
    /// The base domain of this server (organization only)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_domain: Option<String>,
    /// The first of `records` in short; null when there is no domain (organization only)
    #[schema(value_type = Option<DnsInstructions>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_instructions: Option<Option<DnsInstructions>>,
}

impl Versioned for DomainStatus {
    /// Which domain is set; what checks find of it happens by itself.
    fn version(&self, hash: &mut DefaultHasher) {
        (self.scope.as_str(), self.id, &self.preview_domain).hash(hash);
    }
}

impl DomainStatus {
    /// A level with its own domain, or with the one that it inherits from a level above.
    pub(super) fn new(
        config: &Config,
        scope: Scope,
        id: Uuid,
        own: Option<Own>,
        inherited: Option<(String, Source)>,
    ) -> Self {
        let target = &config.proxy_host;
        let (effective, source) = match (&own, inherited) {
            (Some(own), _) => (own.domain.clone(), Source::from(scope)),
            (None, Some(inherited)) => inherited,
            (None, None) => (config.base_domain.clone(), Source::Platform),
        };
        let (status, dns_status) = match &own {
            None => (Status::NotConfigured, DnsStatus::NotConfigured),
            Some(own) => {
                let (status, known) = match own.state {
                    State::Pending => (Status::PendingDns, DnsStatus::Pending),
                    State::Failed => (Status::PendingDns, DnsStatus::Failed),
                    State::Verified if own.failing_since.is_some() => {
                        (Status::Configured, DnsStatus::Degraded)
                    }
                    State::Verified => (Status::Configured, DnsStatus::Verified),
                };
                (
                    status,
                    if own.last_error.is_some() {
                        DnsStatus::Error
                    } else {
                        known
                    },
                )
            }
        };
        let verified = status == Status::Configured;
        let whole = scope == Scope::Organization;
        let own_domain = own.as_ref().map(|own| own.domain.clone());
        let instructions = own_domain.as_ref().map(|domain| DnsInstructions {
            kind: "CNAME",
            name: format!("*.{domain}"),
            value: target.clone(),
        });
        DomainStatus {
            scope,
            id,
            status,
            dns_status,
            url_examples: UrlExamples {
                default_preview: format!("https://<slug>.{effective}"),
                port_preview: format!("https://3000-<slug>.sandbox.{effective}"),
                deployment: format!("https://<deployment-slug>.{effective}"),
            },
            effective_domain: effective,
            source,
            verified,
            verified_at: own
                .as_ref()
                .and_then(|own| own.verified_at)
                .filter(|_| verified),
            checked_at: own.as_ref().and_then(|own| own.checked_at),
            last_error: own.as_ref().and_then(|own| own.last_error.clone()),
            target: target.clone(),
            cname_target: target.clone(),
            domain: whole.then(|| own_domain.clone()),
            default_domain: whole.then(|| config.base_domain.clone()),
            dns_instructions: whole.then_some(instructions),
            records: own.map_or_else(Vec::new, |own| own.records_for(target)),
            preview_domain: own_domain,
        }
    }
}

/// The last answer of the DNS about a domain, as stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// No check yet, or records are still missing.
    Pending,
    /// Every record leads here.
    Verified,
    /// A record leads elsewhere, or one that was verified is gone.
    Failed,
}

impl ToSql for State {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let word = match self {
            State::Pending => "pending",
            State::Verified => "verified",
            State::Failed => "failed",
        };
        Ok(word.into())
    }
}

impl FromSql for State {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_str()? {
            "pending" => Ok(State::Pending),
            "verified" => Ok(State::Verified),
            "failed" => Ok(State::Failed),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

/// The domain that a level has of its own.
#[derive(Debug)]
pub(super) struct Own {
    pub domain: String,
    pub state: State,
    records: Vec<DnsRecord>,
    last_error: Option<String>,
    checked_at: Option<Timestamp>,
    /// When it last became verified, even if it is not any more.
    pub verified_at: Option<Timestamp>,
    /// When the domain was set.
    pub updated_at: Timestamp,
    /// Since when checks of a verified domain have found wrong records.
    pub failing_since: Option<Timestamp>,
    /// Checks in a row with the same result.
    pub checks: i64,
    /// Another organization may think that the domain is theirs, so whose it is has to be proven.
    proof: Option<String>,
}

impl Own {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Own {
            domain: row.get("domain")?,
            state: row.get("dns_status")?,
            records: json::column(row, "records")?,
            last_error: row.get("last_error")?,
            checked_at: row.get("checked_at")?,
            verified_at: row.get("verified_at")?,
            updated_at: row.get("updated_at")?,
            failing_since: row.get("failing_since")?,
            checks: row.get("checks")?,
            proof: None,
        })
    }

    /// What proves that the domain is this organization's, where that is asked for: while it is not verified,
    /// on a server that has others.
    pub fn proof(&self) -> Option<&str> {
        self.proof
            .as_deref()
            .filter(|_| self.state != State::Verified)
    }

    /// What the last check found, unless it looked for another target than today's.
    fn records_for(self, target: &str) -> Vec<DnsRecord> {
        let required = DnsRecord::required(&self.domain, target, self.proof());
        let same = |a: &DnsRecord, b: &DnsRecord| (&a.host, &a.expected) == (&b.host, &b.expected);
        if required
            .iter()
            .all(|one| self.records.iter().any(|known| same(known, one)))
        {
            self.records
        } else {
            required
        }
    }
}

/// The domain that a level has of its own, if any.
pub(super) fn own(tx: &Tx<'_>, tenant: TenantId, scope: Scope, id: Uuid) -> Result<Option<Own>> {
    let own = tx
        .row(
            "SELECT * FROM preview_domains WHERE scope = ?1 AND owner_id = ?2 AND tenant_id = ?3",
            (scope, id.as_bytes(), tenant),
            Own::from_row,
        )
        .optional()?;
    let Some(mut own) = own else {
        return Ok(None);
    };
    if has_others(tx)? {
        own.proof = Some(proof(tenant, &own.domain));
    }
    Ok(Some(own))
}

/// Whether there is more than one organization: with one alone there is nobody to prove a domain against.
fn has_others(tx: &Tx<'_>) -> Result<bool> {
    let sql = "SELECT count(*) > 1 FROM (SELECT 1 FROM tenants LIMIT 2)";
    Ok(tx.row(sql, [], |row| row.get(0))?)
}

/// What a TXT record of `domain` says when the domain is this organization's. No secret: only who has the
/// zone can put it there.
pub(super) fn proof(tenant: TenantId, domain: &str) -> String {
    let hash = Sha256::new()
        .chain_update(tenant.0.as_bytes())
        .chain_update(domain.as_bytes())
        .finalize();
    format!("workspaced-domain={}", HEXLOWER.encode(&hash[..16]))
}

/// What a check says about the whole domain; `Err` is why it says nothing (no answer is not a wrong one).
pub(super) fn verdict(records: &[DnsRecord], once_verified: bool) -> Result<State, String> {
    let has = |status| records.iter().any(|record| record.status == status);
    if let Some(record) = records
        .iter()
        .find(|r| matches!(r.status, RecordStatus::Error | RecordStatus::Unchecked))
    {
        let why = record.hint.as_deref().unwrap_or("was not looked up");
        return Err(format!("{} {why}", record.host));
    }
    Ok(if has(RecordStatus::Wrong) {
        State::Failed
    } else if !has(RecordStatus::Missing) {
        State::Verified
    } else if once_verified {
        State::Failed
    } else {
        State::Pending
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_record_may_spoil_it_and_silence_says_nothing() {
        use RecordStatus::{Error, Missing, Ok as Good, Unchecked, Wrong};
        for (first, second, new, once_verified) in [
            (Good, Good, Some(State::Verified), Some(State::Verified)),
            (Good, Missing, Some(State::Pending), Some(State::Failed)),
            (Missing, Missing, Some(State::Pending), Some(State::Failed)),
            (Good, Wrong, Some(State::Failed), Some(State::Failed)),
            (Wrong, Missing, Some(State::Failed), Some(State::Failed)),
            (Good, Error, None, None),
            (Wrong, Error, None, None),
            (Missing, Unchecked, None, None),
        ] {
            let mut records = DnsRecord::required("acme.com", "proxy.miosa.ai", None);
            for (record, status) in records.iter_mut().zip([first, second]) {
                record.status = status;
            }
            assert_eq!(verdict(&records, false).ok(), new, "{first:?} {second:?}");
            assert_eq!(
                verdict(&records, true).ok(),
                once_verified,
                "{first:?} {second:?}"
            );
        }
    }
}
