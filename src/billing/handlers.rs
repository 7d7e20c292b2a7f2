//! The endpoints of statements.

use std::io::Write;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, REFERRER_POLICY,
};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use rusqlite::ToSql;
use rusqlite::types::Value;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use zip::write::{SimpleFileOptions, ZipWriter};

use super::document::{Statement, Summary, unknown};
use super::html::{self, Paper};
use super::make::{Wanted, make_all};
use super::proof::{self, Proof};
use super::sheet::Sheet;
use super::{csv, pdf};
use crate::access::caller::Caller;
use crate::audit::Actor;
use crate::db::Store;
use crate::error::{Error, Fields, Result};
use crate::http::cursor::Order;
use crate::http::{
    DeletedQuery, List, Mutation, Page, PageQuery, Param, Params, PathId, Reply, Room, not_kept,
    words,
};
use crate::ids::{TenantId, WorkspaceId};
use crate::store::Tx;
use crate::workspaces;

/// `POST …/statements`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct MakeStatement {
    /// A month that is over, such as 2029-01
    #[schema(
        required = true,
        nullable = false,
        example = "2029-01",
        pattern = r"^\d{4}-\d{2}$"
    )]
    pub period: Option<String>,
}

impl MakeStatement {
    fn period(self) -> Result<String> {
        self.period
            .ok_or_else(|| Error::field("period", "can't be blank; send a month such as 2029-01"))
    }
}

words! {
    /// What a statement looks like.
    pub enum Format {
        /// An object with its lines.
        Json = "json",
        /// A row for each line.
        Csv = "csv",
        /// A page for print.
        Html = "html",
        /// For print, as a file.
        Pdf = "pdf",
    }

    /// What all statements of a month look like.
    pub enum AllFormat {
        /// A list without lines.
        Json = "json",
        /// A row for each line of each.
        Csv = "csv",
        /// A PDF of each, in one file.
        Zip = "zip",
    }
}

/// `GET …/statements/{number}`
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct LooksQuery {
    /// json (default), csv, html, pdf
    #[param(inline)]
    pub format: Param<Format>,
    /// Of html and pdf: a4 (default), letter
    #[param(inline)]
    pub paper: Param<Paper>,
}

/// `GET /statements`
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct AllQuery {
    /// Only of this month, such as 2029-01; needed for csv and zip
    #[param(example = "2029-01")]
    pub period: Option<String>,
    /// json (default), csv, zip
    #[param(inline)]
    pub format: Param<AllFormat>,
    /// Of zip: a4 (default), letter
    #[param(inline)]
    pub paper: Param<Paper>,
}

/// `POST /statements`
#[derive(Serialize, ToSchema)]
pub struct Made {
    period: String,
    /// Statements that this request has made: of this month, and of earlier ones that were closed before it was
    /// known that a workspace had used anything in them.
    made: i64,
    /// All statements of the month.
    data: Vec<Summary>,
    /// Workspaces that used nothing and are charged nothing: they have no statement.
    skipped: Vec<WorkspaceId>,
}

/// `POST /workspaces/{id}/statements`
pub async fn make(
    State(store): State<Store>,
    PathId(workspace): PathId<WorkspaceId>,
    deleted: Params<DeletedQuery>,
    request: Mutation<MakeStatement>,
) -> Result<Response> {
    // Worked out before, so that the writer has little to do. What is wrong is told in its turn.
    let wanted = move |tenant, period: &str| Wanted {
        tenant,
        workspace,
        period: period.to_owned(),
    };
    let period = request.peek().and_then(|body| body.period.clone());
    let draft = match period.map(|period| wanted(request.caller.tenant_id(), &period)) {
        Some(wanted) => {
            let caller = request.caller.clone();
            let draft = store.read(move |tx| {
                workspaces::find_billed(tx, &caller, workspace, caller.check_past().is_ok())?;
                match wanted.made(tx)? {
                    Some(_) => Ok(None),
                    None => wanted.draft(tx).map(Some),
                }
            });
            draft.await.ok().flatten()
        }
        None => None,
    };
    request
        .run(move |tx, caller, input| {
            let deleted = deleted.get()?.included()?;
            workspaces::find_billed(tx, caller, workspace, deleted)?;
            let wanted = wanted(caller.tenant_id(), &input?.period()?);
            if let Some(made) = wanted.made(tx)? {
                let lines = made.lines(tx)?;
                return Ok(Reply::ok(made.view(lines)));
            }
            let made = wanted.keep(tx, Actor::Key(caller), draft)?;
            let lines = made.lines(tx)?;
            Ok(Reply::created(made.view(lines)))
        })
        .await
}

