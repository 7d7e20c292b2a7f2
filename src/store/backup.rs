//! Backups: a consistent copy of the database, taken while it is in use.
//!
//! `VACUUM INTO` reads one snapshot and writes a compact file, so writers go on meanwhile. The copy
//! is made under a temporary name beside its target, looked through from end to end, flushed, and
//! only then given its name: a file that has its name is complete. `NAME.sha256` beside it is in the
//! form that `sha256sum --check` reads, and is there before the file is.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use rusqlite::Connection;
use sha2::{Digest, Sha256};

use super::copies;
use super::failure::{Failure, StoreError};
use super::open;
use super::schema::{APPLICATION_ID, VERSION, create};
use super::tx::Tx;
use crate::clock::Timestamp;

/// Faults of one kind that are listed at most.
const FAULTS: usize = 20;
/// SQLite's virtual machine runs so many steps between two flushes of a growing backup.
const FLUSH_STEPS: i32 = 50_000;

/// How a database file begins.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// Where a backup goes.
#[derive(Clone, Debug)]
pub enum Target {
    /// This file, which must not exist.
    File(PathBuf),
    /// A new file in this directory, named after the instant; of those made before only the last stay, so
    /// that there are `keep`.
    Dir {
        /// The directory; made with mode 0700 when missing, unless backups were made in it before.
        dir: PathBuf,
        /// How many stay; `None` = all.
        keep: Option<usize>,
    },
}

/// A backup that is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    pub file: PathBuf,
    pub bytes: u64,
    pub sha256: String,
    pub created_at: Timestamp,
    /// In what order those of a directory were made, whatever the clock showed; `None` in older ones.
    pub number: Option<i64>,
}

/// Copies the database at `db` as it is now. Blocks for as long as that takes; reads and writes
/// through other connections go on.
///
/// # Errors
/// 409 when the file is there already, 507 when the disk is full, 503 for everything else that the
/// storage refuses, 500 when the copy is not sound. The target is then as it was.
pub fn take(db: &Path, target: &Target, now: Timestamp) -> Result<Backup, StoreError> {
    let Target::Dir { dir, .. } = target else {
        return make(db, target, now);
    };
    let made = make(db, target, now);
    let result = made.as_ref().map_err(ToString::to_string);
    if let Err(error) = remember(db, dir, now, &result) {
        tracing::warn!(%error, "how the backup went was not written down");
    }
    made
}

fn make(db: &Path, target: &Target, now: Timestamp) -> Result<Backup, StoreError> {
    let (file, number) = match target {
        Target::File(file) => {
            file.parent().map(sweep);
            (file.clone(), copies::UNNUMBERED)
        }
        Target::Dir { dir, .. } => {
            enter(db, dir)?;
            sweep(dir);
            let made = list(dir)?.iter().filter_map(|backup| backup.number).max();
            (dir.join(name_at(now)), made.unwrap_or(0) + 1)
        }
    };
    if file.exists() {
        return Err(StoreError::Exists(format!(
            "{}: this file is there already; choose another name",
            file.display()
        )));
    }
    let partial = beside(&file, ".partial");
    let backup = copy(db, &partial, number, now).and_then(|(bytes, sha256)| {
        write_checksum(&file, &sha256)?;
        fs::rename(&partial, &file).map_err(|e| StoreError::io(e, &file))?;
        sync_dir(&file)?;
        Ok(Backup {
            file: file.clone(),
            bytes,
            sha256,
            created_at: now,
            number: Some(number),
        })
    });
    if backup.is_err() {
        let _ = fs::remove_file(&partial);
    }
    let backup = backup?;
    if let Target::Dir {
        dir,
        keep: Some(keep),
    } = target
    {
        prune(dir, *keep, &backup.file);
    }
    Ok(backup)
}

