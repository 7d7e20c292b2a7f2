//! `POST /workspaces/{id}/history`: what ran before it was metered here, brought in from another system.
//!
//! Each interval is written as the events that it would have been, at its own price, on a computer of the past that is
//! deleted where its last interval ends: no agent reports about it any more, and it counts for no limit. What cannot
//! be said by a price is a correction at the beginning of the interval. Ids of intervals are kept, so that the same again
//! adds nothing.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use rusqlite::OptionalExtension;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::access::caller::Caller;
use crate::audit::{self, Actor, Entry};
use crate::clock::{HOUR_MS, Timestamp};
use crate::computers::Fleet;
use crate::computers::past::{Past, insert_past};
use crate::error::{Error, Fields, Result};
use crate::http::{DryRunQuery, Kit, Mutation, Params, PathId, Reply, not_kept};
use crate::ids::{ComputerId, ProjectId, TenantId, WorkspaceId};
use crate::projects;
use crate::rules::config::MAX_CREDITS_PER_HOUR;
use crate::rules::size::Size;
use crate::rules::status::Status;
use crate::rules::text;
use crate::store::{Tx, WriteTx};
use crate::usage::ledger::event::{ALL, may_meter};
use crate::usage::ledger::tariff::Tariff;
use crate::usage::ledger::transfer::{self, ExportedEvent};
use crate::usage::meter::Flow;
use crate::usage::questions::window::Zone;
use crate::workspaces;

/// Bytes of a body.
pub const MAX_BODY: usize = 2 << 20;
/// What a body may be.
pub const TAKEN: &[&str] = &["application/json", "text/csv"];
/// Intervals of one request: what one turn of the writer has time for.
const MAX_INTERVALS: usize = 2000;
/// Before the ids of intervals, among those of events: of what ran, and of what its rate does not say.
const PREFIX: &str = "history:";
const CORRECTION_PREFIX: &str = "history-credits:";
/// Largest amount of an interval: a billion credits.
const MAX_MICROS: i64 = 1_000_000_000_000_000;

/// `POST /workspaces/{id}/history`
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct HistoryQuery {
    /// All of it in this project of the workspace, by id, slug or the caller's own id, whatever the intervals say
    pub project: Option<String>,
}

/// `POST /workspaces/{id}/history`, as JSON; or a table with these columns.
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct History {
    /// At most 2,000; all of them are added, or none
    #[schema(required = true, nullable = false, max_items = 2000)]
    pub intervals: Option<Vec<PastInterval>>,
}

/// A time during which a computer ran.
#[derive(Serialize, Deserialize, ToSchema, Default, Clone)]
#[serde(default)]
pub struct PastInterval {
    /// Of the system that it comes from; the same again adds nothing
    #[schema(required = true, nullable = false, min_length = 1, max_length = 200)]
    pub id: Option<String>,
    /// What that system calls the computer; intervals of one computer must not overlap
    #[schema(required = true, nullable = false)]
    #[serde(alias = "computer_id")]
    pub computer: Option<String>,
    /// A project of the workspace, by id, slug or the caller's own id; the default one if left out
    #[serde(alias = "project_id")]
    pub project: Option<String>,
    /// xs, small, medium, large or xl
    #[schema(required = true, nullable = false, value_type = Size)]
    pub size: Option<String>,
    /// RFC 3339, inclusive
    #[schema(required = true, nullable = false)]
    #[serde(alias = "started_at_exact", alias = "started_at")]
    pub from: Option<String>,
    /// RFC 3339, exclusive; not after now
    #[schema(required = true, nullable = false)]
    #[serde(alias = "ended_at_exact", alias = "ended_at")]
    pub to: Option<String>,
    /// Credits an hour; this server's price of that size and time if neither this nor credits_micros is there
    pub rate: Option<i64>,
    /// What all of it cost, in micro-credits, instead of rate
    pub credits_micros: Option<i64>,
}

/// What was, or would be, added.
#[derive(Serialize, ToSchema)]
pub struct BroughtIn {
    /// Intervals that are new.
    added: i64,
    /// Intervals that were there already.
    known: i64,
    /// Computers of the past that were made for them.
    computers: i64,
    compute_ms: i64,
    credits_micros: i64,
    /// What each calendar month gains, in the time zone of the workspace.
    months: BTreeMap<String, MonthGain>,
}

/// What a month gains.
#[derive(Serialize, ToSchema, Default)]
pub struct MonthGain {
    compute_ms: i64,
    credits_micros: i64,
}

