//! Snapshots of a computer: taken while it runs or not, and begun with again by another one.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::inside;
use super::kept::{self, Snapshot, Stage};
use super::room;
use crate::access::caller::Caller;
use crate::audit::{self, Actor, Entry};
use crate::computers::create::{self, CloneRequest};
use crate::computers::{Computer, Fleet, Record, changed};
use crate::db::{Store, topics};
use crate::error::{Error, Fields, Result};
use crate::http::{List, Mutation, NoBody, PageQuery, Param, Params, PathId, PathIds, Reply};
use crate::ids::{ComputerId, SnapshotId, WorkspaceId};
use crate::rules::config::Snapshots;
use crate::rules::text;
use crate::store::{Tx, WriteTx};
use crate::workspaces;

/// Characters of a comment.
const LONGEST: usize = 500;
/// Until it is looked again how far one has come, should nobody have announced it.
const AGAIN: Duration = Duration::from_millis(500);

/// `POST /computers/{id}/snapshots`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct NewSnapshot {
    /// What it is for, at most 500 characters
    #[schema(max_length = 500)]
    pub comment: Option<String>,
}

/// The snapshots of a computer, the newest first.
#[derive(Serialize, ToSchema)]
pub struct SnapshotList {
    data: Vec<Snapshot>,
}

/// `POST /computers/{id}/restore/{sid}`: what is left out is as in the original.
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct Restore {
    /// Name of the new computer; `<name>-restored` if left out
    #[schema(min_length = 1, max_length = 120)]
    pub name: Option<String>,
    /// Its size
    #[schema(value_type = Option<crate::rules::size::Size>)]
    pub size: Option<String>,
}

/// A new computer, and the snapshot that it begins with.
#[derive(Serialize, ToSchema)]
pub struct Restored {
    data: Computer,
    snapshot: Snapshot,
}

/// How far a snapshot has come.
#[derive(Serialize, ToSchema)]
pub struct Progress {
    #[serde(rename = "type")]
    kind: &'static str,
    snapshot_id: SnapshotId,
    status: Stage,
    error: Option<String>,
}

fn noted(
    tx: &WriteTx<'_>,
    caller: &Caller,
    c: &Record,
    kind: &'static str,
    snapshot: &Snapshot,
) -> Result<()> {
    let shown = json!({ "name": c.name, "snapshot_id": snapshot.id, "comment": snapshot.comment });
    audit::record(
        tx,
        &Entry {
            actor: Actor::Key(caller),
            tenant_id: c.tenant_id,
            workspace_id: Some(c.workspace_id),
            kind,
            resource: c.id.0,
            before: audit::NONE,
            after: Some(&shown),
        },
    )
}

/// Whether one more snapshot of a computer may be kept.
fn check(tx: &Tx<'_>, limits: &Snapshots, computer: &Record) -> Result<()> {
    let kept = kept::kept(tx, computer)?;
    let gb = kept.bytes_of_workspace / 1_000_000_000;
    for (limit, scope, max, current, what) in [
        (
            "max_snapshots_per_computer",
            "computer",
            limits.per_computer,
            kept.of_computer,
            "snapshots of this computer",
        ),
        (
            "max_snapshots",
            "workspace",
            limits.per_workspace,
            kept.of_workspace,
            "snapshots of this workspace",
        ),
        (
            "max_snapshot_gb",
            "workspace",
            limits.gb_per_workspace,
            gb,
            "GB of snapshots of this workspace",
        ),
    ] {
        if current >= max {
            let text = format!(
                "{current} {what} are kept, and {limit} is {max}; delete one, or have the operator raise it in \
                 [engine.snapshots] of the configuration of this server"
            );
            let details = json!({
                "limit": limit, "scope": scope, "max": max, "current": current, "source": "configuration",
            });
            return Err(Error::limit(text, details).refused_in(Some(computer.workspace_id)));
        }
    }
    Ok(())
}

/// `POST /computers/{id}/snapshots`
pub async fn create(
    State(fleet): State<Fleet>,
    PathId(id): PathId<ComputerId>,
    request: Mutation<NewSnapshot>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let computer = inside::find(tx, caller, id)?;
            let input = input?;
            let mut fields = Fields::default();
            if input.comment.as_ref().is_some_and(|c| c.chars().count() > LONGEST) {
                fields.push("comment", format!("should be at most {LONGEST} characters"));
            }
            fields.finish()?;
            if computer.engine_ref.is_none() {
                return Err(Error::conflict(
                    "COMPUTER_STARTING",
                    "there is nothing of this computer yet that could be kept; try again when it runs",
                ));
            }
            room::check_disk(&fleet)?;
            if let Some(engine) = &fleet.config.engine {
                check(tx, &engine.snapshots, &computer)?;
            }
            let snapshot = kept::ask(tx, &computer, input.comment.as_deref())?;
            let snapshot = kept::of(tx, &computer, snapshot)?;
            noted(tx, caller, &computer, "computer.snapshot_created", &snapshot)?;
            Ok(Reply::created(snapshot))
        })
        .await
}

