//! Changing a computer: name and manners, size, place; and the end of it.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::response::Response;
use rusqlite::{OptionalExtension, named_params};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::activity::Activity;
use super::auto_stop::AutoStop;
use super::create::{auto_stop as check_auto_stop, one_of, parse_size, project_in};
use super::lifecycle::{Change, catch_up_for_a_turn, record, restart_idle_time, save, settled};
use super::rows::{SELECT, WAKES};
use super::{ComputerTwice, Record, changed, find};
use crate::access::caller::Caller;
use crate::audit::Actor;
use crate::clock::Timestamp;
use crate::computers::Fleet;
use crate::db::Store;
use crate::deleted;
use crate::error::{Error, Fields, Result};
use crate::http::{Mutation, NoBody, PathId, Reply, Single};
use crate::ids::{ComputerId, ProjectId, WorkspaceId};
use crate::json::{Object, Patch};
use crate::limits::{self, Growth};
use crate::projects::{self, Project};
use crate::rules::size::Size;
use crate::rules::status::Status;
use crate::rules::text;
use crate::store::{TURN, WriteTx};
use crate::usage::ledger::{attribution, labels};
use crate::workspaces;

/// `PATCH /computers/{id}`: what is left out stays as it is.
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
#[schema(as = UpdateComputer)]
pub struct Update {
    /// New name
    #[schema(value_type = Option<String>, nullable = false, min_length = 1, max_length = 120)]
    pub name: Patch<String>,
    /// Replaces all metadata; null empties it
    #[schema(value_type = Option<Object>)]
    pub metadata: Patch<Object>,
    /// public, tenant or key
    #[schema(value_type = Option<super::create::Visibility>)]
    pub visibility: Option<String>,
    /// Idle seconds after which it stops; 0 = never
    #[schema(minimum = 0, maximum = 2592000)]
    pub auto_stop_seconds: Option<i64>,
    /// New end user; null clears it
    #[schema(value_type = Option<String>, min_length = 1, max_length = 255)]
    pub external_user_id: Patch<String>,
    /// New id of the caller's for its project; null clears it
    #[schema(value_type = Option<String>, min_length = 1, max_length = 255)]
    pub external_project_id: Patch<String>,
    /// A visit to one of its preview addresses starts it when it is stopped; kept as `settings.wake_on_request`
    #[schema(nullable = false)]
    pub wake_on_request: Option<bool>,
    /// Only the workspace that it is in; moving is `POST /computers/{id}/move`
    pub workspace_id: Option<WorkspaceId>,
}

/// `POST /computers/{id}/resize`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct Resize {
    /// The new size
    #[schema(value_type = Size, required = true, nullable = false)]
    pub size: Option<String>,
}

/// `POST /computers/{id}/move`. `host_id` and `region`, which mean another kind of move elsewhere,
/// are accepted and change nothing here.
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
#[schema(as = MoveComputer)]
pub struct Move {
    /// The workspace to move to
    pub workspace_id: Option<WorkspaceId>,
    /// A project there, by id; its default project if left out
    pub project_id: Option<ProjectId>,
    /// A project there, by slug
    pub project_slug: Option<String>,
    /// Ignored
    pub host_id: Option<String>,
    /// Ignored
    pub region: Option<String>,
}

/// `PATCH /computers/{id}/auto-stop`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct SetAutoStop {
    /// Idle seconds after which it stops; 0 = never
    #[schema(required = true, nullable = false, minimum = 0, maximum = 2592000)]
    pub seconds: Option<i64>,
    /// Another name of the same
    pub auto_stop_seconds: Option<i64>,
}

/// A computer that is gone.
#[derive(Serialize, ToSchema)]
pub struct Destroyed {
    deleted: bool,
    success: bool,
    id: ComputerId,
    status: Status,
}

/// `PATCH /computers/{id}`
pub async fn update(
    State(fleet): State<Fleet>,
    PathId(id): PathId<ComputerId>,
    request: Mutation<Update>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let before = settled(tx, &fleet, caller, id)?;
            let after = updated(caller, before.clone(), input?)?;
            store_change(tx, &fleet, caller, &before, after)?;
            Ok(Reply::ok(changed(tx, &fleet, id)?))
        })
        .await
}

