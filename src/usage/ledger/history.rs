//! Events that come late: into the middle of a computer's history.
//!
//! A report from outside says one thing (it stopped, it is now large); the row that is stored says
//! everything, carrying the rest over from the event before. So when a report arrives late, what
//! later rows have carried over may turn out to be wrong. Nothing is ever updated: a row
//! `computer.restated` is appended at the same instant, where the later `seq` holds; and where it
//! turns out that a computer ran across a change of the tariff, a row `computer.repriced` there. That
//! makes the numbers the same in whatever order reports arrive, and the log still says what
//! was known when.
//!
//! Events of our own that were dated by a clock that was ahead are made void in the same way: a row
//! `computer.voided` at their instant says that they state nothing.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::event::{self, New, PLACE, RESTORED, SIZE, STATUS, State, Stored, VOIDED, last_until};
use super::tariff::Tariff;
use crate::error::{Error, Result};
use crate::ids::{ComputerId, ProjectId, TenantId, WorkspaceId};
use crate::rules::catalog::Catalog;
use crate::rules::size::Size;
use crate::rules::status::Status;
use crate::store::WriteTx;
use crate::usage::meter::{self, Changes};

/// One thing that happened to a computer; what is `None` stays as it was before.
#[derive(Clone, Debug)]
pub struct Fact {
    pub event_id: Option<String>,
    pub kind: Cow<'static, str>,
    pub at: i64,
    pub status: Option<Status>,
    pub size: Option<Size>,
    pub place: Option<(WorkspaceId, ProjectId)>,
}

impl Fact {
    /// What we said ourselves about an instant was dated by a wrong clock.
    pub fn voided(at: i64) -> Self {
        Fact {
            event_id: None,
            kind: VOIDED.into(),
            at,
            status: None,
            size: None,
            place: None,
        }
    }

    /// Whether it is one of [`Fact::voided`].
    pub fn is_void(&self) -> bool {
        self.kind == VOIDED
    }

    fn stated(&self) -> i64 {
        (if self.status.is_some() { STATUS } else { 0 })
            | (if self.size.is_some() { SIZE } else { 0 })
            | (if self.place.is_some() { PLACE } else { 0 })
    }
}

/// The state after something that states `status`, `size` and `place`. Nothing comes back from
/// `destroyed` but by a restore: whatever is reported for a time after a deletion, in whatever order, did not run.
fn after(
    before: &State,
    restores: bool,
    status: Option<Status>,
    size: Option<Size>,
    place: Option<(WorkspaceId, ProjectId)>,
    rate: impl FnOnce(WorkspaceId, Size) -> Result<i64>,
) -> Result<State> {
    let gone = before.status == Status::Destroyed && !restores;
    let size = size.unwrap_or(before.size);
    let (workspace, project) = place.unwrap_or((before.workspace, before.project));
    let status = if gone {
        before.status
    } else {
        status.unwrap_or(before.status)
    };
    Ok(State {
        workspace,
        project,
        status,
        size,
        rate: rate(workspace, size)?,
    })
}

/// Rows of a later time that were there before, in order, fetched as far as they are needed: an event
/// that is a little late must not cost what lies after it.
struct Later<'a, 'tx> {
    tx: &'a WriteTx<'tx>,
    computer: ComputerId,
    /// The last row that was fetched.
    from: (i64, i64),
    /// The last row there was; what is appended meanwhile has a higher `seq`.
    until: i64,
    /// With whether they have been made void.
    page: std::collections::VecDeque<(Stored, bool)>,
    /// Rows to fetch the next time.
    size: u32,
    ended: bool,
}

static LATER: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {}, EXISTS (SELECT 1 FROM compute_events v
             WHERE v.computer_id = e.computer_id AND v.at = e.at AND v.seq > e.seq AND v.type = 'computer.voided') AS void
         FROM compute_events e WHERE computer_id = ?1 AND (at, seq) > (?2, ?3) AND seq <= ?4
         ORDER BY at, seq LIMIT ?5",
        Stored::COLUMNS
    )
});

