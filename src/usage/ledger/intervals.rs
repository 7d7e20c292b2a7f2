//! The intervals during which one computer was in one state, from its events. For what needs
//! to know which computer it was: breakdowns, explanations, sessions, reports by end user.

use rusqlite::{OptionalExtension, Row, Rows};

use super::event::{Stored, last_until};
use crate::error::Result;
use crate::ids::{ComputerId, TenantId, WorkspaceId};
use crate::store::Tx;
use crate::usage::meter::reading::readings;
use crate::usage::meter::units::Amount;

/// A running interval, cut to the period that was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Interval {
    pub computer: ComputerId,
    /// The event that opened it.
    pub opened: Stored,
    /// `seq` and `at` of the event that closed it; `None` = it goes on.
    pub closed: Option<(i64, i64)>,
    /// First instant within the period.
    pub start: i64,
    /// Last instant within the period, exclusive.
    pub end: i64,
}

impl Interval {
    /// What was consumed within the period.
    pub fn amount(&self) -> Amount {
        amount(&self.opened, self.start, self.end)
    }
}

/// What a state consumes between two instants.
pub fn amount(opened: &Stored, start: i64, end: i64) -> Amount {
    let ms = i128::from(end - start);
    Amount {
        ms,
        credit_ms: ms * i128::from(opened.state.rate),
        micros: 0,
    }
}

/// The running intervals of one computer that have some time in `[start, end)`, oldest first; `end` must
/// not be ahead of what is known.
pub fn of_computer(
    tx: &Tx<'_>,
    computer: ComputerId,
    start: i64,
    end: i64,
    visit: impl FnMut(Interval) -> Result<()>,
) -> Result<()> {
    let open = last_until(tx, computer, start)?;
    let mut statement = tx.prepare_cached(&format!("SELECT {} FROM compute_events WHERE computer_id = ?1 AND at > ?2 AND at <= ?3 ORDER BY at, seq", Stored::COLUMNS))?;
    let rows = statement.query((computer, start, tx.now()))?;
    walk(rows, computer, open, (start, end), visit)
}

/// As [`of_computer`], by what was known when the event `known` had come: events that came later count as
/// if they had not.
pub fn of_computer_known(
    tx: &Tx<'_>,
    computer: ComputerId,
    (start, end): (i64, i64),
    known: i64,
    visit: impl FnMut(Interval) -> Result<()>,
) -> Result<()> {
    let open = tx
        .prepare_cached(&format!("SELECT {} FROM compute_events WHERE computer_id = ?1 AND at <= ?2 AND seq <= ?3 ORDER BY at DESC, seq DESC LIMIT 1", Stored::COLUMNS))?
        .query_row((computer, start, known), Stored::from_row)
        .optional()?;
    let mut statement = tx.prepare_cached(&format!("SELECT {} FROM compute_events WHERE computer_id = ?1 AND at > ?2 AND at <= ?3 AND seq <= ?4 ORDER BY at, seq", Stored::COLUMNS))?;
    let rows = statement.query((computer, start, tx.now(), known))?;
    walk(rows, computer, open, (start, end), visit)
}

fn walk(
    mut rows: Rows<'_>,
    computer: ComputerId,
    mut open: Option<Stored>,
    (start, end): (i64, i64),
    mut visit: impl FnMut(Interval) -> Result<()>,
) -> Result<()> {
    loop {
        let next = rows.next()?.map(Stored::from_row).transpose()?;
        if let Some(opened) = open {
            let interval = Interval {
                computer,
                opened,
                closed: next.map(|n| (n.seq, n.at)),
                start: opened.at.max(start),
                end: next.map_or(end, |n| n.at).min(end),
            };
            if opened.state.status.billable() && interval.start < interval.end {
                visit(interval)?;
            }
        }
        match next {
            Some(event) if event.at < end => open = Some(event),
            _ => return Ok(()),
        }
    }
}

/// The running intervals in one workspace.
pub fn of_workspace(
    tx: &Tx<'_>,
    tenant: TenantId,
    workspace: WorkspaceId,
    start: i64,
    end: i64,
    mut visit: impl FnMut(Interval) -> Result<()>,
) -> Result<()> {
    for computer in computers(tx, tenant, workspace)? {
        of_computer(tx, computer, start, end, |interval| {
            if interval.opened.state.workspace == workspace {
                visit(interval)
            } else {
                Ok(())
            }
        })?;
    }
    Ok(())
}

/// The computers that ever ran in a workspace.
pub fn computers(tx: &Tx<'_>, tenant: TenantId, workspace: WorkspaceId) -> Result<Vec<ComputerId>> {
    let sql = "SELECT computer_id FROM metered_computers WHERE tenant_id = ?1 AND workspace_id = ?2
             ORDER BY computer_id";
    Ok(tx
        .prepare_cached(sql)?
        .query_map((tenant, workspace), |row| row.get(0))?
        .collect::<Result<_, _>>()?)
}

/// The workspaces of a tenant that ever consumed anything, deleted ones included.
pub fn workspaces(tx: &Tx<'_>, tenant: TenantId) -> Result<Vec<WorkspaceId>> {
    let sql = "SELECT DISTINCT workspace_id FROM metered_computers WHERE tenant_id = ?1
             UNION
             SELECT DISTINCT workspace_id FROM compute_events WHERE tenant_id = ?1 AND computer_id IS NULL
             EXCEPT
             SELECT workspace_id FROM imports WHERE tenant_id = ?1";
    Ok(tx
        .prepare_cached(sql)?
        .query_map([tenant], |row| row.get(0))?
        .collect::<Result<_, _>>()?)
}

/// A correction: a signed amount for a workspace at an instant.
pub struct Correction {
    pub seq: i64,
    pub at: i64,
    pub micros: i64,
    pub reason: String,
    pub actor: String,
}

impl Correction {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Correction {
            seq: row.get("seq")?,
            at: row.get("at")?,
            micros: row.get("amount_micros")?,
            reason: row.get("reason")?,
            actor: row.get("actor")?,
        })
    }
}

/// The corrections of a workspace that are dated in `[start, end)`.
pub fn corrections(
    tx: &Tx<'_>,
    tenant: TenantId,
    workspace: WorkspaceId,
    start: i64,
    end: i64,
) -> Result<Vec<Correction>> {
    let sql = "SELECT * FROM compute_events
             WHERE tenant_id = ?1 AND workspace_id = ?2 AND computer_id IS NULL AND at >= ?3 AND at < ?4
             ORDER BY at, seq";
    Ok(tx
        .prepare_cached(sql)?
        .query_map((tenant, workspace, start, end), Correction::from_row)?
        .collect::<Result<_, _>>()?)
}

/// The readings of an organization's meter at `cuts`, which must be in ascending order: the sum over its
/// workspaces, deleted ones included.
pub fn organization(tx: &Tx<'_>, tenant: TenantId, cuts: &[i64]) -> Result<Vec<Amount>> {
    let mut sums = vec![Amount::default(); cuts.len()];
    for workspace in workspaces(tx, tenant)? {
        for (sum, read) in sums.iter_mut().zip(readings(tx, workspace, cuts)?) {
            *sum += read.in_sum();
        }
    }
    Ok(sums)
}

/// Whole credits that a tenant has spent so far.
pub fn credits_spent(tx: &Tx<'_>, tenant: TenantId) -> Result<i64> {
    let read = organization(tx, tenant, &[tx.now().0])?;
    Ok(read.first().map_or(0, Amount::credits))
}
