//! Whose what ran was, at that time: the end user of a computer, the caller's id of a project. Both can
//! be changed; what was used before stays with what held then.

use uuid::Uuid;

use crate::error::Result;
use crate::store::{Tx, WriteTx};

/// Keeps what an attribution was up to now, where it changes.
pub fn changes(
    tx: &WriteTx<'_>,
    subject: Uuid,
    before: Option<&str>,
    after: Option<&str>,
) -> Result<()> {
    if before != after {
        // Of two changes in one instant the first knows what held before it.
        tx.run(
            "INSERT OR IGNORE INTO past_attributions (subject, until, external_id) VALUES (?1, ?2, ?3)",
            (subject.as_bytes().as_slice(), tx.now(), before),
        )?;
    }
    Ok(())
}

/// What a subject was attributed to, period by period.
pub struct Attributions {
    past: Vec<(i64, Option<String>)>,
    present: Option<String>,
}

impl Attributions {
    /// Of a subject that is now attributed to `present`.
    pub fn load(tx: &Tx<'_>, subject: Uuid, present: Option<String>) -> Result<Self> {
        let past = tx
            .prepare_cached(
                "SELECT until, external_id FROM past_attributions WHERE subject = ?1 ORDER BY until",
            )?
            .query_map([subject.as_bytes().as_slice()], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<Result<_, _>>()?;
        Ok(Attributions { past, present })
    }

    /// What held at an instant, and until when.
    pub fn at(&self, at: i64) -> (Option<&str>, i64) {
        let next = self.past.iter().find(|(until, _)| *until > at);
        next.map_or((self.present.as_deref(), i64::MAX), |(until, id)| {
            (id.as_deref(), *until)
        })
    }
}