/// An interval that has been checked.
struct Checked {
    id: String,
    computer: String,
    project: ProjectId,
    size: Size,
    from: i64,
    to: i64,
    rate: i64,
    /// What the rate does not say.
    correction: i64,
}

impl Checked {
    fn event_id(&self) -> String {
        format!("{PREFIX}{}", self.id)
    }

    fn correction_id(&self) -> String {
        format!("{CORRECTION_PREFIX}{}", self.id)
    }

    fn micros(&self) -> i64 {
        of_rate(self.rate, self.to - self.from) + self.correction
    }
}

/// Whole micro-credits of a price over so many milliseconds.
fn of_rate(rate: i64, ms: i64) -> i64 {
    let micros = i128::from(rate) * i128::from(ms) * 1_000_000 / i128::from(HOUR_MS);
    i64::try_from(micros).unwrap_or(i64::MAX)
}

/// The price that gives exactly this amount, if a whole one does.
fn exact_rate(micros: i64, ms: i64) -> Option<i64> {
    let near = i128::from(micros) * i128::from(HOUR_MS) / (i128::from(ms) * 1_000_000);
    let near = i64::try_from(near).ok()?;
    (near..=near + 1).find(|rate| {
        (0..=i64::from(MAX_CREDITS_PER_HOUR)).contains(rate) && of_rate(*rate, ms) == micros
    })
}

/// `POST /workspaces/{id}/history`
pub async fn bring_in(
    State(fleet): State<Fleet>,
    State(kit): State<Kit>,
    PathId(id): PathId<WorkspaceId>,
    query: Params<HistoryQuery>,
    dry: Params<DryRunQuery>,
    request: Request,
) -> Result<Response> {
    let kind = request.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or("");
    let table = kind.split(';').next().unwrap_or("").trim() == "text/csv";
    let request = Mutation::raw(request, &kit).await?;
    let (body, request) = request.opened();
    let intervals = body.and_then(|mut source| {
        let mut bytes = source.rewound().map_err(not_kept)?;
        if table {
            from_csv(&mut bytes)
        } else {
            let history: History = serde_json::from_reader(&mut bytes).map_err(|e| {
                Error::bad_request(
                    "INVALID_JSON",
                    format!("the body is not such an object: {e}"),
                )
            })?;
            history
                .intervals
                .ok_or_else(|| Error::field("intervals", "can't be blank"))
        }
    });
    request
        .run(move |tx, caller, _| {
            let workspace = workspaces::find(tx, caller, id)?;
            let mut intervals = intervals?;
            if let Some(project) = query.get()?.project {
                for interval in &mut intervals {
                    interval.project = Some(project.clone());
                }
            }
            dry.get()?.run(tx, || {
                let tenant = workspace.view.tenant_id;
                let checked = check(tx, &fleet, &workspace, &intervals)?;
                add(tx, caller, tenant, id, checked).map(Reply::ok)
            })
        })
        .await
}

fn from_csv(bytes: &mut dyn std::io::Read) -> Result<Vec<PastInterval>> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .flexible(false)
        .from_reader(bytes);
    // What spreadsheets put before a table.
    let headers = reader.headers().map_err(wrong_table)?.clone();
    let headers: csv::StringRecord = headers
        .iter()
        .map(|name| name.trim_start_matches('\u{feff}'))
        .collect();
    reader.set_headers(headers);
    let mut intervals = Vec::new();
    for row in reader.deserialize() {
        intervals.push(row.map_err(wrong_table)?);
        if intervals.len() > MAX_INTERVALS {
            break;
        }
    }
    Ok(intervals)
}

fn wrong_table(e: csv::Error) -> Error {
    Error::field(
        "intervals",
        format!(
            "are no table with the columns id, computer, project, size, from, to and rate or credits_micros: {e}"
        ),
    )
}