/// `POST /statements`
pub async fn make_of_month(
    State(store): State<Store>,
    request: Mutation<MakeStatement>,
) -> Result<Response> {
    let done = match request.peek().and_then(|body| body.period.clone()) {
        Some(period) => {
            let caller = request.caller.clone();
            make_all(&store, caller.tenant_id(), &period, Some(caller)).await
        }
        None => Ok((0, Vec::new())),
    };
    request
        .run(move |tx, caller, input| {
            let period = input?.period()?;
            let (made, skipped) = done?;
            let data = of_month(tx, caller.tenant_id(), &period)?;
            Ok(Reply::ok(Made {
                period,
                made,
                data: data.iter().map(Statement::summary).collect(),
                skipped,
            }))
        })
        .await
}

/// All statements of a month, by number.
pub fn of_month(tx: &Tx<'_>, tenant: TenantId, period: &str) -> Result<Vec<Statement>> {
    let sql = format!(
        "SELECT {} FROM statements WHERE tenant_id = ?1 AND period = ?2 ORDER BY number",
        Statement::selected()
    );
    Ok(tx
        .prepare_cached(&sql)?
        .query_map((tenant, period), Statement::from_row)?
        .collect::<Result<_, _>>()?)
}

/// `GET /workspaces/{id}/statements`: newest first.
pub async fn list(
    State(store): State<Store>,
    caller: Caller,
    PathId(id): PathId<WorkspaceId>,
    page: Params<PageQuery>,
    deleted: Params<DeletedQuery>,
) -> Result<List<Summary>> {
    let list = store.read(move |tx| {
        workspaces::find_billed(tx, &caller, id, deleted.get()?.included()?)?;
        let page = page.get()?.page()?;
        let tenant = caller.tenant_id();
        listed(tx, tenant, Some(id), None, &page)
    });
    list.await
}

/// A page of an organization's statements, of one workspace or month where these are given, newest first.
fn listed(
    tx: &Tx<'_>,
    tenant: TenantId,
    workspace: Option<WorkspaceId>,
    period: Option<&str>,
    page: &Page,
) -> Result<List<Summary>> {
    let mut place = "tenant_id = :tenant AND (:workspace IS NULL OR workspace_id = :workspace)
         AND (:period IS NULL OR period = :period)"
        .to_owned();
    let mut params: Vec<(&str, &dyn ToSql)> = vec![
        (":tenant", &tenant),
        (":workspace", &workspace),
        (":period", &period),
    ];
    let sql = format!("SELECT count(*) FROM statements WHERE {place}");
    let total = tx
        .prepare_cached(&sql)?
        .query_row(params.as_slice(), |row| row.get(0))?;
    let order = Order {
        // A workspace has one for each month, whichever was made first.
        columns: match workspace {
            Some(_) => &["period", "number"],
            None => &["number"],
        },
        descending: true,
    };
    page.narrow(&order, &mut place, &mut params)?;
    let sql = format!(
        "SELECT {} FROM statements WHERE {place} ORDER BY {} {}",
        Statement::selected(),
        order.sql(),
        Page::SQL
    );
    let all = tx
        .prepare_cached(&sql)?
        .query_map(params.as_slice(), Statement::from_row)?
        .collect::<Result<Vec<_>, _>>()?;
    let next = match all.last().filter(|_| page.is_full(all.len())) {
        None => None,
        Some(last) => {
            let number = Value::Integer(last.number);
            page.link(&match workspace {
                Some(_) => vec![Value::Text(last.period.clone()), number],
                None => vec![number],
            })
        }
    };
    let data = all.iter().map(Statement::summary).collect();
    Ok(page.linked(data, total, next))
}

