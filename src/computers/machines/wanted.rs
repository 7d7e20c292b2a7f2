//! What was asked for, and how far that has come: the table `machines`.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{OptionalExtension, named_params};

use super::kept;
use crate::clock::Timestamp;
use crate::computers::Record;
use crate::db::topics;
use crate::error::Result;
use crate::ids::ComputerId;
use crate::rules::size::Size;
use crate::rules::status::Status;
use crate::store::{Columns, Tx, WriteTx, columns};

/// How long a start may take before it is given up: an image that was never used has to be unpacked first.
pub const START_MS: i64 = 120_000;
/// How long a stop may take before it is called a fault; it is tried on all the same.
pub const STOP_MS: i64 = 60_000;
/// Between two attempts at most.
const LONGEST_WAIT_MS: i64 = 60_000;

/// What a machine is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Desired {
    Running,
    Stopped,
    Gone,
}

impl Desired {
    fn as_str(self) -> &'static str {
        match self {
            Desired::Running => "running",
            Desired::Stopped => "stopped",
            Desired::Gone => "gone",
        }
    }
}

impl ToSql for Desired {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for Desired {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_str()? {
            "running" => Ok(Desired::Running),
            "stopped" => Ok(Desired::Stopped),
            "gone" => Ok(Desired::Gone),
            other => Err(FromSqlError::Other(other.to_owned().into())),
        }
    }
}

/// A row of `machines`.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub computer_id: ComputerId,
    pub desired: Desired,
    /// Counts what was asked for.
    pub op: i64,
    /// When the last of it was.
    pub op_at: Timestamp,
    /// What ran before `op` does not do for it.
    pub restart: bool,
    /// Up to here it was carried out, or given up.
    pub done_op: i64,
    /// The engine's id of the container.
    pub engine_ref: Option<String>,
    /// The size to which the engine holds it.
    pub held_to: Option<Size>,
    /// Attempts that failed in a row.
    pub failures: i64,
    /// Counts what its container has to follow.
    pub looks: i64,
    pub fault: Option<String>,
    /// When it was last seen alive, as far as that was written down.
    pub seen_at: Option<Timestamp>,
}

columns! { Wanted {
    computer_id: ["computer_id"],
    desired: ["desired"],
    op: ["op"],
    op_at: ["op_at"],
    restart: ["restart"],
    done_op: ["done_op"],
    engine_ref: ["engine_ref"],
    held_to: ["held_to"],
    failures: ["failures"],
    looks: ["looks"],
    fault: ["fault"],
    seen_at: ["seen_at"],
} }

impl Wanted {
    /// Something was asked for that is not done.
    pub fn pending(&self) -> bool {
        self.op > self.done_op
    }

    /// Whether what was asked for has been under way for too long.
    pub fn overdue(&self, now: Timestamp) -> bool {
        let patience = match self.desired {
            Desired::Running => START_MS,
            Desired::Stopped => STOP_MS,
            Desired::Gone => return false,
        };
        self.pending() && now.0 > self.op_at.0 + patience
    }
}

/// What is wanted of a computer.
pub fn load(tx: &Tx<'_>, id: ComputerId) -> Result<Option<Wanted>> {
    let sql = format!(
        "SELECT {} FROM machines WHERE computer_id = ?1",
        Wanted::COLUMNS.join(", ")
    );
    Ok(tx
        .prepare_cached(&sql)?
        .query_row([id], |row| Wanted::from_columns(&mut Columns::new(row)))
        .optional()?)
}

/// Something new is wanted; what was wrong before is forgotten.
pub fn ask(tx: &WriteTx<'_>, c: &Record, desired: Desired, restart: bool) -> Result<()> {
    let sql = "INSERT INTO machines (computer_id, tenant_id, desired, op, op_at, restart, done_op, look_at)
         VALUES (:id, :tenant, :desired, 1, :now, :restart, 0, :now)
         ON CONFLICT (computer_id) DO UPDATE SET desired = :desired, op = op + 1, op_at = :now,
             restart = :restart, failures = 0, fault = NULL, fault_since = NULL, look_at = :now, looks = looks + 1";
    tx.run(
        sql,
        named_params! {
            ":id": c.id, ":tenant": c.tenant_id, ":desired": desired, ":now": tx.now(), ":restart": restart,
        },
    )?;
    tx.changed(topics::MACHINES);
    Ok(())
}

/// Something about the computer has changed that its container has to follow.
pub fn look(tx: &WriteTx<'_>, id: ComputerId) -> Result<()> {
    tx.run(
        "UPDATE machines SET look_at = ?1, looks = looks + 1 WHERE computer_id = ?2",
        (tx.now(), id),
    )?;
    tx.changed(topics::MACHINES);
    Ok(())
}

