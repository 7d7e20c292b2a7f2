//! What an hour of a size costs in credits where an organization, or one of its workspaces, has agreed something else
//! than the size table says: read by the organization, set by operators of the installation.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::access::caller::Caller;
use crate::audit::{self, Actor, Entry};
use crate::clock::Timestamp;
use crate::computers::Fleet;
use crate::db::Store;
use crate::error::{Error, Fields, Result};
use crate::http::{
    DeletedQuery, DryRunQuery, FromText, Mutation, Params, PathId, Reply, Single, Versioned,
};
use crate::ids::{TenantId, WorkspaceId};
use crate::rules::catalog::Catalog;
use crate::rules::config::MAX_CREDITS_PER_HOUR;
use crate::rules::size::Size;
use crate::store::{Tx, WriteTx};
use crate::usage::ledger::agreed;
use crate::usage::ledger::tariff::{Found, PriceList, Prices};
use crate::usage::questions::window::{Moment, Zone};
use crate::workspaces;

/// Entries of an organization or workspace.
const MAX_ENTRIES: usize = 1000;

/// `POST /admin/rates`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct SetRates {
    /// An organization of this installation; that of the key if left out
    pub tenant_id: Option<TenantId>,
    /// One of its workspaces; if left out all of them that have no rates of their own
    pub workspace_id: Option<WorkspaceId>,
    /// When they begin to hold: RFC 3339, or a date, which is its midnight in the zone of the workspace or organization; now if
    /// left out. With a time in the past they hold from now on: what was metered keeps its price
    #[schema(example = "2029-02-01")]
    pub effective_from: Option<String>,
    /// Credits per hour by size, from 0 to 100,000; null: again what holds above
    #[schema(required = true, nullable = false, value_type = BTreeMap<String, Option<i64>>, example = json!({ "small": 25, "large": null }))]
    pub rates: BTreeMap<String, Option<i64>>,
}

/// `POST /admin/rates/withdraw`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct WithdrawRates {
    /// As of `POST /admin/rates`
    pub tenant_id: Option<TenantId>,
    /// As of `POST /admin/rates`
    pub workspace_id: Option<WorkspaceId>,
    /// Only what was to hold from this time on; all that lies ahead if left out
    #[schema(example = "2029-02-01")]
    pub effective_from: Option<String>,
}

/// What holds for a size now.
#[derive(Serialize, ToSchema, Hash)]
pub struct HeldRate {
    /// Credits per hour.
    rate: i64,
    list: PriceList,
    /// Since when; null = since ever.
    since: Option<Timestamp>,
}

/// A rate that was agreed.
#[derive(Serialize, ToSchema, Hash, Clone)]
pub struct AgreedRate {
    size: Size,
    /// Credits per hour; null: again what holds above.
    rate: Option<i64>,
    /// As it was asked for.
    effective_from: Timestamp,
    /// From when it holds: never before it was set.
    holds_from: Timestamp,
    /// It has begun to hold; nothing changes it any more.
    begun: bool,
    set_at: Timestamp,
    /// By which key.
    set_by: String,
}

/// Rates of an organization or workspace.
#[derive(Serialize, ToSchema)]
pub struct RatesReply {
    tenant_id: TenantId,
    workspace_id: Option<WorkspaceId>,
    /// What an hour of each size costs now.
    effective: BTreeMap<Size, HeldRate>,
    /// Its own, by size and time.
    data: Vec<AgreedRate>,
}

impl Versioned for RatesReply {
    fn version(&self, hash: &mut std::hash::DefaultHasher) {
        use std::hash::Hash;
        (&self.effective, &self.data).hash(hash);
    }
}

/// Whose rates they are.
#[derive(Clone, Copy)]
struct Whose {
    tenant: TenantId,
    workspace: Option<WorkspaceId>,
}

impl Whose {
    /// As an operator names them, of any organization.
    fn named(
        tx: &Tx<'_>,
        caller: &Caller,
        tenant: Option<TenantId>,
        workspace: Option<WorkspaceId>,
    ) -> Result<Self> {
        let tenant = tenant.unwrap_or_else(|| caller.tenant_id());
        let sql = "SELECT EXISTS (SELECT 1 FROM tenants WHERE id = ?1)";
        if !tx.row(sql, [tenant], |row| row.get(0))? {
            return Err(Error::not_found("organization"));
        }
        let sql = "SELECT EXISTS (SELECT 1 FROM workspaces WHERE id = ?1 AND tenant_id = ?2 AND deleted_at IS NULL
             AND id NOT IN (SELECT workspace_id FROM imports))";
        if let Some(workspace) = workspace
            && !tx.row(sql, (workspace, tenant), |row| row.get(0))?
        {
            return Err(Error::not_found("workspace"));
        }
        Ok(Whose { tenant, workspace })
    }

    fn owner(self) -> Uuid {
        self.workspace
            .map_or(self.tenant.0, |workspace| workspace.0)
    }

    /// The instant that a text says.
    fn instant(self, tx: &Tx<'_>, text: &str) -> Result<Timestamp> {
        let zone = Zone::of(tx, self.tenant, self.workspace)?;
        let at = Moment::from_text(text).and_then(|moment| moment.at(&zone));
        at.filter(|at| *at >= 0).map(Timestamp).ok_or_else(|| {
            Error::field(
                "effective_from",
                "must be an RFC 3339 time or a date, such as 2029-02-01",
            )
        })
    }

    fn own(self, tx: &Tx<'_>) -> Result<Vec<AgreedRate>> {
        let now = tx.now();
        let shown = |entry: agreed::Entry| AgreedRate {
            size: entry.size,
            rate: entry.rate,
            effective_from: entry.effective_from,
            begun: entry.holds_from <= now,
            holds_from: entry.holds_from,
            set_at: entry.set_at,
            set_by: entry.set_by,
        };
        let mut all = agreed::list(tx, self.tenant, self.owner())?;
        all.sort_by_key(|entry| (entry.size, entry.holds_from));
        Ok(all.into_iter().map(shown).collect())
    }

    fn reply(self, tx: &Tx<'_>, catalog: &Catalog) -> Result<RatesReply> {
        let now = tx.now().0;
        let prices = Prices::load(tx, self.tenant, self.workspace)?;
        let held = |size| {
            let found = prices.at(size, now).unwrap_or_else(|| Found {
                rate: catalog.rate_at(size, now),
                list: PriceList::Sizes,
                since: 0,
            });
            let held = HeldRate {
                rate: found.rate,
                list: found.list,
                since: (found.since > 0).then_some(Timestamp(found.since)),
            };
            (size, held)
        };
        Ok(RatesReply {
            tenant_id: self.tenant,
            workspace_id: self.workspace,
            effective: Size::ALL.into_iter().map(held).collect(),
            data: self.own(tx)?,
        })
    }

    fn record(
        self,
        tx: &WriteTx<'_>,
        caller: &Caller,
        before: &[AgreedRate],
        after: &[AgreedRate],
    ) -> Result<()> {
        audit::record(
            tx,
            &Entry {
                actor: Actor::Key(caller),
                tenant_id: self.tenant,
                workspace_id: self.workspace,
                kind: "rates.updated",
                resource: self.owner(),
                before: Some(&Logged { rates: before }),
                after: Some(&Logged { rates: after }),
            },
        )
    }
}