/// `GET /computers/{id}/snapshots`
pub async fn list(
    State(store): State<Store>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
) -> Result<Json<SnapshotList>> {
    let found = store.read(move |tx| {
        inside::find(tx, &caller, id)?;
        kept::all(tx, id)
    });
    Ok(Json(SnapshotList { data: found.await? }))
}

/// `GET /snapshots`
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct SnapshotFilter {
    /// Only those whose space this workspace takes
    pub workspace_id: Param<WorkspaceId>,
}

/// `GET /snapshots`: those of all computers of the organization.
pub async fn everywhere(
    State(store): State<Store>,
    caller: Caller,
    page: Params<PageQuery>,
    filter: Params<SnapshotFilter>,
) -> Result<List<Snapshot>> {
    let list = store.read(move |tx| {
        let (page, filter) = (page.get()?.page()?, filter.get()?);
        let workspace = filter.workspace_id.get("workspace_id")?;
        if let Some(id) = workspace {
            workspaces::reach(tx, &caller, id)?;
        }
        kept::everywhere(tx, caller.tenant_id(), workspace, &page)
    });
    list.await
}

/// `GET /computers/{id}/snapshots/{sid}`
pub async fn show(
    State(store): State<Store>,
    caller: Caller,
    PathIds(id, snapshot): PathIds<ComputerId, SnapshotId>,
) -> Result<Json<Snapshot>> {
    let found = store.read(move |tx| {
        let computer = inside::find(tx, &caller, id)?;
        kept::of(tx, &computer, snapshot)
    });
    Ok(Json(found.await?))
}

/// `DELETE /computers/{id}/snapshots/{sid}`
pub async fn delete(
    PathIds(id, snapshot): PathIds<ComputerId, SnapshotId>,
    request: Mutation<NoBody>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let computer = inside::find(tx, caller, id)?;
            input?;
            let mut found = kept::of(tx, &computer, snapshot)?;
            let users = kept::used_by(tx, snapshot)?;
            if users > 0 {
                return Err(Error::conflict(
                    "SNAPSHOT_IN_USE",
                    format!("{users} computer(s) began with this snapshot and need it; delete them first"),
                ));
            }
            kept::drop(tx, snapshot)?;
            noted(tx, caller, &computer, "computer.snapshot_deleted", &found)?;
            (found.status, found.updated_at) = (Stage::Deleted, tx.now());
            Ok(Reply::ok(found))
        })
        .await
}

/// `POST /computers/{id}/restore/{sid}`: a new computer that begins with what was kept; the old one is left alone.
pub async fn restore(
    State(fleet): State<Fleet>,
    PathIds(id, snapshot): PathIds<ComputerId, SnapshotId>,
    request: Mutation<Restore>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let original = inside::find(tx, caller, id)?;
            let input = input?;
            let snapshot = kept::usable(tx, &original, snapshot)?;
            let suffix = "-restored";
            let head: String = original
                .name
                .chars()
                .take(text::MAX_NAME - suffix.len())
                .collect();
            let wanted = CloneRequest {
                name: Some(input.name.unwrap_or_else(|| format!("{head}{suffix}"))),
                size: input.size,
                snapshot_id: Some(snapshot.id),
            };
            let copy = create::clone_computer(tx, &fleet, caller, original.clone(), wanted)?;
            noted(
                tx,
                caller,
                &original,
                "computer.snapshot_restored",
                &snapshot,
            )?;
            Ok(Reply::created(Restored {
                data: changed(tx, &fleet, copy)?,
                snapshot,
            }))
        })
        .await
}

/// `GET /computers/{id}/snapshots/{sid}/events`: how far it has come, until that is over.
pub async fn events(
    State(store): State<Store>,
    caller: Caller,
    PathIds(id, snapshot): PathIds<ComputerId, SnapshotId>,
) -> Result<Response> {
    let mine = caller.clone();
    let found = store.read(move |tx| {
        let computer = inside::find(tx, &mine, id)?;
        kept::of(tx, &computer, snapshot)
    });
    found.await?;
    let events = stream::unfold((store, None), move |(store, told)| async move {
        loop {
            if matches!(told, Some(Stage::Ready | Stage::Failed | Stage::Deleted)) {
                return None;
            }
            let found = store
                .read(move |tx| kept::load(tx, snapshot))
                .await
                .ok()??;
            let status = match found.status {
                Stage::Deleting => Stage::Deleted,
                status => status,
            };
            if told != Some(status) {
                let progress = Progress {
                    kind: "snapshot_progress",
                    snapshot_id: snapshot,
                    status,
                    error: found.error,
                };
                let event = Event::default()
                    .event("snapshot_progress")
                    .json_data(progress)
                    .ok()?;
                return Some((Ok::<_, Infallible>(event), (store, Some(status))));
            }
            let announced = store.signals().changed(topics::MACHINES);
            let _ = tokio::time::timeout(AGAIN, announced).await;
        }
    });
    Ok(Sse::new(events)
        .keep_alive(KeepAlive::default())
        .into_response())
}