fn updated(caller: &Caller, mut c: Record, input: Update) -> Result<Record> {
    let mut fields = Fields::default();
    if input.name != Patch::Absent {
        c.name = text::name(&mut fields, "name", input.name.value().map(String::as_str));
    }
    if input.workspace_id.is_some_and(|id| id != c.workspace_id) {
        fields.push(
            "workspace_id",
            "cannot be changed here; use POST /api/v1/computers/{id}/move",
        );
    }
    if input.visibility.is_some() {
        c.visibility = one_of(
            &mut fields,
            "visibility",
            input.visibility,
            &["public", "tenant", "key"],
        );
    }
    check_auto_stop(&mut fields, "auto_stop_seconds", input.auto_stop_seconds);
    text::metadata(&mut fields, "metadata", input.metadata.value());
    text::external_id(
        &mut fields,
        "external_user_id",
        input.external_user_id.value().map(String::as_str),
    );
    text::external_id(
        &mut fields,
        "external_project_id",
        input.external_project_id.value().map(String::as_str),
    );
    fields.finish()?;
    c.metadata = input
        .metadata
        .apply(Some(c.metadata))
        .unwrap_or_else(Object::empty);
    if let Some(wakes) = input.wake_on_request {
        c.settings = c.settings.with(WAKES, wakes.into());
    }
    c.external_user_id = input.external_user_id.apply(c.external_user_id);
    c.external_project_id = input.external_project_id.apply(c.external_project_id);
    c.auto_stop_seconds = input.auto_stop_seconds.unwrap_or(c.auto_stop_seconds);
    // A delegated key cannot give a computer away to another end user.
    if caller
        .only_user()
        .is_some_and(|user| c.external_user_id.as_deref() != Some(user))
    {
        return Err(Error::forbidden());
    }
    Ok(c)
}

/// Stores a change of what is not metered. It is an activity.
fn store_change(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    caller: &Caller,
    before: &Record,
    mut after: Record,
) -> Result<Record> {
    restart_idle_time(tx, fleet, &mut after, Activity::Change)?;
    attribution::changes(
        tx,
        after.id.0,
        before.external_user_id.as_deref(),
        after.external_user_id.as_deref(),
    )?;
    labels::changes(tx, after.id.0, &before.metadata, &after.metadata)?;
    after.updated_at = tx.now();
    save(tx, Some(before), &after)?;
    record(
        tx,
        Actor::Key(caller),
        "computer.updated",
        Some(before),
        &after,
    )?;
    Ok(after)
}

/// `POST /computers/{id}/resize`
pub async fn resize(
    State(fleet): State<Fleet>,
    PathId(id): PathId<ComputerId>,
    request: Mutation<Resize>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let before = settled(tx, &fleet, caller, id)?;
            let mut fields = Fields::default();
            let size = match input?.size.as_deref() {
                Some(text) => parse_size(&mut fields, text),
                None => {
                    fields.push("size", "can't be blank");
                    None
                }
            };
            fields.finish()?;
            let size = size.unwrap_or(before.size);
            // An external computer may have been said to have another size until now: reports arrive late.
            if size != before.size || before.driver.is_reported() {
                let workspace = workspaces::reach(tx, caller, before.workspace_id)?;
                // Only what grows is checked: a computer over a lowered cap may still shrink.
                let sizes: &[Size] = if size > before.size { &[size] } else { &[] };
                let growth = Growth {
                    workspace: 0,
                    tenant: 0,
                    sizes,
                    templates: &[],
                    starts_in: None,
                };
                limits::check(tx, &fleet.config.file, &workspace, &growth)?;
                let mut after = Record {
                    size,
                    ..before.clone()
                };
                restart_idle_time(tx, &fleet, &mut after, Activity::Change)?;
                Change {
                    kind: "computer.resized",
                    at: tx.now(),
                    actor: Actor::Key(caller),
                }
                .apply(tx, &fleet, Some(&before), after)?;
            }
            Ok(Reply::ok(ComputerTwice::new(changed(tx, &fleet, id)?)))
        })
        .await
}

/// `POST /computers/{id}/move`
pub async fn move_to(
    State(fleet): State<Fleet>,
    PathId(id): PathId<ComputerId>,
    request: Mutation<Move>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let before = settled(tx, &fleet, caller, id)?;
            let input = input?;
            let somewhere = input.workspace_id.is_some()
                || input.project_id.is_some()
                || input.project_slug.is_some();
            if somewhere {
                let (workspace, project) = target(tx, &fleet, caller, &before, &input)?;
                put_into(tx, &fleet, caller, &before, &workspace, &project)?;
            } else if input.host_id.is_none() && input.region.is_none() {
                return Err(Error::field(
                    "workspace_id",
                    "can't be blank: name the workspace to move to",
                ));
            }
            Ok(Reply::ok(ComputerTwice::new(changed(tx, &fleet, id)?)))
        })
        .await
}

