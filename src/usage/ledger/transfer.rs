//! A workspace's compute events on their way to another installation ([`crate::export`]).
//!
//! A workspace's bill is what its computers ran *in it*. So of a computer that was elsewhere for some
//! time only the stretches inside come along, and the rows at which it left say that it stopped: the
//! rest is on another workspace's bill. Where events arrive, they are stored as they were, prices
//! included, and the meter is written from them by its own code.

use std::collections::BTreeMap;

use rusqlite::{Row, named_params};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::append::{Event, append};
use super::event::{self, ALL, STATUS, State};
use super::intervals;
use super::tariff::{self, Price};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::ids::{ComputerId, ProjectId, TenantId, WorkspaceId};
use crate::rules::catalog::Catalog;
use crate::rules::size::Size;
use crate::rules::status::Status;
use crate::store::{Tx, WriteTx};
use crate::usage::meter::reading::readings;
use crate::usage::meter::units::Amount;
use crate::usage::meter::{self, Changes, Flow};

/// A compute event as it is carried: the columns of `compute_events`, without those that say whose it
/// is. Instants are milliseconds since 1970.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(deny_unknown_fields)]
// The columns of compute_events, which schema.sql explains.
pub struct ExportedEvent {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub computer_id: Option<ComputerId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_id: Option<ProjectId>,
    pub r#type: String,
    pub at: i64,
    pub recorded_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    pub rate: i64,
    pub stated: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount_micros: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
}

/// An event with its number and the workspace that it is in.
pub struct Stored {
    pub seq: i64,
    pub workspace: WorkspaceId,
    pub event: ExportedEvent,
}

impl Stored {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Stored {
            seq: row.get("seq")?,
            workspace: row.get("workspace_id")?,
            event: ExportedEvent {
                event_id: row.get("event_id")?,
                computer_id: row.get("computer_id")?,
                project_id: row.get("project_id")?,
                r#type: row.get("type")?,
                at: row.get("at")?,
                recorded_at: row.get("recorded_at")?,
                status: row.get("status")?,
                size: row.get("size")?,
                rate: row.get("rate")?,
                stated: row.get("stated")?,
                amount_micros: row.get("amount_micros")?,
                reason: row.get("reason")?,
                actor: row.get("actor")?,
            },
        })
    }

    /// It is not a report from outside, nor follows from such: it holds whatever the clock shows.
    pub fn is_own(&self) -> bool {
        self.event.computer_id.is_none()
            || (self.event.event_id.is_none() && self.event.stated != 0)
    }
}

/// What was consumed: running time in milliseconds, and credits per hour × milliseconds, of which
/// 3,600,000 are one credit.
#[derive(Serialize, Deserialize, ToSchema, Clone, Copy, Default, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub struct Consumed {
    /// Running time, milliseconds.
    pub compute_ms: i64,
    /// Credits per hour × milliseconds.
    pub credit_ms: i64,
    /// The same in whole micro-credits, for people.
    pub credits_micros: i64,
}

impl Consumed {
    fn of(amount: Amount) -> Result<Self> {
        let narrow = |n: i128| i64::try_from(n).map_err(Error::internal);
        Ok(Consumed {
            compute_ms: narrow(amount.ms)?,
            credit_ms: narrow(amount.credit_ms)?,
            credits_micros: Amount {
                micros: 0,
                ..amount
            }
            .micro_credits(),
        })
    }
}

/// The computers that ever ran in a workspace.
pub fn ever_ran(tx: &Tx<'_>, tenant: TenantId, workspace: WorkspaceId) -> Result<Vec<ComputerId>> {
    intervals::computers(tx, tenant, workspace)
}

/// At most `most` events of a computer, in the order in which they hold.
pub fn history_of(
    tx: &Tx<'_>,
    tenant: TenantId,
    computer: ComputerId,
    most: usize,
) -> Result<Vec<Stored>> {
    Ok(tx
        .prepare_cached(
            "SELECT * FROM compute_events WHERE tenant_id = ?1 AND computer_id = ?2 ORDER BY at, seq LIMIT ?3",
        )?
        .query_map((tenant, computer, limit(most)), Stored::from_row)?
        .collect::<Result<_, _>>()?)
}

