//! The endpoints.

use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT_ENCODING, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_TYPE, VARY,
};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;
use utoipa::{IntoParams, ToSchema};

use super::import::{Options, Outcome};
use super::undo;
use super::{CONTENT, import, write};
use crate::access::caller::Caller;
use crate::audit::{self, Actor, Entry};
use crate::computers::Fleet;
use crate::db::Store;
use crate::error::{Error, Fields, Result};
use crate::http::{DeletedQuery, Kit, Mutation, Param, Params, PathId, Reply, Room};
use crate::ids::WorkspaceId;
use crate::store::in_background;
use crate::workspaces;

/// Imports are made one after the other: each may need much memory, which is in no budget, and takes numbers
/// for itself.
static READING: Semaphore = Semaphore::const_new(1);

/// A capsule: a JSON object a line, as `GET /workspaces/{id}/export` gives it; may be compressed with gzip.
#[derive(ToSchema)]
#[schema(value_type = String)]
pub struct File(#[expect(dead_code, reason = "for the schema only")] String);

/// `POST /workspaces/import`
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct ImportQuery {
    /// Slug of the workspace here, where its own is taken
    pub slug: Option<String>,
    /// Your own id of the workspace here; empty = none
    pub external_workspace_id: Option<String>,
    /// Start again here what the built-in driver ran there; otherwise it is stopped here
    #[param(inline)]
    pub keep_running: Param<bool>,
    /// Give computers whose slug is taken the next free one
    #[param(inline)]
    pub rename_computers: Param<bool>,
    /// Leave the preview domains behind
    #[param(inline)]
    pub without_domains: Param<bool>,
}

impl ImportQuery {
    fn check(self) -> Result<Options> {
        let mut fields = Fields::default();
        let options = Options {
            keep_running: self.keep_running.is_true(&mut fields, "keep_running"),
            rename_computers: self
                .rename_computers
                .is_true(&mut fields, "rename_computers"),
            without_domains: self.without_domains.is_true(&mut fields, "without_domains"),
            slug: self.slug,
            external_workspace_id: self.external_workspace_id,
        };
        fields.finish().map(|()| options)
    }
}

/// `GET /workspaces/{id}/export`: the workspace as one file, compressed where the client accepts that.
pub async fn export(
    State(store): State<Store>,
    State(room): State<Room>,
    caller: Caller,
    PathId(id): PathId<WorkspaceId>,
    deleted: Params<DeletedQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|v| v.to_str().ok());
    let gzip = accepted.is_some_and(|list| list.split(',').any(|one| one.trim() == "gzip"));
    let (reader, mut spool) = (caller.clone(), room.writer(caller.tenant_id()));
    let (made, spool) = store
        .read(move |tx| {
            let deleted = deleted.get()?.included()?;
            let workspace = workspaces::find_billed(tx, &reader, id, deleted)?;
            let tenant = workspace.view.tenant_id;
            let made = write::write(tx, tenant, id, gzip, &mut spool)?;
            Ok((made, spool))
        })
        .await?;
    let after = json!({ "sha256": made.sha256, "rows": made.rows });
    store
        .write(move |tx| {
            audit::record(
                tx,
                &Entry {
                    actor: Actor::Key(&caller),
                    tenant_id: caller.tenant_id(),
                    workspace_id: Some(id),
                    kind: "workspace.exported",
                    resource: id.0,
                    before: audit::NONE,
                    after: Some(&after),
                },
            )
        })
        .await?;
    let name = format!("attachment; filename=\"{}.jsonl\"", made.slug);
    let mut response = (
        [
            (CONTENT_TYPE, HeaderValue::from_static(CONTENT)),
            (VARY, HeaderValue::from_static("accept-encoding")),
            (
                CONTENT_DISPOSITION,
                HeaderValue::from_str(&name).map_err(Error::internal)?,
            ),
        ],
        spool.into_body()?,
    )
        .into_response();
    if gzip {
        let value = HeaderValue::from_static("gzip");
        response.headers_mut().insert(CONTENT_ENCODING, value);
    }
    Ok(response)
}

/// `POST /workspaces/import`
pub async fn import(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    State(kit): State<Kit>,
    query: Params<ImportQuery>,
    request: Request,
) -> Result<Response> {
    let request = Mutation::raw(request, &kit).await?;
    let place = READING.acquire().await.map_err(Error::internal)?;
    // To its end, also when the client has left.
    let answer = tokio::spawn(async move {
        let _place = place;
        let (file, request) = request.opened();
        let (s, f, caller) = (store.clone(), fleet.clone(), request.caller.clone());
        let brought = in_background(move || {
            let options = query.get().and_then(ImportQuery::check);
            import::bring_in(&s, &f, &caller, file, options)
        });
        let (begun, outcome) = brought.await?;
        let answer = request
            .run(move |tx, caller, _| {
                Ok(match outcome? {
                    Outcome::Here(here) => Reply::ok(here),
                    Outcome::Brought(all) => Reply::created(all.finish(tx, &fleet, caller)?),
                })
            })
            .await;
        if let Some(workspace) = begun {
            // Finds nothing to do where all went well.
            undo::undo(store, workspace).await;
        }
        answer
    });
    answer.await.map_err(Error::internal)?
}