/// Where a move goes: without a project to its own, if the workspace is the same.
fn target(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    caller: &Caller,
    computer: &Record,
    input: &Move,
) -> Result<(workspaces::Record, Project)> {
    let workspace = match (input.workspace_id, input.project_id) {
        (Some(id), _) => id,
        (None, Some(project)) => projects::reach(tx, caller, project)?.workspace_id,
        (None, None) => computer.workspace_id,
    };
    let workspace = workspaces::reach(tx, caller, workspace)?;
    let here = workspace.view.id;
    let project = if let Some(id) = input.project_id {
        project_in(tx, caller, here, id)?
    } else if let Some(slug) = &input.project_slug {
        projects::find_by_slug(tx, here, slug)?.ok_or_else(|| Error::not_found("project"))?
    } else if here == computer.workspace_id {
        project_in(tx, caller, here, computer.project_id)?
    } else {
        projects::default_or_create(tx, &fleet.config.file, caller, &workspace.view)?
    };
    Ok((workspace, project))
}

/// Moves a computer, running or not: usage splits at this instant, history stays where it was.
fn put_into(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    caller: &Caller,
    before: &Record,
    workspace: &workspaces::Record,
    project: &Project,
) -> Result<()> {
    if project.id == before.project_id && !before.driver.is_reported() {
        return Ok(());
    }
    if workspace.view.id != before.workspace_id {
        let growth = Growth {
            workspace: 1,
            tenant: 0,
            sizes: &[before.size],
            templates: std::slice::from_ref(&before.template_type),
            starts_in: None,
        };
        limits::check(tx, &fleet.config.file, workspace, &growth)?;
    }
    let mut after = Record {
        workspace_id: workspace.view.id,
        project_id: project.id,
        external_project_id: project.external_project_id.clone(),
        ..before.clone()
    };
    restart_idle_time(tx, fleet, &mut after, Activity::Change)?;
    Change {
        kind: "computer.moved",
        at: tx.now(),
        actor: Actor::Key(caller),
    }
    .apply(tx, fleet, Some(before), after)
    .map(drop)
}

/// Some of the live computers that a condition on `c` finds, oldest first, and whether there are more.
fn some(
    tx: &WriteTx<'_>,
    condition: &str,
    params: &[(&str, &dyn rusqlite::ToSql)],
) -> Result<(Vec<Record>, bool)> {
    let sql = format!(
        "{} WHERE {condition} AND c.deleted_at IS NULL ORDER BY c.created_at, c.id LIMIT {}",
        *SELECT,
        TURN + 1
    );
    let mut found: Vec<Record> = tx
        .prepare_cached(&sql)?
        .query_map(params, Record::from_row)?
        .collect::<Result<_, _>>()?;
    let more = found.len() > TURN;
    found.truncate(TURN);
    Ok((found, more))
}

/// Whose deed it is; that of a caller who is not known any more is carried on by the service.
fn actor(caller: Option<&Caller>) -> Actor<'_> {
    caller.map_or(Actor::System, Actor::Key)
}

