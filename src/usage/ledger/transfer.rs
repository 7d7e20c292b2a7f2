//! A workspace's compute events on their way to another installation ([`crate::export`]).
//!
//! A workspace's bill is what its computers ran *in it*. So of a computer that was elsewhere for some
//! time only the stretches inside come along, and the rows at which it left say that it stopped: the
//! rest is on another workspace's bill. Where events arrive, they are stored as they were, prices
//! included, and the meter is written from them by its own code.

use rusqlite::{OptionalExtension, Row, named_params};
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

/// Hands `visit` the events of a computer one by one, in the order in which they hold, as long as it goes on.
///
/// # Errors
/// What `visit` returns; when the store fails.
pub fn each_of(
    tx: &Tx<'_>,
    tenant: TenantId,
    computer: ComputerId,
    visit: &mut dyn FnMut(Stored) -> Result<()>,
) -> Result<()> {
    let mut statement = tx.prepare_cached(
        "SELECT * FROM compute_events WHERE tenant_id = ?1 AND computer_id = ?2 ORDER BY at, seq",
    )?;
    let mut rows = statement.query((tenant, computer))?;
    while let Some(row) = rows.next()? {
        visit(Stored::from_row(row)?)?;
    }
    Ok(())
}

/// Hands `visit` the corrections of a workspace one by one.
///
/// # Errors
/// As [`each_of`].
pub fn each_correction(
    tx: &Tx<'_>,
    tenant: TenantId,
    workspace: WorkspaceId,
    visit: &mut dyn FnMut(Stored) -> Result<()>,
) -> Result<()> {
    let sql = "SELECT * FROM compute_events WHERE tenant_id = ?1 AND workspace_id = ?2 AND computer_id IS NULL
         ORDER BY at, seq";
    let mut statement = tx.prepare_cached(sql)?;
    let mut rows = statement.query((tenant, workspace))?;
    while let Some(row) = rows.next()? {
        visit(Stored::from_row(row)?)?;
    }
    Ok(())
}

/// When the last of a computer's own events holds: of those that are not reports from outside, nor follow from
/// such. They hold whatever the clock shows.
pub fn last_own(tx: &Tx<'_>, tenant: TenantId, computer: ComputerId) -> Result<Option<i64>> {
    let sql = "SELECT at FROM compute_events WHERE tenant_id = ?1 AND computer_id = ?2
             AND event_id IS NULL AND stated <> 0
         ORDER BY at DESC, seq DESC LIMIT 1";
    let last = tx.row(sql, (tenant, computer), |row| row.get(0));
    Ok(last.optional()?)
}

/// When the last correction of a workspace holds.
pub fn last_correction(
    tx: &Tx<'_>,
    tenant: TenantId,
    workspace: WorkspaceId,
) -> Result<Option<i64>> {
    let sql = "SELECT max(at) FROM compute_events
         WHERE tenant_id = ?1 AND workspace_id = ?2 AND computer_id IS NULL";
    Ok(tx.row(sql, (tenant, workspace), |row| row.get(0))?)
}

/// The part of a computer's history that is in a workspace, event by event. Where it left, it stopped as far as
/// this workspace is concerned; if it was made elsewhere, its history still begins there and then, since agents
/// may report about any instant from its creation on.
pub struct Inside {
    workspace: WorkspaceId,
    /// Of the last event inside; of the first one, before there is any.
    project: Option<ProjectId>,
    until: i64,
    here: bool,
    begun: bool,
}

impl Inside {
    /// Of the events up to an instant; `None` where none of them is inside.
    pub fn of(
        tx: &Tx<'_>,
        tenant: TenantId,
        computer: ComputerId,
        workspace: WorkspaceId,
        until: i64,
    ) -> Result<Option<Self>> {
        let sql = "SELECT project_id FROM compute_events
             WHERE tenant_id = ?1 AND computer_id = ?2 AND workspace_id = ?3 AND at <= ?4
             ORDER BY at, seq LIMIT 1";
        let first = tx.row(sql, (tenant, computer, workspace, until), |row| row.get(0));
        Ok(first.optional()?.map(|project| Inside {
            workspace,
            project,
            until,
            here: false,
            begun: false,
        }))
    }