/// The copy under its temporary name, sound and flushed: its size and SHA-256.
fn copy(
    db: &Path,
    partial: &Path,
    number: i64,
    now: Timestamp,
) -> Result<(u64, String), StoreError> {
    let io = |e: io::Error| StoreError::io(e, partial);
    let text = partial.to_str().ok_or_else(|| {
        StoreError::Refused(
            "INVALID_PATH_TEXT",
            format!("{}: the path is not UTF-8", partial.display()),
        )
    })?;
    // SQLite fills an empty file that is there, so the copy has its mode from the first byte on.
    let mut options = OpenOptions::new();
    options.create_new(true).read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(partial).map_err(io)?;
    // Whoever finds a partial file without this lock knows that nobody writes it any more.
    file.try_lock().map_err(|e| io(e.into()))?;

    let source = open::for_backup(db)?;
    if source.query_row("PRAGMA application_id", [], |row| row.get::<_, i64>(0))? != APPLICATION_ID
    {
        return Err(StoreError::Refused(
            "NOT_A_DATABASE",
            format!("{}: this is not a workspaced database", db.display()),
        ));
    }
    // Flushed bit by bit: one flush of everything at the end would make every commit wait behind it.
    let growing = file.try_clone().map_err(io)?;
    source.progress_handler(
        FLUSH_STEPS,
        Some(move || {
            let _ = growing.sync_data();
            false
        }),
    )?;
    source.execute("VACUUM INTO ?1", [text])?;
    drop(source);
    let copy = Connection::open(partial)?;
    copy.pragma_update(None, "journal_mode", "MEMORY")?;
    copies::mark(&copy, number)?;
    drop(copy);
    file.sync_all().map_err(io)?;
    let inspection = inspect(partial)?;
    if let Some(fault) = inspection.faults.first() {
        return Err(StoreError::Internal(format!(
            "the backup of {} is not sound: {fault}",
            now.rfc3339()
        )));
    }
    let sha256 = sha256(partial)?;
    Ok((file.metadata().map_err(io)?.len(), sha256))
}

/// What a look through a whole file found.
#[derive(Debug)]
pub struct Inspection {
    /// Version of its schema; `None` where it cannot even be told.
    pub schema_version: Option<i64>,
    /// What is wrong with it; empty = sound.
    pub faults: Vec<String>,
}

/// Reads a database file from end to end: every page, every index, every reference between rows;
/// and whether it is one of ours that this program can use. Changes nothing.
///
/// # Errors
/// When the file cannot be read at all. What is wrong *in* it is the answer, not an error.
pub fn inspect(path: &Path) -> Result<Inspection, StoreError> {
    let mut faults = Vec::new();
    let found = match open::reader(path) {
        Ok(conn) => look_through(&conn, &mut faults),
        Err(StoreError::Sqlite(e)) => Err(e),
        Err(e) => return Err(e),
    };
    let schema_version = match found {
        Ok(version) => Some(version),
        Err(e) => {
            faults.push(e.to_string());
            None
        }
    };
    Ok(Inspection {
        schema_version,
        faults,
    })
}

fn look_through(conn: &Connection, faults: &mut Vec<String>) -> rusqlite::Result<i64> {
    let number =
        |pragma: &str| conn.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i64>(0));
    let version = number("user_version")?;
    if number("application_id")? != APPLICATION_ID {
        faults.push("this is not a workspaced database".into());
        return Ok(version);
    }
    if !(1..=VERSION).contains(&version) {
        faults.push(format!(
            "schema version {version}; this program knows 1 to {VERSION}"
        ));
    }
    if version == VERSION {
        let fresh = Connection::open_in_memory()?;
        create(&fresh)?;
        let there = objects(conn)?;
        let missing = objects(&fresh)?
            .into_iter()
            .filter(|name| !there.contains(name));
        faults.extend(missing.map(|name| format!("{name} is missing")));
    }
    let mut statement = conn.prepare(&format!("PRAGMA integrity_check({FAULTS})"))?;
    for line in statement.query_map([], |row| row.get::<_, String>(0))? {
        let line = line?;
        if line != "ok" {
            faults.push(line);
        }
    }
    let mut statement = conn.prepare("PRAGMA foreign_key_check")?;
    let orphans = statement.query_map([], |row| {
        Ok((
            row.get::<_, String>(0)?,
            row.get::<_, Option<i64>>(1)?,
            row.get::<_, String>(2)?,
        ))
    })?;
    for orphan in orphans.take(FAULTS) {
        let (table, row, parent) = orphan?;
        let row = row.map_or("a row".into(), |row| format!("row {row}"));
        faults.push(format!(
            "{table}: {row} refers to a row of {parent} that is not there"
        ));
    }
    Ok(version)
}

