//! Price lists: what a credit costs in money, and what else stands on a statement. An organization has one,
//! and each of its workspaces may have another, of which only what it names replaces the organization's. A list
//! holds from a month on; what an earlier month cost stays.

use std::collections::BTreeMap;
use std::hash::DefaultHasher;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use rusqlite::OptionalExtension;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::money::{Currency, Decimal};
use super::owner::Named;
use crate::access::caller::Caller;
use crate::audit::{self, Actor, Entry};
use crate::db::Store;
use crate::error::{Error, Fields, Result};
use crate::http::{
    DeletedQuery, Look, Mutation, Params, PathId, Reply, Seen, Single, Versioned, etag,
};
use crate::ids::{TenantId, WorkspaceId};
use crate::json::{self, Patch};
use crate::rules::size::Size;
use crate::store::{Tx, WriteTx};
use crate::usage::questions::window::Zone;
use crate::workspaces;

/// Characters of a text that is printed.
const MAX_TEXT: usize = 2000;
const MAX_NAME: usize = 120;
/// Fees of one list.
const MAX_FEES: usize = 50;

/// A fixed amount of every month.
#[derive(Serialize, Deserialize, ToSchema, Clone, PartialEq, Debug)]
pub struct Fee {
    /// For people
    pub name: String,
    /// In the currency of the list, such as "9.90"
    #[schema(value_type = String)]
    pub amount: String,
}

/// How long a computer is billed for at least, each time that it runs.
#[derive(Serialize, Deserialize, ToSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Increment {
    /// To the millisecond.
    None,
    /// Each second that has begun.
    Second,
    /// Each minute that has begun.
    Minute,
    /// Each hour that has begun.
    Hour,
}

impl Increment {
    pub fn ms(self) -> i64 {
        match self {
            Increment::None => 1,
            Increment::Second => 1000,
            Increment::Minute => 60_000,
            Increment::Hour => 3_600_000,
        }
    }
}

/// What stands in a price list; what is left out is not set.
#[derive(Serialize, Deserialize, ToSchema, Clone, Default, PartialEq, Debug)]
#[serde(default)]
pub struct Prices {
    /// ISO 4217; without one, statements show credits and no money.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "EUR")]
    pub currency: Option<Currency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "0.0125")]
    pub price_per_credit: Option<Decimal>,
    /// What an hour of a size costs, instead of its credits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    pub price_per_hour: Option<BTreeMap<Size, Decimal>>,
    /// Percent of the sum.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "27")]
    pub tax_rate: Option<Decimal>,
    /// What the tax is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tax_name: Option<String>,
    /// Least amount of a month, before tax.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub minimum: Option<Decimal>,
    /// Percent off what was used; not off fees.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub discount_percent: Option<Decimal>,
    /// Fixed amounts of every month.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fees: Option<Vec<Fee>>,
    /// Credits of every month that cost nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub included_credits: Option<Decimal>,
    /// Running time is billed in steps of: none, second, minute, hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billing_increment: Option<Increment>,
    /// Who sends the statement: name, address, tax number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// What stands at its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub foot: Option<String>,
    /// Whom it is sent to: name, address, tax number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bill_to: Option<String>,
}

macro_rules! each {
    ($do:ident) => {
        $do! { currency price_per_credit price_per_hour tax_rate tax_name minimum discount_percent fees
        included_credits billing_increment head foot bill_to }
    };
}

impl Prices {
    /// What this list does not set, from another.
    fn over(self, below: Prices) -> Prices {
        macro_rules! first {
            ($($field:ident)*) => { Prices { $($field: self.$field.or(below.$field)),* } };
        }
        each!(first)
    }

    pub fn increment(&self) -> i64 {
        self.billing_increment.unwrap_or(Increment::None).ms()
    }
}

