//! Search by any part of a workspace's name, slug or external id, at the same cost among a hundred
//! and among a hundred thousand.

use crate::error::Result;
use crate::ids::WorkspaceId;
use crate::store::WriteTx;

/// What `q` looks for, by the index that knows it.
pub(super) enum Search {
    /// An id, or the beginning of one: the first and the last id that begin so.
    Ids([u8; 16], [u8; 16]),
    /// A part of name, slug or external id: as a phrase of the search index, and in lower case.
    Text { phrase: String, plain: String },
    /// What that index does not know, one or two characters or a NUL: each workspace is looked at.
    Any(String),
}

impl Search {
    /// Of the text of a request; `None` = everything. Case does not matter.
    pub(super) fn new(q: &str) -> Option<Search> {
        let q = q.trim();
        let digits: Vec<u8> = q.bytes().filter(|b| *b != b'-').collect();
        // Eight digits are the time of a UUID version 7; fewer are more likely part of a name.
        if (8..=32).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit) {
            let bound = |fill: u8| {
                let padded = digits
                    .iter()
                    .copied()
                    .chain(std::iter::repeat(fill))
                    .take(32);
                let text: String = padded.map(char::from).collect();
                uuid::Uuid::try_parse(&text).map(uuid::Uuid::into_bytes)
            };
            if let (Ok(first), Ok(last)) = (bound(b'0'), bound(b'f')) {
                return Some(Search::Ids(first, last));
            }
        }
        let plain = q.to_lowercase();
        match q.chars().count() {
            0 => None,
            1 | 2 => Some(Search::Any(plain)),
            _ if q.contains('\0') => Some(Search::Any(plain)),
            _ => Some(Search::Text {
                phrase: format!("\"{}\"", q.replace('"', "\"\"")),
                plain,
            }),
        }
    }
}

/// `FROM` of a search for [`Search::Text`]: what the index has, unless it has changed since, and what
/// waits to be indexed.
pub(super) const FOUND: &str = "(
        SELECT f.rowid AS number, 0 AS waits FROM workspace_search f
        WHERE f.workspace_search MATCH :phrase
          AND NOT EXISTS (SELECT 1 FROM workspaces_to_index i WHERE i.number = f.rowid)
        UNION ALL
        SELECT number, 1 FROM workspaces_to_index
        UNION ALL
        SELECT n.number, 1 FROM workspaces n
        WHERE n.number > (SELECT indexed_to FROM workspace_search_state)
          AND NOT EXISTS (SELECT 1 FROM workspaces_to_index i WHERE i.number = n.number)
    ) found CROSS JOIN workspaces w ON w.number = found.number";

/// Whether a workspace has the text in it, by looking at it: all that [`Search::Any`] has, and what
/// the index of [`FOUND`] does not vouch for.
pub(super) const CONTAINS: &str = "(instr(folded(w.name), :plain) OR instr(w.slug, :plain)
    OR instr(folded(w.external_workspace_id), :plain))";

/// Workspaces that may wait to be indexed while somebody else wants to write: a search looks at each.
const MAY_WAIT: i64 = 50_000;

/// Brings the index up to date with at most `limit` new and `limit` changed workspaces. Returns how many
/// of those that are more. Where the writer is `busy` it does so only when too many wait: a burst of new
/// workspaces is not held up by its index.
pub fn index(tx: &WriteTx<'_>, busy: bool, limit: u32) -> Result<usize> {
    let sql = "SELECT indexed_to, (SELECT coalesce(max(number), 0) FROM workspaces)
             FROM workspace_search_state";
    let (indexed_to, last): (i64, i64) = tx.row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if busy {
        let changed: i64 = tx.row(
            "SELECT count(*) FROM (SELECT 1 FROM workspaces_to_index LIMIT ?1)",
            [MAY_WAIT],
            |row| row.get(0),
        )?;
        if changed + (last - indexed_to) < MAY_WAIT {
            return Ok(0);
        }
    }
    let changed: Vec<i64> = tx
        .prepare_cached("SELECT number FROM workspaces_to_index LIMIT ?1")?
        .query_map([limit], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for number in &changed {
        for sql in [
            "DELETE FROM workspace_search WHERE rowid = ?1",
            "DELETE FROM workspaces_to_index WHERE number = ?1",
        ] {
            tx.run(sql, [number])?;
        }
        // Above the mark it has its turn below.
        if *number <= indexed_to {
            insert(tx, *number, *number)?;
        }
    }
    let to = last.min(indexed_to.saturating_add(i64::from(limit)));
    if to > indexed_to {
        insert(tx, indexed_to + 1, to)?;
        tx.run("UPDATE workspace_search_state SET indexed_to = ?1", [to])?;
    }
    Ok(changed
        .len()
        .max(usize::try_from(to - indexed_to).unwrap_or(0)))
}

/// Before the row of a workspace goes that never was in the index: its number may be given again.
pub fn forget(tx: &WriteTx<'_>, id: WorkspaceId) -> Result<()> {
    for sql in [
        "DELETE FROM workspaces_to_index WHERE number = (SELECT number FROM workspaces WHERE id = ?1)",
        "UPDATE workspace_search_state SET indexed_to = indexed_to - 1
         WHERE indexed_to = (SELECT number FROM workspaces WHERE id = ?1)
           AND indexed_to = (SELECT max(number) FROM workspaces)",
    ] {
        tx.run(sql, [id])?;
    }
    Ok(())
}

/// Puts the live workspaces with these numbers into the index.
fn insert(tx: &WriteTx<'_>, first: i64, last: i64) -> Result<()> {
    let sql = "INSERT INTO workspace_search (rowid, name, slug, external_workspace_id)
         SELECT number, name, slug, external_workspace_id FROM workspaces
         WHERE number BETWEEN ?1 AND ?2 AND deleted_at IS NULL";
    tx.run(sql, [first, last])?;
    Ok(())
}