/// Up to `op` it was carried out.
pub fn done(tx: &WriteTx<'_>, id: ComputerId, op: i64) -> Result<()> {
    let sql = "UPDATE machines SET done_op = max(done_op, ?1), failures = 0, fault = NULL, fault_since = NULL
         WHERE computer_id = ?2 AND op = ?1";
    tx.run(sql, (op, id))?;
    Ok(())
}

/// It stopped by itself, or cannot be started: nothing more is wanted until somebody asks.
pub fn give_up(tx: &WriteTx<'_>, id: ComputerId, op: i64, fault: Option<&str>) -> Result<()> {
    let sql = "UPDATE machines SET desired = 'stopped', done_op = op, restart = 0, failures = 0, fault = ?1,
             fault_since = CASE WHEN ?1 IS NULL THEN NULL ELSE ?2 END, look_at = ?2, looks = looks + 1
         WHERE computer_id = ?3 AND op = ?4 AND desired <> 'gone'";
    tx.run(sql, (fault, tx.now(), id, op))?;
    tx.changed(topics::MACHINES);
    Ok(())
}

/// An attempt failed: the next one later, and later each time.
pub fn failed(tx: &WriteTx<'_>, id: ComputerId, op: i64, fault: &str) -> Result<()> {
    let failures = load(tx, id)?.map_or(0, |w| w.failures).min(6);
    let wait = (1000_i64 << failures).min(LONGEST_WAIT_MS);
    let sql = "UPDATE machines SET failures = failures + 1, fault = ?1, fault_since = coalesce(fault_since, ?2),
             look_at = ?3
         WHERE computer_id = ?4 AND op = ?5";
    tx.run(sql, (fault, tx.now(), tx.now().plus_ms(wait), id, op))?;
    Ok(())
}

/// Nothing is to be done, unless there was something to follow since the look that counted `looks`: an instant
/// would not tell, two things happen in one.
pub fn settled(tx: &WriteTx<'_>, id: ComputerId, looks: i64) -> Result<()> {
    let sql = "UPDATE machines SET look_at = NULL, failures = 0,
             fault = CASE WHEN desired = 'running' THEN NULL ELSE fault END,
             fault_since = CASE WHEN desired = 'running' THEN NULL ELSE fault_since END
         WHERE computer_id = ?1 AND looks = ?2";
    tx.run(sql, (id, looks))?;
    Ok(())
}

/// The container has this id, and is held to this size.
pub fn known_as(tx: &WriteTx<'_>, id: ComputerId, engine_ref: &str, size: Size) -> Result<()> {
    tx.run(
        "UPDATE machines SET engine_ref = ?1, held_to = ?2 WHERE computer_id = ?3",
        (engine_ref, size, id),
    )?;
    Ok(())
}

/// The computer is deleted, and its container and volume wait for the case that it comes back.
pub fn is_kept(tx: &Tx<'_>, id: ComputerId) -> Result<bool> {
    let sql =
        "SELECT EXISTS (SELECT 1 FROM computers WHERE id = ?1 AND restorable_until IS NOT NULL)";
    Ok(tx.row(sql, [id], |row| row.get(0))?)
}

/// There is no container any more.
pub fn removed(tx: &WriteTx<'_>, id: ComputerId) -> Result<()> {
    tx.run(
        "UPDATE machines SET engine_ref = NULL, held_to = NULL WHERE computer_id = ?1",
        [id],
    )?;
    let sql = "DELETE FROM machines WHERE computer_id = ?1 AND desired = 'gone'";
    if tx.run(sql, [id])? > 0 {
        tx.run("DELETE FROM computer_env WHERE computer_id = ?1", [id])?;
        tx.run("DELETE FROM computer_ports WHERE computer_id = ?1", [id])?;
        tx.run("DELETE FROM computer_activity WHERE computer_id = ?1", [id])?;
        kept::forget(tx, id)?;
    }
    Ok(())
}

