//! Bringing a file to the present schema.
//!
//! A new file gets `schema.sql`; an older one is taken there by the steps, all in one transaction.
//! A test proves that both ways end at the same schema. A newer file is refused.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::backup::{self, Target, beside};
use super::open::OpenError;
use super::schema::{APPLICATION_ID, STEPS, VERSION, create};
use crate::clock::Timestamp;

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
                 ({e}); nothing was changed",
                path.display(),
            ))
        })?;
        tracing::info!(backup = %file.display(), from = version, to = VERSION, "upgrading the schema");
    }
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let done = upgrade_in_transaction(conn, path);
    conn.execute_batch(if done.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    done
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
             use the newer workspaced that wrote it{}. Nothing was changed",
            path.display(),
            copy_before(path).map_or_else(String::new, |copy| format!(
                ", or go back to the copy that was made before its upgrade, without what came since: workspaced restore {} \
                 --data-dir {}",
                copy.display(),
                path.parent().unwrap_or(path).display()
            ))
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

/// The newest copy that lies beside a database since an upgrade, and that this program can read.
fn copy_before(path: &Path) -> Option<PathBuf> {
    let begins = format!("{}.version-", path.file_name()?.to_str()?);
    let version = |file: &Path| -> Option<(i64, String)> {
        let name = file.file_name()?.to_str()?;
        let (version, time) = name.strip_prefix(&begins)?.split_once('-')?;
        let plain = time.bytes().all(|b| b.is_ascii_alphanumeric());
        let version = version.parse().ok()?;
        (plain && (1..=VERSION).contains(&version)).then(|| (version, time.to_owned()))
    };
    path.parent()?
        .read_dir()
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .filter_map(|file| Some((version(&file)?, file)))
        .max()
        .map(|(_, file)| file)
}