/// At most `most` corrections of a workspace.
pub fn corrections(
    tx: &Tx<'_>,
    tenant: TenantId,
    workspace: WorkspaceId,
    most: usize,
) -> Result<Vec<Stored>> {
    Ok(tx
        .prepare_cached(
            "SELECT * FROM compute_events WHERE tenant_id = ?1 AND workspace_id = ?2 AND computer_id IS NULL
             ORDER BY at, seq LIMIT ?3",
        )?
        .query_map((tenant, workspace, limit(most)), Stored::from_row)?
        .collect::<Result<_, _>>()?)
}

fn limit(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

/// The part of a computer's history that is in a workspace, and whether it is there in the end. Where
/// it left, it stopped as far as this workspace is concerned; if it was made elsewhere, its history still
/// begins there and then, since agents may report about any instant from its creation on.
pub fn inside(chain: Vec<Stored>, workspace: WorkspaceId) -> (Vec<(i64, ExportedEvent)>, bool) {
    let first = chain.iter().find(|stored| stored.workspace == workspace);
    let Some(first_project) = first.map(|stored| stored.event.project_id) else {
        return (Vec::new(), false);
    };
    let mut part: Vec<(i64, ExportedEvent)> = Vec::new();
    let mut here = false;
    for stored in chain {
        let mut event = stored.event;
        if stored.workspace == workspace {
            if !here {
                event.stated = ALL;
            }
            here = true;
        } else if here || part.is_empty() {
            let last = part.last().map(|(_, last)| last.project_id);
            event.event_id = None;
            event.project_id = last.unwrap_or(first_project);
            event.r#type = "computer.moved".into();
            event.status = Some(Status::Stopped);
            event.stated = if here { STATUS } else { ALL };
            here = false;
        } else {
            continue;
        }
        part.push((stored.seq, event));
    }
    (part, here)
}

/// What a computer consumed up to an instant by its events, which come in the order in which they hold.
///
/// # Errors
/// When that is no number of 64 bits.
pub fn consumed<'a>(
    events: impl IntoIterator<Item = &'a ExportedEvent>,
    until: i64,
) -> Result<Consumed> {
    let mut sum = Amount::default();
    let mut events = events.into_iter().peekable();
    while let Some(event) = events.next() {
        let end = events.peek().map_or(until, |next| next.at).min(until);
        if event.status.is_some_and(Status::billable) && event.at < end {
            let ms = i128::from(end) - i128::from(event.at);
            sum.ms += ms;
            sum.credit_ms += ms * i128::from(event.rate);
        }
    }
    Consumed::of(sum)
}

/// What the meter of a workspace shows at an instant: the running computers' part, and corrections up
/// to and with that instant in micro-credits.
pub fn metered(tx: &Tx<'_>, workspace: WorkspaceId, until: i64) -> Result<(Consumed, i64)> {
    let read = readings(tx, workspace, &[until, until + 1])?;
    let (Some(now), Some(after)) = (read.first(), read.get(1)) else {
        return Err(Error::internal("two readings were asked for"));
    };
    let micros = i64::try_from(after.micros).map_err(Error::internal)?;
    Ok((Consumed::of(*now)?, micros))
}

/// Stores events that come from elsewhere, in their order of arrival there, and writes the meter. The
/// caller has checked that they are of this workspace's computers and projects only.
///
/// # Errors
/// 409 when the organization knows one of the ids already; when the store fails.
pub fn import_events(
    tx: &WriteTx<'_>,
    tenant: TenantId,
    workspace: WorkspaceId,
    events: &[ExportedEvent],
    prices: &[Price],
) -> Result<()> {
    let mut changes = Changes::default();
    let mut chains: BTreeMap<ComputerId, Vec<(i64, i64, State)>> = BTreeMap::new();
    for event in events {
        let seq = store(tx, tenant, workspace, event)?;
        match state(workspace, event) {
            Some((computer, state)) => {
                let chain = chains.entry(computer).or_default();
                chain.push((event.at, seq, state));
            }
            None => {
                let micros = event.amount_micros.unwrap_or(0);
                let flow = Flow {
                    micros,
                    ..Flow::default()
                };
                changes.add(workspace, event.at, seq, flow);
            }
        }
    }
    if prices.is_empty() {
        tariff::import(tx, workspace, &shown(events))?;
    } else {
        tariff::import(tx, workspace, prices)?;
    }
    for (computer, mut chain) in chains {
        chain.sort_unstable_by_key(|(at, seq, _)| (*at, *seq));
        if chain.iter().any(|(_, _, state)| state.status.billable()) {
            tx.run(
                "INSERT OR IGNORE INTO metered_computers (tenant_id, workspace_id, computer_id)
             VALUES (?1, ?2, ?3)",
                (tenant, workspace, computer),
            )?;
        }
        let mut before = None;
        for (at, seq, state) in &chain {
            event::steps(before, state, |workspace, flow| {
                changes.add(workspace, *at, *seq, flow);
            });
            before = Some(state);
        }
    }
    meter::apply(tx, changes)
}

