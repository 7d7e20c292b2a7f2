//! Reading the audit log.

use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use http_body_util::channel::{Channel, Sender};
use rusqlite::{Row, ToSql, named_params};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::who::Who;
use crate::access::caller::Caller;
use crate::clock::Timestamp;
use crate::db::Store;
use crate::error::{Error, Fields, Result};
use crate::http::{self, AnyId, PageMeta, PageQuery, Param, Params, Within, cell, linked, words};
use crate::ids::{ApiKeyId, TenantId, WorkspaceId};
use crate::store::Tx;

/// Rows of one page at most, and when `limit` is left out.
const MAX_LIMIT: i64 = 100;
/// Rows that one page looks through at most. A filter that matches little then answers a short
/// page with a cursor to go on from, instead of reading years.
const LOOK_THROUGH: i64 = 20_000;
/// The same where pages are numbered or skipped to, since a short page is the end of those.
const LOOK_SKIPPING: i64 = 200_000;

/// `GET /audit-log`
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct ListQuery {
    /// Rows at most, 1 to 100
    #[param(inline)]
    pub limit: Param<Within<1, 100>>,
    /// Rows to skip; goes with `limit`
    #[param(inline)]
    pub offset: Param<Within<0, { i64::MAX }>>,
    /// Page number from 1; goes with `per_page`
    #[param(inline)]
    pub page: Param<Within<1, { i64::MAX }>>,
    /// Rows per page, 1 to 100 (20 when only `page` is given)
    #[param(inline)]
    pub per_page: Param<Within<1, 100>>,
    /// Another name of `per_page`
    #[param(inline)]
    pub page_size: Param<Within<1, 100>>,
    /// `next_cursor` of the page before: older rows than those
    pub cursor: Option<String>,
    /// Another name of `cursor`
    pub after: Option<String>,
    /// Another name of `cursor`
    pub before: Option<String>,
    /// Only this type, such as computer.stopped; `*` stands for any text
    pub r#type: Option<String>,
    /// Another name of `type`
    pub action: Option<String>,
    /// Only what this API key did
    #[param(inline)]
    pub actor_id: Param<ApiKeyId>,
    /// Only this kind of resource: workspace, project, computer, api_key, organization, ...
    pub resource_type: Option<String>,
    /// Another name of `resource_type`
    pub resource: Option<String>,
    /// Only this resource
    #[param(inline)]
    pub resource_id: Param<AnyId>,
    /// Only what happened in this workspace
    #[param(inline)]
    pub workspace_id: Param<WorkspaceId>,
    /// Only from here on, inclusive; RFC 3339
    #[param(value_type = Option<String>)]
    pub since: Param<Timestamp>,
    /// Only up to here, exclusive; RFC 3339
    #[param(value_type = Option<String>)]
    pub until: Param<Timestamp>,
    /// json (a page), or everything that matches as jsonl (one row a line) or csv; then without pages
    #[param(inline)]
    pub format: Param<Form>,
}

words! {
    /// In which form the log is answered.
    pub enum Form {
        Json = "json",
        Jsonl = "jsonl",
        Csv = "csv",
    }
}

/// A page of the audit log, newest first.
#[derive(Serialize, ToSchema)]
pub struct Page {
    /// The rows.
    data: Vec<AuditRow>,
    /// Send it as `cursor` for older rows; null when there are none.
    next_cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<PageMeta>,
}

/// One change, under all the names that clients look for.
#[derive(Serialize, ToSchema)]
pub struct AuditRow {
    /// Its number; the id of the event in live streams too.
    id: String,
    tenant_id: TenantId,
    workspace_id: Option<WorkspaceId>,
    /// The API key; null for the service itself and for the command line.
    actor_id: Option<ApiKeyId>,
    /// api_key, system or operator.
    actor_type: String,
    /// First characters of the key at that time, or the name of the person.
    actor_label: Option<String>,
    /// Who it was besides a key: a person who signed in by name, or an operator of another organization.
    #[schema(value_type = Option<Who>)]
    actor: Option<Box<RawValue>>,
    /// What happened: workspace.created, computer.running, ...
    r#type: String,
    /// The same.
    action: String,
    /// Kind of the resource.
    resource: String,
    /// The same.
    resource_type: String,
    resource_id: Uuid,
    metadata: AuditMetadata,
    ip_address: Option<String>,
    /// The request that did it.
    request_id: Option<String>,
    ts: Timestamp,
    inserted_at: Timestamp,
    created_at: Timestamp,
    /// It came with a workspace from another installation: who did it, where and when is by the word of
    /// that file. Its `actor_id` is no key of this installation.
    imported: bool,
}

