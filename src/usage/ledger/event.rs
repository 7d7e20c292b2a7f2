//! Compute events: the append-only history that usage and bills are computed from.

use std::sync::LazyLock;

use rusqlite::{OptionalExtension, Row};

use crate::error::{Error, Result};
use crate::ids::{ComputerId, ProjectId, TenantId, WorkspaceId};
use crate::rules::size::Size;
use crate::rules::status::Status;
use crate::store::{Columns, Tx, WriteTx};
use crate::usage::meter::Flow;

/// The parts of a state, as in `compute_events.stated`.
pub const STATUS: i64 = 1;
pub const SIZE: i64 = 2;
pub const PLACE: i64 = 4;
pub const ALL: i64 = STATUS | SIZE | PLACE;

/// The complete state of a computer from an event on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State {
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    pub status: Status,
    pub size: Size,
    pub rate: i64,
}

impl State {
    /// What the computer adds to its workspace's flow.
    pub fn flow(&self) -> Flow {
        if self.status.billable() {
            Flow {
                running: 1,
                rate: self.rate,
                micros: 0,
            }
        } else {
            Flow::default()
        }
    }
}

/// A row of a computer's history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stored {
    pub seq: i64,
    pub at: i64,
    pub stated: i64,
    pub state: State,
    /// It was moved because its project was: that says nothing of a computer that was not in it.
    pub with_project: bool,
    /// Of the service itself, and states something: dated by the clock of this machine.
    pub own: bool,
    /// It brings a deleted computer back.
    pub restores: bool,
}

impl Stored {
    /// What a statement selects for such a row.
    pub const COLUMNS: &str = "seq, at, stated, workspace_id, project_id, status, size, rate, type = 'project.moved', event_id IS NULL AND stated <> 0, type = 'computer.restored'";

    /// From [`Stored::COLUMNS`].
    pub fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let mut columns = Columns::new(row);
        Ok(Stored {
            seq: columns.get()?,
            at: columns.get()?,
            stated: columns.get()?,
            state: State {
                workspace: columns.get()?,
                project: columns.get()?,
                status: columns.get()?,
                size: columns.get()?,
                rate: columns.get()?,
            },
            with_project: columns.get()?,
            own: columns.get()?,
            restores: columns.get()?,
        })
    }
}

/// The type of an event by which a computer follows its project into another workspace.
pub const PROJECT_MOVED: &str = "project.moved";

/// The type of an event by which the service's own events of the same computer at the same instant that came
/// before it are void: the clock had been wrong when they were dated. Of a row `e` statements ask so:
/// `EXISTS (SELECT 1 FROM compute_events v WHERE v.computer_id = e.computer_id AND v.at = e.at AND v.seq > e.seq AND v.type = 'computer.voided')`.
pub const VOIDED: &str = "computer.voided";

/// The type of an event by which a deleted computer is there again: the one thing that ends `destroyed`.
pub const RESTORED: &str = "computer.restored";

/// A row to be appended.
pub struct New<'a> {
    pub event_id: Option<&'a str>,
    pub tenant: TenantId,
    pub computer: ComputerId,
    pub kind: &'a str,
    pub at: i64,
    pub stated: i64,
    pub state: &'a State,
    /// That the computer ever ran in this workspace is written down already.
    pub noted: bool,
}

impl New<'_> {
    /// Appends the row; returns its `seq`.
    ///
    /// # Errors
    /// 503 under a clock that is surely wrong: nothing is metered by it. When the store fails.
    pub fn insert(&self, tx: &WriteTx<'_>) -> Result<i64> {
        may_meter(tx)?;
        // By number: thirteen names take longer to find than the row takes to be written.
        let sql = "INSERT INTO compute_events (event_id, tenant_id, workspace_id, project_id, computer_id, type, at,
                 recorded_at, status, billable, size, rate, stated)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
        let state = self.state;
        let row = (
            self.event_id,
            self.tenant,
            state.workspace,
            state.project,
            self.computer,
            self.kind,
            self.at,
            tx.now(),
            state.status,
            state.status.billable(),
            state.size,
            state.rate,
            self.stated,
        );
        tx.run(sql, row)?;
        let seq = tx.last_insert_rowid();
        if self.state.status.billable() && !self.noted {
            let sql =
                "INSERT OR IGNORE INTO metered_computers (tenant_id, workspace_id, computer_id)
             VALUES (?1, ?2, ?3)";
            tx.run(sql, (self.tenant, self.state.workspace, self.computer))?;
        }
        Ok(seq)
    }
}

/// Nothing is metered by a clock that shows a time before this program was built.
///
/// # Errors
/// 503 `CLOCK_WRONG` under such a clock.
pub fn may_meter(tx: &WriteTx<'_>) -> Result<()> {
    if !tx.clock().wrong {
        return Ok(());
    }
    Err(Error::unavailable(
        format!(
            "the clock of this server shows {}, before the program was built: set it. Nothing is metered until \
             then, and nothing was changed; reads go on",
            tx.now()
        ),
        5,
    )
    .with_code("CLOCK_WRONG"))
}

static LAST_UNTIL: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {} FROM compute_events WHERE computer_id = ?1 AND at <= ?2 ORDER BY at DESC, seq DESC LIMIT 1",
        Stored::COLUMNS
    )
});

/// The last event of a computer at or before an instant; `i64::MAX` for the last of all.
pub fn last_until(tx: &Tx<'_>, computer: ComputerId, at: i64) -> Result<Option<Stored>> {
    Ok(tx
        .row(LAST_UNTIL.as_str(), (computer, at), Stored::from_row)
        .optional()?)
}

/// The steps that an event makes: the change of flow where the computer is, and where it was.
pub fn steps(before: Option<&State>, state: &State, mut step: impl FnMut(WorkspaceId, Flow)) {
    match before {
        Some(before) if before.workspace == state.workspace => {
            step(state.workspace, state.flow() - before.flow())
        }
        Some(before) => {
            step(before.workspace, -before.flow());
            step(state.workspace, state.flow());
        }
        None => step(state.workspace, state.flow()),
    }
}