/// `PUT …/prices`: what is left out stays as it was in the month before, null clears it.
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct SetPrices {
    /// The month from which it holds, such as 2029-01; this month if left out
    #[schema(example = "2029-01", pattern = r"^\d{4}-\d{2}$")]
    pub effective_from: Option<String>,
    /// ISO 4217, such as EUR
    #[schema(value_type = Option<String>, example = "EUR")]
    pub currency: Patch<String>,
    /// A decimal of up to nine places
    #[schema(value_type = Option<String>, example = "0.0125")]
    pub price_per_credit: Patch<String>,
    /// What an hour of a size costs, instead of its credits: {"small": "0.10"}
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    pub price_per_hour: Patch<BTreeMap<String, String>>,
    /// Percent, such as "27"
    #[schema(value_type = Option<String>, example = "27")]
    pub tax_rate: Patch<String>,
    /// What the tax is called, such as VAT
    #[schema(value_type = Option<String>, max_length = 120)]
    pub tax_name: Patch<String>,
    /// Least amount of a month, before tax
    #[schema(value_type = Option<String>)]
    pub minimum: Patch<String>,
    /// Percent off what was used
    #[schema(value_type = Option<String>)]
    pub discount_percent: Patch<String>,
    /// Fixed amounts of every month
    #[schema(value_type = Option<Vec<Fee>>)]
    pub fees: Patch<Vec<Fee>>,
    /// Credits of every month that cost nothing
    #[schema(value_type = Option<String>)]
    pub included_credits: Patch<String>,
    /// none, second, minute or hour
    #[schema(value_type = Option<Increment>)]
    pub billing_increment: Patch<String>,
    /// Who sends the statement, up to 2,000 characters
    #[schema(value_type = Option<String>, max_length = 2000)]
    pub head: Patch<String>,
    /// What stands at its end
    #[schema(value_type = Option<String>, max_length = 2000)]
    pub foot: Patch<String>,
    /// Whom it is sent to
    #[schema(value_type = Option<String>, max_length = 2000)]
    pub bill_to: Patch<String>,
}

const DECIMAL: &str =
    "must be a decimal in a text such as \"0.0125\", not negative, with at most nine places";

impl SetPrices {
    /// The list after the request; what is wrong with it goes to `fields`.
    fn applied(self, old: Prices, fields: &mut Fields) -> Prices {
        fn read<T, U>(
            fields: &mut Fields,
            name: &'static str,
            patch: Patch<T>,
            old: Option<U>,
            wanted: &str,
            parse: impl FnOnce(T) -> Option<U>,
        ) -> Option<U> {
            match patch {
                Patch::Absent => old,
                Patch::Null => None,
                Patch::Set(value) => {
                    let value = parse(value);
                    if value.is_none() {
                        fields.push(name, wanted);
                    }
                    value
                }
            }
        }
        let decimal = |text: String| Decimal::parse(&text).filter(|decimal| !decimal.is_negative());
        let printed = |max: usize| {
            move |text: String| {
                let text = text.trim().to_owned();
                let fits = !text.is_empty()
                    && text.chars().count() <= max
                    && text.chars().all(|c| c == '\n' || !c.is_control());
                fits.then_some(text)
            }
        };
        let percent =
            |text| decimal(text).filter(|rate| *rate <= Decimal::parse("100").unwrap_or_default());
        const PERCENT: &str = "must be a percentage in a text such as \"27\", from 0 to 100";
        const PRINTED: &str = "must be a text of 1 to 2000 characters";
        Prices {
            currency: read(
                fields,
                "currency",
                self.currency,
                old.currency,
                "must be a code of ISO 4217 such as EUR",
                |code| Currency::parse(&code),
            ),
            price_per_credit: read(
                fields,
                "price_per_credit",
                self.price_per_credit,
                old.price_per_credit,
                DECIMAL,
                decimal,
            ),
            price_per_hour: read(
                fields,
                "price_per_hour",
                self.price_per_hour,
                old.price_per_hour,
                "must be an object of sizes and decimals such as {\"small\": \"0.10\"}",
                |sizes| {
                    sizes
                        .into_iter()
                        .map(|(size, price)| Some((size.parse().ok()?, decimal(price)?)))
                        .collect()
                },
            ),
            tax_rate: read(
                fields,
                "tax_rate",
                self.tax_rate,
                old.tax_rate,
                PERCENT,
                percent,
            ),
            tax_name: read(
                fields,
                "tax_name",
                self.tax_name,
                old.tax_name,
                "must be a text of 1 to 120 characters",
                printed(MAX_NAME),
            ),
            minimum: read(
                fields,
                "minimum",
                self.minimum,
                old.minimum,
                DECIMAL,
                decimal,
            ),
            discount_percent: read(
                fields,
                "discount_percent",
                self.discount_percent,
                old.discount_percent,
                PERCENT,
                percent,
            ),
            fees: read(
                fields,
                "fees",
                self.fees,
                old.fees,
                "must be up to 50 objects with a name and an amount such as \"9.90\"",
                |fees| {
                    let fits = fees.len() <= MAX_FEES
                        && fees.iter().all(|fee| {
                            printed(MAX_NAME)(fee.name.clone()).is_some()
                                && Decimal::parse(&fee.amount).is_some()
                        });
                    fits.then_some(fees)
                },
            ),
            included_credits: read(
                fields,
                "included_credits",
                self.included_credits,
                old.included_credits,
                "must be a decimal in a text such as \"100\", not negative, with at most six places",
                |text| decimal(text).filter(|credits| credits.millionths().is_some()),
            ),
            billing_increment: read(
                fields,
                "billing_increment",
                self.billing_increment,
                old.billing_increment,
                "must be one of: none, second, minute, hour",
                |word| serde_json::from_value(word.into()).ok(),
            ),
            head: read(
                fields,
                "head",
                self.head,
                old.head,
                PRINTED,
                printed(MAX_TEXT),
            ),
            foot: read(
                fields,
                "foot",
                self.foot,
                old.foot,
                PRINTED,
                printed(MAX_TEXT),
            ),
            bill_to: read(
                fields,
                "bill_to",
                self.bill_to,
                old.bill_to,
                PRINTED,
                printed(MAX_TEXT),
            ),
        }
    }
}