impl<'a, 'tx> Later<'a, 'tx> {
    /// Most events come in order, and of those that are late most change nothing beyond the next row.
    const FIRST_PAGE: u32 = 4;
    const PAGE: u32 = 200;

    fn than(tx: &'a WriteTx<'tx>, computer: ComputerId, at: i64) -> Result<Self> {
        let until = tx.row("SELECT max(seq) FROM compute_events", [], |row| row.get(0))?;
        let from = (at, i64::MAX);
        Ok(Later {
            tx,
            computer,
            from,
            until,
            page: Default::default(),
            size: Self::FIRST_PAGE,
            ended: false,
        })
    }

    /// When the next row holds.
    fn at(&mut self) -> Result<Option<i64>> {
        if self.page.is_empty() && !self.ended {
            let (at, seq) = self.from;
            let page = (self.computer, at, seq, self.until, self.size);
            let rows = self.tx.rows(LATER.as_str(), page, |row| {
                Ok((Stored::from_row(row)?, row.get("void")?))
            })?;
            self.page = rows.into();
            self.ended = self.page.len() < self.size as usize;
            self.size = Self::PAGE;
            self.from = self
                .page
                .back()
                .map_or(self.from, |(last, _)| (last.at, last.seq));
        }
        Ok(self.page.front().map(|(row, _)| row.at))
    }

    /// The next row, if it holds from `at` on.
    fn next_at(&mut self, at: i64) -> Result<Option<(Stored, bool)>> {
        Ok(if self.at()? == Some(at) {
            self.page.pop_front()
        } else {
            None
        })
    }
}

/// The history of one computer, while facts are put into it: walked from the first of them on.
struct Walk<'a, 'tx> {
    tx: &'a WriteTx<'tx>,
    tenant: TenantId,
    computer: ComputerId,
    changes: &'a mut Changes,
    /// Instants at which our own rows are void from now on.
    voids: BTreeSet<i64>,
    /// The workspace of which it is noted that the computer ran there.
    noted: Option<WorkspaceId>,
    /// The row before, as the chain of rows was and as it is now; `None` before the first one.
    old: Option<State>,
    new: Option<State>,
    /// What is true by now, from which the next row carries over.
    known: State,
}

impl Walk<'_, '_> {
    /// Appends a row that says what is known.
    fn add(&mut self, kind: &str, at: i64, event_id: Option<&str>, stated: i64) -> Result<()> {
        let (tenant, computer, state) = (self.tenant, self.computer, &self.known);
        let seq = New {
            event_id,
            tenant,
            computer,
            kind,
            at,
            stated,
            state,
            noted: self.noted == Some(state.workspace),
        }
        .insert(self.tx)?;
        if state.status.billable() {
            self.noted = Some(state.workspace);
        }
        event::steps(self.new.as_ref(), state, |workspace, flow| {
            self.changes.add(workspace, at, seq, flow);
        });
        self.new = Some(self.known);
        Ok(())
    }

    /// Passes a row that is there already.
    fn pass(&mut self, row: &Stored, void: bool, tariff: &Tariff<'_>) -> Result<()> {
        let void = row.own && (void || self.voids.contains(&row.at));
        if !void {
            self.learn(row, tariff)?;
        }
        let stored = &row.state;
        if self.old != self.new {
            let changes = &mut *self.changes;
            event::steps(self.old.as_ref(), stored, |workspace, flow| {
                changes.remove(workspace, row.at, row.seq, flow);
            });
            event::steps(self.new.as_ref(), stored, |workspace, flow| {
                changes.add(workspace, row.at, row.seq, flow);
            });
        }
        (self.old, self.new) = (Some(*stored), Some(*stored));
        Ok(())
    }

    /// Takes up what a row states.
    fn learn(&mut self, row: &Stored, tariff: &Tariff<'_>) -> Result<()> {
        let stored = &row.state;
        let states = |part: i64| row.stated & part != 0;
        self.known = after(
            &self.known,
            row.restores,
            states(STATUS).then_some(stored.status),
            states(SIZE).then_some(stored.size),
            (states(PLACE) && (!row.with_project || self.known.project == stored.project))
                .then_some((stored.workspace, stored.project)),
            // A price that was frozen stays, unless it was that of another size or workspace.
            |workspace, size| {
                if size == stored.size && workspace == stored.workspace {
                    Ok(stored.rate)
                } else {
                    tariff.at(workspace, size, row.at)
                }
            },
        )?;
        Ok(())
    }