/// The resource on both sides of the change.
#[derive(Serialize, ToSchema)]
pub struct AuditMetadata {
    #[schema(value_type = Option<Object>)]
    before: Option<Box<RawValue>>,
    #[schema(value_type = Option<Object>)]
    after: Option<Box<RawValue>>,
}

impl AuditRow {
    fn from_row(row: &Row<'_>) -> Result<Self> {
        let object = |name: &str| -> Result<Option<Box<RawValue>>> {
            let text: Option<String> = row.get(name)?;
            text.map(RawValue::from_string)
                .transpose()
                .map_err(Error::internal)
        };
        let (kind, resource): (String, String) = (row.get("type")?, row.get("resource_type")?);
        let (seq, at): (i64, _) = (row.get("seq")?, row.get("at")?);
        Ok(AuditRow {
            id: seq.to_string(),
            tenant_id: row.get("tenant_id")?,
            workspace_id: row.get("workspace_id")?,
            actor_id: row.get("actor_id")?,
            actor_type: row.get("actor_type")?,
            actor_label: row.get("actor_label")?,
            actor: object("actor")?,
            r#type: kind.clone(),
            action: kind,
            resource: resource.clone(),
            resource_type: resource,
            resource_id: Uuid::from_bytes(row.get("resource_id")?),
            metadata: AuditMetadata {
                before: object("before")?,
                after: object("after")?,
            },
            ip_address: row.get("ip_address")?,
            request_id: row.get("request_id")?,
            ts: at,
            inserted_at: at,
            created_at: at,
            imported: seq < 1,
        })
    }
}

/// [`ListQuery`], checked.
struct Filter {
    limit: i64,
    /// By offset or number, if the page is asked for in that way.
    skip: Option<http::Page>,
    below: i64,
    kind: Option<String>,
    actor: Option<ApiKeyId>,
    resource_type: Option<String>,
    resource: Option<AnyId>,
    workspace: Option<WorkspaceId>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    form: Option<Form>,
}

impl ListQuery {
    fn check(self) -> Result<Filter> {
        let mut fields = Fields::default();
        let sizes = [&self.per_page, &self.page_size].map(Param::is_given);
        let skips = self.offset.is_given() || self.page.is_given() || sizes.contains(&true);
        let query = PageQuery {
            page: self.page,
            page_size: self.page_size,
            per_page: self.per_page,
            limit: self.limit,
            offset: self.offset,
            ..PageQuery::default()
        };
        let limited = query.limit.is_given();
        let page = query.read(&mut fields);
        let limit = if page.limit < 0 {
            MAX_LIMIT
        } else {
            page.limit
        };
        let cursor = self.cursor.or(self.after).or(self.before);
        let below = match cursor.as_deref().map(str::parse) {
            None => i64::MAX,
            Some(Ok(seq)) => seq,
            Some(_) => {
                fields.push("cursor", "must be the next_cursor of a page of this list");
                0
            }
        };
        if skips && below != i64::MAX {
            fields.push("cursor", "cannot be combined with offset or page");
        }
        let kind = self.r#type.or(self.action);
        // It becomes a GLOB pattern, of which only the star is meant.
        let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'*');
        if kind
            .as_deref()
            .is_some_and(|kind| kind.len() > 64 || !kind.bytes().all(word))
        {
            fields.push(
                "type",
                "must be a type such as computer.stopped or computer.*",
            );
        }
        let actor = self.actor_id.read(&mut fields, "actor_id");
        let resource = self.resource_id.read(&mut fields, "resource_id");
        let workspace = self.workspace_id.read(&mut fields, "workspace_id");
        let since = self.since.read(&mut fields, "since");
        let until = self.until.read(&mut fields, "until");
        let form = self.format.read(&mut fields, "format");
        if matches!(form, Some(Form::Jsonl | Form::Csv)) && (skips || limited) {
            fields.push(
                "format",
                "jsonl and csv hold everything that matches; leave limit, offset and page out, and use since and until",
            );
        }
        fields.finish()?;
        Ok(Filter {
            limit,
            skip: skips.then_some(page),
            below,
            kind,
            actor,
            resource_type: self.resource_type.or(self.resource),
            resource,
            workspace,
            since,
            until,
            form,
        })
    }
}

