//! Reading the meter: what a workspace had consumed by given instants. Costs a row per hour between
//! the first and the last of them and a look-up per instant inside an hour, whatever the number of
//! events, computers and years.

use rusqlite::{OptionalExtension, Row, named_params};

use super::units::Amount;
use super::write::{ERA_MS, floor};
use crate::clock::HOUR_MS;
use crate::error::Result;
use crate::ids::WorkspaceId;
use crate::store::Tx;

const SERIES_SQL: &str = include_str!("series.sql");
const STEP_SQL: &str = include_str!("step.sql");

/// A span of the meter: the changes within it and what they have added by its end.
struct Span {
    start: i64,
    end: i64,
    running: i64,
    rate: i64,
    added: Amount,
}

impl Span {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Span {
            start: row.get(0)?,
            end: row.get(1)?,
            running: row.get(2)?,
            rate: row.get(4)?,
            added: Amount {
                ms: row.get::<_, i64>(3)?.into(),
                credit_ms: row.get::<_, i64>(5)?.into(),
                micros: row.get::<_, i64>(6)?.into(),
            },
        })
    }
}

/// The meter at an instant: its reading, and the flow from there on.
#[derive(Clone, Copy, Default)]
struct Meter {
    at: i64,
    running: i128,
    rate: i128,
    read: Amount,
}

impl Meter {
    /// Lets the present flow run until `to`.
    fn run_to(mut self, to: i64) -> Meter {
        let ms = i128::from(to - self.at);
        self.read.ms += self.running * ms;
        self.read.credit_ms += self.rate * ms;
        self.at = to;
        self
    }

    /// The meter at the end of a span.
    fn through(self, span: &Span) -> Meter {
        let mut meter = self.run_to(span.start).run_to(span.end);
        meter.read += span.added;
        meter.running += i128::from(span.running);
        meter.rate += i128::from(span.rate);
        meter
    }
}

/// The readings at `cuts`, which must be in ascending order. A correction dated at a cut comes after it.
pub fn readings(tx: &Tx<'_>, workspace: WorkspaceId, cuts: &[i64]) -> Result<Vec<Amount>> {
    let (Some(&first), Some(&last)) = (cuts.first(), cuts.last()) else {
        return Ok(Vec::new());
    };
    let mut series = tx.prepare_cached(SERIES_SQL)?;
    let mut rows = series.query(named_params! {
        ":workspace": workspace, ":era": floor(first, ERA_MS), ":hour": floor(first, HOUR_MS), ":end": last,
    })?;
    let mut readings = Vec::with_capacity(cuts.len());
    let mut cuts = cuts.iter().copied().peekable();
    let mut meter: Option<Meter> = None;
    while let Some(row) = rows.next()? {
        let span = Span::from_row(row)?;
        let now = meter.unwrap_or(Meter {
            at: span.start,
            ..Meter::default()
        });
        while let Some(cut) = cuts.next_if(|cut| *cut <= span.start) {
            readings.push(if cut < now.at {
                Amount::default()
            } else {
                now.run_to(cut).read
            });
        }
        while let Some(cut) = cuts.next_if(|cut| *cut < span.end) {
            let mut meter = now.run_to(cut);
            meter.read += within_hour(tx, workspace, span.start, cut)?;
            readings.push(meter.read);
        }
        meter = Some(now.through(&span));
    }
    for cut in cuts {
        readings.push(meter.map(|m| m.run_to(cut).read).unwrap_or_default());
    }
    Ok(readings)
}

/// What the changes between the start of an hour and `cut` have added by `cut`.
fn within_hour(tx: &Tx<'_>, workspace: WorkspaceId, hour: i64, cut: i64) -> Result<Amount> {
    let step = tx
        .row(STEP_SQL, (workspace, hour, cut), Span::from_row)
        .optional()?;
    Ok(step.map_or(Amount::default(), |step| {
        let rest = i128::from(cut - step.end);
        Amount {
            ms: step.added.ms + i128::from(step.running) * rest,
            credit_ms: step.added.credit_ms + i128::from(step.rate) * rest,
            micros: step.added.micros,
        }
    }))
}