/// The prices that events show, where a file of format 1 has no others.
fn shown(events: &[ExportedEvent]) -> Vec<Price> {
    let mut seen: Vec<(i64, Size, i64)> = events
        .iter()
        .filter_map(|event| Some((event.at, event.size?, event.rate)))
        .collect();
    seen.sort_unstable();
    let mut prices: BTreeMap<(Size, i64), i64> = BTreeMap::new();
    let mut last: BTreeMap<Size, i64> = BTreeMap::new();
    for (at, size, rate) in seen {
        let before = last.insert(size, rate);
        if before != Some(rate) {
            prices.insert((size, before.map_or(0, |_| at)), rate);
        }
    }
    let price = |((size, effective_from), rate)| Price {
        size,
        effective_from,
        rate,
    };
    prices.into_iter().map(price).collect()
}

fn state(workspace: WorkspaceId, event: &ExportedEvent) -> Option<(ComputerId, State)> {
    let state = State {
        workspace,
        project: event.project_id?,
        status: event.status?,
        size: event.size?,
        rate: event.rate,
    };
    Some((event.computer_id?, state))
}

fn store(
    tx: &WriteTx<'_>,
    tenant: TenantId,
    workspace: WorkspaceId,
    event: &ExportedEvent,
) -> Result<i64> {
    let stored = tx.run(
        "INSERT INTO compute_events (event_id, tenant_id, workspace_id, project_id, computer_id, type, at,
                 recorded_at, status, billable, size, rate, stated, amount_micros, reason, actor)
             VALUES (:event, :tenant, :workspace, :project, :computer, :type, :at, :recorded, :status, :billable,
                 :size, :rate, :stated, :micros, :reason, :actor)",
        named_params! {
                ":event": event.event_id, ":tenant": tenant, ":workspace": workspace, ":project": event.project_id,
                ":computer": event.computer_id, ":type": event.r#type, ":at": event.at, ":recorded": event.recorded_at,
                ":status": event.status, ":billable": event.status.is_some_and(Status::billable), ":size": event.size,
                ":rate": event.rate, ":stated": event.stated, ":micros": event.amount_micros, ":reason": event.reason,
                ":actor": event.actor,
            },
    );
    match stored {
        Err(e) if crate::error::is_unique_violation(&e, "compute_events.event_id") => {
            let id = event.event_id.as_deref().unwrap_or_default();
            Err(Error::conflict(
                "CAPSULE_CONFLICT",
                format!(
                    "this organization has a compute event with the id {id:?} already; import into another organization"
                ),
            ))
        }
        stored => {
            stored?;
            Ok(tx.last_insert_rowid())
        }
    }
}

/// Ends or begins what a computer that was brought in consumes: an event of the service's own.
pub fn append_status(
    tx: &WriteTx<'_>,
    catalog: &Catalog,
    tenant: TenantId,
    workspace: WorkspaceId,
    last: &ExportedEvent,
    status: Status,
    at: Timestamp,
) -> Result<Timestamp> {
    let Some((computer, state)) = state(workspace, last) else {
        return Err(Error::internal("a computer's event without its state"));
    };
    append(
        tx,
        catalog,
        &Event {
            tenant_id: tenant,
            workspace_id: workspace,
            project_id: state.project,
            computer_id: computer,
            external: false,
            kind: status.event(),
            at,
            status,
            size: state.size,
            states: STATUS,
        },
    )
}
