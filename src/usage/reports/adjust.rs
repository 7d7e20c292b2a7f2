//! `POST /usage/adjustments`: corrections. What was metered is never changed; a correction is one
//! more event, with a signed amount, a reason and whoever posted it.

use axum::extract::State;
use axum::response::Response;
use rusqlite::Row;
use rusqlite::types::Value as Sql;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::access::caller::Caller;
use crate::audit::{self, Actor, Entry};
use crate::clock::Timestamp;
use crate::db::Store;
use crate::error::{Error, Fields, Result};
use crate::http::cursor::Order;
use crate::http::{List, Mutation, PageQuery, Param, Params, Reply};
use crate::ids::{TenantId, WorkspaceId};
use crate::rules::text;
use crate::store::{Tx, WriteTx};
use crate::usage::ledger::event::may_meter;
use crate::usage::meter::{self, Changes, Flow};

/// Largest correction: a billion credits. Keeps 64-bit sums safe for longer than anyone corrects.
const MAX_MICROS: i64 = 1_000_000_000_000_000;
const MAX_REASON: usize = 500;

/// `POST /usage/adjustments`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct Adjust {
    /// The workspace, live or deleted, of any organization of this installation
    #[schema(required = true, nullable = false)]
    pub workspace_id: Option<WorkspaceId>,
    /// Signed micro-credits: negative gives credits back
    #[schema(required = true, nullable = false)]
    pub amount_micros: Option<i64>,
    /// Why
    #[schema(required = true, nullable = false, min_length = 1, max_length = 500)]
    pub reason: Option<String>,
    /// The instant that it counts for; now if left out; RFC 3339, not in the future
    pub at: Option<String>,
    /// The poster's own id of it: the same again changes nothing
    #[schema(min_length = 1, max_length = 255)]
    pub id: Option<String>,
}

/// A correction that was posted.
#[derive(Serialize, ToSchema)]
pub struct Adjustment {
    seq: i64,
    id: Option<String>,
    tenant_id: TenantId,
    workspace_id: WorkspaceId,
    amount_micros: i64,
    /// With milliseconds.
    at: String,
    reason: String,
    actor: String,
    recorded_at: Timestamp,
}

/// `POST /usage/adjustments`
pub async fn adjust(request: Mutation<Adjust>) -> Result<Response> {
    request
        .run(|tx, caller, input| {
            let (adjustment, is_new) = post(tx, caller, input?)?;
            Ok(if is_new {
                Reply::created(adjustment)
            } else {
                Reply::ok(adjustment)
            })
        })
        .await
}

/// `GET /usage/adjustments`
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct AdjustmentsQuery {
    /// Only of this workspace, live or deleted
    #[param(inline)]
    pub workspace_id: Param<WorkspaceId>,
    /// Only those that count from here on, inclusive; RFC 3339
    #[param(value_type = Option<String>)]
    pub start: Param<Timestamp>,
    /// Only those that count up to here, exclusive; RFC 3339
    #[param(value_type = Option<String>)]
    pub end: Param<Timestamp>,
}

/// How many [`LISTED`] has.
const COUNT: &str = "SELECT count(*) FROM compute_events
    WHERE tenant_id = ?1 AND computer_id IS NULL AND (?2 IS NULL OR workspace_id = ?2) AND at >= ?3 AND at < ?4
      AND workspace_id NOT IN (SELECT workspace_id FROM imports)";
/// Corrections of an organization, by the index that has them alone.
const LISTED: &str = "SELECT * FROM compute_events
    WHERE tenant_id = ?1 AND computer_id IS NULL AND (?2 IS NULL OR workspace_id = ?2) AND at >= ?3 AND at < ?4
      AND workspace_id NOT IN (SELECT workspace_id FROM imports) AND (at, seq) < (?7, ?8)
    ORDER BY at DESC, seq DESC LIMIT ?5 OFFSET ?6";

/// `GET /usage/adjustments`: newest first.
pub async fn list(
    State(store): State<Store>,
    caller: Caller,
    query: Params<AdjustmentsQuery>,
    page: Params<PageQuery>,
) -> Result<List<Adjustment>> {
    let list = store.read(move |tx| {
        let (query, page) = (query.get()?, page.get()?.page()?);
        let mut fields = Fields::default();
        let start = query.start.read(&mut fields, "start").map_or(0, |at| at.0);
        let end = query
            .end
            .read(&mut fields, "end")
            .map_or(i64::MAX, |at| at.0);
        let workspace = query.workspace_id.read(&mut fields, "workspace_id");
        fields.finish()?;
        let asked = (caller.tenant_id(), workspace, start, end);
        let total = tx
            .prepare_cached(COUNT)?
            .query_row(asked, |row| row.get(0))?;
        let order = Order {
            columns: &["at", "seq"],
            descending: true,
        };
        // Nothing is dated so far ahead.
        let after = page.after(order.columns.len())?;
        let first = vec![Sql::Integer(i64::MAX), Sql::Integer(i64::MAX)];
        let (at, seq) = match after.as_deref().unwrap_or(&first).as_slice() {
            [at, seq] => (at.clone(), seq.clone()),
            _ => (first[0].clone(), first[1].clone()),
        };
        let data: Vec<Adjustment> = tx
            .prepare_cached(LISTED)?
            .query_map(
                (
                    asked.0,
                    asked.1,
                    asked.2,
                    asked.3,
                    page.limit,
                    page.offset,
                    at,
                    seq,
                ),
                Adjustment::from_row,
            )?
            .collect::<Result<_, _>>()?;
        let next = page.next(tx, &order, "compute_events", &data, |last| {
            ("seq", &last.seq)
        })?;
        Ok(page.linked(data, total, next))
    });
    list.await
}

