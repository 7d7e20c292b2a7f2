//! Giving pages back that nothing is in any more.
//!
//! A file that SQLite made with `auto_vacuum = INCREMENTAL` knows who refers to each page, so that pages at its end
//! can be moved into free ones. That costs a page in eight hundred and, among a hundred thousand rows written
//! and half of them deleted, no time that could be told from noise.

use std::path::Path;

use rusqlite::Connection;

use super::failure::StoreError;
use super::open::{self, INCREMENTAL};
use super::tx::WriteTx;

/// Free pages that are always kept: what comes next has a place (4 MiB).
const KEEP: i64 = 1024;
/// Of so many pages one may be free.
const SHARE: i64 = 4;

fn number(conn: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    conn.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))
}

/// Gives at most `limit` pages back, where more than a quarter of the file is free and nobody wants to write.
/// Returns how many it gave.
///
/// # Errors
/// When the store fails.
pub fn give_back<E: From<rusqlite::Error>>(
    tx: &WriteTx<'_>,
    busy: bool,
    limit: u32,
) -> Result<usize, E> {
    if busy || number(tx, "auto_vacuum")? != INCREMENTAL {
        return Ok(0);
    }
    let (free, pages) = (number(tx, "freelist_count")?, number(tx, "page_count")?);
    let spare = free - (pages / SHARE).max(KEEP);
    let limit = spare.min(limit.into());
    if limit <= 0 {
        return Ok(0);
    }
    // A row a page that was moved.
    let mut moving = tx.prepare(&format!("PRAGMA incremental_vacuum({limit})"))?;
    let mut moved = moving.query([])?;
    while moved.next()?.is_some() {}
    let left = number(tx, "freelist_count")?;
    Ok(usize::try_from(free - left).unwrap_or(0))
}

/// Writes the database anew without its free pages; from then on it gives them back by itself. The caller holds the
/// lock of the data directory. Returns the bytes before and afterwards.
///
/// # Errors
/// When it is not sound, or the disk has no room for both. It is then as it was.
pub fn compact(db: &Path) -> Result<(u64, u64), StoreError> {
    let size = || {
        db.metadata()
            .map(|meta| meta.len())
            .map_err(|e| StoreError::io(e, db))
    };
    let conn =
        open::writer(db).map_err(|e| StoreError::Refused("CANNOT_COMPACT", e.to_string()))?;
    open::fold_log(&conn);
    let before = size()?;
    conn.pragma_update(None, "auto_vacuum", INCREMENTAL)?;
    conn.execute_batch("VACUUM")?;
    open::fold_log(&conn);
    conn.close().map_err(|(_, e)| e)?;
    Ok((before, size()?))
}