/// What was asked for: by the parameter, or by what the client accepts.
fn format(asked: Option<Format>, headers: &HeaderMap) -> Format {
    if let Some(format) = asked {
        return format;
    }
    let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let kinds = accepted.unwrap_or("").split(',');
    let named = |kind: &str| match kind.split(';').next().unwrap_or("").trim() {
        "application/json" => Some(Format::Json),
        "text/csv" => Some(Format::Csv),
        "text/html" => Some(Format::Html),
        "application/pdf" => Some(Format::Pdf),
        _ => None,
    };
    kinds.into_iter().find_map(named).unwrap_or(Format::Json)
}

/// The workspace and statement of a path.
pub(super) fn found(
    tx: &Tx<'_>,
    caller: &Caller,
    path: &str,
    workspace: WorkspaceId,
    deleted: Params<DeletedQuery>,
) -> Result<Statement> {
    workspaces::find_billed(tx, caller, workspace, deleted.get()?.included()?)?;
    let number = path.parse().map_err(|_| unknown())?;
    Statement::find(tx, caller.tenant_id(), number)?
        .filter(|statement| statement.workspace_id == workspace)
        .ok_or_else(unknown)
}

/// The id and the number in a path; the number is looked at last.
pub struct Numbered(pub(super) WorkspaceId, pub(super) String);

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Numbered {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, state: &S) -> Result<Self> {
        let invalid = || Error::bad_request("INVALID_ID", "the id in the path is not a UUID");
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((id, number)) = path.map_err(|_| invalid())?;
        let id = crate::ids::parse_uuid(&id).ok_or_else(invalid)?;
        Ok(Numbered(WorkspaceId(id), number))
    }
}

/// `GET /workspaces/{id}/statements/{number}`
pub async fn show(
    State(store): State<Store>,
    State(room): State<Room>,
    caller: Caller,
    Numbered(id, number): Numbered,
    query: Params<LooksQuery>,
    deleted: Params<DeletedQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let owner = caller.tenant_id();
    let read = store.read(move |tx| {
        let statement = found(tx, &caller, &number, id, deleted)?;
        let query = query.get()?;
        let mut fields = Fields::default();
        let asked = query.format.read(&mut fields, "format");
        let paper = query.paper.read(&mut fields, "paper");
        fields.finish()?;
        let lines = statement.lines(tx)?;
        Ok((
            statement,
            lines,
            format(asked, &headers),
            paper.unwrap_or(Paper::A4),
        ))
    });
    let (statement, lines, format, paper) = read.await?;
    match format {
        Format::Json => {
            // A statement never changes.
            let tag = format!("\"{}\"", data_encoding::HEXLOWER.encode(&statement.digest));
            let tag = HeaderValue::from_str(&tag).map_err(Error::internal)?;
            let mut response = room.json(owner, statement.view(lines)).await?;
            response.headers_mut().insert(ETAG, tag);
            Ok(response)
        }
        Format::Csv => {
            let text = format!("{}{}", csv::HEADER, csv::rows(&statement, &lines));
            file(
                "text/csv; charset=utf-8",
                Some(file_name_of(&statement, "csv")),
                Body::from(text),
            )
        }
        Format::Html => as_page(&Sheet::new(&statement, &lines), paper),
        Format::Pdf => as_pdf(&statement, &Sheet::new(&statement, &lines), paper),
    }
}

/// A statement as a page for print.
///
/// # Errors
/// None that can be foreseen.
pub fn as_page(sheet: &Sheet, paper: Paper) -> Result<Response> {
    let text = html::page(sheet, paper);
    let mut page = file("text/html; charset=utf-8", None, Body::from(text))?;
    let headers = page.headers_mut();
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(html::policy()),
    );
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(page)
}

/// A statement as PDF.
///
/// # Errors
/// Where it cannot be drawn.
pub fn as_pdf(statement: &Statement, sheet: &Sheet, paper: Paper) -> Result<Response> {
    let bytes = pdf::document(sheet, paper)?;
    let name = file_name_of(statement, "pdf");
    file("application/pdf", Some(name), Body::from(bytes))
}

