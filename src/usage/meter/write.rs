//! Writing the meter: turns changes of a workspace's flow into rows of `meter_steps`, `meter_hours`
//! and `meter_eras` (schema.sql explains them).
//!
//! There is one way in, [`apply`], for a single transition as for a batch of ten thousand reports,
//! for the newest event as for one that is a year late. Everything stored is a sum of independent
//! changes, so the order of arrival leaves no trace (metering.md, "independent of order").

use std::collections::BTreeMap;
use std::ops::{Add, Neg, Sub};
use std::sync::LazyLock;

use rusqlite::OptionalExtension;

use crate::clock::HOUR_MS;
use crate::error::Result;
use crate::ids::WorkspaceId;
use crate::store::{Columns, WriteTx};

/// Length of an era. Balances the rows before a window (eras since the birth of the workspace) with
/// those between the start of an era and the window (hours).
pub const ERA_MS: i64 = 336 * HOUR_MS;

/// What a workspace consumes per unit of time, or a change of it; and a correction, which is an
/// amount at an instant.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Flow {
    pub running: i64,
    /// Credits per hour of these.
    pub rate: i64,
    pub micros: i64,
}

impl Flow {
    fn is_zero(self) -> bool {
        self == Flow::default()
    }
}

impl Add for Flow {
    type Output = Flow;
    fn add(self, o: Flow) -> Flow {
        Flow {
            running: self.running + o.running,
            rate: self.rate + o.rate,
            micros: self.micros + o.micros,
        }
    }
}

impl Neg for Flow {
    type Output = Flow;
    fn neg(self) -> Flow {
        Flow {
            running: -self.running,
            rate: -self.rate,
            micros: -self.micros,
        }
    }
}

impl Sub for Flow {
    type Output = Flow;
    fn sub(self, o: Flow) -> Flow {
        self + -o
    }
}

/// Start of the hour, or of the era, that an instant lies in.
pub fn floor(at: i64, length: i64) -> i64 {
    at - at.rem_euclid(length)
}

/// The five columns that every table of the meter has: changes since the start of a span, and what
/// they have added by its end.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Sums {
    running: i64,
    running_ms: i64,
    rate: i64,
    credit_ms: i64,
    micros: i64,
}

impl Sums {
    /// The same changes, `ms` later.
    fn later(self, ms: i64) -> Sums {
        Sums {
            running_ms: self.running_ms + self.running * ms,
            credit_ms: self.credit_ms + self.rate * ms,
            ..self
        }
    }

    fn plus(self, flow: Flow) -> Sums {
        Sums {
            running: self.running + flow.running,
            rate: self.rate + flow.rate,
            micros: self.micros + flow.micros,
            ..self
        }
    }

    /// The next five columns, in the order of the tables.
    fn from_row(columns: &mut Columns<'_, '_>) -> rusqlite::Result<Self> {
        Ok(Sums {
            running: columns.get()?,
            running_ms: columns.get()?,
            rate: columns.get()?,
            credit_ms: columns.get()?,
            micros: columns.get()?,
        })
    }

    /// The flow that was added between `earlier` and this one.
    fn since(self, earlier: Sums) -> Flow {
        Flow {
            running: self.running - earlier.running,
            rate: self.rate - earlier.rate,
            micros: self.micros - earlier.micros,
        }
    }
}

/// The step that an event makes in a workspace, as it was (zero = it made none) and as it now is.
#[derive(Clone, Copy, Default, Debug)]
struct Step {
    old: Flow,
    new: Flow,
}

/// Changes to steps, collected until [`apply`]. Sorted, so that the rows of a workspace, of an hour
/// and of an era are each touched once.
#[derive(Default)]
pub struct Changes(BTreeMap<(WorkspaceId, i64, i64), Step>);

impl Changes {
    /// The event `seq` at `at` makes this step no longer.
    pub fn remove(&mut self, workspace: WorkspaceId, at: i64, seq: i64, flow: Flow) {
        let step = self.0.entry((workspace, at, seq)).or_default();
        step.old = step.old + flow;
    }

    /// The event `seq` at `at` makes this step from now on.
    pub fn add(&mut self, workspace: WorkspaceId, at: i64, seq: i64, flow: Flow) {
        let step = self.0.entry((workspace, at, seq)).or_default();
        step.new = step.new + flow;
    }
}

/// What an hour or an era gains.
#[derive(Default)]
struct Gain {
    sums: Sums,
    steps: i64,
}

impl Gain {
    fn add(&mut self, step: &Step, ms_to_end: i64) {
        let flow = step.new - step.old;
        self.sums = self.sums.plus(flow);
        self.sums.running_ms += flow.running * ms_to_end;
        self.sums.credit_ms += flow.rate * ms_to_end;
        self.steps += i64::from(!step.new.is_zero()) - i64::from(!step.old.is_zero());
    }
}

