//! The life of a computer: what moves it, and when.
//!
//! The built-in driver has no process behind it. A computer that is on its way somewhere carries
//! the instant at which it arrives (`due_at`); [`run_due`] takes every one whose instant has come
//! there, *dated at that instant*. So a transition or an auto-stop that fell due while the service
//! was down is caught up at the next start as if it had been up.

use rusqlite::{OptionalExtension, named_params};
use serde::Serialize;
use serde_json::json;

use super::activity::{self, Activity};
use super::machines::room;
use super::machines::wanted::{self, Desired};
use super::{Record, find};
use crate::access::caller::Caller;
use crate::audit::{self, Actor, Entry};
use crate::clock::Timestamp;
use crate::computers::Fleet;
use crate::db::{Store, topics};
use crate::error::{Error, Result};
use crate::ids::{ComputerId, ProjectId, WorkspaceId};
use crate::json::{self, Object};
use crate::rules::driven_by::DrivenBy;
use crate::rules::size::Size;
use crate::rules::status::Status;
use crate::store::{Tx, WriteTx};
use crate::usage::ledger::event::last_until;
use crate::usage::ledger::history::{Fact, put_in};
use crate::usage::ledger::{self, Event, append, held};

/// A change of what is metered: status, size, place. Writes the row, the compute event and the
/// audit entry, in one transaction.
pub struct Change<'a> {
    /// What happened: `computer.running`, `computer.resized`, ...
    pub kind: &'static str,
    /// When; moved up to the computer's last event if the clock has stepped back.
    pub at: Timestamp,
    pub actor: Actor<'a>,
}

impl Change<'_> {
    /// Takes a computer from `before` to `after`; `None` before a creation. Where the status
    /// changes, the instants that go with it and what the driver does next are set here: so it is returned.
    pub fn apply(
        self,
        tx: &WriteTx<'_>,
        fleet: &Fleet,
        before: Option<&Record>,
        mut after: Record,
    ) -> Result<Record> {
        let states = before.map_or(ledger::ALL, |before| stated(self.kind, before, &after));
        let with_project = before.is_some_and(|before| {
            before.project_id == after.project_id
                && before.workspace_id != after.workspace_id
                && before.status != Status::Destroyed
        });
        if let Some(before) = before
            && after.driver == DrivenBy::Docker
            && let Some(wish) = wish(tx, before, &after)?
        {
            return self.ask(tx, fleet, before, after, wish);
        }
        let at = append(
            tx,
            &fleet.catalog,
            &Event {
                tenant_id: after.tenant_id,
                workspace_id: after.workspace_id,
                project_id: after.project_id,
                computer_id: after.id,
                external: after.driver.is_reported(),
                kind: if with_project {
                    ledger::PROJECT_MOVED
                } else {
                    self.kind
                },
                at: self.at,
                status: after.status,
                size: after.size,
                states,
            },
        )?;
        if before.is_none_or(|before| before.status != after.status) {
            match after.status {
                Status::Running => after.started_at = Some(at),
                Status::Stopped => after.stopped_at = Some(at),
                _ => {}
            }
            after.due_at = due(fleet, &after, at);
            if let Some(due) = after.due_at {
                after.due_at = Some(fleet.simulation.delay(tx, &after, at, due)?);
            }
        }
        if after.driver == DrivenBy::Docker {
            match before {
                None => {
                    activity::note(tx, after.tenant_id, after.id, Activity::Start)?;
                    wanted::ask(tx, &after, Desired::Running, false)?;
                }
                Some(_) if after.status == Status::Destroyed => {
                    wanted::ask(tx, &after, Desired::Gone, false)?;
                }
                // It comes back: kept as it is, and not started.
                Some(before) if before.status == Status::Destroyed => {
                    wanted::ask(tx, &after, Desired::Stopped, false)?;
                }
                Some(_) => wanted::look(tx, after.id)?,
            }
        }
        if after.driver == DrivenBy::External
            && before.is_some()
            && after.status != Status::Destroyed
        {
            // What is reported for later goes on lying ahead.
            if let Some(held) = held(tx, after.id)? {
                take_up(&mut after, &held);
            }
        }
        after.updated_at = at;
        if before.is_some() && after.created_at > at && tx.clock().of_wall {
            // It was made while the clock was ahead.
            after.created_at = at;
            tx.run(
                "UPDATE computers SET created_at = ?1 WHERE id = ?2 AND tenant_id = ?3",
                (at, after.id, after.tenant_id),
            )?;
        }
        save(tx, before, &after)?;
        record(tx, self.actor, self.kind, before, &after)?;
        Ok(after)
    }

    /// A change of a computer that an engine runs: the row says what is wanted, and the events follow when
    /// the engine has been seen to do it.
    fn ask(
        self,
        tx: &WriteTx<'_>,
        fleet: &Fleet,
        before: &Record,
        mut after: Record,
        wish: Wish,
    ) -> Result<Record> {
        match wish {
            Wish::Size => wanted::look(tx, after.id)?,
            Wish::Run { restart } => {
                if restart {
                    fleet.engine.ready()?;
                } else {
                    room::check(tx, fleet, after.size, Some(after.id))?;
                }
                activity::note(tx, after.tenant_id, after.id, Activity::Start)?;
                wanted::ask(tx, &after, Desired::Running, restart)?;
            }
            Wish::Stop => wanted::ask(tx, &after, Desired::Stopped, false)?,
        }
        if before.status != after.status {
            after.due_at = None;
        }
        after.updated_at = tx.now();
        save(tx, Some(before), &after)?;
        record(tx, self.actor, self.kind, Some(before), &after)?;
        Ok(after)
    }
}

