//! The idle auto-stop of a computer as the API shows it.

use std::hash::{DefaultHasher, Hash};
use std::sync::Arc;

use rusqlite::OptionalExtension;
use serde::Serialize;
use utoipa::ToSchema;

use super::rows::{Record, find};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::http::{Look, Seen, Versioned};
use crate::ids::ComputerId;
use crate::rules::driven_by::DrivenBy;
use crate::rules::status::Status;
use crate::store::Tx;

/// The idle auto-stop of a computer.
#[derive(Serialize, ToSchema)]
pub struct AutoStop {
    computer_id: ComputerId,
    seconds: i64,
    enabled: bool,
    auto_stop_seconds: i64,
    auto_stop_at: Option<Timestamp>,
}

impl Versioned for AutoStop {
    fn version(&self, hash: &mut DefaultHasher) {
        (self.computer_id, self.seconds).hash(hash);
    }
}

/// The idle auto-stop of a computer as it is, for `If-Match`.
pub fn look_at_auto_stop() -> Look {
    Arc::new(|tx, caller, id| Seen::of(&AutoStop::of(tx, &find(tx, caller, ComputerId(id))?)?))
}

impl AutoStop {
    pub(super) fn of(tx: &Tx<'_>, c: &Record) -> Result<Self> {
        Ok(AutoStop {
            computer_id: c.id,
            seconds: c.auto_stop_seconds,
            enabled: c.auto_stop_seconds > 0,
            auto_stop_seconds: c.auto_stop_seconds,
            auto_stop_at: deadline(tx, c)?,
        })
    }
}

/// When a running computer stops by itself, or, where an agent runs it, is to be stopped.
fn deadline(tx: &Tx<'_>, computer: &Record) -> Result<Option<Timestamp>> {
    if computer.status != Status::Running {
        return Ok(None);
    }
    if computer.driver != DrivenBy::External {
        return Ok(computer.due_at);
    }
    let active: Option<Timestamp> = tx
        .row(
            "SELECT active_at FROM stop_notices WHERE computer_id = ?1 AND tenant_id = ?2",
            (computer.id, computer.tenant_id),
            |row| row.get(0),
        )
        .optional()?
        .flatten();
    let since = active.map_or(computer.updated_at, |at| at.max(computer.updated_at));
    let idle = computer.auto_stop_seconds * 1000;
    Ok((idle > 0).then(|| since.plus_ms(idle)))
}