    /// The next event, as it is there; `None` where it has no part in the workspace.
    pub fn next(&mut self, stored: Stored) -> Option<(i64, ExportedEvent)> {
        let Stored {
            seq,
            workspace,
            mut event,
        } = stored;
        if event.at > self.until {
            return None;
        }
        if workspace == self.workspace {
            if !self.here {
                event.stated = ALL;
            }
            self.here = true;
            self.project = event.project_id;
        } else if self.here || !self.begun {
            event.event_id = None;
            event.project_id = self.project;
            event.r#type = "computer.moved".into();
            event.status = Some(Status::Stopped);
            event.stated = if self.here { STATUS } else { ALL };
            self.here = false;
        } else {
            return None;
        }
        self.begun = true;
        Some((seq, event))
    }
}

/// Whether a computer is in a workspace by the last of its events up to an instant.
pub fn is_there(
    tx: &Tx<'_>,
    tenant: TenantId,
    computer: ComputerId,
    workspace: WorkspaceId,
    until: i64,
) -> Result<bool> {
    let sql = "SELECT workspace_id FROM compute_events WHERE tenant_id = ?1 AND computer_id = ?2 AND at <= ?3
             ORDER BY at DESC, seq DESC LIMIT 1";
    let last: Option<WorkspaceId> = tx
        .row(sql, (tenant, computer, until), |row| row.get(0))
        .optional()?;
    Ok(last == Some(workspace))
}

/// What a computer consumed up to an instant by its events, which come in the order in which they hold.
pub struct Consuming {
    until: i64,
    sum: Amount,
    before: Option<(i64, bool, i64)>,
}

impl Consuming {
    pub fn until(until: i64) -> Self {
        Consuming {
            until,
            sum: Amount::default(),
            before: None,
        }
    }

    /// The next event: from when it holds, whether the computer is billed, and what an hour costs.
    pub fn add(&mut self, flow: (i64, bool, i64)) {
        self.hold_until(flow.0);
        self.before = Some(flow);
    }

    fn hold_until(&mut self, end: i64) {
        let end = end.min(self.until);
        if let Some((at, true, rate)) = self.before
            && at < end
        {
            let ms = i128::from(end) - i128::from(at);
            self.sum.ms += ms;
            self.sum.credit_ms += ms * i128::from(rate);
        }
    }

    /// # Errors
    /// When it is no number of 64 bits.
    pub fn consumed(mut self) -> Result<Consumed> {
        self.hold_until(self.until);
        Consumed::of(self.sum)
    }
}

/// [`Consuming`], of events that are all there.
///
/// # Errors
/// When that is no number of 64 bits.
pub fn consumed(
    events: impl IntoIterator<Item = (i64, bool, i64)>,
    until: i64,
) -> Result<Consumed> {
    let mut consuming = Consuming::until(until);
    events.into_iter().for_each(|flow| consuming.add(flow));
    consuming.consumed()
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
    let sql = "INSERT OR IGNORE INTO metered_computers (tenant_id, workspace_id, computer_id)
             VALUES (?1, ?2, ?3)";
    tx.run(sql, (tenant, workspace, computer))?;
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
    let sql = "INSERT INTO compute_events (seq, event_id, tenant_id, workspace_id, project_id, computer_id, type, at,
                 recorded_at, status, billable, size, rate, stated, amount_micros, reason, actor)
             VALUES (:seq, :event, :tenant, :workspace, :project, :computer, :type, :at, :recorded, :status, :billable,
                 :size, :rate, :stated, :micros, :reason, :actor)";
    let stored = tx.run(
        sql,
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
