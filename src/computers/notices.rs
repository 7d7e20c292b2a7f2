//! Word of an auto-stop before it comes, and its postponement.
//!
//! Five minutes before a computer stops by itself its organization is told (`computer.stop_soon`). One that an agent
//! outside runs is not stopped from here: when it has been idle for as long as it may, that is told (`computer.stop_due`),
//! and the agent stops it.

use axum::extract::State;
use axum::response::Response;
use rusqlite::OptionalExtension;
use serde_json::json;

use super::activity::Activity;
use super::auto_stop::AutoStop;
use super::lifecycle::{refused, restart_idle_time, settled};
use super::rows::load;
use super::simulation::Fleet;
use crate::audit::{self, Actor, Entry};
use crate::clock::Timestamp;
use crate::db::topics;
use crate::error::{Error, Result};
use crate::http::{Mutation, NoBody, PathId, Reply};
use crate::ids::ComputerId;
use crate::rules::driven_by::DrivenBy;
use crate::rules::status::Status;
use crate::store::{Tx, WriteTx};

/// So long before an auto-stop its organization is told.
const BEFORE_MS: i64 = 5 * 60_000;

/// Running computers of this server that stop by themselves and have not been told of, by when they stop. Where
/// the idle time is no longer than the notice there is none.
const STOPPING: &str = "SELECT c.id, c.due_at - ?1 FROM computers c
    WHERE c.due_at IS NOT NULL AND c.status = 'running' AND c.driver <> 'external' AND c.auto_stop_seconds * 1000 > ?1
      AND NOT EXISTS (SELECT 1 FROM stop_notices n WHERE n.computer_id = c.id AND n.warned_for = c.due_at)
    ORDER BY c.due_at LIMIT 1";

/// Running computers of agents, by when they have been idle for as long as they may, with what they were told of.
const IDLE: &str = "SELECT id, deadline, warned_for, told_for FROM (
        SELECT c.id, n.warned_for, n.told_for,
            max(c.updated_at, coalesce(n.active_at, 0)) + c.auto_stop_seconds * 1000 AS deadline, c.auto_stop_seconds
        FROM computers c LEFT JOIN stop_notices n ON n.computer_id = c.id
        WHERE c.driver = 'external' AND c.status = 'running' AND c.auto_stop_seconds > 0 AND c.deleted_at IS NULL)
    WHERE told_for IS NOT deadline
    ORDER BY CASE WHEN warned_for IS deadline OR auto_stop_seconds * 1000 <= ?1 THEN deadline ELSE deadline - ?1 END
    LIMIT 1";

/// A notice.
struct Notice {
    at: Timestamp,
    computer: ComputerId,
    deadline: Timestamp,
    kind: &'static str,
}

fn next(tx: &Tx<'_>) -> Result<Option<Notice>> {
    let stopping = tx
        .row(STOPPING, [BEFORE_MS], |row| {
            let at: Timestamp = row.get(1)?;
            Ok(Notice {
                at,
                computer: row.get(0)?,
                deadline: at.plus_ms(BEFORE_MS),
                kind: "computer.stop_soon",
            })
        })
        .optional()?;
    let idle = tx
        .row(IDLE, [BEFORE_MS], |row| {
            let (deadline, warned): (Timestamp, Option<Timestamp>) = (row.get(1)?, row.get(2)?);
            // The time of the warning is over where it was never due, too.
            let soon = warned != Some(deadline) && tx.now() < deadline;
            Ok(Notice {
                at: if soon {
                    deadline.plus_ms(-BEFORE_MS)
                } else {
                    deadline
                },
                computer: row.get(0)?,
                deadline,
                kind: if soon {
                    "computer.stop_soon"
                } else {
                    "computer.stop_due"
                },
            })
        })
        .optional()?;
    Ok([stopping, idle]
        .into_iter()
        .flatten()
        .min_by_key(|notice| notice.at))
}

/// When there is something to tell next.
pub fn next_at(tx: &Tx<'_>) -> Result<Option<Timestamp>> {
    Ok(next(tx)?.map(|notice| notice.at))
}

/// Tells what is to be told by now; at most `limit` of it. Returns how much.
pub fn run(tx: &WriteTx<'_>, limit: u32) -> Result<usize> {
    let mut done = 0;
    while done < limit as usize {
        let Some(notice) = next(tx)?.filter(|notice| notice.at <= tx.now()) else {
            break;
        };
        tell(tx, &notice)?;
        done += 1;
    }
    Ok(done)
}

fn tell(tx: &WriteTx<'_>, notice: &Notice) -> Result<()> {
    let Some(computer) = load(tx, notice.computer)? else {
        return Ok(());
    };
    let told = (notice.kind == "computer.stop_due").then_some(notice.deadline);
    let sql = "INSERT INTO stop_notices (computer_id, tenant_id, warned_for, told_for) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (computer_id) DO UPDATE SET warned_for = ?3, told_for = ?4";
    tx.run(
        sql,
        (computer.id, computer.tenant_id, notice.deadline, told),
    )?;
    let after = json!({
        "name": computer.name, "slug": computer.slug, "status": computer.status, "size": computer.size,
        "workspace_id": computer.workspace_id, "project_id": computer.project_id, "driver": computer.driver.as_str(),
        "auto_stop_seconds": computer.auto_stop_seconds, "auto_stop_at": notice.deadline,
        "external_user_id": computer.external_user_id,
    });
    audit::record(
        tx,
        &Entry {
            actor: Actor::System,
            tenant_id: computer.tenant_id,
            workspace_id: Some(computer.workspace_id),
            kind: notice.kind,
            resource: computer.id.0,
            before: audit::NONE,
            after: Some(&after),
        },
    )
}

/// `POST /computers/{id}/keep-alive`: the idle time of a running computer begins anew.
pub async fn keep_alive(
    State(fleet): State<Fleet>,
    PathId(id): PathId<ComputerId>,
    request: Mutation<NoBody>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let mut computer = settled(tx, &fleet, caller, id)?;
            input?;
            if computer.status != Status::Running {
                let text = "computer is not running: there is nothing to keep alive; start it";
                return Err::<Reply<AutoStop>, Error>(refused("TARGET_NOT_RUNNING", text, &computer));
            }
            if computer.driver == DrivenBy::External {
                let sql = "INSERT INTO stop_notices (computer_id, tenant_id, active_at) VALUES (?1, ?2, ?3)
                     ON CONFLICT (computer_id) DO UPDATE SET active_at = ?3";
                tx.run(
                    sql,
                    (id, computer.tenant_id, tx.now()),
                )?;
            } else {
                restart_idle_time(tx, &fleet, &mut computer, Activity::KeepAlive)?;
                tx.run(
                    "UPDATE computers SET due_at = ?1 WHERE id = ?2 AND tenant_id = ?3",
                    (computer.due_at, id, computer.tenant_id),
                )?;
                tx.changed(topics::AGENDA);
            }
            let kept = AutoStop::of(tx, &computer)?;
            audit::record(
                tx,
                &Entry {
                    actor: Actor::Key(caller),
                    tenant_id: computer.tenant_id,
                    workspace_id: Some(computer.workspace_id),
                    kind: "computer.kept_alive",
                    resource: id.0,
                    before: audit::NONE,
                    after: Some(&kept),
                },
            )?;
            Ok(Reply::ok(kept))
        })
        .await
}