fn check(
    tx: &Tx<'_>,
    fleet: &Fleet,
    workspace: &workspaces::Record,
    intervals: &[PastInterval],
) -> Result<Vec<Checked>> {
    let id = workspace.view.id;
    let mut fields = Fields::default();
    if intervals.is_empty() || intervals.len() > MAX_INTERVALS {
        let text = format!("must be 1 to {MAX_INTERVALS}; send more in further requests");
        return Err(Error::field("intervals", text));
    }
    let tariff = Tariff::load(tx, &fleet.catalog)?;
    let mut projects: BTreeMap<Option<&str>, Option<ProjectId>> = BTreeMap::new();
    let mut all = Vec::with_capacity(intervals.len());
    for (n, given) in intervals.iter().enumerate() {
        let mut wrong = |field: &str, text: &str| {
            fields.push("intervals", format!("{}: {field} {text}", n + 1));
        };
        let named = |value: &Option<String>| -> Option<String> {
            let value = value.as_deref().map(str::trim).unwrap_or("");
            let mut fields = Fields::default();
            text::limited(&mut fields, "name", Some(value), 1, 200);
            (fields.finish().is_ok() && !value.contains(['\n', '\r', '\t']))
                .then(|| value.to_owned())
        };
        let source = named(&given.id);
        if source.is_none() {
            wrong("id", "must be 1 to 200 characters");
        }
        let computer = named(&given.computer);
        if computer.is_none() {
            wrong("computer", "must be 1 to 200 characters");
        }
        let size = given
            .size
            .as_deref()
            .and_then(|size| size.parse::<Size>().ok());
        if size.is_none() {
            wrong("size", "must be one of: xs, small, medium, large, xl");
        }
        let instant = |text: &Option<String>| {
            let at = text.as_deref().and_then(Timestamp::parse);
            at.filter(|at| at.0 >= 0 && *at <= tx.now()).map(|at| at.0)
        };
        let (from, to) = (instant(&given.from), instant(&given.to));
        for (field, at) in [("from", from), ("to", to)] {
            if at.is_none() {
                wrong(field, "must be an RFC 3339 time that is not in the future");
            }
        }
        if let (Some(from), Some(to)) = (from, to)
            && from >= to
        {
            wrong("to", "must be after from");
        }
        if given
            .rate
            .is_some_and(|rate| !(0..=i64::from(MAX_CREDITS_PER_HOUR)).contains(&rate))
        {
            wrong("rate", &format!("must be from 0 to {MAX_CREDITS_PER_HOUR}"));
        }
        if given
            .credits_micros
            .is_some_and(|micros| !(0..=MAX_MICROS).contains(&micros))
        {
            wrong("credits_micros", &format!("must be from 0 to {MAX_MICROS}"));
        }
        if given.rate.is_some() && given.credits_micros.is_some() {
            wrong(
                "rate",
                "cannot be combined with credits_micros; send one of them",
            );
        }
        let asked = given
            .project
            .as_deref()
            .map(str::trim)
            .filter(|name| !name.is_empty());
        let project = match projects.get(&asked) {
            Some(known) => *known,
            None => {
                let found = project(tx, id, asked)?;
                projects.insert(asked, found);
                found
            }
        };
        if project.is_none() {
            wrong(
                "project",
                "is none of this workspace; name one here, or for all of them with ?project=",
            );
        }
        let (Some(source), Some(computer), Some(size), Some(from), Some(to), Some(project)) =
            (source, computer, size, from, to, project)
        else {
            continue;
        };
        if from >= to {
            continue;
        }
        let (rate, correction) = match (given.rate, given.credits_micros) {
            (Some(rate), _) => (rate, 0),
            (None, Some(micros)) => match exact_rate(micros, to - from) {
                Some(rate) => (rate, 0),
                None => (0, micros),
            },
            (None, None) => (tariff.at(id, size, from)?, 0),
        };
        all.push(Checked {
            id: source,
            computer,
            project,
            size,
            from,
            to,
            rate,
            correction,
        });
    }
    all.sort_by(|a, b| (&a.computer, a.from).cmp(&(&b.computer, b.from)));
    for pair in all.windows(2) {
        if pair[0].computer == pair[1].computer && pair[0].to > pair[1].from {
            let text = format!(
                "{} and {} are of one computer and overlap",
                pair[0].id, pair[1].id
            );
            fields.push("intervals", text);
        }
    }
    let mut ids: Vec<&str> = all.iter().map(|interval| interval.id.as_str()).collect();
    ids.sort_unstable();
    if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        fields.push("intervals", format!("have the id {} twice", twice[0]));
    }
    fields.finish().map(|()| all)
}

/// A project of the workspace, by whatever name.
fn project(tx: &Tx<'_>, workspace: WorkspaceId, asked: Option<&str>) -> Result<Option<ProjectId>> {
    let Some(asked) = asked else {
        return Ok(projects::default_of(tx, workspace)?.map(|project| project.id));
    };
    if let Some(id) = crate::ids::parse_uuid(asked) {
        let sql = "SELECT id FROM projects WHERE id = ?1 AND workspace_id = ?2";
        let found = tx.row(sql, (ProjectId(id), workspace), |row| row.get(0));
        return Ok(found.optional()?);
    }
    if let Some(project) = projects::find_by_external(tx, workspace, asked)? {
        return Ok(Some(project.id));
    }
    Ok(projects::find_by_slug(tx, workspace, asked)?.map(|project| project.id))
}

