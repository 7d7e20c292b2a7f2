//! Usage: what ran where, for how long, and what it cost.
//!
//! The rules that every number here obeys are USAGE.md's; the schema of the meter, with the idea
//! behind it, is the last section of schema.sql. Cited as U1…U28 are the rows of USAGE §4.
//!
//! * [`events`]: the append-only history, and [`append`], by which every change of a computer enters it
//! * [`history`]: events that come late, into the middle of a computer's history
//! * [`meter`], [`reading`]: writing and reading the meter, the derived structure
//! * [`units`]: exact amounts, and the integers that are shown of them
//! * [`window`], [`series`], [`breakdown`], [`csv`]: `GET /workspaces/{id}/usage`
//! * [`stints`], [`explain`], [`sessions`], [`metrics`]: intervals of single computers
//! * [`rollup`], [`organization`], [`credits`]: the organization
//! * [`report`], [`ingest`]: what agents outside say, one by one and all together
//! * [`adjust`], [`rates`]: corrections, changes of the tariff
//! * [`carry`]: events on their way to another installation
//! * [`verify`]: the proof, and the rebuild

mod adjust;
mod breakdown;
pub(crate) mod carry;
mod credits;
mod csv;
mod events;
mod explain;
mod history;
mod ingest;
mod meter;
mod metrics;
mod organization;
mod rates;
mod reading;
mod report;
mod rollup;
mod series;
mod sessions;
mod stints;
mod units;
mod verify;
mod window;

pub use adjust::{Adjust, Adjustment, adjust};
pub use credits::{
    Balance, CreditsUsage, Transactions, balance, credits_spent, credits_usage, transactions,
};
pub use events::{Event, EventView, append, list as computer_events};
pub use explain::{ExplainQuery, Explanation, explain};
pub use ingest::{Ingest, Ingested, MAX_BODY as MAX_INGEST_BODY, ingest};
pub use metrics::{Metrics, MetricsQuery, computer_metrics};
pub use organization::{OrganizationQuery, OrganizationSeries, organization_series};
pub(crate) use rates::next_change as next_rate;
pub use rates::run as apply_rates;
pub use rollup::{Rollup, RollupQuery, Summary, SummaryQuery, rollup, summary};
pub use series::{Series, SeriesQuery, read_series, workspace_series};
pub use sessions::{Sessions, SessionsQuery, sessions};
pub use verify::{Verification, rebuild, show as verification, verify};

use crate::clock::Timestamp;
use crate::computers::Status;
use crate::error::Result;
use crate::ids::{ComputerId, ProjectId, WorkspaceId};
use crate::store::Tx;

/// What holds for a computer by its events.
pub struct Held {
    /// Since when.
    pub at: Timestamp,
    /// Its status.
    pub status: Status,
    /// Its size.
    pub size: crate::catalog::Size,
    /// Where it is.
    pub workspace_id: WorkspaceId,
    /// Where it is.
    pub project_id: ProjectId,
    /// When the next event, dated ahead of the clock, will hold.
    pub next: Option<Timestamp>,
}

/// What holds for a computer now, whatever its row says: reports from outside may be dated ahead, and
/// are invisible until then (U12). Our own events hold at once, also after the clock stepped back.
///
/// # Errors
/// When the store fails.
pub fn held(tx: &Tx<'_>, computer: ComputerId) -> Result<Option<Held>> {
    use rusqlite::OptionalExtension;
    let last = tx
        .prepare_cached(&format!("SELECT {} FROM compute_events WHERE computer_id = ?1 AND (at <= ?2 OR (event_id IS NULL AND stated <> 0))
             ORDER BY at DESC, seq DESC LIMIT 1", events::Stored::COLUMNS))?
        .query_row((computer, tx.now()), events::Stored::from_row)
        .optional()?;
    let Some(last) = last else {
        return Ok(None);
    };
    let next = tx
        .row(
            "SELECT at FROM compute_events WHERE computer_id = ?1 AND at > ?2 ORDER BY at LIMIT 1",
            (computer, tx.now()),
            |row| row.get(0),
        )
        .optional()?;
    Ok(Some(Held {
        at: Timestamp(last.at),
        status: last.state.status,
        size: last.state.size,
        workspace_id: last.state.workspace,
        project_id: last.state.project,
        next,
    }))
}
