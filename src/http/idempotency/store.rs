//! The stored replies of requests with an Idempotency-Key, and how they are found.
//!
//! Keys are random. In an index that is kept with every request each would change a page of its own,
//! which costs as much as all the rest of a small write. So a reply is only appended; the writer's
//! thread remembers where it is ([`Recent`]), and the index takes up many at once, in its own order, in
//! background rounds. What is remembered is a hint, compared with the row that it leads to, so a
//! transaction that is undone leaves nothing behind that counts. After a restart it is read again from
//! the rows above `indexed_to`.

use std::collections::HashMap;

use axum::body::Bytes;
use rusqlite::OptionalExtension;

use crate::clock::{DAY_MS, Timestamp};
use crate::error::Result;
use crate::ids::ApiKeyId;
use crate::store::WriteTx;

/// How long a reply is kept.
const KEEP_MS: i64 = DAY_MS;

/// Replies that may wait for the index while somebody else wants to write: each is remembered, in some
/// 70 bytes, and read again after a crash.
const MAY_WAIT: usize = 50_000;

/// Where a reply is found: the random half of the API key's id, and half of the request's hash.
type ReplyKey = [u8; 24];

fn reply_key(key: ApiKeyId, request: &[u8; 32]) -> ReplyKey {
    let mut place = [0; 24];
    place[..8].copy_from_slice(&key.0.as_bytes()[8..]);
    place[8..].copy_from_slice(&request[..16]);
    place
}