/// Whether an interval is there already.
///
/// # Errors
/// 409 where its id is there with something else.
fn is_known(
    tx: &Tx<'_>,
    tenant: TenantId,
    workspace: WorkspaceId,
    interval: &Checked,
) -> Result<bool> {
    // Its end is the next event of its computer, which was made for this interval and its like alone.
    let sql = "SELECT workspace_id, at, size, rate,
             (SELECT n.at FROM compute_events n WHERE n.computer_id = e.computer_id AND (n.at, n.seq) > (e.at, e.seq)
              ORDER BY n.at, n.seq LIMIT 1)
         FROM compute_events e WHERE tenant_id = ?1 AND event_id = ?2";
    let found = tx.row(sql, (tenant, interval.event_id()), |row| {
        Ok((
            row.get::<_, WorkspaceId>(0)?,
            row.get::<_, i64>(1)?,
            row.get::<_, Option<Size>>(2)?,
            row.get::<_, i64>(3)?,
            row.get::<_, Option<i64>>(4)?,
        ))
    });
    let sql = "SELECT amount_micros FROM compute_events WHERE tenant_id = ?1 AND event_id = ?2";
    let corrected = tx.row(sql, (tenant, interval.correction_id()), |row| {
        row.get::<_, Option<i64>>(0)
    });
    let same = (
        workspace,
        interval.from,
        Some(interval.size),
        interval.rate,
        Some(interval.to),
    );
    match (found.optional()?, corrected.optional()?) {
        (None, None) => Ok(false),
        (Some(old), corrected)
            if old == same && corrected.unwrap_or(Some(0)) == Some(interval.correction) =>
        {
            Ok(true)
        }
        _ => Err(Error::conflict(
            "HISTORY_CONFLICT",
            format!(
                "an interval with the id {} was brought in with other values; nothing was added. Correct it with \
                 POST /api/v1/usage/adjustments, or give what is new another id",
                interval.id
            ),
        )),
    }
}

fn add(
    tx: &WriteTx<'_>,
    caller: &Caller,
    tenant: TenantId,
    workspace: WorkspaceId,
    all: Vec<Checked>,
) -> Result<BroughtIn> {
    may_meter(tx)?;
    let mut known = 0;
    let mut new = Vec::new();
    for interval in all {
        if is_known(tx, tenant, workspace, &interval)? {
            known += 1;
        } else {
            new.push(interval);
        }
    }
    let zone = Zone::of(tx, tenant, Some(workspace))?;
    let mut months: BTreeMap<String, MonthGain> = BTreeMap::new();
    for interval in &new {
        gain(&zone, interval, &mut months);
    }
    let computers = computers(tx, tenant, workspace, &new)?;
    events(tx, caller, tenant, workspace, &new, &computers)?;
    let brought_in = BroughtIn {
        added: i64::try_from(new.len()).unwrap_or(i64::MAX),
        known,
        computers: i64::try_from(computers.len()).unwrap_or(i64::MAX),
        compute_ms: new.iter().map(|interval| interval.to - interval.from).sum(),
        credits_micros: new.iter().map(Checked::micros).sum(),
        months,
    };
    if !new.is_empty() {
        audit::record(
            tx,
            &Entry {
                actor: Actor::Key(caller),
                tenant_id: tenant,
                workspace_id: Some(workspace),
                kind: "workspace.history_added",
                resource: workspace.0,
                before: audit::NONE,
                after: Some(&brought_in),
            },
        )?;
    }
    Ok(brought_in)
}

/// What an interval adds to the months that it lies in; what is left over by rounding goes to its last one.
fn gain(zone: &Zone, interval: &Checked, months: &mut BTreeMap<String, MonthGain>) {
    let (mut at, mut told) = (interval.from, 0);
    while at < interval.to {
        let name = zone.month_of(at);
        let end = zone
            .month(&name)
            .map_or(interval.to, |(_, end)| end.min(interval.to));
        let end = if end > at { end } else { interval.to };
        let so_far = of_rate(interval.rate, end - interval.from);
        let month = months.entry(name).or_default();
        month.compute_ms += end - at;
        month.credits_micros += so_far - told;
        if at == interval.from {
            month.credits_micros += interval.correction;
        }
        (at, told) = (end, so_far);
    }
}

