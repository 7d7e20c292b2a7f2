//! What keeps a computer awake: the last of it, and who it was.

use rusqlite::OptionalExtension;
use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::{ComputerId, TenantId};
use crate::store::{Tx, WriteTx};

/// What counts. Looking at a computer does not: its object, lists, metrics, what listens in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activity {
    /// It was started, or somebody asked for it to be.
    Start,
    /// Somebody said so.
    KeepAlive,
    /// It was changed: its name, size, place, settings.
    Change,
    /// A program that somebody runs in it.
    Command,
    /// A file that somebody reads or changes.
    Files,
    /// Something that is done or looked up on its screen, not who only watches.
    Desktop,
    /// A terminal that is open, or a tunnel with bytes in it.
    Terminal,
    /// A visit to one of its preview addresses, or bytes over one that stays open.
    Visit,
    /// Its own programs are busy.
    Cpu,
}

impl Activity {
    pub fn as_str(self) -> &'static str {
        match self {
            Activity::Start => "start",
            Activity::KeepAlive => "keep-alive",
            Activity::Change => "change",
            Activity::Command => "command",
            Activity::Files => "files",
            Activity::Desktop => "desktop",
            Activity::Terminal => "terminal",
            Activity::Visit => "visit",
            Activity::Cpu => "cpu",
        }
    }
}

/// The last activity of a computer.
#[derive(Serialize, ToSchema, Debug, Clone)]
pub struct LastActivity {
    /// When
    pub at: Timestamp,
    /// start, keep-alive, change, command, files, desktop, terminal, visit or cpu
    pub by: String,
}

/// Notes an activity.
pub fn note(tx: &WriteTx<'_>, tenant: TenantId, id: ComputerId, by: Activity) -> Result<()> {
    let sql =
        "INSERT INTO computer_activity (computer_id, tenant_id, at, by) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (computer_id) DO UPDATE SET at = max(at, ?3), by = ?4";
    tx.run(sql, (id, tenant, tx.now(), by.as_str()))?;
    Ok(())
}

/// Whether the last one was this, no longer ago than `ms`.
pub fn is_fresh(tx: &Tx<'_>, id: ComputerId, by: Activity, ms: i64) -> Result<bool> {
    let sql = "SELECT at FROM computer_activity WHERE computer_id = ?1 AND by = ?2";
    let at: Option<Timestamp> = tx
        .row(sql, (id, by.as_str()), |row| row.get(0))
        .optional()?;
    Ok(at.is_some_and(|at| at.0 + ms > tx.now().0))
}
