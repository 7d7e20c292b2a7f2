//! Search by any part of a workspace's name, slug or external id, at the same cost among a hundred
//! and among a hundred thousand.

use crate::error::Result;
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
        SELECT s.workspace_id, 0 AS waits
        FROM workspace_search f CROSS JOIN searchable_workspaces s ON s.number = f.rowid
        WHERE f.workspace_search MATCH :phrase
          AND NOT EXISTS (SELECT 1 FROM workspaces_to_index i WHERE i.workspace_id = s.workspace_id)
        UNION ALL
        SELECT workspace_id, 1 FROM workspaces_to_index
    ) found CROSS JOIN workspaces w ON w.id = found.workspace_id";

/// Whether a workspace has the text in it, by looking at it: all that [`Search::Any`] has, and what
/// the index of [`FOUND`] does not vouch for.
pub(super) const CONTAINS: &str = "(instr(folded(w.name), :plain) OR instr(w.slug, :plain)
    OR instr(folded(w.external_workspace_id), :plain))";

/// Workspaces that may wait to be indexed while somebody else wants to write: a search looks at each.
const MAY_WAIT: u32 = 50_000;

/// Brings the index up to date with at most `limit` of the workspaces that wait. Returns how many.
/// Where the writer is `busy` it does so only when too many wait: a burst of new workspaces is not
/// held up by its index.
///
/// # Errors
/// When the store fails.
pub fn index(tx: &WriteTx<'_>, busy: bool, limit: u32) -> Result<usize> {
    if busy {
        let waiting: u32 = tx
            .prepare_cached("SELECT count(*) FROM (SELECT 1 FROM workspaces_to_index LIMIT ?1)")?
            .query_row([MAY_WAIT], |row| row.get(0))?;
        if waiting < MAY_WAIT {
            return Ok(0);
        }
    }
    let waiting: Vec<[u8; 16]> = tx
        .prepare_cached("SELECT workspace_id FROM workspaces_to_index LIMIT ?1")?
        .query_map([limit], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for id in &waiting {
        for sql in [
            "DELETE FROM workspace_search
             WHERE rowid = (SELECT number FROM searchable_workspaces WHERE workspace_id = ?1)",
            "DELETE FROM searchable_workspaces WHERE workspace_id = ?1",
            "INSERT INTO searchable_workspaces (workspace_id)
             SELECT id FROM workspaces WHERE id = ?1 AND deleted_at IS NULL",
            "INSERT INTO workspace_search (rowid, name, slug, external_workspace_id)
             SELECT s.number, w.name, w.slug, w.external_workspace_id
             FROM searchable_workspaces s JOIN workspaces w ON w.id = s.workspace_id WHERE s.workspace_id = ?1",
            "DELETE FROM workspaces_to_index WHERE workspace_id = ?1",
        ] {
            tx.prepare_cached(sql)?.execute([id])?;
        }
    }
    Ok(waiting.len())
}
