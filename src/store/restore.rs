//! Restoring: a backup takes the database's place, and the database that was there is kept.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::backup::{self, beside, sync_dir};
use super::copies;
use super::failure::StoreError;
use crate::clock::Timestamp;

/// What a restore did.
#[derive(Debug)]
pub struct Restored {
    /// Where the database that was there before is now.
    pub kept: Option<PathBuf>,
    /// Version of the restored schema.
    pub schema_version: i64,
    /// How many rows `carry` took over from the database that was there, or why it could not.
    pub carried: rusqlite::Result<usize>,
}

/// Takes over what must not come back with a backup: into the incoming database, from the one that was there,
/// attached as `present`. Returns how many rows that concerned.
pub type Carry = fn(&Connection) -> rusqlite::Result<usize>;

/// Puts a copy of `backup` in the place of `db`. The caller holds the lock of the data directory.
///
/// The copy is checked, not the original: what was checked is what is used. The database that was
/// there stays as `NAME.before-restore-TIME`. A crash at any moment leaves the old database or the
/// new one, whole, under its name.
///
/// # Errors
/// 400 when there is no backup or it is not sound, with what is wrong with it; 503 or 507 when the
/// storage fails. The database is then as it was.
pub fn restore(
    backup: &Path,
    db: &Path,
    checksum: bool,
    now: Timestamp,
    carry: Carry,
) -> Result<Restored, StoreError> {
    let refuse = |why: String| {
        StoreError::Refused(
            "BACKUP_REFUSED",
            format!("{}: {why}. Nothing was changed", backup.display()),
        )
    };
    if !backup.is_file() {
        return Err(refuse("there is no such file".into()));
    }
    let expected = backup::recorded_checksum(backup);
    if checksum && expected.is_none() {
        return Err(refuse(format!(
            "its checksum {} is missing; with --no-checksum it is restored all the same",
            backup::checksum_file(backup).display()
        )));
    }
    let incoming = beside(db, ".restoring");
    let restored = bring_in(backup, &incoming, expected.filter(|_| checksum), &refuse).and_then(
        |schema_version| {
            let carried = carry_over(db, &incoming, carry);
            number_anew(db, &incoming)?;
            let kept = set_aside(db, now)?;
            fs::rename(&incoming, db).map_err(|e| StoreError::io(e, db))?;
            sync_dir(db)?;
            Ok(Restored {
                kept,
                schema_version,
                carried,
            })
        },
    );
    if restored.is_err() {
        let _ = fs::remove_file(&incoming);
    }
    restored
}

/// From a database that cannot be read nothing can be taken over; that holds up no restore.
fn carry_over(present: &Path, incoming: &Path, carry: Carry) -> rusqlite::Result<usize> {
    if !present.exists() {
        return Ok(0);
    }
    let conn = Connection::open(incoming)?;
    conn.execute("ATTACH ?1 AS present", [present.to_string_lossy()])?;
    let carried = carry(&conn)?;
    conn.execute("DETACH present", [])?;
    Ok(carried)
}

/// The log of what is restored goes on with numbers that no event has had here or elsewhere.
fn number_anew(present: &Path, incoming: &Path) -> Result<(), StoreError> {
    // From a database that cannot be read nothing is known; chance is enough.
    let given = Connection::open_with_flags(present, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .and_then(|conn| copies::last_number(&conn))
        .unwrap_or(0);
    let conn = Connection::open(incoming)?;
    let last = copies::last_number(&conn)?.max(given);
    copies::go_on(&conn, last + copies::far_away()?)?;
    Ok(())
}

/// Copies and checks; returns the version of the schema.
fn bring_in(
    backup: &Path,
    incoming: &Path,
    checksum: Option<String>,
    refuse: &dyn Fn(String) -> StoreError,
) -> Result<i64, StoreError> {
    let write = || {
        let mut options = fs::OpenOptions::new();
        options.create(true).truncate(true).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut out = options.open(incoming)?;
        std::io::copy(&mut fs::File::open(backup)?, &mut out)?;
        out.sync_all()
    };
    write().map_err(|e| StoreError::io(e, incoming))?;
    if checksum.is_some() && backup::sha256(incoming).ok() != checksum {
        return Err(refuse(
            "it does not have the checksum that is recorded beside it; it was damaged or changed"
                .into(),
        ));
    }
    let inspection = backup::inspect(incoming)?;
    remove_logs(incoming)?;
    match (inspection.faults.first(), inspection.schema_version) {
        (None, Some(version)) => Ok(version),
        (fault, _) => Err(refuse(fault.cloned().unwrap_or_default())),
    }
}

/// Gives the present database a second name, and leaves no write-ahead log that SQLite would take
/// for one of the restored file.
fn set_aside(db: &Path, now: Timestamp) -> Result<Option<PathBuf>, StoreError> {
    if !db.exists() {
        remove_logs(db)?;
        return Ok(None);
    }
    // A sound database takes in its log and is one file then. A damaged one keeps it beside it.
    let folded = Connection::open(db).and_then(|conn| {
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
            row.get::<_, i64>(0)
        })
    });
    if !matches!(folded, Ok(0)) {
        tracing::warn!("the database that was there is damaged; it is kept as it is");
    }
    let time: String = now
        .rfc3339_ms()
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    let kept = beside(db, &format!(".before-restore-{time}"));
    for suffix in ["", "-wal"] {
        let from = beside(db, suffix);
        if from.exists() {
            let to = beside(&kept, suffix);
            // Not a rename: until the new file takes the name, the old one has it.
            fs::hard_link(&from, &to)
                .or_else(|_| fs::copy(&from, &to).map(drop))
                .map_err(|e| StoreError::io(e, &to))?;
        }
    }
    sync_dir(&kept)?;
    remove_logs(db)?;
    Ok(Some(kept))
}

fn remove_logs(db: &Path) -> Result<(), StoreError> {
    for suffix in ["-wal", "-shm"] {
        let log = beside(db, suffix);
        match fs::remove_file(&log) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::io(e, &log));
            }
            _ => {}
        }
    }
    sync_dir(db)
}
