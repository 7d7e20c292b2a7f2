//! The books prove themselves: everything derived is recomputed from the raw events and compared, row
//! for row, on a live database; or dropped and built anew.

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::rules::text::count;
use crate::store::{Tx, WriteTx};

const STEPS: &str = include_str!("rebuild/steps.sql");
const HOURS: &str = include_str!("rebuild/hours.sql");
const ERAS: &str = include_str!("rebuild/eras.sql");
const COMPUTERS: &str = include_str!("rebuild/computers.sql");
const UNEXPLAINED: &str = include_str!("verify.sql");
const ROWS: &str = include_str!("verify_rows.sql");

/// Derived tables and the statement that says what must be in each.
const DERIVED: [(&str, &str, &str); 4] = [
    (
        "metered_computers",
        "tenant_id, workspace_id, computer_id",
        COMPUTERS,
    ),
    (
        "meter_steps",
        "workspace_id, at, seq, running, running_ms, rate, credit_ms, micros",
        STEPS,
    ),
    (
        "meter_hours",
        "workspace_id, hour, running, running_ms, rate, credit_ms, micros, steps",
        HOURS,
    ),
    (
        "meter_eras",
        "workspace_id, era, running, running_ms, rate, credit_ms, micros, steps",
        ERAS,
    ),
];

/// What a check found.
#[derive(Serialize, ToSchema, Debug)]
pub struct Verification {
    /// Nothing was found.
    pub ok: bool,
    /// The instant of the snapshot that was checked.
    pub as_of: Timestamp,
    /// Raw events read.
    pub events: i64,
    /// Rows of the meter compared.
    pub rows: i64,
    /// Derived rows that are missing, superfluous or wrong, and rows of computers, projects,
    /// workspaces and organizations that disagree with what they are counted from.
    pub differences: i64,
    /// Running milliseconds, summed over hours, that the meter and the events disagree about.
    pub unexplained_ms: i64,
    /// The same in credit-milliseconds (rate × ms).
    pub unexplained_credit_ms: i64,
    /// Events of the service itself that are dated ahead of the clock: it was ahead when they were written.
    pub ahead: i64,
    /// Where the differences are.
    pub found: Vec<Difference>,
}

/// Differences of one kind.
#[derive(Serialize, ToSchema, Debug)]
pub struct Difference {
    /// The table, or what was compared.
    pub what: String,
    /// How many rows.
    pub rows: i64,
}

impl std::fmt::Display for Verification {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}, {}: {}, {} ms unexplained",
            count(self.events, "event"),
            count(self.rows, "meter row"),
            count(self.differences, "difference"),
            self.unexplained_ms
        )?;
        self.found
            .iter()
            .try_for_each(|d| write!(f, "\n  {}: {} row(s) differ", d.what, d.rows))?;
        if self.ahead > 0 {
            write!(
                f,
                "\n  dated ahead of the clock, which was ahead when they were written: {}; see \
                 `workspaced repair-clock`",
                count(self.ahead, "event")
            )?;
        }
        Ok(())
    }
}

/// Parts of the work of [`verify_telling`].
pub const COMPARED: usize = 2 * DERIVED.len() + 2;
/// Parts of the work of [`rebuild_telling`].
pub const BUILT: usize = DERIVED.len();

/// Recomputes everything from the raw events of this snapshot and compares.
pub fn verify(tx: &Tx<'_>) -> Result<Verification> {
    verify_telling(tx, &|| ())
}

/// [`verify`], which calls `done` after each of its parts: with millions of events each takes a while.
pub fn verify_telling(tx: &Tx<'_>, done: &dyn Fn()) -> Result<Verification> {
    let count = |sql: &str| -> Result<i64> { Ok(tx.query_row(sql, [], |row| row.get(0))?) };
    let mut found = Vec::new();
    let mut rows = 0;
    for (table, columns, expected) in DERIVED {
        rows += count(&format!("SELECT count(*) FROM {table}"))?;
        // What is on its way in, or out again, is nobody's yet.
        let whole = "workspace_id NOT IN (SELECT workspace_id FROM imports)";
        let stored = format!("SELECT {columns} FROM {table} WHERE {whole}");
        // Left over on either side: missing or wrong, superfluous or wrong.
        let with = format!("WITH expected ({columns}) AS (SELECT * FROM ({expected}))");
        let expected = format!("SELECT * FROM expected WHERE {whole}");
        let one = format!("{with} SELECT count(*) FROM ({expected} EXCEPT {stored})");
        let other = format!("{with} SELECT count(*) FROM ({stored} EXCEPT {expected})");
        let missing = count(&one)?;
        done();
        let different = missing.max(count(&other)?);
        done();
        if different > 0 {
            found.push(Difference {
                what: table.into(),
                rows: different,
            });
        }
    }
    let (mut ms, mut credit_ms) = (0i64, 0i64);
    let mut statement = tx.prepare(UNEXPLAINED)?;
    let mut hours = statement.query([])?;
    while let Some(row) = hours.next()? {
        ms = ms.saturating_add(row.get::<_, i64>("running_ms")?.saturating_abs());
        credit_ms = credit_ms.saturating_add(row.get::<_, i64>("credit_ms")?.saturating_abs());
    }
    done();
    let mut statement = tx.prepare(ROWS)?;
    let mut lines = statement.query([])?;
    while let Some(row) = lines.next()? {
        found.push(Difference {
            what: row.get("what")?,
            rows: row.get("rows")?,
        });
    }
    done();
    let ahead = tx.query_row(include_str!("verify_ahead.sql"), [tx.now()], |row| {
        row.get(0)
    })?;
    let differences = found.iter().map(|d| d.rows).sum();
    Ok(Verification {
        ok: differences == 0 && ms == 0 && credit_ms == 0,
        as_of: tx.now(),
        events: count("SELECT count(*) FROM compute_events")?,
        rows,
        differences,
        unexplained_ms: ms,
        unexplained_credit_ms: credit_ms,
        ahead,
        found,
    })
}

/// Drops everything that is derived and builds it anew from the raw events. Returns how many rows of
/// the meter there are afterwards.
///
/// # Errors
/// When the store fails; then nothing has changed.
pub fn rebuild(tx: &WriteTx<'_>) -> Result<i64> {
    rebuild_telling(tx, &|| ())
}

/// [`rebuild`], which calls `done` after each of its parts.
///
/// # Errors
/// As [`rebuild`].
pub fn rebuild_telling(tx: &WriteTx<'_>, done: &dyn Fn()) -> Result<i64> {
    let mut rows = 0;
    for (table, columns, expected) in DERIVED {
        tx.execute(&format!("DELETE FROM {table}"), [])?;
        let built = tx.execute(
            &format!("INSERT INTO {table} ({columns}) SELECT * FROM ({expected})"),
            [],
        )?;
        rows += i64::try_from(built).unwrap_or(i64::MAX);
        done();
    }
    Ok(rows)
}