/// A row for each computer; intervals come by computer and time.
fn computers<'a>(
    tx: &WriteTx<'_>,
    tenant: TenantId,
    workspace: WorkspaceId,
    new: &'a [Checked],
) -> Result<BTreeMap<&'a str, ComputerId>> {
    let mut made = BTreeMap::new();
    for of_one in new.chunk_by(|a, b| a.computer == b.computer) {
        let (Some(first), Some(last)) = (of_one.first(), of_one.last()) else {
            continue;
        };
        let past = Past {
            tenant,
            workspace,
            project: last.project,
            name: &first.computer,
            size: last.size,
            created_at: Timestamp(first.from),
            deleted_at: Timestamp(last.to),
            source: &first.computer,
        };
        let id = insert_past(tx, &past)?;
        transfer::has_run(tx, tenant, workspace, id)?;
        made.insert(first.computer.as_str(), id);
    }
    Ok(made)
}

/// The events that the intervals would have been, and what the meter is to be told.
fn events(
    tx: &WriteTx<'_>,
    caller: &Caller,
    tenant: TenantId,
    workspace: WorkspaceId,
    new: &[Checked],
    computers: &BTreeMap<&str, ComputerId>,
) -> Result<()> {
    // By computer: where its last interval ends, it was deleted.
    let mut ends = BTreeMap::new();
    for interval in new {
        ends.insert(interval.computer.as_str(), interval.to);
    }
    let mut all: Vec<(i64, ExportedEvent, Flow)> = Vec::with_capacity(new.len() * 2);
    let actor = format!("api_key {}", caller.key().prefix);
    for interval in new {
        let Some(computer) = computers.get(interval.computer.as_str()) else {
            continue;
        };
        let event = |event_id: Option<String>, kind: &str, at: i64, status| ExportedEvent {
            event_id,
            computer_id: Some(*computer),
            project_id: Some(interval.project),
            r#type: kind.to_owned(),
            at,
            recorded_at: tx.now().0,
            status: Some(status),
            size: Some(interval.size),
            rate: interval.rate,
            stated: ALL,
            amount_micros: None,
            reason: None,
            actor: None,
        };
        let runs = Flow {
            running: 1,
            rate: interval.rate,
            micros: 0,
        };
        let ends_so = Flow {
            running: -1,
            rate: -interval.rate,
            micros: 0,
        };
        let started = event(
            Some(interval.event_id()),
            "history.started",
            interval.from,
            Status::Running,
        );
        all.push((interval.from, started, runs));
        let last = ends.get(interval.computer.as_str()) == Some(&interval.to);
        let after = if last {
            Status::Destroyed
        } else {
            Status::Stopped
        };
        let stopped = event(None, "history.stopped", interval.to, after);
        all.push((interval.to, stopped, ends_so));
        if interval.correction != 0 {
            let corrected = ExportedEvent {
                event_id: Some(interval.correction_id()),
                computer_id: None,
                project_id: None,
                r#type: "usage.adjusted".into(),
                status: None,
                size: None,
                rate: 0,
                stated: 0,
                amount_micros: Some(interval.correction),
                reason: Some(format!("brought in: {}", interval.computer)),
                actor: Some(actor.clone()),
                ..event(None, "", interval.from, Status::Stopped)
            };
            let flow = Flow {
                micros: interval.correction,
                ..Flow::default()
            };
            all.push((interval.from, corrected, flow));
        }
    }
    // Where one ends and the next begins at once, the beginning holds.
    all.sort_by_key(|(at, event, _)| (*at, event.status == Some(Status::Running)));
    let first = transfer::next_seq(tx)?;
    let mut steps = Vec::with_capacity(all.len());
    for ((at, event, flow), seq) in all.into_iter().zip(first..) {
        transfer::store(tx, tenant, workspace, &event, seq)?;
        steps.push((at, seq, flow));
    }
    transfer::meter_steps(tx, workspace, steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_a_price_where_a_whole_one_gives_it() {
        assert_eq!(exact_rate(30_000_000, 3_600_000), Some(30));
        assert_eq!(exact_rate(of_rate(30, 1234), 1234), Some(30));
        assert_eq!(exact_rate(30_000_001, 3_600_000), None);
        assert_eq!(exact_rate(0, 1), Some(0));
    }
}