/// Takes computers of a project that has just been put into `target` there too, under the limits of that
/// workspace for all of them. Returns whether some are left for [`follow`].
///
/// # Errors
/// 422 when a limit of the target refuses; the caller's transaction undoes all of it.
pub fn follow_project(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    caller: &Caller,
    project: ProjectId,
    target: &workspaces::Record,
) -> Result<bool> {
    let sql = "SELECT size, template_type, count(*) FROM computers
         WHERE project_id = ?1 AND deleted_at IS NULL GROUP BY size, template_type";
    let mut statement = tx.prepare_cached(sql)?;
    let kinds: Vec<(Size, String, i64)> = statement
        .query_map([project], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    let sizes: Vec<Size> = kinds.iter().map(|(size, _, _)| *size).collect();
    let templates: BTreeSet<String> = kinds.iter().map(|(_, name, _)| name.clone()).collect();
    let templates: Vec<String> = templates.into_iter().collect();
    let growth = Growth {
        workspace: kinds.iter().map(|(_, _, count)| count).sum(),
        tenant: 0,
        sizes: &sizes,
        templates: &templates,
        starts_in: None,
    };
    limits::check(tx, &fleet.config.file, target, &growth)?;
    Ok(follow(tx, fleet, Some(caller), project, None)?.is_some())
}

/// The computer that a turn came to: the next one goes on after it.
pub type Reached = (Timestamp, ComputerId);

/// Takes computers of a project to the workspace that it is in, of those `after` one if told so. Returns after
/// which one some may be left.
pub fn follow(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    caller: Option<&Caller>,
    project: ProjectId,
    after: Option<Reached>,
) -> Result<Option<Reached>> {
    let (at, id) = after.unwrap_or((Timestamp(i64::MIN), ComputerId(uuid::Uuid::nil())));
    if !catch_up_for_a_turn(tx, fleet)? {
        return Ok(Some((at, id)));
    }
    let place: Option<WorkspaceId> = tx
        .row(
            "SELECT workspace_id FROM projects WHERE id = ?1 AND deleted_at IS NULL",
            [project],
            |row| row.get(0),
        )
        .optional()?;
    let Some(place) = place else {
        return Ok(None);
    };
    let (computers, more) = some(
        tx,
        "c.project_id = :project AND c.workspace_id <> :place AND (c.created_at, c.id) > (:at, :id)",
        named_params! { ":project": project, ":place": place, ":at": at, ":id": id },
    )?;
    let mut reached = None;
    let count = computers.len();
    for (n, before) in computers.into_iter().enumerate() {
        reached = Some((before.created_at, before.id));
        let after = Record {
            workspace_id: place,
            ..before.clone()
        };
        Change {
            kind: "computer.moved",
            at: tx.now(),
            actor: actor(caller),
        }
        .apply(tx, fleet, Some(&before), after)?;
        if n + 1 < count && tx.turn_is_over() {
            return Ok(reached);
        }
    }
    Ok(reached.filter(|_| more))
}

/// `DELETE /computers/{id}`
pub async fn delete(
    State(fleet): State<Fleet>,
    PathId(id): PathId<ComputerId>,
    request: Mutation<NoBody>,
) -> Result<Response> {
    request
        .run(move |tx, caller, _| {
            let before = settled(tx, &fleet, caller, id)?;
            destroy(tx, &fleet, Some(caller), &before, None)?;
            Ok(Reply::ok(Destroyed {
                deleted: true,
                success: true,
                id,
                status: Status::Destroyed,
            }))
        })
        .await
}

/// Deletes a computer, by itself or with its workspace.
fn destroy(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    caller: Option<&Caller>,
    before: &Record,
    with: Option<WorkspaceId>,
) -> Result<()> {
    let after = Record {
        status: Status::Destroyed,
        ..before.clone()
    };
    Change {
        kind: Status::Destroyed.event(),
        at: tx.now(),
        actor: actor(caller),
    }
    .apply(tx, fleet, Some(before), after)?;
    if let Some(until) = deleted::until(tx, &fleet.config) {
        let sql = "UPDATE computers SET restorable_until = ?1, deleted_with = ?2 WHERE id = ?3 AND tenant_id = ?4";
        tx.run(sql, (until, with, before.id, before.tenant_id))?;
    }
    Ok(())
}

/// Deletes computers of a workspace. Returns whether some are left.
pub fn delete_some(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    caller: Option<&Caller>,
    workspace: WorkspaceId,
) -> Result<bool> {
    if !catch_up_for_a_turn(tx, fleet)? {
        return Ok(true);
    }
    let (computers, more) = some(
        tx,
        "c.workspace_id = :workspace",
        named_params! { ":workspace": workspace },
    )?;
    for (n, computer) in computers.iter().enumerate() {
        destroy(tx, fleet, caller, computer, Some(workspace))?;
        if n + 1 < computers.len() && tx.turn_is_over() {
            return Ok(true);
        }
    }
    Ok(more)
}

/// `GET /computers/{id}/auto-stop`
pub async fn auto_stop(
    State(store): State<Store>,
    State(_fleet): State<Fleet>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
) -> Result<Single<AutoStop>> {
    let view = store.read(move |tx| AutoStop::of(tx, &find(tx, &caller, id)?));
    Ok(Single(view.await?))
}

/// `PATCH /computers/{id}/auto-stop`
pub async fn set_auto_stop(
    State(fleet): State<Fleet>,
    PathId(id): PathId<ComputerId>,
    request: Mutation<SetAutoStop>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let before = settled(tx, &fleet, caller, id)?;
            let input = input?;
            let mut fields = Fields::default();
            let seconds = input.seconds.or(input.auto_stop_seconds);
            if seconds.is_none() {
                fields.push("seconds", "can't be blank; 0 = never");
            }
            check_auto_stop(&mut fields, "seconds", seconds);
            fields.finish()?;
            let after = Record {
                auto_stop_seconds: seconds.unwrap_or(0),
                ..before.clone()
            };
            let after = store_change(tx, &fleet, caller, &before, after)?;
            Ok(Reply::ok(AutoStop::of(tx, &after)?))
        })
        .await
}