/// What is asked of an engine, and is no event before it is done.
enum Wish {
    Run { restart: bool },
    Stop,
    Size,
}

fn wish(tx: &WriteTx<'_>, before: &Record, after: &Record) -> Result<Option<Wish>> {
    Ok(if before.status != after.status {
        match after.status {
            Status::Starting => Some(Wish::Run {
                restart: before.status == Status::Running,
            }),
            Status::Stopping => Some(Wish::Stop),
            _ => None,
        }
    } else if before.size != after.size
        && held(tx, after.id)?.is_some_and(|held| held.status.billable())
    {
        Some(Wish::Size)
    } else {
        None
    })
}

/// What of the metered state a change is about: what differs, and what was asked for although it was
/// so already, since a report about the time before may still arrive.
fn stated(kind: &str, before: &Record, after: &Record) -> i64 {
    let part = |differs: bool, part: i64| if differs { part } else { 0 };
    let place = |c: &Record| (c.workspace_id, c.project_id);
    part(before.status != after.status, ledger::STATUS)
        | part(
            kind == "computer.resized" || before.size != after.size,
            ledger::SIZE,
        )
        | part(
            kind == "computer.moved" || place(before) != place(after),
            ledger::PLACE,
        )
}

/// Puts into a record what its events say.
fn take_up(c: &mut Record, held: &ledger::Held) {
    c.status = held.status;
    c.size = held.size;
    c.workspace_id = held.workspace_id;
    c.project_id = held.project_id;
    c.due_at = held.next;
}

/// When the built-in driver takes a computer further, if it came to its status, or was last active,
/// at `at`. An external computer is never moved from here.
pub(super) fn due(fleet: &Fleet, computer: &Record, at: Timestamp) -> Option<Timestamp> {
    let next = computer
        .status
        .next(&fleet.config.delays, computer.auto_stop_seconds)?;
    let moves = match computer.driver {
        DrivenBy::Simulated => true,
        DrivenBy::External => false,
        DrivenBy::Docker => computer.status == Status::Running,
    };
    moves.then(|| at.plus_ms(next.1))
}

/// An activity: the idle time of a running computer starts again.
pub(super) fn restart_idle_time(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    computer: &mut Record,
    by: Activity,
) -> Result<()> {
    if computer.status == Status::Running && computer.driver != DrivenBy::External {
        computer.due_at = due(fleet, computer, tx.now());
    }
    if computer.driver == DrivenBy::Docker {
        activity::note(tx, computer.tenant_id, computer.id, by)?;
    }
    Ok(())
}

/// Somebody works in it.
pub(super) fn touch(tx: &WriteTx<'_>, fleet: &Fleet, id: ComputerId, by: Activity) -> Result<()> {
    let Some(mut computer) = super::load(tx, id)? else {
        return Ok(());
    };
    restart_idle_time(tx, fleet, &mut computer, by)?;
    tx.run(
        "UPDATE computers SET due_at = ?1 WHERE id = ?2",
        (computer.due_at, id),
    )?;
    tx.changed(topics::AGENDA);
    Ok(())
}

