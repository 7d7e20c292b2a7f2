//! Whose what ran was, at that time: the end user of a computer, the caller's id of a project. Both can
//! be changed; what was used before stays with what held then.

use serde::{Deserialize, Serialize};
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

/// What a subject was attributed to up to an instant, exclusive.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(deny_unknown_fields)]
pub struct Past {
    pub until: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
}

/// What a subject was attributed to before its present attribution, oldest first.
pub fn past(tx: &Tx<'_>, subject: Uuid) -> Result<Vec<Past>> {
    Ok(tx
        .prepare_cached(
            "SELECT until, external_id FROM past_attributions WHERE subject = ?1 ORDER BY until",
        )?
        .query_map([subject.as_bytes().as_slice()], |row| {
            Ok(Past {
                until: row.get(0)?,
                external_id: row.get(1)?,
            })
        })?
        .collect::<Result<_, _>>()?)
}

/// Stores what a subject that comes from elsewhere was attributed to.
pub fn import(tx: &WriteTx<'_>, subject: Uuid, past: &[Past]) -> Result<()> {
    for one in past {
        tx.run(
            "INSERT INTO past_attributions (subject, until, external_id) VALUES (?1, ?2, ?3)",
            (subject.as_bytes().as_slice(), one.until, &one.external_id),
        )?;
    }
    Ok(())
}

/// What a subject was attributed to, period by period.
pub struct Attributions {
    past: Vec<Past>,
    present: Option<String>,
}

impl Attributions {
    /// Of a subject that is now attributed to `present`.
    pub fn load(tx: &Tx<'_>, subject: Uuid, present: Option<String>) -> Result<Self> {
        Ok(Attributions {
            past: past(tx, subject)?,
            present,
        })
    }

    /// What held at an instant, and until when.
    pub fn at(&self, at: i64) -> (Option<&str>, i64) {
        let next = self.past.iter().find(|past| past.until > at);
        next.map_or((self.present.as_deref(), i64::MAX), |past| {
            (past.external_id.as_deref(), past.until)
        })
    }
}