/// What the audit log keeps.
#[derive(Serialize)]
struct Logged<'a> {
    rates: &'a [AgreedRate],
}

/// `GET /tenant/rates`
pub async fn of_organization(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    caller: Caller,
) -> Result<Single<RatesReply>> {
    let (tenant, workspace) = (caller.tenant_id(), None);
    let rates = store.read(move |tx| Whose { tenant, workspace }.reply(tx, &fleet.catalog));
    Ok(Single(rates.await?))
}

/// `GET /workspaces/{id}/rates`
pub async fn of_workspace(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    caller: Caller,
    PathId(id): PathId<WorkspaceId>,
    deleted: Params<DeletedQuery>,
) -> Result<Single<RatesReply>> {
    let rates = store.read(move |tx| {
        workspaces::find_billed(tx, &caller, id, deleted.get()?.included()?)?;
        let (tenant, workspace) = (caller.tenant_id(), Some(id));
        Whose { tenant, workspace }.reply(tx, &fleet.catalog)
    });
    Ok(Single(rates.await?))
}

/// `POST /admin/rates`
pub async fn set(
    State(fleet): State<Fleet>,
    dry: Params<DryRunQuery>,
    request: Mutation<SetRates>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let input = input?;
            dry.get()?
                .run(tx, || put(tx, &fleet.catalog, caller, input).map(Reply::ok))
        })
        .await
}

fn put(
    tx: &WriteTx<'_>,
    catalog: &Catalog,
    caller: &Caller,
    input: SetRates,
) -> Result<RatesReply> {
    let whose = Whose::named(tx, caller, input.tenant_id, input.workspace_id)?;
    let from = match &input.effective_from {
        None => tx.now(),
        Some(text) => whose.instant(tx, text)?,
    };
    let before = whose.own(tx)?;
    let mut fields = Fields::default();
    if input.rates.is_empty() {
        fields.push(
            "rates",
            "can't be blank; send credits per hour by size, such as {\"small\": 25}",
        );
    }
    if before.len() + input.rates.len() > MAX_ENTRIES {
        let text = format!("would be more than {MAX_ENTRIES} entries");
        fields.push("rates", text);
    }
    let by = format!("api_key {}", caller.key().prefix);
    for (name, rate) in &input.rates {
        let (Ok(size), true) = (
            name.parse::<Size>(),
            rate.is_none_or(|rate| (0..=i64::from(MAX_CREDITS_PER_HOUR)).contains(&rate)),
        ) else {
            let text = format!(
                "must be a size (xs, small, medium, large, xl) with whole credits per hour from 0 to {MAX_CREDITS_PER_HOUR}, or null"
            );
            fields.push(format!("rates.{name}"), text);
            continue;
        };
        agreed::set(tx, whose.tenant, whose.owner(), size, from, *rate, &by)?;
    }
    fields.finish()?;
    let reply = whose.reply(tx, catalog)?;
    whose.record(tx, caller, &before, &reply.data)?;
    Ok(reply)
}

/// `POST /admin/rates/withdraw`
pub async fn withdraw(
    State(fleet): State<Fleet>,
    request: Mutation<WithdrawRates>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| take_back(tx, &fleet.catalog, caller, input?).map(Reply::ok))
        .await
}

fn take_back(
    tx: &WriteTx<'_>,
    catalog: &Catalog,
    caller: &Caller,
    input: WithdrawRates,
) -> Result<RatesReply> {
    let whose = Whose::named(tx, caller, input.tenant_id, input.workspace_id)?;
    let of = input.effective_from.as_deref();
    let of = of.map(|text| whose.instant(tx, text)).transpose()?;
    let before = whose.own(tx)?;
    if agreed::withdraw(tx, whose.tenant, whose.owner(), of)? == 0 {
        return Err(Error::field(
            "effective_from",
            "is not the time of a rate that lies ahead; what has begun to hold stays: set another from now on",
        ));
    }
    let reply = whose.reply(tx, catalog)?;
    whose.record(tx, caller, &before, &reply.data)?;
    Ok(reply)
}