/// `GET /audit-log`
pub async fn list(
    State(store): State<Store>,
    caller: Caller,
    query: Params<ListQuery>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Result<Response> {
    let filter = query.get()?.check()?;
    // A key of one end user has no part in what others did.
    if caller.only_user().is_some() {
        return Err(Error::forbidden());
    }
    let accepts = |kind: &str| {
        let mut all = headers.get_all(ACCEPT).iter();
        all.any(|value| value.to_str().is_ok_and(|text| text.trim() == kind))
    };
    let form = match filter.form {
        None if accepts("text/csv") => Form::Csv,
        None if accepts("application/x-ndjson") => Form::Jsonl,
        given => given.unwrap_or(Form::Json),
    };
    if form != Form::Json {
        return whole(store, caller, filter, form).await;
    }
    let page = store.read(move |tx| page(tx, &caller, &filter));
    let page = page.await?;
    let next = page.next_cursor.as_deref();
    let next = next.map(|next| http::link(raw.as_deref().unwrap_or(""), "cursor", next));
    Ok(linked(&page, next.as_deref()))
}

/// Rows of one piece of a log that is answered whole.
const PIECE: i64 = 1000;
/// Pieces that wait for a reader.
const WAITING: usize = 2;

/// Everything that matches, piece by piece: neither the memory nor one read holds all of it.
async fn whole(store: Store, caller: Caller, mut filter: Filter, form: Form) -> Result<Response> {
    (filter.limit, filter.skip) = (PIECE, None);
    // What can be refused is refused before the answer begins.
    let (first, filter, caller) = piece(&store, filter, caller).await?;
    let (sender, body) = Channel::<Bytes, std::io::Error>::new(WAITING);
    tokio::spawn(pour(store, caller, filter, form, first, sender));
    let (kind, name) = match form {
        Form::Csv => ("text/csv; charset=utf-8", "audit-log.csv"),
        _ => ("application/x-ndjson", "audit-log.jsonl"),
    };
    let headers = [
        (CONTENT_TYPE, kind.to_owned()),
        (
            CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}\""),
        ),
    ];
    Ok((headers, Body::new(body)).into_response())
}

async fn piece(store: &Store, filter: Filter, caller: Caller) -> Result<(Page, Filter, Caller)> {
    let read = move |tx: &Tx<'_>| page(tx, &caller, &filter).map(|page| (page, filter, caller));
    store.read(read).await
}

async fn pour(
    store: Store,
    mut caller: Caller,
    mut filter: Filter,
    form: Form,
    mut page: Page,
    mut sender: Sender<Bytes, std::io::Error>,
) {
    let mut text = String::new();
    if form == Form::Csv {
        text.push_str(
            "id,ts,type,actor_type,actor_id,actor_label,ip_address,request_id,resource_type,resource_id,workspace_id,\
             imported,before,after,actor\r\n",
        );
    }
    loop {
        for row in &page.data {
            match form {
                Form::Csv => row.cells(&mut text),
                _ => match serde_json::to_string(row) {
                    Ok(line) => text.extend([line.as_str(), "\n"]),
                    Err(_) => return sender.abort(std::io::ErrorKind::InvalidData.into()),
                },
            }
        }
        if sender
            .send_data(std::mem::take(&mut text).into())
            .await
            .is_err()
        {
            return;
        }
        let Some(next) = page.next_cursor.as_deref().and_then(|at| at.parse().ok()) else {
            return;
        };
        filter.below = next;
        match piece(&store, filter, caller).await {
            Ok(next) => (page, filter, caller) = next,
            Err(e) => {
                // Not a proper end: the reader sees that something is missing.
                tracing::warn!(error = e.message(), "the audit log was not read to its end");
                return sender.abort(std::io::ErrorKind::Other.into());
            }
        }
    }
}