fn file_name_of(statement: &Statement, kind: &str) -> String {
    format!("statement-{}-{}.{kind}", statement.number, statement.period)
}

fn file(kind: &'static str, name: Option<String>, body: Body) -> Result<Response> {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Some(name) = name {
        let value = format!("attachment; filename=\"{name}\"");
        let value = HeaderValue::from_str(&value).map_err(Error::internal)?;
        headers.insert(CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

/// `GET /statements`
pub async fn all(
    State(store): State<Store>,
    State(room): State<Room>,
    caller: Caller,
    query: Params<AllQuery>,
    page: Params<PageQuery>,
) -> Result<Response> {
    let tenant = caller.tenant_id();
    let (query, page) = (query.get()?, page.get()?);
    let mut fields = Fields::default();
    let format = query
        .format
        .read(&mut fields, "format")
        .unwrap_or(AllFormat::Json);
    let paper = query.paper.read(&mut fields, "paper").unwrap_or(Paper::A4);
    let page = page.read(&mut fields);
    if query.period.is_none() && format != AllFormat::Json {
        fields.push(
            "period",
            "can't be blank where format is csv or zip; send a month such as 2029-01",
        );
    }
    fields.finish()?;
    let period = query.period;
    if format == AllFormat::Json {
        let list = store.read(move |tx| listed(tx, tenant, None, period.as_deref(), &page));
        return Ok(list.await?.into_response());
    }
    let period = period.unwrap_or_default();
    let name = format!(
        "statements-{}",
        period.replace(|c: char| !c.is_ascii_alphanumeric(), "-")
    );
    // One after the other, to the disk as they are made.
    let mut spool = room.writer(tenant);
    let written = store.read(move |tx| {
        let statements = of_month(tx, tenant, &period)?;
        match format {
            AllFormat::Zip => {
                let mut zip = ZipWriter::new_stream(&mut spool);
                write_zip(tx, &statements, paper, &mut zip)?;
                zip.finish().map_err(|e| not_kept(e.into()))?;
            }
            _ => write_csv(tx, &statements, &mut spool)?,
        }
        Ok(spool)
    });
    let body = crate::store::heavy(written).await?.into_body()?;
    match format {
        AllFormat::Zip => file("application/zip", Some(format!("{name}.zip")), body),
        _ => file("text/csv; charset=utf-8", Some(format!("{name}.csv")), body),
    }
}

/// One table of all of them.
pub fn write_csv(tx: &Tx<'_>, statements: &[Statement], out: &mut dyn Write) -> Result<()> {
    out.write_all(csv::HEADER.as_bytes()).map_err(not_kept)?;
    for statement in statements {
        let rows = csv::rows(statement, &statement.lines(tx)?);
        out.write_all(rows.as_bytes()).map_err(not_kept)?;
    }
    Ok(())
}

fn write_zip<W: Write + std::io::Seek>(
    tx: &Tx<'_>,
    statements: &[Statement],
    paper: Paper,
    zip: &mut ZipWriter<W>,
) -> Result<()> {
    // PDFs are compressed inside.
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for statement in statements {
        let bytes = pdf::document(&Sheet::new(statement, &statement.lines(tx)?), paper)?;
        zip.start_file(file_name(statement, "pdf"), options)
            .map_err(|e| not_kept(e.into()))?;
        zip.write_all(&bytes).map_err(not_kept)?;
    }
    Ok(())
}

/// The name of a statement among others.
pub fn file_name(statement: &Statement, kind: &str) -> String {
    let name = crate::rules::text::slugify(&statement.body.workspace, "workspace");
    format!("{:06}-{}-{name}.{kind}", statement.number, statement.period)
}

/// `GET /statements/verify`
pub async fn verify(State(store): State<Store>, caller: Caller) -> Result<Json<Proof>> {
    Ok(Json(
        store
            .read(move |tx| proof::verify(tx, caller.tenant_id()))
            .await?,
    ))
}
