//! `GET /usage/sessions`: running intervals of the tenant's computers, newest first. A session is one
//! computer running in one place at one size: a resize or a move ends it and begins the next.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use rusqlite::OptionalExtension;
use rusqlite::types::Value;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::table::{self, TableQuery};
use crate::access::caller::Caller;
use crate::clock::{DAY_MS, Timestamp};
use crate::db::Store;
use crate::error::{Error, Fields, Result};
use crate::http::{PageMeta, PageQuery, Param, Params, linked};
use crate::ids::{ComputerId, ProjectId, WorkspaceId};
use crate::rules::size::Size;
use crate::store::Tx;
use crate::usage::ledger::event::{Stored, last_until};
use crate::usage::ledger::intervals::{self, Interval};
use crate::usage::meter::units::Amount;

/// How far back sessions are listed unless `since` says otherwise.
const DEFAULT_PERIOD_MS: i64 = 30 * DAY_MS;

/// `GET /usage/sessions`
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct SessionsQuery {
    /// Only sessions of this computer, live or deleted
    #[param(inline)]
    pub computer_id: Param<ComputerId>,
    /// Sessions that ran at or after this time; 30 days before `until` if left out; RFC 3339
    #[param(value_type = Option<String>)]
    pub since: Param<Timestamp>,
    /// Sessions that began before this time; now if left out; RFC 3339
    #[param(value_type = Option<String>)]
    pub until: Param<Timestamp>,
    /// Where the page begins: `next_cursor` of the page before
    pub cursor: Option<String>,
}

/// Sessions, newest first.
#[derive(Serialize, ToSchema)]
pub struct Sessions {
    data: Vec<Session>,
    /// How many there are in the period.
    total: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Send it as `cursor` for the next page.
    next_cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<PageMeta>,
}

/// One computer, running, in one place, at one size.
#[derive(Serialize, ToSchema)]
pub struct Session {
    /// The `seq` of the event that began it.
    id: String,
    computer_id: ComputerId,
    workspace_id: WorkspaceId,
    project_id: ProjectId,
    size: Size,
    started_at: Timestamp,
    /// null while it runs.
    ended_at: Option<Timestamp>,
    /// Its start, with milliseconds.
    started_at_exact: String,
    /// Its end, with milliseconds; null while it runs.
    ended_at_exact: Option<String>,
    /// Milliseconds until now or its end.
    duration_ms: i64,
    /// Whole seconds until now or its end.
    duration_sec: i64,
    /// Credits, to the millionth.
    credit_cost: f64,
    /// Whole credits, as a meter of the computer shows them: all its sessions add up to what it used.
    credits_used: i64,
    /// Micro-credits, likewise.
    credits_micros: i64,
}

/// `GET /usage/sessions`
pub async fn sessions(
    State(store): State<Store>,
    caller: Caller,
    query: Params<SessionsQuery>,
    page: Params<PageQuery>,
    table: Params<TableQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let list = store.read(move |tx| {
        let (query, page) = (query.get()?, page.get()?.page()?);
        let mut fields = Fields::default();
        let table = table.get()?.read(&mut fields, &headers)?;
        let since = query.since.read(&mut fields, "since");
        let until = query.until.read(&mut fields, "until");
        let until = until.unwrap_or(tx.now()).min(tx.now()).0;
        let since = since.map_or(until - DEFAULT_PERIOD_MS, |since| since.0);
        let skip = query.cursor.as_deref().map(str::parse::<usize>);
        if matches!(skip, Some(Err(_))) {
            fields.push("cursor", "must be the next_cursor of a page");
        }
        fields.finish()?;
        let computer = query.computer_id.get("computer_id")?;

        let mut found = Vec::new();
        for id in computers(tx, &caller, computer)? {
            of_computer(tx, &caller, id, since, until, &mut found)?;
        }
        found.sort_by_key(|s| std::cmp::Reverse((s.opened.at, s.opened.seq)));
        let total = found.len();
        let after = page.after(2)?;
        if let Some([Value::Integer(at), Value::Integer(seq)]) = after.as_deref().map(Vec::as_slice)
        {
            found.retain(|s| (s.opened.at, s.opened.seq) < (*at, *seq));
        }
        let skip = skip.and_then(Result::ok).unwrap_or(0)
            + usize::try_from(page.offset).unwrap_or(usize::MAX);
        let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
        let next = skip.saturating_add(limit);
        let shown: Vec<&Run> = found.iter().skip(skip).take(limit).collect();
        let last = shown.last().filter(|_| page.is_full(shown.len()));
        let link = last
            .and_then(|s| page.link(&[Value::Integer(s.opened.at), Value::Integer(s.opened.seq)]));
        let list = Sessions {
            data: views(tx, &shown)?,
            total: i64::try_from(total).unwrap_or(i64::MAX),
            next_cursor: (next < total).then(|| next.to_string()),
            meta: page.meta(i64::try_from(total).unwrap_or(i64::MAX)),
        };
        Ok((list, link, table))
    });
    let (list, link, table) = list.await?;
    Ok(match table {
        Some(table) => table.reply("sessions", table::rows(COLUMNS, &list.data)?),
        None => linked(&list, link.as_deref()),
    })
}

