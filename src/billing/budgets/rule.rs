//! What a budget says.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{Error, Fields, Result};
use crate::http::words;
use crate::store::columns;
use crate::usage::questions::window::Granularity;

/// A billion credits.
const MAX_CREDITS: i64 = 1_000_000_000;
/// Thresholds of one budget.
const MAX_THRESHOLDS: usize = 20;

words! {
    /// What a budget is for.
    pub enum Period {
        /// From midnight to midnight.
        Day = "day",
        /// From Monday on.
        Week = "week",
        /// From the first on.
        Month = "month",
    }

    /// What happens when a budget is used up.
    pub enum OnExceeded {
        /// Nothing but the event.
        Notify = "notify",
        /// Nothing new is started.
        RefuseStart = "refuse_start",
        /// What runs is stopped, and nothing is started.
        Stop = "stop",
    }
}

impl Period {
    pub fn granularity(self) -> Granularity {
        match self {
            Period::Day => Granularity::Day,
            Period::Week => Granularity::Week,
            Period::Month => Granularity::Month,
        }
    }
}

macro_rules! as_text {
    ($($name:ident)*) => {$(
        impl rusqlite::ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
                Ok(self.as_str().into())
            }
        }
        impl rusqlite::types::FromSql for $name {
            fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
                use crate::http::FromText;
                $name::from_text(value.as_str()?).ok_or(rusqlite::types::FromSqlError::InvalidType)
            }
        }
    )*};
}
as_text! { Period OnExceeded }

/// What a budget says.
#[derive(Serialize, ToSchema, Clone, PartialEq)]
pub struct Rule {
    /// Whole credits of a period.
    pub credits: i64,
    /// day, week or month, of the calendar in the time zone of the workspace or organization.
    pub period: Period,
    /// Percent of the credits at which an event is sent, each once in a period.
    pub notify_at: Vec<i64>,
    /// notify, refuse_start or stop.
    pub on_exceeded: OnExceeded,
}

columns! { Rule {
    credits: ["credits"],
    period: ["period"],
    notify_at: json ["notify_at"],
    on_exceeded: ["on_exceeded"],
} }

/// `PUT …/budget`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct SetBudget {
    /// Whole credits of a period
    #[schema(
        required = true,
        nullable = false,
        minimum = 1,
        maximum = 1_000_000_000
    )]
    pub credits: Option<i64>,
    /// day, week or month (default)
    #[schema(value_type = Option<Period>)]
    pub period: Option<String>,
    /// Percent of the credits at which an event is sent; 50, 80 and 100 if left out
    pub notify_at: Option<Vec<i64>>,
    /// notify (default), refuse_start or stop
    #[schema(value_type = Option<OnExceeded>)]
    pub on_exceeded: Option<String>,
}

impl SetBudget {
    pub fn check(self) -> Result<Rule> {
        use crate::http::FromText;
        let mut fields = Fields::default();
        let credits = self.credits.filter(|n| (1..=MAX_CREDITS).contains(n));
        if credits.is_none() {
            fields.push(
                "credits",
                format!("must be a whole number from 1 to {MAX_CREDITS}"),
            );
        }
        let period = self.period.as_deref().unwrap_or("month");
        let period = Period::from_text(period);
        if period.is_none() {
            fields.push("period", Period::wanted());
        }
        let on_exceeded = self.on_exceeded.as_deref().unwrap_or("notify");
        let on_exceeded = OnExceeded::from_text(on_exceeded);
        if on_exceeded.is_none() {
            fields.push("on_exceeded", OnExceeded::wanted());
        }
        let notify_at = self.notify_at.unwrap_or_else(|| vec![50, 80, 100]);
        let each: BTreeSet<i64> = notify_at.iter().copied().collect();
        if each.len() > MAX_THRESHOLDS || each.iter().any(|t| !(1..=1000).contains(t)) {
            let text = format!("must be up to {MAX_THRESHOLDS} whole numbers from 1 to 1000");
            fields.push("notify_at", text);
        }
        fields.finish()?;
        match (credits, period, on_exceeded) {
            (Some(credits), Some(period), Some(on_exceeded)) => Ok(Rule {
                credits,
                period,
                notify_at: each.into_iter().collect(),
                on_exceeded,
            }),
            _ => Err(Error::internal("a wrong budget without a text")),
        }
    }
}
