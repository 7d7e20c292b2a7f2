//! The schema's version and the steps up to it.
//!
//! A new file gets `schema.sql`; an older one is taken there by the steps, all in one transaction.
//! A test proves that both ways end at the same schema. A newer file is refused.

use std::path::Path;

use rusqlite::Connection;

use super::backup::{self, Target, beside};
use super::open::OpenError;
use crate::clock::Timestamp;

/// The whole current schema.
pub const SCHEMA: &str = include_str!("../../schema.sql");

/// `STEPS[n]` takes a database from version `n + 1` to `n + 2`. Never edited once released.
const STEPS: &[&str] = &[METER, LISTS, EMULATOR, WEBHOOKS, CHECKS, FEWER_TREES];

/// Version 2: the meter, filled from the events that are there.
const METER: &str = concat!(
    include_str!("upgrade_2.sql"),
    "INSERT INTO metered_computers ",
    include_str!("../usage/ledger/rebuild/computers.sql"),
    ";INSERT INTO meter_steps SELECT * FROM (",
    include_str!("../usage/ledger/rebuild/steps.sql"),
    ");INSERT INTO meter_hours SELECT * FROM (",
    include_str!("../usage/ledger/rebuild/hours.sql"),
    ");INSERT INTO meter_eras SELECT * FROM (",
    include_str!("../usage/ledger/rebuild/eras.sql"),
    ");",
);

/// Version 3: indexes for every list.
const LISTS: &str = include_str!("upgrade_3.sql");

/// Version 4: the driven clock and its scenario.
const EMULATOR: &str = include_str!("upgrade_4.sql");

/// Version 5: webhooks and their deliveries.
const WEBHOOKS: &str = include_str!("upgrade_5.sql");

/// Version 6: cheaper checks, the driver's agenda in order.
const CHECKS: &str = include_str!("upgrade_6.sql");

/// Version 7: fewer b-trees to a new workspace and to a repeatable request.
const FEWER_TREES: &str = include_str!("upgrade_7.sql");

/// The version of [`SCHEMA`].
pub const VERSION: i64 = STEPS.len() as i64 + 1;

/// Marks a file as ours ("wksp"), so that another program's database is not touched.
pub(super) const APPLICATION_ID: i64 = 0x776b_7370;

/// Whether the file has an older schema than [`VERSION`].
///
/// # Errors
/// When it cannot be read.
pub fn is_older(path: &Path) -> Result<bool, OpenError> {
    let flags =
        rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    Ok(conn.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))? < VERSION)
}

/// Brings the database to [`VERSION`]. An older one is backed up beside itself first.
///
/// # Errors
/// When the file is another program's, was written by a newer version of this one, or could not be
/// backed up.
pub(super) fn upgrade(conn: &Connection, path: &Path, now: Timestamp) -> Result<(), OpenError> {
    let pragma =
        |name: &str| conn.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
    let version = pragma("user_version")?;
    if pragma("application_id")? == APPLICATION_ID && (1..VERSION).contains(&version) {
        let time: String = now
            .rfc3339_ms()
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let file = beside(path, &format!(".version-{version}-{time}"));
        backup::take(path, &Target::File(file.clone()), now).map_err(|e| {
            OpenError::new(format!(
                "{}: no backup could be made before the upgrade from schema version {version} to {VERSION} \
                 ({}{}); nothing was changed",
                path.display(),
                e.message(),
                e.internal_detail().map(|d| format!(": {d}")).unwrap_or_default(),
            ))
        })?;
        tracing::info!(backup = %file.display(), from = version, to = VERSION, "upgrading the schema");
    }
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
        return Err(OpenError::new(format!(
            "{}: this is not a workspaced database; it was left as it is",
            path.display()
        )));
    } else if !(1..=VERSION).contains(&version) {
        return Err(OpenError::new(format!(
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