/// What a whole list, as it would hold, has no currency for or too many decimals.
fn check(whole: &Prices, fields: &mut Fields) {
    let priced = whole.price_per_credit.is_some()
        || whole.price_per_hour.is_some()
        || whole.minimum.is_some()
        || whole.fees.as_ref().is_some_and(|fees| !fees.is_empty());
    let Some(currency) = whole.currency else {
        if priced {
            fields.push("currency", "can't be blank where there are prices");
        }
        return;
    };
    let fits = |amount: Option<Decimal>| amount.is_none_or(|a| a.minor(currency).is_some());
    let finest = format!(
        "must not be finer than the smallest unit of {}",
        currency.code()
    );
    if !fits(whole.minimum) {
        fields.push("minimum", finest.as_str());
    }
    if !whole
        .fees
        .iter()
        .flatten()
        .all(|fee| fits(Decimal::parse(&fee.amount)))
    {
        fields.push("fees", finest);
    }
}

/// A price list from a month on.
#[derive(Serialize, ToSchema)]
pub struct PriceList {
    /// The month from which it holds.
    effective_from: String,
    #[serde(flatten)]
    prices: Prices,
}

/// What statements cost.
#[derive(Serialize, ToSchema)]
pub struct PricesReply {
    /// The present month, in the time zone of the workspace or organization.
    period: String,
    /// What holds in it: of a workspace its own list over that of its organization.
    effective: Prices,
    /// Its own lists, the newest first.
    data: Vec<PriceList>,
}

impl Versioned for PricesReply {
    /// Its own lists; what holds above them is another resource.
    fn version(&self, hash: &mut DefaultHasher) {
        etag::whole(&self.data, hash);
    }
}

/// The own list of an organization or workspace that holds in a month.
fn own(tx: &Tx<'_>, tenant: TenantId, owner: Uuid, period: &str) -> Result<Prices> {
    let sql = "SELECT body FROM price_lists WHERE owner_id = ?1 AND tenant_id = ?2 AND effective_from <= ?3
         ORDER BY effective_from DESC LIMIT 1";
    let params = (owner.as_bytes().as_slice(), tenant, period);
    let body = tx.row(sql, params, |row| row.get::<_, String>(0));
    match body.optional()? {
        Some(body) => serde_json::from_str(&body).map_err(Error::internal),
        None => Ok(Prices::default()),
    }
}

/// What holds in a month, such as 2029-01.
pub fn of(
    tx: &Tx<'_>,
    tenant: TenantId,
    workspace: Option<WorkspaceId>,
    period: &str,
) -> Result<Prices> {
    let all = own(tx, tenant, tenant.0, period)?;
    match workspace {
        Some(workspace) => Ok(own(tx, tenant, workspace.0, period)?.over(all)),
        None => Ok(all),
    }
}