/// Of a table.
const COLUMNS: &[&str] = &[
    "id",
    "computer_id",
    "workspace_id",
    "project_id",
    "size",
    "started_at_exact",
    "ended_at_exact",
    "duration_ms",
    "credits_used",
    "credits_micros",
];

/// The computers within the caller's reach that ever ran.
fn computers(tx: &Tx<'_>, caller: &Caller, only: Option<ComputerId>) -> Result<Vec<ComputerId>> {
    let user = caller.only_user();
    if let Some(id) = only {
        let sql = "SELECT tenant_id, external_user_id FROM computers c WHERE id = ?1
                     AND NOT EXISTS (SELECT 1 FROM imports i WHERE i.workspace_id = c.workspace_id)";
        let owner: Option<(crate::ids::TenantId, Option<String>)> = tx
            .row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (tenant, of_user) = owner.ok_or_else(|| Error::not_found("computer"))?;
        if tenant != caller.tenant_id() || user.is_some_and(|user| of_user.as_deref() != Some(user))
        {
            return Err(Error::forbidden());
        }
        return Ok(vec![id]);
    }
    let sql = "SELECT DISTINCT m.computer_id FROM metered_computers m JOIN computers c ON c.id = m.computer_id
             WHERE m.tenant_id = ?1 AND (?2 IS NULL OR m.workspace_id = ?2) AND (?3 IS NULL OR c.external_user_id = ?3)
                 AND m.workspace_id NOT IN (SELECT workspace_id FROM imports)";
    Ok(tx
        .prepare_cached(sql)?
        .query_map((caller.tenant_id(), caller.only_workspace(), user), |row| {
            row.get(0)
        })?
        .collect::<Result<_, _>>()?)
}

/// Intervals that follow each other without a change of place or size.
struct Run {
    computer: ComputerId,
    opened: Stored,
    closed: Option<i64>,
    amount: Amount,
}

impl Run {
    /// `before`: what the computer had consumed when it began.
    fn view(&self, before: &Amount, now: i64) -> Session {
        let end = self.closed.unwrap_or(now);
        let used = before.until(&(*before + self.amount));
        let micros = used.credits_micros;
        #[expect(
            clippy::cast_precision_loss,
            reason = "for display; credits_micros is the integer"
        )]
        let credit_cost = micros as f64 / 1e6;
        Session {
            id: self.opened.seq.to_string(),
            computer_id: self.computer,
            workspace_id: self.opened.state.workspace,
            project_id: self.opened.state.project,
            size: self.opened.state.size,
            started_at: Timestamp(self.opened.at),
            ended_at: self.closed.map(Timestamp),
            started_at_exact: Timestamp(self.opened.at).rfc3339_ms(),
            ended_at_exact: self.closed.map(|at| Timestamp(at).rfc3339_ms()),
            duration_ms: end - self.opened.at,
            duration_sec: (end - self.opened.at) / 1000,
            credit_cost,
            credits_used: used.credits_used,
            credits_micros: micros,
        }
    }

    fn goes_on(&self, interval: &Interval) -> bool {
        self.closed == Some(interval.start) && self.same_as(&interval.opened)
    }

    /// In the same place, at the same size.
    fn same_as(&self, other: &Stored) -> bool {
        let (a, b) = (&self.opened.state, &other.state);
        (a.workspace, a.project, a.size) == (b.workspace, b.project, b.size)
    }
}

