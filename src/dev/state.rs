//! The driven clock's place in the database: it goes on from there after a restart, and goes back
//! with it when a snapshot is restored.

use rusqlite::{Connection, OptionalExtension, Row};

use crate::clock::{Clock, Course, Mode, Timestamp};
use crate::db::Store;
use crate::error::{Error, Result};
use crate::store::WriteTx;

/// The scenario that goes on, as the row has it.
pub(super) struct Kept {
    /// The scenario without its customers: when computers go on and off.
    pub scenario: String,
    pub seed: u64,
    pub simulated_until: Timestamp,
}

fn mode_of(text: &str) -> Mode {
    match text {
        "frozen" => Mode::Frozen,
        "running" => Mode::Running,
        _ => Mode::Real,
    }
}

fn name_of(mode: Mode) -> &'static str {
    match mode {
        Mode::Real => "real",
        Mode::Frozen => "frozen",
        Mode::Running => "running",
    }
}

/// The course that was kept, from now on; never behind what has happened by it.
pub fn course(conn: &Connection) -> Result<Option<Course>> {
    let read = |row: &Row<'_>| {
        let mode: String = row.get(0)?;
        let at: Timestamp = row.get(1)?;
        Ok(Course::new(mode_of(&mode), at, row.get(2)?))
    };
    let sql = "SELECT mode, max(at, coalesce(lived_to, 0), coalesce((SELECT max(at) FROM audit_log), 0)), speed
               FROM dev_state";
    Ok(conn.query_row(sql, [], read).optional()?)
}

/// The scenario that goes on, if one was seeded.
pub(super) fn kept(conn: &Connection) -> Result<Option<Kept>> {
    let read = |row: &Row<'_>| {
        Ok(Kept {
            scenario: row.get(0)?,
            // As SQLite keeps it: the same bits, signed.
            seed: row.get::<_, i64>(1)?.cast_unsigned(),
            simulated_until: row.get(2)?,
        })
    };
    let sql = "SELECT scenario, seed, lived_to FROM dev_state WHERE scenario IS NOT NULL AND seed IS NOT NULL
                   AND lived_to IS NOT NULL";
    Ok(conn.prepare_cached(sql)?.query_row([], read).optional()?)
}

/// Keeps how the clock goes.
pub(super) fn keep_course(conn: &Connection, course: Course) -> Result<()> {
    let sql = "INSERT INTO dev_state (id, mode, at, speed) VALUES (1, ?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET mode = excluded.mode, at = excluded.at, speed = excluded.speed";
    conn.prepare_cached(sql)?
        .execute((name_of(course.mode), course.at, course.speed))?;
    Ok(())
}

/// Keeps the scenario that goes on from an instant.
pub(super) fn keep_scenario(tx: &WriteTx<'_>, kept: &Kept) -> Result<()> {
    tx.run(
        "UPDATE dev_state SET scenario = ?1, seed = ?2, lived_to = ?3 WHERE id = 1",
        (
            &kept.scenario,
            kept.seed.cast_signed(),
            kept.simulated_until,
        ),
    )?;
    Ok(())
}

/// Keeps how far the scenario has come.
pub(super) fn keep_simulated_until(tx: &WriteTx<'_>, to: Timestamp) -> Result<()> {
    tx.run(
        "UPDATE dev_state SET lived_to = ?1 WHERE lived_to < ?1",
        [to],
    )?;
    Ok(())
}

/// At the start: puts the store's clock where it stood, where one was kept. Otherwise it goes with
/// the wall clock, or stands still with `frozen`.
pub fn resume(store: &Store, frozen: bool) -> Result<()> {
    let kept = store.read_blocking(|tx| course(tx))?;
    let clock = store.clock();
    let course = kept.unwrap_or_else(|| first_course(clock, frozen));
    clock.steer(course);
    Ok(())
}

/// How the clock of a new installation goes.
pub(super) fn first_course(clock: &Clock, frozen: bool) -> Course {
    let mode = if frozen { Mode::Frozen } else { Mode::Real };
    Course::new(mode, clock.wall(), 1)
}

/// From where it stands, the clock runs at a speed.
pub fn set_pace(store: &Store, speed: u32) -> Result<()> {
    let clock = store.clock().clone();
    clock.steer(Course::new(Mode::Running, clock.now(), speed));
    store.write_blocking(move |tx| {
        clock
            .course()
            .map_or(Ok(()), |course| keep_course(tx, course))
    })
}

/// At the end: keeps where the clock stands, if it ever was driven.
pub async fn keep(store: &Store) -> Result<()> {
    let clock = store.clock().clone();
    let Some(course) = clock.course() else {
        return Ok(());
    };
    store
        .write(move |tx| {
            let driven: bool =
                tx.query_row("SELECT EXISTS (SELECT 1 FROM dev_state)", [], |row| {
                    row.get(0)
                })?;
            let at = clock.now();
            if driven {
                keep_course(tx, Course::new(course.mode, at, course.speed))?;
            }
            Ok(())
        })
        .await
}

/// What nobody can tell but the person who wrote the file.
pub(super) fn unreadable(why: impl std::fmt::Display) -> Error {
    Error::field("scenario", format!("cannot be read: {why}"))
}