fn reply(tx: &Tx<'_>, tenant: TenantId, workspace: Option<WorkspaceId>) -> Result<PricesReply> {
    let period = Zone::of(tx, tenant, workspace)?.month_of(tx.now().0);
    let owner = workspace.map_or(tenant.0, |workspace| workspace.0);
    let sql = "SELECT effective_from, body FROM price_lists WHERE owner_id = ?1 AND tenant_id = ?2
         ORDER BY effective_from DESC";
    let mut statement = tx.prepare_cached(sql)?;
    let data = statement
        .query_map((owner.as_bytes().as_slice(), tenant), |row| {
            Ok(PriceList {
                effective_from: row.get("effective_from")?,
                prices: json::column(row, "body")?,
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(PricesReply {
        effective: of(tx, tenant, workspace, &period)?,
        period,
        data,
    })
}

/// `GET /tenant/prices`
pub async fn of_organization(
    State(store): State<Store>,
    caller: Caller,
) -> Result<Single<PricesReply>> {
    let prices = store.read(move |tx| reply(tx, caller.tenant_id(), None));
    Ok(Single(prices.await?))
}

/// The prices of an owner as they are, for `If-Match`.
pub fn look<O: Named>() -> Look {
    Arc::new(|tx, caller, id| {
        let owner = O::by_id(id).find(tx, caller)?;
        Seen::of(&reply(tx, caller.tenant_id(), owner.workspace())?)
    })
}

/// `GET /workspaces/{id}/prices`
pub async fn of_workspace(
    State(store): State<Store>,
    caller: Caller,
    PathId(id): PathId<WorkspaceId>,
    deleted: Params<DeletedQuery>,
) -> Result<Single<PricesReply>> {
    let prices = store.read(move |tx| {
        workspaces::find_billed(tx, &caller, id, deleted.get()?.included()?)?;
        reply(tx, caller.tenant_id(), Some(id))
    });
    Ok(Single(prices.await?))
}

/// `PUT …/prices`
pub async fn put<O: Named>(owner: O, request: Mutation<SetPrices>) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let owner = owner.find(tx, caller)?;
            set(tx, caller, owner.workspace(), input?).map(Reply::ok)
        })
        .await
}

fn set(
    tx: &WriteTx<'_>,
    caller: &Caller,
    workspace: Option<WorkspaceId>,
    input: SetPrices,
) -> Result<PricesReply> {
    let tenant = caller.tenant_id();
    let owner = workspace.map_or(tenant.0, |workspace| workspace.0);
    let zone = Zone::of(tx, tenant, workspace)?;
    let period = match &input.effective_from {
        None => zone.month_of(tx.now().0),
        Some(text) if zone.month(text).is_some() => text.clone(),
        Some(_) => {
            return Err(Error::field(
                "effective_from",
                "must be a month such as 2029-01",
            ));
        }
    };
    let before = own(tx, tenant, owner, &period)?;
    let mut fields = Fields::default();
    let after = input.applied(before.clone(), &mut fields);
    let all = match workspace {
        Some(_) => own(tx, tenant, tenant.0, &period)?,
        None => Prices::default(),
    };
    check(&after.clone().over(all), &mut fields);
    fields.finish()?;
    let sql = "INSERT INTO price_lists (owner_id, tenant_id, effective_from, body, updated_at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (owner_id, effective_from) DO UPDATE SET body = excluded.body, updated_at = excluded.updated_at";
    tx.run(
        sql,
        (
            owner.as_bytes().as_slice(),
            tenant,
            &period,
            json::text(&after)?,
            tx.now(),
        ),
    )?;
    let shown = |prices| PriceList {
        effective_from: period.clone(),
        prices,
    };
    audit::record(
        tx,
        &Entry {
            actor: Actor::Key(caller),
            tenant_id: tenant,
            workspace_id: workspace,
            kind: "prices.updated",
            resource: owner,
            before: Some(&shown(before)),
            after: Some(&shown(after)),
        },
    )?;
    reply(tx, tenant, workspace)
}
