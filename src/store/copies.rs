//! Copies of a database that become one of their own.
//!
//! Events are known by their number in the audit log, and receivers drop what they have had. A database that
//! goes back to an earlier state would give numbers a second time, to other events: so its log goes on
//! with numbers that nobody has had.

use rusqlite::{Connection, OptionalExtension};

use super::failure::StoreError;
use super::id_source::IdSource;

/// The number of a copy that is no backup in a directory.
pub(super) const UNNUMBERED: i64 = 0;

/// Says in a copy that it is one. A schema that cannot say so is left alone.
pub fn mark(copy: &Connection, number: i64) -> rusqlite::Result<()> {
    if knows(copy)? {
        copy.execute("UPDATE installation SET copy_number = ?1", [number])?;
    }
    Ok(())
}

/// The number of a copy; `None` where it is none, or cannot say so.
pub(super) fn number(conn: &Connection) -> rusqlite::Result<Option<i64>> {
    if !knows(conn)? {
        return Ok(None);
    }
    let sql = "SELECT copy_number FROM installation";
    let number = conn.query_row(sql, [], |row| row.get(0)).optional()?;
    Ok(number.flatten())
}

fn knows(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'installation')",
        [],
        |row| row.get(0),
    )
}

/// The last number that may have been given to an event.
pub fn last_number(conn: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT coalesce(max(seq), 0) FROM audit_log";
    let last: i64 = conn.query_row(sql, [], |row| row.get(0))?;
    let floor: i64 = if knows(conn)? {
        conn.query_row("SELECT audit_floor FROM installation", [], |row| row.get(0))?
    } else {
        0
    };
    Ok(last.max(floor))
}

/// So far that no log which went on from the same place gets there.
pub(super) fn far_away() -> Result<i64, StoreError> {
    let random: [u8; 8] = IdSource::system().random()?;
    Ok((1 << 32) + i64::from_le_bytes(random).rem_euclid(1 << 40))
}

/// Makes a copy a database of its own, whose log goes on above `above`. Does nothing to a schema that
/// does not know copies: its upgrade does the same.
pub fn go_on(conn: &Connection, above: i64) -> rusqlite::Result<()> {
    if knows(conn)? {
        let last = last_number(conn)?;
        let floor = last.max(above);
        conn.execute(
            "UPDATE installation SET copy_number = NULL, audit_floor = ?1, audit_skipped = audit_skipped + ?2",
            [floor, floor - last],
        )?;
    }
    Ok(())
}
