//! What a workspace used in a period, by project, computer, size and rate: from the raw events, as they were
//! known at some time. Events are only ever added, so what was known then can be worked out at any time.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::error::Result;
use crate::ids::{ComputerId, ProjectId, TenantId, WorkspaceId};
use crate::rules::size::Size;
use crate::store::Tx;
use crate::usage::ledger::event::Stored;
use crate::usage::ledger::intervals::{self, Correction, Interval};
use crate::usage::meter::units::Amount;

/// What a line of usage is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Key {
    pub computer: ComputerId,
    pub project: ProjectId,
    pub size: Size,
    pub rate: i64,
}

impl Key {
    fn of(interval: &Interval) -> Key {
        Key::held(interval.computer, &interval.opened)
    }

    fn held(computer: ComputerId, held: &Stored) -> Key {
        Key {
            computer,
            project: held.state.project,
            size: held.state.size,
            rate: held.state.rate,
        }
    }
}

/// How long something ran, and for how long it is billed.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Sum {
    pub ms: i64,
    pub billed_ms: i64,
}

/// A period of a workspace, and what is known of it.
#[derive(Clone, Copy)]
pub struct Span {
    pub tenant: TenantId,
    pub workspace: WorkspaceId,
    pub start: i64,
    pub end: i64,
    /// Events up to this one.
    pub known: i64,
    /// Running time is billed in steps of so many milliseconds.
    pub increment: i64,
}

/// What was used in it.
pub struct Used {
    pub by: BTreeMap<Key, Sum>,
    /// Corrections that operators posted, dated in it.
    pub corrections: Vec<Correction>,
    /// SHA-256 of all that ran and was corrected.
    pub digest: [u8; 32],
}

/// Running without a break, in one place, at one size and rate.
#[derive(Clone, Copy)]
pub struct Run {
    pub key: Key,
    pub start: i64,
    pub end: i64,
}

impl Span {
    /// Every run inside the period, by computer and time.
    ///
    /// # Errors
    /// What `visit` returns; when the store fails.
    pub fn runs(&self, tx: &Tx<'_>, mut visit: impl FnMut(Run) -> Result<()>) -> Result<()> {
        for computer in intervals::computers(tx, self.tenant, self.workspace)? {
            let mut run: Option<Run> = None;
            let period = (self.start, self.end);
            intervals::of_computer_known(tx, computer, period, self.known, |interval| {
                if interval.opened.state.workspace != self.workspace {
                    return Ok(());
                }
                let key = Key::of(&interval);
                match &mut run {
                    Some(run) if run.key == key && run.end == interval.start => {
                        run.end = interval.end;
                    }
                    _ => {
                        let next = Run {
                            key,
                            start: interval.start,
                            end: interval.end,
                        };
                        if let Some(run) = run.replace(next) {
                            visit(run)?;
                        }
                    }
                }
                Ok(())
            })?;
            if let Some(run) = run {
                visit(run)?;
            }
        }
        Ok(())
    }

    /// Corrections that are dated in it, as far as they are known.
    pub fn corrections(&self, tx: &Tx<'_>) -> Result<Vec<Correction>> {
        let (tenant, workspace) = (self.tenant, self.workspace);
        let mut all = intervals::corrections(tx, tenant, workspace, self.start, self.end)?;
        all.retain(|correction| correction.seq <= self.known);
        Ok(all)
    }

    /// All that was used, in memory by line: so much however many events there were.
    pub fn used(&self, tx: &Tx<'_>) -> Result<Used> {
        let mut by: BTreeMap<Key, Sum> = BTreeMap::new();
        let mut digest = Sha256::new();
        digest.update(format!(
            "workspaced statement 1\n{} {} {}\n",
            self.workspace, self.start, self.end
        ));
        self.runs(tx, |run| {
            let Key {
                computer,
                project,
                size,
                rate,
            } = run.key;
            digest.update(format!(
                "{computer} {project} {size} {rate} {} {}\n",
                run.start, run.end
            ));
            let sum = by.entry(run.key).or_default();
            sum.ms += run.end - run.start;
            sum.billed_ms += self.billed(tx, &run)?;
            Ok(())
        })?;
        let corrections = self.corrections(tx)?;
        for correction in &corrections {
            let reason = serde_json::to_string(&correction.reason).unwrap_or_default();
            let (at, micros) = (correction.at, correction.micros);
            digest.update(format!("adjustment {at} {micros} {reason}\n"));
        }
        Ok(Used {
            by,
            corrections,
            digest: digest.finalize().into(),
        })
    }

    /// How long a run is billed for in this period: each run is a whole number of steps, and what lies in
    /// more than one period is billed in each as the difference.
    fn billed(&self, tx: &Tx<'_>, run: &Run) -> Result<i64> {
        if self.increment <= 1 {
            return Ok(run.end - run.start);
        }
        let begun = match run.start > self.start {
            true => run.start,
            false => self.began(tx, run)?,
        };
        let steps = |until: i64| {
            let ms = until - begun;
            (ms + self.increment - 1) / self.increment * self.increment
        };
        Ok(steps(run.end) - steps(run.start))
    }

    /// When a run that holds at the start of the period began.
    fn began(&self, tx: &Tx<'_>, run: &Run) -> Result<i64> {
        let mut statement = tx.prepare_cached(&format!("SELECT {} FROM compute_events WHERE computer_id = ?1 AND at <= ?2 AND seq <= ?3 ORDER BY at DESC, seq DESC", Stored::COLUMNS))?;
        let mut rows = statement.query((run.key.computer, self.start, self.known))?;
        let (mut began, mut last_at) = (self.start, None);
        while let Some(row) = rows.next()? {
            let event = Stored::from_row(row)?;
            if last_at.replace(event.at) == Some(event.at) {
                continue; // Not the last of its instant: it never held.
            }
            let same = event.state.status.billable()
                && event.state.workspace == self.workspace
                && Key::held(run.key.computer, &event) == run.key;
            if !same {
                break;
            }
            began = event.at;
        }
        Ok(began)
    }

    /// The earliest instant before `end` that events after `known` are about; `None` where nothing came late.
    pub fn late(&self, tx: &Tx<'_>) -> Result<Option<i64>> {
        let mut first: Option<i64> = None;
        let mut note = |at: Option<i64>| first = first.into_iter().chain(at).min();
        let mut statement = tx.prepare_cached(
            "SELECT min(at) FROM compute_events WHERE computer_id = ?1 AND at < ?2 AND seq > ?3",
        )?;
        for computer in intervals::computers(tx, self.tenant, self.workspace)? {
            note(statement.query_row((computer, self.end, self.known), |row| row.get(0))?);
        }
        let sql = "SELECT min(at) FROM compute_events
             WHERE tenant_id = ?1 AND workspace_id = ?2 AND computer_id IS NULL AND at < ?3 AND seq > ?4";
        note(tx.row(
            sql,
            (self.tenant, self.workspace, self.end, self.known),
            |row| row.get(0),
        )?);
        Ok(first)
    }
}

/// What a line of so many milliseconds is exactly.
pub fn exact(key: &Key, ms: i64) -> Amount {
    Amount {
        ms: ms.into(),
        credit_ms: i128::from(ms) * i128::from(key.rate),
        micros: 0,
    }
}

/// The last event that there is.
pub fn known(tx: &Tx<'_>) -> Result<i64> {
    let sql = "SELECT coalesce(max(seq), 0) FROM compute_events";
    Ok(tx.row(sql, [], |row| row.get(0))?)
}
