//! Starting, stopping and restarting a computer: on request, by a budget, by a visit.

use axum::extract::State;
use axum::response::Response;

use super::activity::{self, Activity};
use super::lifecycle::{Change, refused, restart_idle_time, save, settled};
use super::{Moved, Record, changed};
use crate::access::caller::Caller;
use crate::audit::Actor;
use crate::computers::Fleet;
use crate::error::{Error, Result};
use crate::http::{Mutation, NoBody, PathId, Reply};
use crate::ids::ComputerId;
use crate::limits;
use crate::rules::driven_by::DrivenBy;
use crate::rules::status::Status;
use crate::store::WriteTx;

#[derive(Clone, Copy, PartialEq)]
enum Verb {
    Start,
    Stop,
    Restart,
}

/// `POST /computers/{id}/start`
pub async fn start(
    fleet: State<Fleet>,
    id: PathId<ComputerId>,
    request: Mutation<NoBody>,
) -> Result<Response> {
    act(fleet, id, request, Verb::Start).await
}

/// `POST /computers/{id}/stop`
pub async fn stop(
    fleet: State<Fleet>,
    id: PathId<ComputerId>,
    request: Mutation<NoBody>,
) -> Result<Response> {
    act(fleet, id, request, Verb::Stop).await
}

/// `POST /computers/{id}/restart`
pub async fn restart(
    fleet: State<Fleet>,
    id: PathId<ComputerId>,
    request: Mutation<NoBody>,
) -> Result<Response> {
    act(fleet, id, request, Verb::Restart).await
}

async fn act(
    State(fleet): State<Fleet>,
    PathId(id): PathId<ComputerId>,
    request: Mutation<NoBody>,
    verb: Verb,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let before = settled(tx, &fleet, caller, id)?;
            input?;
            let (after, message) = perform(tx, &fleet, caller, before, verb)?;
            Ok(Reply::ok(Moved {
                computer: match after.driver {
                    // More than its row has changed.
                    DrivenBy::Docker => changed(tx, &fleet, id)?,
                    _ => after.view(&fleet),
                },
                success: true,
                message,
            }))
        })
        .await
}

fn perform(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    caller: &Caller,
    before: Record,
    verb: Verb,
) -> Result<(Record, String)> {
    use Status::{Error as Broken, Provisioning, Running, Starting, Stopped, Stopping};
    if before.driver == DrivenBy::External {
        return Err(Error::conflict(
            "RESOURCE_STATE",
            "an agent outside reports what this computer does (driver external); start and stop it there",
        ));
    }
    let target = match (verb, before.status) {
        // Already there or on the way: success that changes nothing, since clients say start right after create.
        (Verb::Start, Provisioning | Starting | Running) | (Verb::Stop, Stopping | Stopped) => {
            let message = format!("computer is {}", before.status);
            let mut touched = before.clone();
            restart_idle_time(tx, fleet, &mut touched, Activity::Start)?;
            save(tx, Some(&before), &touched)?;
            return Ok((touched, message));
        }
        (Verb::Start, Stopped | Broken) | (Verb::Restart, Running) => Starting,
        (Verb::Stop, Running) => Stopping,
        (_, Provisioning | Starting) => {
            return Err(refused(
                "COMPUTER_STARTING",
                "computer is still starting; try again when it runs",
                &before,
            ));
        }
        (Verb::Restart, Stopped | Broken) => {
            return Err(refused(
                "TARGET_NOT_RUNNING",
                "computer is not running; start it instead",
                &before,
            ));
        }
        _ => {
            let text = format!("computer is {}; wait until that is over", before.status);
            return Err(refused("RESOURCE_STATE", text, &before));
        }
    };
    if verb == Verb::Start {
        limits::check_start(tx, before.tenant_id, before.workspace_id, before.project_id)?;
    }
    let after = go(tx, fleet, Actor::Key(caller), &before, target)?;
    Ok((after, format!("computer is {target}")))
}

fn go(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    actor: Actor<'_>,
    before: &Record,
    status: Status,
) -> Result<Record> {
    let after = Record {
        status,
        ..before.clone()
    };
    Change {
        kind: status.event(),
        at: tx.now(),
        actor,
    }
    .apply(tx, fleet, Some(before), after)
}

/// Starts a computer that was stopped, since somebody visits it.
///
/// # Errors
/// What refuses a start: a budget, the host, the engine.
pub fn wake(tx: &WriteTx<'_>, fleet: &Fleet, id: ComputerId) -> Result<()> {
    match super::load(tx, id)? {
        Some(before) if before.status == Status::Stopped && before.driver == DrivenBy::Docker => {
            limits::check_start(tx, before.tenant_id, before.workspace_id, before.project_id)?;
            go(tx, fleet, Actor::System, &before, Status::Starting)?;
            activity::note(tx, before.tenant_id, id, Activity::Visit)
        }
        _ => Ok(()),
    }
}

/// Stops a computer that runs, and that this server can stop, by nobody's request.
pub fn stop_by_system(tx: &WriteTx<'_>, fleet: &Fleet, id: ComputerId) -> Result<()> {
    match super::load(tx, id)? {
        Some(before) if before.status == Status::Running && before.driver != DrivenBy::External => {
            go(tx, fleet, Actor::System, &before, Status::Stopping).map(drop)
        }
        _ => Ok(()),
    }
}