/// Tables, indexes and triggers.
fn objects(conn: &Connection) -> rusqlite::Result<BTreeSet<String>> {
    conn.prepare("SELECT type || ' ' || name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// Runs `f` in a read transaction on a file that is not being served.
///
/// # Errors
/// What `f` returns, or why the file cannot be read.
pub fn read_file<T, E: Failure>(
    path: &Path,
    now: Timestamp,
    f: impl FnOnce(&Tx<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let conn = open::reader(path)?;
    conn.execute_batch("BEGIN")?;
    f(&Tx::new(&conn, now))
}

// ---------------------------------------------------------------------------------------------
// Checksums

/// SHA-256 of a file, hexadecimal. Not for a database that this process has open: closing any
/// descriptor of a file ends the locks that SQLite holds on it.
///
/// # Errors
/// When the file cannot be read.
pub fn sha256(path: &Path) -> Result<String, StoreError> {
    let io = |e: io::Error| StoreError::io(e, path);
    let mut file = File::open(path).map_err(io)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(io)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(HEXLOWER.encode(&hasher.finalize()))
}

/// The file with the checksum of `file`.
pub fn checksum_file(file: &Path) -> PathBuf {
    beside(file, ".sha256")
}

/// What [`checksum_file`] says; `None` when there is none, or none that can be read as one.
pub fn recorded_checksum(file: &Path) -> Option<String> {
    let text = fs::read_to_string(checksum_file(file)).ok()?;
    let hash = text.split_whitespace().next()?;
    (hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
        .then(|| hash.to_ascii_lowercase())
}

fn write_checksum(file: &Path, sha256: &str) -> Result<(), StoreError> {
    let path = checksum_file(file);
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let write = || {
        use std::io::Write;
        let mut options = OpenOptions::new();
        options.create(true).truncate(true).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut out = options.open(&path)?;
        writeln!(out, "{sha256}  {name}")?;
        out.sync_all()
    };
    write().map_err(|e| StoreError::io(e, &path))
}

// ---------------------------------------------------------------------------------------------
// A directory of backups

/// `workspaced-20260520T101530007Z.db`: sorts by time, and no file system minds it.
fn name_at(now: Timestamp) -> String {
    let digits: String = now
        .rfc3339_ms()
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    format!("workspaced-{digits}.db")
}

/// The instant in a name of [`name_at`].
fn time_of(name: &str) -> Option<Timestamp> {
    let digits = name.strip_prefix("workspaced-")?.strip_suffix("Z.db")?;
    let (date, time) = digits.split_once('T')?;
    let all_digits =
        |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(date, 8) || !all_digits(time, 9) {
        return None;
    }
    Timestamp::parse(&format!(
        "{}-{}-{}T{}:{}:{}.{}Z",
        &date[..4],
        &date[4..6],
        &date[6..],
        &time[..2],
        &time[2..4],
        &time[4..6],
        &time[6..],
    ))
}

/// The backups in a directory, the last made first: by their numbers, then those without one by the dates in
/// their names. Files that are not named like one are none.
///
/// # Errors
/// When the directory cannot be read; one that is not there has none.
pub fn list(dir: &Path) -> Result<Vec<Backup>, StoreError> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|e| StoreError::io(e, dir))?,
    };
    let mut found: Vec<Backup> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let created_at = time_of(entry.file_name().to_str()?)?;
            Some(Backup {
                bytes: entry.metadata().ok()?.len(),
                sha256: recorded_checksum(&entry.path()).unwrap_or_default(),
                number: open::reader(&entry.path())
                    .and_then(|conn| Ok(copies::number(&conn)?))
                    .unwrap_or_default(),
                file: entry.path(),
                created_at,
            })
        })
        .collect();
    found.sort_by_key(|backup| std::cmp::Reverse((backup.number, backup.created_at)));
    Ok(found)
}