    /// Splits what runs between two instants where the tariff changed.
    fn reprice(&mut self, from: i64, to: i64, tariff: &Tariff<'_>) -> Result<()> {
        if self.known.status.billable() {
            for (at, rate) in tariff.changes(self.known.workspace, self.known.size, from, to)? {
                if rate != self.known.rate {
                    self.known.rate = rate;
                    self.add("computer.repriced", at, None, 0)?;
                }
            }
        }
        Ok(())
    }
}

/// The state with which a history begins: all of it is stated.
fn beginning(first: &Fact, tariff: &Tariff<'_>) -> Result<State> {
    let (Some(status), Some(size), Some((workspace, project))) =
        (first.status, first.size, first.place)
    else {
        return Err(Error::internal(
            "an event before the first one of a computer",
        ));
    };
    Ok(State {
        workspace,
        project,
        status,
        size,
        rate: tariff.at(workspace, size, first.at)?,
    })
}

/// Puts `facts`, in ascending order of `at`, into the history of a computer, and what that changes
/// for the meter into `changes`.
///
/// # Errors
/// When the store fails; a fact before the computer's first event that does not state everything is a
/// defect of the caller.
pub fn insert(
    tx: &WriteTx<'_>,
    tenant: TenantId,
    computer: ComputerId,
    facts: Vec<Fact>,
    tariff: &Tariff<'_>,
    changes: &mut Changes,
) -> Result<()> {
    let Some(from) = facts.first().map(|fact| fact.at) else {
        return Ok(());
    };
    let before = last_until(tx, computer, from)?.map(|before| before.state);
    let known = match (before, facts.first()) {
        (Some(before), _) => before,
        (None, Some(first)) => beginning(first, tariff)?,
        (None, None) => return Ok(()),
    };
    let voids = facts.iter().filter(|fact| fact.is_void());
    let mut walk = Walk {
        tx,
        tenant,
        computer,
        changes,
        voids: voids.map(|fact| fact.at).collect(),
        noted: None,
        old: before,
        new: before,
        known,
    };
    let mut later = Later::than(tx, computer, from)?;
    let mut facts = facts.into_iter().peekable();
    let mut last = from;
    loop {
        let next = facts
            .peek()
            .map(|fact| fact.at)
            .into_iter()
            .chain(later.at()?)
            .min();
        walk.reprice(last, next.unwrap_or(tx.now().0 + 1), tariff)?;
        let Some(at) = next else { return Ok(()) };
        // What was stored first has the lower `seq`.
        while let Some((row, void)) = later.next_at(at)? {
            walk.pass(&row, void, tariff)?;
        }
        while let Some(fact) = facts.next_if(|fact| fact.at == at) {
            let price = |workspace, size| tariff.at(workspace, size, at);
            walk.known = after(
                &walk.known,
                fact.kind == RESTORED,
                fact.status,
                fact.size,
                fact.place,
                price,
            )?;
            walk.add(&fact.kind, at, fact.event_id.as_deref(), fact.stated())?;
        }
        if walk.new != Some(walk.known) {
            walk.add("computer.restated", at, None, 0)?;
        }
        if facts.peek().is_none() && walk.new == walk.old {
            return Ok(()); // From here on the chain of rows is what it was.
        }
        last = at;
    }
}

/// Puts one fact into the history of a computer, and what that changes into the meter.
///
/// # Errors
/// As [`insert`].
pub fn put_in(
    tx: &WriteTx<'_>,
    catalog: &Catalog,
    tenant: TenantId,
    computer: ComputerId,
    fact: Fact,
) -> Result<()> {
    let tariff = Tariff::load(tx, catalog)?;
    let mut changes = Changes::default();
    insert(tx, tenant, computer, vec![fact], &tariff, &mut changes)?;
    meter::apply(tx, changes)
}
