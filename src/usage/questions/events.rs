//! `GET /computers/{id}/events`.

use axum::extract::State;
use rusqlite::ToSql;
use rusqlite::{OptionalExtension, Row};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::caller::Caller;
use crate::clock::Timestamp;
use crate::computers;
use crate::db::Store;
use crate::error::{Error, Result};
use crate::http::cursor::{self, Order};
use crate::http::{DeletedQuery, List, Page, PageQuery, Params, PathId};
use crate::ids::{ComputerId, ProjectId, WorkspaceId};
use crate::rules::size::Size;
use crate::rules::status::Status;

/// An event as it is shown.
#[derive(Serialize, ToSchema)]
#[schema(as = ComputeEvent)]
pub struct EventView {
    /// Order of arrival; at equal `at` the later one holds.
    seq: i64,
    /// The reporter's id; null for the service's own.
    id: Option<String>,
    computer_id: ComputerId,
    /// computer.running, computer.resized, ...
    r#type: String,
    /// Effective from, with milliseconds.
    at: String,
    /// When the service learned of it, with milliseconds.
    recorded_at: String,
    workspace_id: WorkspaceId,
    project_id: ProjectId,
    status: Status,
    billable: bool,
    size: Size,
    /// Credits per hour while running, frozen when it happened.
    rate: i64,
}

impl EventView {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(EventView {
            seq: row.get("seq")?,
            id: row.get("event_id")?,
            computer_id: row.get("computer_id")?,
            r#type: row.get("type")?,
            at: row.get::<_, Timestamp>("at")?.rfc3339_ms(),
            recorded_at: row.get::<_, Timestamp>("recorded_at")?.rfc3339_ms(),
            workspace_id: row.get("workspace_id")?,
            project_id: row.get("project_id")?,
            status: row.get("status")?,
            billable: row.get("billable")?,
            size: row.get("size")?,
            rate: row.get("rate")?,
        })
    }
}

/// Rows of `GET /computers/{id}/events` unless a page is asked for: a history has no end.
const NEWEST: i64 = 1000;

/// `GET /computers/{id}/events`: the history of a live computer, newest first; the newest 1,000 unless
/// a page is asked for. What is dated ahead of the clock is not there yet.
pub async fn list(
    State(store): State<Store>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
    page: Params<PageQuery>,
    deleted: Params<DeletedQuery>,
) -> Result<List<EventView>> {
    let list = store.read(move |tx| {
        if deleted.get()?.included()? {
            caller.check_past()?;
            let sql = "SELECT tenant_id, workspace_id FROM computers c WHERE id = ?1
                 AND NOT EXISTS (SELECT 1 FROM imports i WHERE i.workspace_id = c.workspace_id)";
            let found = tx.row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?)));
            let (tenant, workspace) = found
                .optional()?
                .ok_or_else(|| Error::not_found("computer"))?;
            caller.within_reach(tenant, workspace)?;
            caller.check_scope()?;
        } else {
            computers::find(tx, &caller, id)?;
        }
        let page = page.get()?.page()?;
        let limit = if page.limit < 0 { NEWEST } else { page.limit };
        let total = tx.row(
            "SELECT count(*) FROM compute_events WHERE computer_id = ?1 AND at <= ?2",
            (id, tx.now()),
            |row| row.get(0),
        )?;
        let order = Order {
            columns: &["at", "seq"],
            descending: true,
        };
        let after = page.after(order.columns.len())?;
        let beyond = match &after {
            Some(_) => format!(" AND {}", order.beyond()),
            None => String::new(),
        };
        let now = tx.now();
        let mut params: Vec<(&str, &dyn ToSql)> = vec![
            (":computer", &id),
            (":now", &now),
            (":limit", &limit),
            (":offset", &page.offset),
        ];
        params.extend(after.iter().flat_map(|values| cursor::named(values)));
        let data: Vec<EventView> = tx
            .prepare_cached(&format!(
                "SELECT * FROM compute_events WHERE computer_id = :computer AND at <= :now{beyond}
                 ORDER BY {} {}",
                order.sql(),
                Page::SQL
            ))?
            .query_map(params.as_slice(), EventView::from_row)?
            .collect::<Result<_, _>>()?;
        let next = page.next(tx, &order, "compute_events", &data, |last| {
            ("seq", &last.seq)
        })?;
        Ok(page.linked(data, total, next))
    });
    list.await
}