impl AuditRow {
    fn cells(&self, out: &mut String) {
        let id = |id: &dyn std::fmt::Display| id.to_string();
        let json = |side: &Option<Box<RawValue>>| side.as_ref().map(|json| json.get().to_owned());
        let row = [
            Some(self.id.clone()),
            Some(self.ts.to_string()),
            Some(self.r#type.clone()),
            Some(self.actor_type.clone()),
            self.actor_id.as_ref().map(|key| id(key)),
            self.actor_label.clone(),
            self.ip_address.clone(),
            self.request_id.clone(),
            Some(self.resource_type.clone()),
            Some(id(&self.resource_id)),
            self.workspace_id.as_ref().map(|workspace| id(workspace)),
            Some(self.imported.to_string()),
            json(&self.metadata.before),
            json(&self.metadata.after),
            json(&self.actor),
        ];
        let cells: Vec<String> = row
            .iter()
            .map(|text| cell(text.as_deref().unwrap_or("")))
            .collect();
        out.extend([cells.join(",").as_str(), "\r\n"]);
    }
}

fn page(tx: &Tx<'_>, caller: &Caller, filter: &Filter) -> Result<Page> {
    let workspace = match (caller.only_workspace(), filter.workspace) {
        (Some(only), Some(asked)) if only != asked => return Err(Error::forbidden()),
        (only, asked) => only.or(asked),
    };
    // The newest rows below the cursor, by the index of the workspace or of the organization.
    let place = if workspace.is_some() {
        "workspace_id = :workspace AND tenant_id = :tenant
             AND NOT EXISTS (SELECT 1 FROM imports i WHERE i.workspace_id = :workspace)"
    } else {
        "tenant_id = :tenant AND :workspace IS NULL
             AND NOT EXISTS (SELECT 1 FROM imports i WHERE i.workspace_id = audit_log.workspace_id)"
    };
    let matching = "(:kind IS NULL OR type GLOB :kind) AND (:actor IS NULL OR actor_id = :actor)
             AND (:resource_type IS NULL OR resource_type = :resource_type)
             AND (:resource IS NULL OR resource_id = :resource)
             AND (:since IS NULL OR at >= :since) AND (:until IS NULL OR at < :until)";
    let newest = format!(
        "WITH newest AS (SELECT * FROM audit_log WHERE {place} AND seq < :below ORDER BY seq DESC LIMIT :look)"
    );
    let look = if filter.skip.is_some() {
        LOOK_SKIPPING
    } else {
        LOOK_THROUGH
    };
    let (tenant, actor, resource) = (
        caller.tenant_id(),
        filter.actor,
        filter.resource.as_ref().map(|id| id.0.into_bytes()),
    );
    let offset = filter.skip.as_ref().map_or(0, |page| page.offset);
    let all = named_params! {
        ":tenant": tenant, ":workspace": workspace, ":below": filter.below, ":look": look,
        ":kind": filter.kind, ":actor": actor, ":resource_type": filter.resource_type,
        ":resource": resource, ":since": filter.since, ":until": filter.until,
    };
    let mut params = all.to_vec();
    params.extend([
        (":limit", &filter.limit as &dyn ToSql),
        (":offset", &offset),
    ]);
    let mut statement = tx.prepare_cached(&format!(
        "{newest} SELECT * FROM newest WHERE {matching} ORDER BY seq DESC LIMIT :limit OFFSET :offset"
    ))?;
    let mut rows = statement.query(params.as_slice())?;
    let mut data = Vec::new();
    while let Some(row) = rows.next()? {
        data.push(AuditRow::from_row(row)?);
    }
    let full = i64::try_from(data.len()).is_ok_and(|n| n == filter.limit);
    // The oldest row that this page could look at, if it is not the oldest of all.
    let unseen = |tx: &Tx<'_>| -> Result<Option<i64>> {
        let sql = format!(
            "SELECT seq FROM audit_log WHERE {place} AND seq < :below ORDER BY seq DESC LIMIT 1 OFFSET :look - 1"
        );
        let mut statement = tx.prepare_cached(&sql)?;
        let mut rows = statement.query(named_params! {
            ":tenant": tenant, ":workspace": workspace, ":below": filter.below, ":look": look,
        })?;
        let row = rows.next()?;
        Ok(row.map(|row| row.get::<_, i64>(0)).transpose()?)
    };
    let next_cursor = match data.last() {
        Some(last) if full => Some(last.id.clone()),
        // A short page means the end to who skips: it may not be one of a log that was not read to its end.
        _ if filter.skip.is_some() && unseen(tx)?.is_some() => {
            return Err(Error::field(
                "offset",
                format!(
                    "goes beyond the newest {LOOK_SKIPPING} entries; use cursor, since or until for older ones"
                ),
            ));
        }
        _ if filter.skip.is_some() => None,
        // Short: either all was looked at, or as much as one page may look at.
        _ => unseen(tx)?.map(|seq| seq.to_string()),
    };
    let meta = match &filter.skip {
        Some(page) if page.numbered.is_some() => {
            let count = format!("{newest} SELECT count(*) FROM newest WHERE {matching}");
            page.meta(
                tx.prepare_cached(&count)?
                    .query_row(all, |row| row.get(0))?,
            )
        }
        _ => None,
    };
    Ok(Page {
        data,
        next_cursor,
        meta,
    })
}