impl Adjustment {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Adjustment {
            seq: row.get("seq")?,
            id: row.get("event_id")?,
            tenant_id: row.get("tenant_id")?,
            workspace_id: row.get("workspace_id")?,
            amount_micros: row.get::<_, Option<i64>>("amount_micros")?.unwrap_or(0),
            at: row.get::<_, Timestamp>("at")?.rfc3339_ms(),
            reason: row.get::<_, Option<String>>("reason")?.unwrap_or_default(),
            actor: row.get::<_, Option<String>>("actor")?.unwrap_or_default(),
            recorded_at: row.get("recorded_at")?,
        })
    }
}

fn post(tx: &WriteTx<'_>, caller: &Caller, input: Adjust) -> Result<(Adjustment, bool)> {
    let mut fields = Fields::default();
    if input.workspace_id.is_none() {
        fields.push("workspace_id", "can't be blank");
    }
    match input.amount_micros {
        None | Some(0) => fields.push("amount_micros", "can't be blank or 0"),
        Some(micros) if micros.unsigned_abs() > MAX_MICROS.unsigned_abs() => {
            fields.push(
                "amount_micros",
                format!("must be from -{MAX_MICROS} to {MAX_MICROS}"),
            );
        }
        Some(_) => {}
    }
    let reason = input.reason.as_deref().map_or("", str::trim);
    text::limited(&mut fields, "reason", Some(reason), 1, MAX_REASON);
    text::external_id(&mut fields, "id", input.id.as_deref());
    let dated = input.at.is_some();
    let at = match input.at.as_deref().map(Timestamp::parse) {
        None => Some(tx.now()),
        Some(at) => at.filter(|at| at.0 >= 0 && *at <= tx.now()),
    };
    if at.is_none() {
        fields.push(
            "at",
            "must be an RFC 3339 time that is not in the future, such as 2026-05-10T00:00:00Z",
        );
    }
    fields.finish()?;
    let (Some(workspace), Some(micros), Some(at)) = (input.workspace_id, input.amount_micros, at)
    else {
        return Err(Error::internal("a wrong correction without a text"));
    };
    let tenant = tenant_of(tx, workspace)?;
    let adjustment = Adjustment {
        seq: 0,
        id: input.id,
        tenant_id: tenant,
        workspace_id: workspace,
        amount_micros: micros,
        at: at.rfc3339_ms(),
        reason: reason.to_owned(),
        actor: format!("api_key {}", caller.key().prefix),
        recorded_at: tx.now(),
    };
    if let Some(before) = repeated(tx, &adjustment, dated)? {
        return Ok((before, false));
    }
    may_meter(tx)?;
    let sql = "INSERT INTO compute_events (event_id, tenant_id, workspace_id, type, at, recorded_at, billable, rate, stated,
             amount_micros, reason, actor)
         VALUES (?1, ?2, ?3, 'usage.adjusted', ?4, ?5, 0, 0, 0, ?6, ?7, ?8)";
    tx.run(
        sql,
        (
            &adjustment.id,
            tenant,
            workspace,
            at,
            tx.now(),
            micros,
            reason,
            &adjustment.actor,
        ),
    )?;
    let adjustment = Adjustment {
        seq: tx.last_insert_rowid(),
        ..adjustment
    };
    let mut changes = Changes::default();
    changes.add(
        workspace,
        at.0,
        adjustment.seq,
        Flow {
            micros,
            ..Flow::default()
        },
    );
    meter::apply(tx, changes)?;
    audit::record(
        tx,
        &Entry {
            actor: Actor::Key(caller),
            tenant_id: tenant,
            workspace_id: Some(workspace),
            kind: "usage.adjusted",
            resource: workspace.0,
            before: audit::NONE,
            after: Some(&adjustment),
        },
    )?;
    Ok((adjustment, true))
}

fn tenant_of(tx: &Tx<'_>, workspace: WorkspaceId) -> Result<TenantId> {
    use rusqlite::OptionalExtension;
    tx.row(
        "SELECT tenant_id FROM workspaces WHERE id = ?1",
        [workspace],
        |row| row.get(0),
    )
    .optional()?
    .ok_or_else(|| Error::not_found("workspace"))
}

/// The correction that has this id already: the same again is a success that changes nothing. Its
/// instant is part of it where the poster named one.
fn repeated(tx: &Tx<'_>, new: &Adjustment, dated: bool) -> Result<Option<Adjustment>> {
    use rusqlite::OptionalExtension;
    let Some(id) = &new.id else { return Ok(None) };
    let found = tx
        .row(
            "SELECT * FROM compute_events WHERE tenant_id = ?1 AND event_id = ?2",
            (new.tenant_id, id),
            Adjustment::from_row,
        )
        .optional()?;
    let same = |old: &Adjustment| {
        (old.workspace_id, old.amount_micros, &old.reason)
            == (new.workspace_id, new.amount_micros, &new.reason)
            // One without an instant of its own, repeated later, is the same.
            && (!dated || old.at == new.at)
    };
    match found {
        Some(old) if !same(&old) => Err(Error::conflict(
            "EVENT_ID_REUSED",
            "an event with this id and other content is there already; send a new id",
        )),
        found => Ok(found),
    }
}