/// Updates what of a computer's row may change; what differs only in where it is in its life leaves the rest, and the
/// indexes over it, alone.
pub(super) fn save(tx: &WriteTx<'_>, before: Option<&Record>, c: &Record) -> Result<()> {
    if c.due_at.is_some() {
        tx.changed(topics::AGENDA);
    }
    if before.is_some_and(|before| stays(before) == stays(c)) {
        let sql = "UPDATE computers SET status = ?1, due_at = ?2, updated_at = ?3, started_at = ?4, stopped_at = ?5
             WHERE id = ?6 AND tenant_id = ?7";
        let life = (c.status, c.due_at, c.updated_at, c.started_at, c.stopped_at);
        tx.run(
            sql,
            (life.0, life.1, life.2, life.3, life.4, c.id, c.tenant_id),
        )?;
        return Ok(());
    }
    let sql = "UPDATE computers SET workspace_id = :workspace, project_id = :project, name = :name, size = :size,
             status = :status, visibility = :visibility, metadata = :metadata, settings = :settings, external_user_id = :user,
             external_project_id = :external_project, auto_stop_seconds = :auto_stop, due_at = :due,
             updated_at = :updated, started_at = :started, stopped_at = :stopped, deleted_at = :deleted
         WHERE id = :id AND tenant_id = :tenant";
    tx.run(
        sql,
        named_params! {
            ":workspace": c.workspace_id, ":project": c.project_id, ":name": c.name, ":size": c.size,
            ":status": c.status, ":visibility": c.visibility, ":metadata": c.metadata, ":settings": c.settings, ":user": c.external_user_id,
            ":external_project": c.external_project_id, ":auto_stop": c.auto_stop_seconds, ":due": c.due_at,
            ":updated": c.updated_at, ":started": c.started_at, ":stopped": c.stopped_at,
            ":deleted": (c.status == Status::Destroyed).then_some(c.updated_at),
            ":id": c.id, ":tenant": c.tenant_id,
        },
    )?;
    Ok(())
}

/// What of a row stays when a computer goes from status to status.
fn stays(c: &Record) -> impl PartialEq + '_ {
    (
        (c.status == Status::Destroyed, c.workspace_id, c.project_id),
        (c.size, c.auto_stop_seconds),
        (&c.name, &c.visibility, c.metadata.text(), c.settings.text()),
        (&c.external_user_id, &c.external_project_id),
    )
}

/// What the audit log says of a computer: what is not derived from the catalogue.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    slug: &'a str,
    status: Status,
    size: Size,
    workspace_id: WorkspaceId,
    project_id: ProjectId,
    visibility: &'a str,
    auto_stop_seconds: i64,
    external_user_id: Option<&'a str>,
    metadata: &'a Object,
}

impl<'a> Shown<'a> {
    fn of(c: &'a Record) -> Self {
        Shown {
            name: &c.name,
            slug: &c.slug,
            status: c.status,
            size: c.size,
            workspace_id: c.workspace_id,
            project_id: c.project_id,
            visibility: &c.visibility,
            auto_stop_seconds: c.auto_stop_seconds,
            external_user_id: c.external_user_id.as_deref(),
            metadata: &c.metadata,
        }
    }
}

/// The audit entry of a computer.
pub(super) fn record(
    tx: &WriteTx<'_>,
    actor: Actor<'_>,
    kind: &'static str,
    before: Option<&Record>,
    after: &Record,
) -> Result<()> {
    audit::record(
        tx,
        &Entry {
            actor,
            tenant_id: after.tenant_id,
            workspace_id: Some(after.workspace_id),
            kind,
            resource: after.id.0,
            before: before.map(Shown::of).as_ref(),
            after: (after.status != Status::Destroyed)
                .then(|| Shown::of(after))
                .as_ref(),
        },
    )
}

