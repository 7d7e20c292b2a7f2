//! The audit log: who changed what, written in the transaction of the change itself.

mod list;
mod who;

use std::net::IpAddr;
use std::num::NonZeroU32;

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

pub use list::*;
use who::Who;

use crate::access::caller::Caller;
use crate::clock::DAY_MS;
use crate::error::Result;
use crate::ids::{TenantId, WorkspaceId};
use crate::json;
use crate::store::WriteTx;

/// Who did it.
#[derive(Clone, Copy)]
pub enum Actor<'a> {
    /// A request, with its key.
    Key(&'a Caller),
    /// The service itself: a transition or an auto-stop that fell due.
    System,
    /// The person at the command line.
    Operator,
    /// Nobody who is known, from this address: a sign-in that failed.
    Stranger(Option<IpAddr>),
}

/// One entry. `before` and `after` are the resource as the API shows it.
pub struct Entry<'a, B: Serialize, A: Serialize> {
    pub actor: Actor<'a>,
    pub tenant_id: TenantId,
    /// In which workspace, if in one.
    pub workspace_id: Option<WorkspaceId>,
    /// What happened: `workspace.created`, `computer.stopped`, ...
    pub kind: &'a str,
    /// The id of the resource; its type is the part of `kind` before the dot.
    pub resource: Uuid,
    pub before: Option<&'a B>,
    pub after: Option<&'a A>,
}

/// For entries without a before or after.
pub const NONE: Option<&()> = None;

/// Appends the entry.
pub fn record<B: Serialize, A: Serialize>(tx: &WriteTx<'_>, entry: &Entry<'_, B, A>) -> Result<()> {
    let (actor_type, caller) = match entry.actor {
        Actor::Key(caller) => ("api_key", Some(caller)),
        Actor::System => ("system", None),
        Actor::Operator => ("operator", None),
        Actor::Stranger(_) => ("system", None),
    };
    let ip = match entry.actor {
        Actor::Stranger(ip) => ip,
        _ => caller.and_then(Caller::ip),
    };
    let resource_type = entry.kind.split('.').next().unwrap_or(entry.kind);
    let sql = "INSERT INTO audit_log (seq, tenant_id, workspace_id, at, actor_type, actor_id, actor_label, ip_address,
             request_id, type, resource_type, resource_id, before, after, actor)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
    tx.run(
        sql,
        (
            number(tx)?,
            entry.tenant_id,
            entry.workspace_id,
            tx.now(),
            actor_type,
            caller.map(Caller::key_id),
            caller.map(|c| c.key().label()),
            ip.map(|ip| ip.to_string()),
            caller.map(Caller::request_id),
            entry.kind,
            resource_type,
            entry.resource.as_bytes().as_slice(),
            entry.before.map(json::text).transpose()?,
            entry.after.map(json::text).transpose()?,
            caller
                .and_then(Who::of)
                .as_ref()
                .map(json::text)
                .transpose()?,
        ),
    )?;
    let seq = tx.last_insert_rowid();
    tx.logged(seq);
    let Some(sinks) = tx.attachment::<Sinks>() else {
        return Ok(());
    };
    for sink in &sinks.0 {
        if sink.wants(tx, entry.tenant_id)? {
            sink.recorded(
                tx,
                &Recorded {
                    seq,
                    tenant_id: entry.tenant_id,
                    workspace_id: entry.workspace_id,
                    kind: entry.kind,
                    resource_type,
                    resource: entry.resource,
                    before: entry.before.map(json::raw).transpose()?,
                    after: entry.after.map(json::raw).transpose()?,
                },
            )?;
        }
    }
    Ok(())
}

/// Whether the log went on elsewhere, after it was copied.
#[derive(Default)]
struct Floor(Option<i64>);

/// The number of the next row, where it is not simply the next: what was given to other events before a
/// backup was restored is not given again.
fn number(tx: &WriteTx<'_>) -> Result<Option<i64>> {
    let known = tx.cached(|floor: &mut Floor| floor.0);
    let floor = match known {
        Some(floor) => floor,
        None => {
            let sql = "SELECT coalesce(max(audit_floor), 0) FROM installation WHERE id = 1";
            tx.row(sql, [], |row| row.get(0))?
        }
    };
    if floor == 0 {
        if known.is_none() {
            tx.cached(|kept: &mut Floor| kept.0 = Some(0));
        }
        return Ok(None);
    }
    let sql = "SELECT coalesce(max(seq), 0) FROM audit_log";
    let last: i64 = tx.row(sql, [], |row| row.get(0))?;
    // Above it for good only when that is on disk: what is undone gives its number back.
    if known.is_none() {
        tx.cached(|kept: &mut Floor| kept.0 = Some(if last > floor { 0 } else { floor }));
    }
    Ok((last <= floor).then_some(floor + 1))
}

/// A row that has just been written.
pub struct Recorded<'a> {
    pub seq: i64,
    pub tenant_id: TenantId,
    pub workspace_id: Option<WorkspaceId>,
    /// What happened: `workspace.created`, ...
    pub kind: &'a str,
    pub resource_type: &'a str,
    pub resource: Uuid,
    pub before: Option<Box<RawValue>>,
    pub after: Option<Box<RawValue>>,
}

/// Is told of rows in the transaction that writes them.
pub trait Sink: Send + Sync {
    /// Whether it cares about an organization at all; asked before a row is put together for it.
    fn wants(&self, tx: &WriteTx<'_>, tenant: TenantId) -> Result<bool>;

    /// Hears of a row.
    ///
    /// # Errors
    /// When the store fails: the change is then undone with all that hangs on it.
    fn recorded(&self, tx: &WriteTx<'_>, row: &Recorded<'_>) -> Result<()>;
}

/// Who is told of rows: attached to the store at start.
pub struct Sinks(pub Vec<Box<dyn Sink>>);

/// Forgets rows past the configured retention by their dates, the oldest first and at most `limit` a pass. The
/// newest row stays whatever its age: its number is where live streams and the next row go on from. Returns
/// how many went.
pub fn purge(tx: &WriteTx<'_>, days: Option<NonZeroU32>, limit: u32) -> Result<usize> {
    let Some(days) = days else {
        return Ok(0);
    };
    let cutoff = tx.now().plus_ms(-i64::from(days.get()) * DAY_MS);
    // What came from another installation holds nobody up, and is held up by nobody.
    let sql = "DELETE FROM audit_log WHERE seq IN
             (SELECT seq FROM audit_log WHERE seq < 1 AND at < ?1 ORDER BY at LIMIT ?2)";
    let imported = tx.run(sql, (cutoff, limit))?;
    let sql = "DELETE FROM audit_log WHERE seq IN
             (SELECT seq FROM (SELECT seq, at FROM audit_log WHERE seq > 0 ORDER BY seq LIMIT ?2)
              WHERE at < ?1 AND seq < (SELECT max(seq) FROM audit_log))";
    let own = tx.run(sql, (cutoff, limit))?;
    Ok(imported.max(own))
}