/// Computers with something to do by now, those that have waited longest first.
pub fn due(tx: &Tx<'_>) -> Result<Vec<ComputerId>> {
    let mut statement = tx.prepare_cached(
        "SELECT computer_id FROM machines WHERE look_at <= ?1 ORDER BY look_at LIMIT 64",
    )?;
    let found = statement.query_map([tx.now()], |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// All of them, for a look at everything.
pub fn all(tx: &Tx<'_>) -> Result<Vec<Wanted>> {
    let sql = format!("SELECT {} FROM machines", Wanted::COLUMNS.join(", "));
    let mut statement = tx.prepare_cached(&sql)?;
    let found = statement.query_map([], |row| Wanted::from_columns(&mut Columns::new(row)))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Those that run, as far as their rows say.
pub fn running(tx: &Tx<'_>) -> Result<Vec<ComputerId>> {
    let sql = "SELECT m.computer_id FROM machines m JOIN computers c ON c.id = m.computer_id
         WHERE c.status = 'running' AND c.deleted_at IS NULL";
    let mut statement = tx.prepare_cached(sql)?;
    let found = statement.query_map([], |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// How many machines there are, and how many of them are not what they should be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub all: i64,
    /// Something was asked for that is not done.
    pub pending: i64,
    /// Something is wrong, in words.
    pub faults: i64,
    /// When all of them were last seen to run that should.
    pub heartbeat: Option<Timestamp>,
}

/// How many there are.
pub fn tally(tx: &Tx<'_>) -> Result<Tally> {
    let sql = "SELECT count(*), coalesce(sum(op > done_op), 0), coalesce(sum(fault IS NOT NULL), 0) FROM machines";
    let (all, pending, faults) =
        tx.row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(Tally {
        all,
        pending,
        faults,
        heartbeat: last_seen(tx)?.map(|seen| seen.at),
    })
}

/// The status to show for a computer that by its events is in `held`: what it is on its way to.
pub fn shown(tx: &Tx<'_>, id: ComputerId, held: Status) -> Result<Status> {
    let Some(w) = load(tx, id)? else {
        return Ok(held);
    };
    Ok(match (w.desired, w.pending(), held) {
        (_, _, Status::Destroyed) | (Desired::Gone, _, _) => held,
        (Desired::Running, true, Status::Running) if !w.restart => Status::Running,
        (Desired::Running, true, Status::Provisioning) => Status::Provisioning,
        (Desired::Running, true, _) => Status::Starting,
        (Desired::Stopped, _, Status::Running) if w.overdue(tx.now()) => Status::Error,
        (Desired::Stopped, _, Status::Running) => Status::Stopping,
        (Desired::Stopped, false, _) if w.fault.is_some() => Status::Error,
        (Desired::Stopped, false, Status::Provisioning) => Status::Stopped,
        _ => held,
    })
}

/// What was last seen of the engine: when everything ran that the events say runs, and in which boot.
pub struct LastSeen {
    pub install: String,
    pub boot_id: String,
    pub at: Timestamp,
}

/// What was last seen of the engine.
pub fn last_seen(tx: &Tx<'_>) -> Result<Option<LastSeen>> {
    let found = tx.row(
        "SELECT install, boot_id, seen_at FROM engine_seen WHERE id = 1",
        [],
        |row| {
            Ok(LastSeen {
                install: row.get(0)?,
                boot_id: row.get(1)?,
                at: row.get(2)?,
            })
        },
    );
    Ok(found.optional()?)
}

/// The name by which containers are known to be of this installation; made at its first use.
pub fn install(tx: &WriteTx<'_>, boot_id: &str) -> Result<String> {
    if let Some(seen) = last_seen(tx)? {
        return Ok(seen.install);
    }
    let name = data_encoding::HEXLOWER.encode(&tx.random::<8>()?);
    tx.run(
        "INSERT INTO engine_seen (id, install, boot_id, seen_at) VALUES (1, ?1, ?2, ?3)",
        (&name, boot_id, tx.now()),
    )?;
    Ok(name)
}

/// These were alive at this instant, some of them as processes of this machine.
pub fn alive(tx: &WriteTx<'_>, at: Timestamp, seen: &[(ComputerId, Option<String>)]) -> Result<()> {
    // What lies ahead was written by a clock that was ahead.
    let sql = "UPDATE machines SET process = ?3,
             seen_at = CASE WHEN seen_at BETWEEN ?2 AND ?4 THEN seen_at ELSE ?2 END
         WHERE computer_id = ?1";
    for (id, process) in seen {
        tx.run(sql, (id, at, process, tx.now()))?;
    }
    Ok(())
}

/// The processes that machines last were.
pub fn processes(tx: &Tx<'_>) -> Result<Vec<(ComputerId, String)>> {
    let sql = "SELECT computer_id, process FROM machines WHERE process IS NOT NULL";
    let mut statement = tx.prepare_cached(sql)?;
    let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// By now everything was seen to run that the events say runs.
pub fn seen(tx: &WriteTx<'_>, boot_id: &str, at: Timestamp) -> Result<()> {
    tx.run(
        "UPDATE engine_seen SET boot_id = ?1, seen_at = max(seen_at, ?2) WHERE id = 1",
        (boot_id, at),
    )?;
    Ok(())
}