/// The sessions of a page, newest first. Of one computer they follow each other without a gap, so that
/// what it had consumed before the first of them is looked up once.
fn views(tx: &Tx<'_>, runs: &[&Run]) -> Result<Vec<Session>> {
    let mut meters: BTreeMap<ComputerId, Amount> = BTreeMap::new();
    let mut views = Vec::with_capacity(runs.len());
    for run in runs.iter().rev() {
        let before = match meters.get(&run.computer) {
            Some(before) => *before,
            None => {
                let mut before = Amount::default();
                intervals::of_computer(tx, run.computer, 0, run.opened.at, |interval| {
                    before += interval.amount();
                    Ok(())
                })?;
                before
            }
        };
        views.push(run.view(&before, tx.now().0));
        meters.insert(run.computer, before + run.amount);
    }
    views.reverse();
    Ok(views)
}

/// Appends the sessions of a computer that have some time in `[since, until)`, whole: also what lies
/// before and after.
fn of_computer(
    tx: &Tx<'_>,
    caller: &Caller,
    computer: ComputerId,
    since: i64,
    until: i64,
    found: &mut Vec<Run>,
) -> Result<()> {
    let mut runs: Vec<Run> = Vec::new();
    let from = began(tx, computer, since)?;
    intervals::of_computer(tx, computer, from, tx.now().0, |interval| {
        if runs.last().is_some_and(|run| run.goes_on(&interval)) {
            if let Some(run) = runs.last_mut() {
                run.amount += interval.amount();
                run.closed = interval.closed.map(|(_, at)| at);
            }
        } else if interval.start < until {
            let closed = interval.closed.map(|(_, at)| at);
            runs.push(Run {
                computer,
                opened: interval.opened,
                closed,
                amount: interval.amount(),
            });
        }
        Ok(())
    })?;
    // An event at this very instant ends it only if something is different from it on.
    let now = tx.now().0;
    if let Some(run) = runs.last_mut().filter(|run| run.closed == Some(now))
        && let Some(held) = last_until(tx, computer, now)?
        && held.state.status.billable()
        && run.same_as(&held)
    {
        run.closed = None;
    }
    let only = caller.only_workspace();
    found.extend(runs.into_iter().filter(|run| {
        run.closed.is_none_or(|end| end > since)
            && only.is_none_or(|only| run.opened.state.workspace == only)
    }));
    Ok(())
}

/// When the session that holds at `since` began; `since` where none does.
fn began(tx: &Tx<'_>, computer: ComputerId, since: i64) -> Result<i64> {
    let mut began = since;
    let mut statement = tx.prepare_cached(&format!("SELECT {} FROM compute_events WHERE computer_id = ?1 AND at <= ?2 ORDER BY at DESC, seq DESC", Stored::COLUMNS))?;
    let mut rows = statement.query((computer, since))?;
    let mut now: Option<Stored> = None;
    let mut last_at = None;
    while let Some(row) = rows.next()? {
        let event = Stored::from_row(row)?;
        if last_at.replace(event.at) == Some(event.at) {
            continue; // Not the last of its instant: it never held.
        }
        let state = |s: &Stored| {
            (
                s.state.status.billable(),
                s.state.workspace,
                s.state.project,
                s.state.size,
            )
        };
        if !event.state.status.billable() || now.is_some_and(|now| state(&now) != state(&event)) {
            break;
        }
        began = event.at;
        now = Some(event);
    }
    Ok(began)
}
