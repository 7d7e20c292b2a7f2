//! The schema's version and the steps up to it.
//!
//! A new file gets `schema.sql`; an older one is taken there by the steps, all in one transaction.
//! A test proves that both ways end at the same schema. A newer file is refused.

use std::path::Path;

use rusqlite::Connection;

use super::open::OpenError;

/// The whole current schema.
pub const SCHEMA: &str = include_str!("../../schema.sql");

/// `STEPS[n]` takes a database from version `n + 1` to `n + 2`. Never edited once released.
const STEPS: &[&str] = &[METER, LISTS, EMULATOR];

/// Version 2: the meter, filled from the events that are there.
const METER: &str = concat!(
    include_str!("upgrade_2.sql"),
    "INSERT INTO metered_computers ",
    include_str!("../usage/rebuild/computers.sql"),
    ";INSERT INTO meter_steps SELECT * FROM (",
    include_str!("../usage/rebuild/steps.sql"),
    ");INSERT INTO meter_hours SELECT * FROM (",
    include_str!("../usage/rebuild/hours.sql"),
    ");INSERT INTO meter_eras SELECT * FROM (",
    include_str!("../usage/rebuild/eras.sql"),
    ");",
);

/// Version 3: indexes for every list.
const LISTS: &str = include_str!("upgrade_3.sql");

/// Version 4: the driven clock and its scenario.
const EMULATOR: &str = include_str!("upgrade_4.sql");

/// The version of [`SCHEMA`].
pub const VERSION: i64 = STEPS.len() as i64 + 1;

/// Marks a file as ours ("wksp"), so that another program's database is not touched.
const APPLICATION_ID: i64 = 0x776b_7370;

/// Brings the database to [`VERSION`].
///
/// # Errors
/// When the file is another program's, or was written by a newer version of this one.
pub(super) fn upgrade(conn: &Connection, path: &Path) -> Result<(), OpenError> {
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let done = upgrade_in_transaction(conn, path);
    conn.execute_batch(if done.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    done
}

/// Makes an empty database of [`VERSION`].
pub(crate) fn create(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(SCHEMA)?;
    conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    conn.pragma_update(None, "user_version", VERSION)
}

fn upgrade_in_transaction(conn: &Connection, path: &Path) -> Result<(), OpenError> {
    let pragma =
        |name: &str| conn.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let version = pragma("user_version")?;
    if tables == 0 {
        create(conn)?;
    } else if pragma("application_id")? != APPLICATION_ID {
        return Err(OpenError(format!(
            "{}: this is not a workspaced database; it was left as it is",
            path.display()
        )));
    } else if !(1..=VERSION).contains(&version) {
        return Err(OpenError(format!(
            "{}: the database has schema version {version}, this program knows up to {VERSION}; \
             use the newer workspaced that wrote it. Nothing was changed",
            path.display()
        )));
    } else {
        let first = usize::try_from(version - 1).unwrap_or(usize::MAX);
        for step in STEPS.iter().skip(first) {
            conn.execute_batch(step)?;
        }
    }
    conn.pragma_update(None, "user_version", VERSION)?;
    Ok(())
}