/// A stored reply.
pub(super) struct Stored {
    /// SHA-256 of the payload that it answered.
    pub body_hash: [u8; 32],
    pub status: u16,
    /// As sent, or encrypted.
    pub body: Bytes,
    /// Whether the body is encrypted.
    pub sealed: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// The replies that the index does not have yet, as the writer's thread knows them.
#[derive(Default)]
struct Recent {
    /// Whether the database has been read.
    known: bool,
    seqs: HashMap<ReplyKey, i64>,
    /// What is left of a round, in reverse order.
    round: Vec<(ReplyKey, i64)>,
    /// Up to which row the index has all when the round is over.
    round_to: i64,
    /// What the last step put into the index, if that was committed.
    taken: Vec<(ReplyKey, i64)>,
    /// How many steps the database has seen then.
    steps: i64,
    /// The number of the next row. Never one that the index has had already, though all rows may have
    /// been purged: after a restart it would count as indexed.
    next: i64,
}

/// Reads what is remembered, if nothing is.
fn recall(tx: &WriteTx<'_>) -> Result<()> {
    if tx.cached(|recent: &mut Recent| recent.known) {
        return Ok(());
    }
    let sql = "SELECT steps, 1 + max(indexed_to, (SELECT coalesce(max(seq), 0) FROM idempotency))
             FROM idempotency_state";
    let (steps, next) = tx.row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let sql = "SELECT key_id, request, seq FROM idempotency
             WHERE seq > (SELECT indexed_to FROM idempotency_state)";
    let seqs = tx
        .prepare_cached(sql)?
        .query_map([], |row| {
            Ok((reply_key(row.get(0)?, &row.get(1)?), row.get(2)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    tx.cached(|recent: &mut Recent| {
        *recent = Recent {
            known: true,
            seqs,
            steps,
            next,
            ..Recent::default()
        }
    });
    Ok(())
}

/// The reply to this request. One that is past its time and not purged yet goes now.
pub(super) fn find(tx: &WriteTx<'_>, key: ApiKeyId, request: &[u8; 32]) -> Result<Option<Stored>> {
    recall(tx)?;
    let place = reply_key(key, request);
    let recent = tx.cached(|recent: &mut Recent| recent.seqs.get(&place).copied());
    let mut found = match recent {
        Some(seq) => read(tx, seq, key, request)?,
        None => None,
    };
    if found.is_none() {
        let indexed: Option<i64> = tx
            .row(
                "SELECT seq FROM idempotency_index WHERE place = ?1",
                [place],
                |row| row.get(0),
            )
            .optional()?;
        if let Some(seq) = indexed {
            found = read(tx, seq, key, request)?;
        }
    }
    match found {
        Some((seq, reply)) if reply.created_at <= cutoff(tx) => {
            remove(tx, place, seq)?;
            Ok(None)
        }
        found => Ok(found.map(|(_, reply)| reply)),
    }
}

/// A reply of this instant or before is past its time.
fn cutoff(tx: &WriteTx<'_>) -> Timestamp {
    tx.now().plus_ms(-KEEP_MS)
}

/// The row with this number, if it answers this request.
fn read(
    tx: &WriteTx<'_>,
    seq: i64,
    key: ApiKeyId,
    request: &[u8; 32],
) -> Result<Option<(i64, Stored)>> {
    let sql = "SELECT body_hash, status, body, sealed, created_at FROM idempotency
             WHERE seq = ?1 AND key_id = ?2 AND request = ?3";
    Ok(tx
        .row(sql, (seq, key, request), |row| {
            let reply = Stored {
                body_hash: row.get(0)?,
                status: row.get(1)?,
                body: row.get::<_, Vec<u8>>(2)?.into(),
                sealed: row.get(3)?,
                created_at: row.get(4)?,
            };
            Ok((seq, reply))
        })
        .optional()?)
}

/// Appends the reply to a request that has none.
pub(super) fn keep(
    tx: &WriteTx<'_>,
    key: ApiKeyId,
    request: &[u8; 32],
    reply: &Stored,
) -> Result<()> {
    recall(tx)?;
    let seq = tx.cached(|recent: &mut Recent| {
        recent.next += 1;
        recent.next - 1
    });
    let sql = "INSERT INTO idempotency (key_id, request, body_hash, status, body, sealed, created_at, seq)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    tx.run(
        sql,
        (
            key,
            request,
            reply.body_hash,
            reply.status,
            &reply.body[..],
            reply.sealed,
            reply.created_at,
            seq,
        ),
    )?;
    let place = reply_key(key, request);
    tx.cached(|recent: &mut Recent| recent.seqs.insert(place, seq));
    Ok(())
}

fn remove(tx: &WriteTx<'_>, place: ReplyKey, seq: i64) -> Result<()> {
    tx.run(
        "DELETE FROM idempotency_index WHERE place = ?1 AND seq = ?2",
        (place, seq),
    )?;
    tx.run("DELETE FROM idempotency WHERE seq = ?1", [seq])?;
    Ok(())
}

/// Puts at most `limit` of the replies that wait into the index. Returns how many. Where the writer is
/// `busy` a round begins only when too many wait.
pub fn index(tx: &WriteTx<'_>, busy: bool, limit: u32) -> Result<usize> {
    recall(tx)?;
    let steps: i64 = tx.row("SELECT steps FROM idempotency_state", [], |row| row.get(0))?;
    if tx.cached(|recent: &mut Recent| !recent.confirm_step(steps)) {
        // The last step was undone after all.
        tx.cached(|recent: &mut Recent| *recent = Recent::default());
        recall(tx)?;
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let (step, indexed_to) = tx.cached(|recent: &mut Recent| recent.step(busy, limit));
    if step.is_empty() {
        return Ok(0);
    }
    for entry in step.iter().rev() {
        tx.run(
            "INSERT OR REPLACE INTO idempotency_index (place, seq) VALUES (?1, ?2)",
            *entry,
        )?;
    }
    tx.run(
        "UPDATE idempotency_state SET steps = steps + 1, indexed_to = coalesce(?1, indexed_to)",
        [indexed_to],
    )?;
    let done = step.len();
    tx.cached(|recent: &mut Recent| {
        recent.taken = step;
        recent.steps += 1;
    });
    Ok(done)
}

impl Recent {
    /// Forgets what the last step has put into the index, or says that it did not happen.
    fn confirm_step(&mut self, steps: i64) -> bool {
        let happened = steps == self.steps;
        if happened {
            let taken = std::mem::take(&mut self.taken);
            self.forget(&taken);
        }
        happened
    }

    /// These need not be remembered any more; a newer reply at the same place stays.
    fn forget(&mut self, replies: &[(ReplyKey, i64)]) {
        for (place, seq) in replies {
            if self.seqs.get(place) == Some(seq) {
                self.seqs.remove(place);
            }
        }
    }

    /// What the next step puts into the index, and, with the last of a round, up to which row the index
    /// then has all.
    fn step(&mut self, busy: bool, limit: usize) -> (Vec<(ReplyKey, i64)>, Option<i64>) {
        if self.round.is_empty() && !(busy && self.seqs.len() < MAY_WAIT) {
            self.round = self
                .seqs
                .iter()
                .map(|(place, seq)| (*place, *seq))
                .collect();
            self.round.sort_unstable_by(|a, b| b.cmp(a));
            self.round_to = self.seqs.values().copied().max().unwrap_or(0);
            self.seqs.shrink_to(self.seqs.len() * 2);
        }
        let rest = self.round.len().saturating_sub(limit);
        let step = self.round.split_off(rest);
        (step, self.round.is_empty().then_some(self.round_to))
    }
}

/// Forgets replies that are past their time; at most `limit` a pass. Returns how many went.
pub fn purge(tx: &WriteTx<'_>, limit: u32) -> Result<usize> {
    // What is in the middle of a round would come into the index after it has gone.
    if tx.cached(|recent: &mut Recent| !recent.round.is_empty()) {
        return Ok(0);
    }
    let sql = "SELECT key_id, request, seq FROM
             (SELECT key_id, request, seq, created_at FROM idempotency ORDER BY seq LIMIT ?2) WHERE created_at <= ?1";
    let old: Vec<(ReplyKey, i64)> = tx
        .prepare_cached(sql)?
        .query_map((cutoff(tx), limit), |row| {
            Ok((reply_key(row.get(0)?, &row.get(1)?), row.get(2)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    for (place, seq) in &old {
        remove(tx, *place, *seq)?;
    }
    tx.cached(|recent: &mut Recent| recent.forget(&old));
    Ok(old.len())
}
