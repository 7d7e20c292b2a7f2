//! A workspace's compute events on their way to another installation ([`crate::export`]).
//!
//! A workspace's bill is what its computers ran *in it*. So of a computer that was elsewhere for some
//! time only the stretches inside come along, and the rows at which it left say that it stopped: the
//! rest is on another workspace's bill. Where events arrive, they are stored as they were, prices
//! included, and the meter is written from them by its own code.

use rusqlite::{Row, named_params};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::append::{Event, append};
use super::event::{ALL, STATUS};
use super::intervals;
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

impl ExportedEvent {
    /// From when it holds, whether the computer is billed then, and what an hour costs.
    pub fn flow(&self) -> (i64, bool, i64) {
        (
            self.at,
            self.status.is_some_and(Status::billable),
            self.rate,
        )
    }
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

/// What a computer consumed up to an instant by its events, which come in the order in which they hold:
/// from when, whether it is billed, and what an hour costs.
///
/// # Errors
/// When that is no number of 64 bits.
pub fn consumed(
    events: impl IntoIterator<Item = (i64, bool, i64)>,
    until: i64,
) -> Result<Consumed> {
    let mut sum = Amount::default();
    let mut events = events.into_iter().peekable();
    while let Some((at, billable, rate)) = events.next() {
        let end = events.peek().map_or(until, |next| next.0).min(until);
        if billable && at < end {
            let ms = i128::from(end) - i128::from(at);
            sum.ms += ms;
            sum.credit_ms += ms * i128::from(rate);
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

/// What a computer's event says of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub project: ProjectId,
    pub status: Status,
    pub size: Size,
    pub rate: i64,
}

/// The number that the next event gets.
pub fn next_seq(tx: &WriteTx<'_>) -> Result<i64> {
    let sql = "SELECT coalesce(max(seq), 0) + 1 FROM compute_events";
    Ok(tx.row(sql, [], |row| row.get(0))?)
}

/// Tells the meter of changes in the order in which they hold. The caller has checked that they follow from
/// the events with these numbers.
pub fn meter_steps(
    tx: &WriteTx<'_>,
    workspace: WorkspaceId,
    steps: impl IntoIterator<Item = (i64, i64, Flow)>,
) -> Result<()> {
    super::event::may_meter(tx)?;
    let mut changes = Changes::default();
    for (at, seq, flow) in steps {
        changes.add(workspace, at, seq, flow);
    }
    meter::apply(tx, changes)
}

/// A computer that ran in this workspace.
pub fn has_run(
    tx: &WriteTx<'_>,
    tenant: TenantId,
    workspace: WorkspaceId,
    computer: ComputerId,
) -> Result<()> {
    tx.run(
        "INSERT OR IGNORE INTO metered_computers (tenant_id, workspace_id, computer_id)
             VALUES (?1, ?2, ?3)",
        (tenant, workspace, computer),
    )?;
    Ok(())
}

/// Events that one turn looks at while an import is undone.
const LOOK: i64 = 500;

/// Removes what was stored of a workspace that never came to be, turn by turn: its events from the number
/// `seq` on, then all that follows from them. Returns where to go on; `None` = there is nothing left.
pub fn forget_some(tx: &WriteTx<'_>, workspace: WorkspaceId, seq: i64) -> Result<Option<i64>> {
    let last: i64 = tx.row(
        "SELECT coalesce(max(seq), 0) FROM compute_events",
        [],
        |row| row.get(0),
    )?;
    if seq <= last {
        tx.run(
            "DELETE FROM compute_events WHERE workspace_id = ?1 AND seq BETWEEN ?2 AND ?2 + ?3",
            (workspace, seq, LOOK),
        )?;
        return Ok(Some(seq + LOOK + 1));
    }
    for sql in [
        "DELETE FROM meter_steps WHERE workspace_id = ?1 AND (at, seq) IN
             (SELECT at, seq FROM meter_steps WHERE workspace_id = ?1 LIMIT ?2)",
        "DELETE FROM meter_hours WHERE workspace_id = ?1 AND hour IN
             (SELECT hour FROM meter_hours WHERE workspace_id = ?1 LIMIT ?2)",
        "DELETE FROM meter_eras WHERE workspace_id = ?1 AND era IN
             (SELECT era FROM meter_eras WHERE workspace_id = ?1 LIMIT ?2)",
        "DELETE FROM imported_rates WHERE workspace_id = ?1 AND (size, effective_from) IN
             (SELECT size, effective_from FROM imported_rates WHERE workspace_id = ?1 LIMIT ?2)",
    ] {
        if tx.run(sql, (workspace, LOOK))? > 0 {
            return Ok(Some(seq));
        }
    }
    Ok(None)
}

/// Stores an event that comes from elsewhere, under a number that has been kept free for it. The caller has
/// checked that it is of this workspace's computers and projects.
///
/// # Errors
/// 409 when the organization knows its id already; when the store fails.
pub fn store(
    tx: &WriteTx<'_>,
    tenant: TenantId,
    workspace: WorkspaceId,
    event: &ExportedEvent,
    seq: i64,
) -> Result<()> {
    let stored = tx.run(
        "INSERT INTO compute_events (seq, event_id, tenant_id, workspace_id, project_id, computer_id, type, at,
                 recorded_at, status, billable, size, rate, stated, amount_micros, reason, actor)
             VALUES (:seq, :event, :tenant, :workspace, :project, :computer, :type, :at, :recorded, :status, :billable,
                 :size, :rate, :stated, :micros, :reason, :actor)",
        named_params! {
                ":seq": seq, ":event": event.event_id, ":tenant": tenant, ":workspace": workspace, ":project": event.project_id,
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
            Ok(())
        }
    }
}

/// Ends or begins what a computer that was brought in consumes: an event of the service's own.
#[expect(
    clippy::too_many_arguments,
    reason = "one event, with all that it says"
)]
pub fn append_status(
    tx: &WriteTx<'_>,
    catalog: &Catalog,
    tenant: TenantId,
    workspace: WorkspaceId,
    computer: ComputerId,
    held: Held,
    status: Status,
    at: Timestamp,
) -> Result<Timestamp> {
    append(
        tx,
        catalog,
        &Event {
            tenant_id: tenant,
            workspace_id: workspace,
            project_id: held.project,
            computer_id: computer,
            external: false,
            kind: status.event(),
            at,
            status,
            size: held.size,
            states: STATUS,
        },
    )
}