/// Writes the changes.
pub fn apply(tx: &WriteTx<'_>, changes: Changes) -> Result<()> {
    let mut eras: BTreeMap<(WorkspaceId, i64), Gain> = BTreeMap::new();
    let mut steps = changes
        .0
        .into_iter()
        .filter(|(_, step)| step.old != step.new)
        .peekable();
    let mut group = Vec::new();
    while let Some(((workspace, at, seq), step)) = steps.next() {
        let hour = floor(at, HOUR_MS);
        let era = floor(at, ERA_MS);
        eras.entry((workspace, era))
            .or_default()
            .add(&step, era + ERA_MS - at);
        group.push((at, seq, step));
        let same = |next: &&((WorkspaceId, i64, i64), Step)| {
            next.0.0 == workspace && next.0.1 < hour + HOUR_MS
        };
        if steps.peek().filter(same).is_none() {
            let mut gain = Gain::default();
            group
                .iter()
                .for_each(|(at, _, step)| gain.add(step, hour + HOUR_MS - at));
            rewrite_steps(tx, workspace, hour, &group)?;
            HOURS.add(tx, workspace, hour, &gain)?;
            group.clear();
        }
    }
    eras.iter()
        .try_for_each(|((workspace, era), gain)| ERAS.add(tx, *workspace, *era, gain))
}

/// The statements of a table of sums.
struct Table {
    add: String,
    drop_empty: String,
}

static HOURS: LazyLock<Table> = LazyLock::new(|| Table::new("meter_hours", "hour"));
static ERAS: LazyLock<Table> = LazyLock::new(|| Table::new("meter_eras", "era"));

impl Table {
    fn new(table: &str, key: &str) -> Self {
        Table {
            add: format!(
                "INSERT INTO {table} (workspace_id, {key}, running, running_ms, rate, credit_ms, micros, steps)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                 ON CONFLICT DO UPDATE SET running = running + excluded.running,
                     running_ms = running_ms + excluded.running_ms, rate = rate + excluded.rate,
                     credit_ms = credit_ms + excluded.credit_ms, micros = micros + excluded.micros,
                     steps = steps + excluded.steps"
            ),
            drop_empty: format!(
                "DELETE FROM {table} WHERE workspace_id = ?1 AND {key} = ?2 AND steps = 0"
            ),
        }
    }

    /// Adds to the row of an hour or an era; it comes with its first step and goes with its last.
    fn add(
        &'static self,
        tx: &WriteTx<'_>,
        workspace: WorkspaceId,
        start: i64,
        gain: &Gain,
    ) -> Result<()> {
        let s = &gain.sums;
        tx.run(
            &self.add,
            (
                workspace,
                start,
                s.running,
                s.running_ms,
                s.rate,
                s.credit_ms,
                s.micros,
                gain.steps,
            ),
        )?;
        if gain.steps < 0 {
            tx.run(&self.drop_empty, (workspace, start))?;
        }
        Ok(())
    }
}

/// Steps of one hour carry a running sum, so those after a change are written anew. For the newest
/// event there are none.
fn rewrite_steps(
    tx: &WriteTx<'_>,
    workspace: WorkspaceId,
    hour: i64,
    changes: &[(i64, i64, Step)],
) -> Result<()> {
    let Some(&(first_at, first_seq, _)) = changes.first() else {
        return Ok(());
    };
    let sql = "SELECT at, running, running_ms, rate, credit_ms, micros FROM meter_steps
             WHERE workspace_id = ?1 AND at >= ?2 AND (at, seq) < (?3, ?4) ORDER BY at DESC, seq DESC LIMIT 1";
    let (mut at, mut sums) = tx
        .row(sql, (workspace, hour, first_at, first_seq), |row| {
            let mut columns = Columns::new(row);
            Ok((columns.get()?, Sums::from_row(&mut columns)?))
        })
        .optional()?
        .unwrap_or((hour, Sums::default()));
    let sql = "SELECT at, seq, running, running_ms, rate, credit_ms, micros FROM meter_steps
             WHERE workspace_id = ?1 AND (at, seq) >= (?2, ?3) AND at < ?4 ORDER BY at, seq";
    let until = hour + HOUR_MS;
    let later = tx.rows(sql, (workspace, first_at, first_seq, until), |row| {
        let mut columns = Columns::new(row);
        Ok((
            columns.get()?,
            columns.get()?,
            Sums::from_row(&mut columns)?,
        ))
    })?;

    let sql = "INSERT OR REPLACE INTO meter_steps (workspace_id, at, seq, running, running_ms, rate, credit_ms, micros)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let mut old = sums;
    let mut later = later.into_iter().peekable();
    let mut changes = changes.iter().peekable();
    loop {
        let stored = later.peek().map(|s| (s.0, s.1));
        let changed = changes.peek().map(|c| (c.0, c.1));
        let Some(key) = stored.into_iter().chain(changed).min() else {
            return Ok(());
        };
        let stored = later.next_if(|s| (s.0, s.1) == key).map(|s| s.2);
        let change = changes.next_if(|c| (c.0, c.1) == key).map(|c| c.2);
        let was = stored.map_or(Flow::default(), |s| s.since(old));
        old = stored.unwrap_or(old);
        let flow = change.map_or(was, |c| c.new);
        if flow.is_zero() {
            tx.run(
                "DELETE FROM meter_steps WHERE workspace_id = ?1 AND at = ?2 AND seq = ?3",
                (workspace, key.0, key.1),
            )?;
            continue;
        }
        sums = sums.later(key.0 - at).plus(flow);
        at = key.0;
        let step = (
            workspace,
            key.0,
            key.1,
            sums.running,
            sums.running_ms,
            sums.rate,
            sums.credit_ms,
            sums.micros,
        );
        tx.run(sql, step)?;
    }
}