/// Takes computers whose instant has come to where they are going, in the order in which they fell
/// due, at most `limit` of them. Returns how many; 0 = nothing is due.
pub fn run_due(tx: &WriteTx<'_>, fleet: &Fleet, limit: usize) -> Result<usize> {
    for done in 0..limit {
        let next: Option<(ComputerId, Timestamp)> = tx
            .row(
                "SELECT id, due_at FROM computers WHERE due_at <= ?1 ORDER BY due_at, id LIMIT 1",
                [tx.now()],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        let Some((id, at)) = next else {
            return Ok(done);
        };
        step(tx, fleet, id, at)?;
    }
    Ok(limit)
}

/// [`run_due`] for as long as a turn of the writer lasts.
pub fn run_for_a_turn(tx: &WriteTx<'_>, fleet: &Fleet, limit: usize) -> Result<usize> {
    let mut done = 0;
    while done < limit && run_due(tx, fleet, 1)? > 0 {
        done += 1;
        if tx.turn_is_over() {
            break;
        }
    }
    Ok(done)
}

/// Turns of the writer until nothing is due: before a change that concerns many computers, so that
/// [`catch_up`] finds little left to do in the change's own turn.
///
/// # Errors
/// When the store fails.
pub async fn catch_up_in_turns(store: &Store, fleet: &Fleet) -> Result<()> {
    loop {
        let fleet = fleet.clone();
        let turn = store.write(move |tx| catch_up_for_a_turn(tx, &fleet));
        if turn.await? {
            return Ok(());
        }
    }
}

/// Lets happen what has fallen due, as long as a turn of the writer lasts. Returns whether that was all.
pub fn catch_up_for_a_turn(tx: &WriteTx<'_>, fleet: &Fleet) -> Result<bool> {
    while run_due(tx, fleet, 1)? > 0 {
        if tx.turn_is_over() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Lets happen what has fallen due, of all computers: in the transaction of a change that concerns many of
/// them, after [`catch_up_in_turns`].
pub fn catch_up(tx: &WriteTx<'_>, fleet: &Fleet) -> Result<()> {
    while run_due(tx, fleet, 100)? > 0 {}
    Ok(())
}

/// The computer that a request is about to change, as it is by now: what has fallen due for it happens
/// first, at its instant, so that no change can move or undo it.
///
/// # Errors
/// As [`find`].
pub(super) fn settled(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    caller: &Caller,
    id: ComputerId,
) -> Result<Record> {
    let mut computer = find(tx, caller, id)?;
    if bring_nearer(tx, fleet, &computer)? {
        computer = find(tx, caller, id)?;
    }
    while let Some(due) = computer.due_at.filter(|due| *due <= tx.now()) {
        step(tx, fleet, id, due)?;
        computer = find(tx, caller, id)?;
    }
    Ok(computer)
}

/// Where a computer is due further ahead than what it waits for takes, the clock was ahead when that
/// was written: it arrives now, and an idle time begins anew. Returns whether that is so.
pub(super) fn bring_nearer(tx: &WriteTx<'_>, fleet: &Fleet, computer: &Record) -> Result<bool> {
    // What an agent reported ahead stays there; the emulator makes delays as long as it is told.
    if computer.driver.is_reported() || fleet.config.virtual_clock || !tx.clock().of_wall {
        return Ok(false);
    }
    let (now, due_at) = (tx.now(), due(fleet, computer, tx.now()));
    if computer
        .due_at
        .is_none_or(|at| due_at.is_some_and(|due_at| at <= due_at))
    {
        return Ok(false);
    }
    let due_at = match computer.status {
        Status::Running => due_at,
        _ => Some(now),
    };
    tracing::warn!(computer = %computer.id, "due further ahead than it takes: the clock was ahead");
    tx.run(
        "UPDATE computers SET due_at = ?1 WHERE id = ?2 AND tenant_id = ?3",
        (due_at, computer.id, computer.tenant_id),
    )?;
    tx.changed(topics::AGENDA);
    Ok(true)
}

/// Brings nearer what is due too far ahead, of at most `limit` computers; returns of how many. For after
/// the clock was set back.
pub fn bring_all_nearer(tx: &WriteTx<'_>, fleet: &Fleet, limit: usize) -> Result<usize> {
    let delays = &fleet.config.delays;
    let longest = delays.provision_ms.max(delays.start_ms).max(delays.stop_ms);
    let sql = "SELECT id FROM computers WHERE due_at > ?1 AND driver = 'simulated' AND deleted_at IS NULL
                 AND due_at > ?1 + CASE status WHEN 'running' THEN auto_stop_seconds * 1000 ELSE ?2 END
             LIMIT ?3";
    let ids: Vec<ComputerId> = tx
        .prepare_cached(sql)?
        .query_map(
            (tx.now(), longest, i64::try_from(limit).unwrap_or(i64::MAX)),
            |row| row.get(0),
        )?
        .collect::<Result<_, _>>()?;
    let mut done = 0;
    for id in ids {
        if let Some(computer) = super::load(tx, id)? {
            done += usize::from(bring_nearer(tx, fleet, &computer)?);
        }
    }
    Ok(done)
}

/// Takes a computer whose instant has come to where it is going.
fn step(tx: &WriteTx<'_>, fleet: &Fleet, id: ComputerId, at: Timestamp) -> Result<()> {
    let computer = super::load(tx, id)?;
    let step = computer.and_then(|c| {
        Some((
            c.status.next(&fleet.config.delays, c.auto_stop_seconds)?.0,
            c,
        ))
    });
    let moves = |c: &Record| match c.driver {
        DrivenBy::Simulated => true,
        DrivenBy::External => false,
        DrivenBy::Docker => c.status == Status::Running,
    };
    match step {
        // Not written down yet, and in time.
        Some((_, before)) if moves(&before) && stays_awake(tx, fleet, &before)? => {}
        Some((status, before)) if moves(&before) => {
            let status = match before.driver {
                DrivenBy::Docker => status,
                _ => fleet.simulation.arrive(id, status),
            };
            let after = Record {
                status,
                ..before.clone()
            };
            Change {
                kind: status.event(),
                at,
                actor: Actor::System,
            }
            .apply(tx, fleet, Some(&before), after)?;
        }
        // Nothing to do after all, or what an agent reported ahead of the clock now holds. Without
        // the first the row would be found for ever.
        _ => {
            tx.run("UPDATE computers SET due_at = NULL WHERE id = ?1", [id])?;
            follow_events(tx, fleet, Actor::System, id)?;
        }
    }
    Ok(())
}

/// Whether something keeps a computer awake that an engine runs and that is about to stop for being idle: what
/// happened in it by now counts, also where its row does not know of it yet.
fn stays_awake(tx: &WriteTx<'_>, fleet: &Fleet, computer: &Record) -> Result<bool> {
    if computer.driver != DrivenBy::Docker {
        return Ok(false);
    }
    let Some((at, by)) = fleet.engine.last_activity(computer.id, tx.now()) else {
        return Ok(false);
    };
    let Some(due) = due(fleet, computer, at).filter(|due| *due > tx.now()) else {
        return Ok(false);
    };
    activity::note(tx, computer.tenant_id, computer.id, by)?;
    tx.run(
        "UPDATE computers SET due_at = ?1 WHERE id = ?2 AND tenant_id = ?3",
        (due, computer.id, computer.tenant_id),
    )?;
    tx.changed(topics::AGENDA);
    Ok(true)
}

/// Brings the row of a computer that is reported about to what its events say holds now.
/// A report that is dated ahead of the clock is taken up when its instant has come.
pub fn follow_events(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    actor: Actor<'_>,
    id: ComputerId,
) -> Result<()> {
    let Some(mut held) = held(tx, id)? else {
        return Ok(());
    };
    let Some(before) = super::load(tx, id)?.filter(|c| c.driver.is_reported()) else {
        // Gone already; what comes late may still say where it was and how large at its deletion.
        let deleted = tx.row(
            "SELECT deleted_at FROM computers WHERE id = ?1",
            [id],
            |row| row.get::<_, Option<i64>>(0),
        )?;
        let at = deleted.unwrap_or(i64::MAX);
        let Some(last) = last_until(tx, id, at)?.map(|last| last.state) else {
            return Ok(());
        };
        let sql = "UPDATE computers SET workspace_id = ?1, project_id = ?2, size = ?3
             WHERE id = ?4 AND driver <> 'simulated' AND deleted_at IS NOT NULL";
        tx.run(sql, (last.workspace, last.project, last.size, id))?;
        return Ok(());
    };
    if (held.workspace_id, held.project_id) != (before.workspace_id, before.project_id)
        && let Some(place) = possible_place(tx, &held, &before)?
    {
        let fact = Fact {
            event_id: None,
            kind: "computer.moved".into(),
            at: held.at.0,
            status: None,
            size: None,
            place: Some(place),
        };
        put_in(tx, &fleet.catalog, before.tenant_id, id, fact)?;
        (held.workspace_id, held.project_id) = place;
    }
    let mut after = before.clone();
    if before.driver == DrivenBy::Docker {
        // Its size is what was asked for, until the engine holds it to that.
        after.status = wanted::shown(tx, id, held.status)?;
        (after.workspace_id, after.project_id) = (held.workspace_id, held.project_id);
    } else {
        take_up(&mut after, &held);
    }
    if after.project_id != before.project_id {
        after.external_project_id = tx.row(
            "SELECT external_project_id FROM projects WHERE id = ?1",
            [after.project_id],
            |row| row.get(0),
        )?;
    }
    let kind = if before.status != after.status {
        match after.status {
            Status::Running => after.started_at = Some(held.at),
            Status::Stopped => after.stopped_at = Some(held.at),
            _ => {}
        }
        if before.driver == DrivenBy::Docker {
            after.due_at = due(fleet, &after, held.at);
        }
        after.status.event()
    } else if before.size != after.size {
        "computer.resized"
    } else if before.project_id != after.project_id {
        "computer.moved"
    } else if before.due_at != after.due_at {
        return save(tx, Some(&before), &after);
    } else {
        return Ok(());
    };
    after.updated_at = tx.now();
    if after.status == Status::Destroyed {
        // A batch may report a move and the deletion at once; the counters know one of them at a time.
        save(
            tx,
            Some(&before),
            &Record {
                status: before.status,
                ..after.clone()
            },
        )?;
    }
    save(tx, Some(&before), &after)?;
    record(tx, actor, kind, Some(&before), &after)
}

/// Where a computer is instead, if by its events it came to a place that is no more: its project has left
/// for another workspace since that was reported, and it goes with it; or it was deleted, and the
/// computer stays where it was.
fn possible_place(
    tx: &WriteTx<'_>,
    held: &ledger::Held,
    before: &Record,
) -> Result<Option<(WorkspaceId, ProjectId)>> {
    let sql = "SELECT p.workspace_id FROM projects p JOIN workspaces w ON w.id = p.workspace_id
             WHERE p.id = ?1 AND p.deleted_at IS NULL AND w.deleted_at IS NULL";
    let now: Option<WorkspaceId> = tx
        .row(sql, [held.project_id], |row| row.get(0))
        .optional()?;
    Ok(match now {
        Some(workspace) if workspace == held.workspace_id => None,
        Some(workspace) => Some((workspace, held.project_id)),
        None => Some((before.workspace_id, before.project_id)),
    })
}

/// Switches a computer on or off as its user would; one that is already there, on its way, or moved
/// by an agent outside stays as it is. Returns whether anything was done.
pub fn drive(tx: &WriteTx<'_>, fleet: &Fleet, id: ComputerId, on: bool) -> Result<bool> {
    let Some(before) = super::load(tx, id)?.filter(|c| c.driver == DrivenBy::Simulated) else {
        return Ok(false);
    };
    let status = match (before.status, on) {
        (Status::Stopped | Status::Error, true) => Status::Starting,
        (Status::Running, false) => Status::Stopping,
        _ => return Ok(false),
    };
    let after = Record {
        status,
        ..before.clone()
    };
    Change {
        kind: status.event(),
        at: tx.now(),
        actor: Actor::System,
    }
    .apply(tx, fleet, Some(&before), after)?;
    Ok(true)
}

/// When [`run_due`] next has something to do.
pub fn next_due(tx: &Tx<'_>) -> Result<Option<Timestamp>> {
    let sql = "SELECT due_at FROM computers WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 1";
    Ok(tx.row(sql, [], |row| row.get(0)).optional()?)
}

pub(super) fn refused(code: &'static str, message: impl Into<String>, computer: &Record) -> Error {
    let allowed: &[&str] = match computer.status {
        Status::Running => &["stop", "restart", "resize", "move", "clone", "delete"],
        Status::Stopped => &["start", "resize", "move", "clone", "delete"],
        Status::Error => &["start", "resize", "move", "clone", "delete"],
        _ => &["resize", "move", "clone", "delete"],
    };
    Error::conflict(code, message)
        .with_details(json!({ "status": computer.status, "allowed": allowed }))
}

/// `selected_apps` as text, for inserts.
pub(super) fn apps_text(apps: &[String]) -> Result<String> {
    json::text(&apps)
}
