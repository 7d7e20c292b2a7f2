//! A workspace as one file, from one installation to another: `GET /workspaces/{id}/export`,
//! `POST /workspaces/import`, `workspaced export` and `workspaced import`.
//!
//! * [`format`]: the lines of the file
//! * [`export`]: from one snapshot of the database
//! * [`read`]: back from the file, which nobody believes
//! * [`import`]: into the importing organization, all or nothing
//!
//! Decided here:
//! * Ids are kept. What belongs to a workspace comes along: projects, computers, settings, preview
//!   domains (to be proven again), compute events, the audit log. Keys do not: they are secrets.
//! * The usage of the workspace is the same to the millisecond before and after, or the import is
//!   refused. A computer that has moved elsewhere stays behind; what it ran here comes along under an id
//!   of its own, so that the other workspace can follow with the real one.
//! * The copy shows the instant of the export. What ran then is stopped in the copy at that instant: the
//!   original goes on and is billed where it is, so nothing is billed twice and nothing is lost.
//! * The same file again changes nothing, also when the workspace has lived on since.

pub(crate) mod export;
pub(crate) mod format;
mod import;
pub(crate) mod read;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT_ENCODING, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_TYPE, VARY,
};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Semaphore;
use utoipa::{IntoParams, ToSchema};

use crate::app::App;
use crate::audit::{self, Actor, Entry};
use crate::clock::Timestamp;
use crate::error::{Error, Fields, Result};
use crate::http::{Caller, Mutation, Params, PathId, Reply};
use crate::ids::{ComputerId, WorkspaceId};
use crate::usage::carry::Consumed;
use crate::workspaces;

/// Bytes of the body of an import, compressed or not.
pub const MAX_BODY: usize = 16 << 20;
/// Bytes of a capsule unpacked.
const MAX_TEXT: usize = 128 << 20;
/// Bytes of one line: an audit row may show two bodies of 1 MiB.
const MAX_LINE: usize = 4 << 20;
/// Lines of a capsule.
const MAX_LINES: usize = 400_000;
/// Compute events of a capsule, and of the computers that it is made from.
const MAX_EVENTS: usize = 250_000;
/// What a capsule is, compressed or not.
pub const CONTENT: &str = "application/x-ndjson";
/// What an import may be called; the bytes themselves say what they are.
pub const TAKEN: &[&str] = &[CONTENT, "application/octet-stream"];

/// Imports that are read at the same time: each may take some 200 MB while it is.
static READING: Semaphore = Semaphore::const_new(2);

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
    #[param(value_type = Option<bool>)]
    pub keep_running: Option<String>,
    /// Give computers whose slug is taken the next free one
    #[param(value_type = Option<bool>)]
    pub rename_computers: Option<String>,
    /// Leave the preview domains behind
    #[param(value_type = Option<bool>)]
    pub without_domains: Option<String>,
}

/// [`ImportQuery`], checked.
struct Options {
    slug: Option<String>,
    external_workspace_id: Option<String>,
    keep_running: bool,
    rename_computers: bool,
    without_domains: bool,
}

impl ImportQuery {
    fn check(self) -> Result<Options> {
        let mut fields = Fields::default();
        let mut flag = |name: &'static str, value: Option<String>| match value.as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => {
                fields.push(name, "must be true or false");
                false
            }
        };
        let options = Options {
            keep_running: flag("keep_running", self.keep_running),
            rename_computers: flag("rename_computers", self.rename_computers),
            without_domains: flag("without_domains", self.without_domains),
            slug: self.slug,
            external_workspace_id: self.external_workspace_id,
        };
        fields.finish().map(|()| options)
    }
}

/// What an import did.
#[derive(Serialize, ToSchema)]
pub struct Imported {
    /// false: the workspace was here already, by this file or as it is; nothing has changed.
    imported: bool,
    workspace_id: WorkspaceId,
    /// Its slug here.
    slug: String,
    /// The instant that the file shows.
    exported_at: Timestamp,
    /// What the file holds.
    rows: format::Rows,
    /// What its computers consumed up to then, the same here and there.
    usage: Consumed,
    /// Corrections up to then, signed micro-credits.
    corrections_micros: i64,
    /// Computers that ran, or were on their way, and are stopped here since the instant of the export.
    stopped: Vec<ComputerId>,
    /// Computers that run here from now on.
    kept_running: Vec<ComputerId>,
}

impl Imported {
    fn new(capsule: &read::Capsule, slug: String, imported: bool) -> Self {
        Imported {
            imported,
            workspace_id: capsule.contents.workspace.id,
            slug,
            exported_at: Timestamp(capsule.head.exported_at),
            rows: capsule.end.rows,
            usage: capsule.end.usage,
            corrections_micros: capsule.end.corrections_micros,
            stopped: Vec::new(),
            kept_running: Vec::new(),
        }
    }
}

/// `GET /workspaces/{id}/export`: the workspace as one file, compressed where the client accepts that.
pub async fn export(
    State(app): State<App>,
    caller: Caller,
    PathId(id): PathId<WorkspaceId>,
    headers: HeaderMap,
) -> Result<Response> {
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|v| v.to_str().ok());
    let gzip = accepted.is_some_and(|list| list.split(',').any(|one| one.trim() == "gzip"));
    let reader = caller.clone();
    let made = app
        .store
        .read(move |tx| {
            let tenant = workspaces::find(tx, &reader, id)?.view.tenant_id;
            export::write(tx, tenant, id, gzip)
        })
        .await?;
    let after = json!({ "sha256": made.sha256, "rows": made.rows });
    app.store
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
        made.bytes,
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
    State(app): State<App>,
    query: Params<ImportQuery>,
    request: Request,
) -> Result<Response> {
    let request = Mutation::raw(request, &app).await?;
    let _place = READING.acquire().await.map_err(Error::internal)?;
    let now = app.store.now().0;
    let request = request
        .parsed(move |bytes: Bytes| {
            let options = query.get()?.check()?;
            Ok((read::read(&bytes, now)?, options))
        })
        .await?;
    request
        .run(move |tx, caller, input| {
            let (capsule, options) = input?;
            let imported = import::bring(tx, &app, caller, capsule, &options)?;
            Ok(if imported.imported {
                Reply::created(imported)
            } else {
                Reply::ok(imported)
            })
        })
        .await
}