/// Deletes all but the `keep` made last, of which `made` is one whatever it is called. What cannot be deleted
/// stays for the next time.
fn prune(dir: &Path, keep: usize, made: &Path) {
    let others = list(dir).unwrap_or_default().into_iter();
    let others = others.filter(|backup| backup.file != made);
    for old in others.skip(keep.max(1) - 1) {
        if let Err(e) = fs::remove_file(&old.file) {
            tracing::warn!(file = %old.file.display(), error = %e, "an old backup was not deleted");
        } else {
            let _ = fs::remove_file(checksum_file(&old.file));
        }
    }
}

/// The backups in a directory whose names say that they were made after `now`: by a clock that was ahead.
pub fn dated_ahead(dir: &Path, now: Timestamp) -> Vec<PathBuf> {
    let all = list(dir).unwrap_or_default().into_iter();
    all.filter(|backup| backup.created_at > now)
        .map(|backup| backup.file)
        .collect()
}

/// Whether another disk begins at this directory.
fn is_mount(dir: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::metadata(path).ok().map(|of| of.dev());
    match std::path::absolute(dir)
        .ok()
        .as_deref()
        .and_then(Path::parent)
    {
        Some(parent) => device(dir).is_some() && device(dir) != device(parent),
        None => true,
    }
}

/// Makes a directory for backups that is not there, unless some were made in it before: then what was mounted
/// there is gone, and a new one would be on another disk. Where the directory is the mount point itself it stays,
/// empty, and is on that other disk, too.
fn enter(db: &Path, dir: &Path) -> Result<(), StoreError> {
    if dir.exists() && !is_mount(dir) {
        let records = records_in(&open::for_backup(db)?)?;
        let record = records.iter().find(|record| record.directory == whole(dir));
        let left_empty = record.filter(|record| {
            let last = record.good_file.as_ref();
            record.mounted && last.is_some_and(|file| !dir.join(file).exists())
        });
        if left_empty.is_some() {
            return Err(StoreError::Refused(
                "BACKUP_DIR_GONE",
                format!(
                    "{}: the disk that was mounted there is not mounted any more, and what is left is an empty mount \
                     point on another disk. Mount it again; to go on without it, give another directory",
                    dir.display()
                ),
            ));
        }
    }
    if !dir.exists()
        && records_in(&open::for_backup(db)?)?
            .iter()
            .any(|record| record.directory == whole(dir))
    {
        return Err(StoreError::Refused(
            "BACKUP_DIR_GONE",
            format!(
                "{}: the directory is not there any more, and backups were made in it before. Mount it again; if it \
                 is to begin anew, make it by hand",
                dir.display()
            ),
        ));
    }
    make_dir(dir)
}

/// How backups went in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub directory: String,
    pub tried_at: Timestamp,
    /// Why the last try failed.
    pub error: Option<String>,
    /// The state that the last good one holds.
    pub good_at: Option<Timestamp>,
    pub good_file: Option<String>,
    /// The last good one was made while a disk was mounted there.
    pub mounted: bool,
}

/// How backups of a database went, by directory.
///
/// # Errors
/// When it cannot be read.
pub fn records(db: &Path) -> Result<Vec<Record>, StoreError> {
    Ok(records_in(&open::reader(db)?)?)
}

/// [`records`], through a connection.
///
/// # Errors
/// When it cannot be read.
pub fn records_in(conn: &Connection) -> rusqlite::Result<Vec<Record>> {
    let known = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'backup_dirs')";
    if !conn.query_row(known, [], |row| row.get::<_, bool>(0))? {
        return Ok(Vec::new());
    }
    // A file that has not been upgraded does not know of mounts.
    let knows =
        "SELECT EXISTS (SELECT 1 FROM pragma_table_info('backup_dirs') WHERE name = 'mounted')";
    let mounted = match conn.query_row(knows, [], |row| row.get(0))? {
        true => "mounted",
        false => "0 AS mounted",
    };
    conn.prepare_cached(&format!(
        "SELECT directory, tried_at, error, good_at, good_file, {mounted} FROM backup_dirs ORDER BY tried_at DESC"
    ))?
    .query_map([], |row| {
        Ok(Record {
            directory: row.get(0)?,
            tried_at: row.get(1)?,
            error: row.get(2)?,
            good_at: row.get(3)?,
            good_file: row.get(4)?,
            mounted: row.get(5)?,
        })
    })?
    .collect()
}

/// Writes down how a backup went.
fn remember(
    db: &Path,
    dir: &Path,
    now: Timestamp,
    result: &Result<&Backup, String>,
) -> Result<(), StoreError> {
    let conn = open::for_backup(db)?;
    let good = result.as_ref().ok();
    let name = good.and_then(|backup| backup.file.file_name());
    let sql = "INSERT INTO backup_dirs (directory, tried_at, error, good_at, good_file, mounted)
         VALUES (?1, ?2, ?3, ?4, ?5, coalesce(?6, 0))
         ON CONFLICT DO UPDATE SET tried_at = excluded.tried_at, error = excluded.error,
             good_at = coalesce(excluded.good_at, good_at), good_file = coalesce(excluded.good_file, good_file),
             mounted = coalesce(?6, mounted)";
    conn.execute(
        sql,
        (
            whole(dir),
            now,
            result.as_ref().err(),
            good.map(|_| now),
            name.map(|name| name.to_string_lossy().into_owned()),
            good.map(|_| is_mount(dir)),
        ),
    )?;
    Ok(())
}

/// The same path from wherever the program is started.
pub fn whole(dir: &Path) -> String {
    std::path::absolute(dir)
        .unwrap_or_else(|_| dir.to_owned())
        .to_string_lossy()
        .trim_end_matches('/')
        .to_owned()
}

/// Removes what copies that were killed have left in a directory: partial files that nobody holds.
pub(super) fn sweep(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let whole = name.to_str().and_then(|name| name.strip_suffix(".partial"));
        // Other programs call their files so, too.
        if !whole.is_some_and(|whole| time_of(whole).is_some() || whole.contains(".db")) {
            continue;
        }
        let abandoned = File::open(entry.path()).is_ok_and(|file| {
            let mut magic = Vec::new();
            let read = (&file).take(MAGIC.len() as u64).read_to_end(&mut magic);
            // The first page comes last.
            let ours = MAGIC.starts_with(&magic) || magic.iter().all(|byte| *byte == 0);
            read.is_ok() && ours && file.try_lock().is_ok()
        });
        if abandoned {
            let _ = fs::remove_file(beside(&entry.path(), "-journal"));
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Makes a directory that is for its owner only, if it is not there.
///
/// # Errors
/// When it cannot be made.
pub fn make_dir(dir: &Path) -> Result<(), StoreError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(|e| StoreError::io(e, dir))
}

/// `file` with `suffix` behind its name.
pub(super) fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Makes a rename in the directory of `file` durable.
pub(super) fn sync_dir(file: &Path) -> Result<(), StoreError> {
    let dir = file
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|e| StoreError::io(e, dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_their_instant() {
        for ms in [0, 1_778_407_200_007, 253_402_300_799_999] {
            assert_eq!(time_of(&name_at(Timestamp(ms))), Some(Timestamp(ms)));
        }
        assert_eq!(
            name_at(Timestamp(1_778_407_200_007)),
            "workspaced-20260510T100000007Z.db"
        );
        for other in [
            "workspaced.db",
            "workspaced-20260510T100000007Z.db.sha256",
            "workspaced-é0260510T100000007Z.db",
            "workspaced-2026051T0100000007Z.db",
        ] {
            assert_eq!(time_of(other), None, "{other}");
        }
    }
}
