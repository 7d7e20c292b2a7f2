//! `POST /compute-events`: what an outside agent reports about computers of the driver `external`.
//!
//! A report says one thing about one computer. Whatever order reports arrive in, and however often,
//! the numbers are those of in-order arrival: the id makes a repeat a success that changes nothing,
//! and late ones go into the middle of the history ([`super::history`]).

use std::collections::{BTreeMap, HashMap};

use axum::extract::State;
use axum::response::Response;
use rusqlite::OptionalExtension;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::report::{MAX_SKEW_MS, Parsed, Report, parse};
use crate::access::caller::Caller;
use crate::audit::Actor;
use crate::clock::Timestamp;
use crate::computers::{self, Fleet, lifecycle};
use crate::error::{Error, Fields, Result};
use crate::http::{Body, Mutation, Param, Params, Reply, typed};
use crate::ids::{ComputerId, ProjectId, TenantId, WorkspaceId};
use crate::rules::size::Size;
use crate::store::{Columns, WriteTx};
use crate::usage::ledger::event::{PLACE, SIZE};
use crate::usage::ledger::history::{self, Fact};
use crate::usage::ledger::tariff::Tariff;
use crate::usage::meter::{self, Changes};
use crate::{limits, projects, workspaces};

/// Events of one call.
const MAX_EVENTS: usize = 10_000;

/// Events that one turn of the writer takes.
const PIECE: usize = 250;

/// Bytes of one call: 10,000 events of 800 bytes.
pub const MAX_BODY: usize = 8 << 20;

/// `POST /compute-events`; also a CloudEvents 1.0 batch as `application/cloudevents-batch+json`.
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct Ingest {
    /// 1 to 10,000 events, in any order
    #[schema(value_type = Vec<Report>, required = true, min_items = 1, max_items = 10_000)]
    pub events: Vec<Value>,
}

/// The events of an [`Ingest`], as they were parsed: to build each anew, field by field, takes longer than parsing it.
pub struct Batch(Vec<Value>);

impl Body for Batch {
    fn of(mut object: Map<String, Value>) -> Result<Self> {
        Ok(Batch(match object.get_mut("events") {
            Some(Value::Array(events)) => std::mem::take(events),
            _ => typed::<Ingest>(object)?.events,
        }))
    }
}

/// `POST /compute-events`
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct IngestQuery {
    /// 1: one event that cannot be taken refuses all of them
    #[param(inline)]
    pub all_or_nothing: Param<bool>,
}

/// What became of the events.
#[derive(Serialize, ToSchema, Default)]
pub struct Ingested {
    /// New events, all of which are now durable.
    accepted: i64,
    /// Events that were there already, with the same content.
    duplicates: i64,
    /// Events that were not taken, and why.
    rejected: Vec<Rejected>,
    /// Events that count from another instant than they are dated: the agent's clock is behind.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    moved: Vec<MovedUp>,
    /// Events about computers that are deleted.
    deleted: Vec<AboutDeleted>,
    /// Limits that are exceeded by what has happened; nothing was refused because of them.
    over_limit: Vec<OverLimit>,
}

/// An event that was not taken.
#[derive(Serialize, ToSchema)]
pub struct Rejected {
    /// Its id, as far as it had one.
    id: Option<String>,
    reason: String,
    #[serde(skip)]
    conflict: bool,
}

/// An event that is dated before its computer was created, by a clock that is a little behind.
#[derive(Serialize, ToSchema)]
pub struct MovedUp {
    id: String,
    /// As it is dated, with milliseconds.
    time: String,
    /// From when it counts: the creation of the computer, with milliseconds.
    at: String,
}

/// An event that was taken and is about a computer that is deleted.
#[derive(Serialize, ToSchema)]
pub struct AboutDeleted {
    /// The event's.
    id: String,
    computer_id: ComputerId,
    deleted_at: Timestamp,
    /// false: it is dated at or after the deletion, so that it changes no number.
    counts: bool,
}

/// A limit that is exceeded.
#[derive(Serialize, ToSchema)]
pub struct OverLimit {
    /// max_computers or max_computer_size.
    limit: &'static str,
    workspace_id: WorkspaceId,
    computer_id: Option<ComputerId>,
    max: Value,
    current: Value,
}

/// `POST /compute-events`
pub async fn ingest(
    State(fleet): State<Fleet>,
    query: Params<IngestQuery>,
    request: Mutation<Batch>,
) -> Result<Response> {
    let whole = query
        .get()
        .and_then(|query| query.all_or_nothing.get("all_or_nothing"));
    let fleet_here = fleet.clone();
    request
        .in_turns(
            move |input| Taking::new(input, whole? == Some(true)),
            |taking| !taking.whole && taking.left.len() > PIECE,
            move |tx, caller, mut taking| {
                taking.take(tx, &fleet_here, caller, PIECE)?;
                Ok(taking)
            },
        )
        .await?
        .run(move |tx, caller, taking| {
            let mut taking = taking?;
            taking.take(tx, &fleet, caller, MAX_EVENTS)?;
            let reply = taking.reply;
            Ok(if reply.rejected.is_empty() {
                Reply::ok(reply)
            } else {
                Reply::partly(reply)
            })
        })
        .await
}

/// Events of a call on their way into the history.
struct Taking {
    left: std::vec::IntoIter<Value>,
    count: usize,
    /// One that cannot be taken refuses all of them.
    whole: bool,
    reply: Ingested,
}

impl Taking {
    fn new(Batch(events): Batch, whole: bool) -> Result<Self> {
        let count = events.len();
        if count == 0 || count > MAX_EVENTS {
            return Err(Error::field(
                "events",
                format!("must be a list of 1 to {MAX_EVENTS} events"),
            ));
        }
        Ok(Taking {
            left: events.into_iter(),
            count,
            whole,
            reply: Ingested::default(),
        })
    }

    /// Takes at most so many more.
    fn take(
        &mut self,
        tx: &WriteTx<'_>,
        fleet: &Fleet,
        caller: &Caller,
        most: usize,
    ) -> Result<()> {
        let first = self.count - self.left.len();
        let reply = &mut self.reply;
        let mut known = Known {
            tx,
            fleet,
            caller,
            computers: HashMap::new(),
            places: HashMap::new(),
        };
        let mut batch: HashMap<String, Same> = HashMap::new();
        let mut facts: BTreeMap<ComputerId, (TenantId, Vec<Fact>)> = BTreeMap::new();
        for (n, event) in (first..).zip(self.left.by_ref().take(most)) {
            let id = event.get("id").and_then(Value::as_str).map(str::to_owned);
            let outcome = parse(n, &event)
                .map_err(no)
                .and_then(|parsed| known.check(parsed, &mut batch, &mut reply.moved));
            match outcome {
                Ok(Checked::New(tenant, computer, fact)) => {
                    let subject = known.computers.get(&computer).and_then(Option::as_ref);
                    if let Some(deleted_at) = subject.and_then(|subject| subject.deleted_at) {
                        reply.deleted.push(AboutDeleted {
                            id: id.unwrap_or_default(),
                            computer_id: computer,
                            deleted_at,
                            counts: fact.at < deleted_at.0,
                        });
                    }
                    facts
                        .entry(computer)
                        .or_insert_with(|| (tenant, Vec::new()))
                        .1
                        .push(fact);
                    reply.accepted += 1;
                }
                Ok(Checked::Duplicate) => reply.duplicates += 1,
                Err(Refusal::Event { reason, conflict }) => reply.rejected.push(Rejected {
                    id,
                    reason,
                    conflict,
                }),
                Err(Refusal::Request(e)) => return Err(e),
            }
        }
        if reply.rejected.len() == self.count {
            return Err(all_refused(std::mem::take(&mut reply.rejected)));
        }
        if self.whole && !reply.rejected.is_empty() {
            // Invalid, even where one of them alone would be a conflict: nothing was wrong with the others.
            for rejected in &mut reply.rejected {
                rejected.conflict = false;
            }
            return Err(all_refused(std::mem::take(&mut reply.rejected)));
        }

        let tariff = Tariff::load(tx, &fleet.catalog)?;
        let mut changes = Changes::default();
        let mut touched = Vec::with_capacity(facts.len());
        for (computer, (tenant, mut facts)) in facts {
            facts.sort_by_key(|fact| fact.at);
            let limited = facts
                .iter()
                .any(|fact| fact.size.is_some() || fact.place.is_some());
            history::insert(tx, tenant, computer, facts, &tariff, &mut changes)?;
            touched.push((computer, limited));
        }
        meter::apply(tx, changes)?;
        for (computer, limited) in touched {
            lifecycle::follow_events(tx, fleet, Actor::Key(caller), computer)?;
            if limited {
                over_limit(tx, fleet, caller, computer, &mut reply.over_limit)?;
            }
        }
        Ok(())
    }
}

/// One event, or none of many, was good: the reply is an error of its own.
fn all_refused(rejected: Vec<Rejected>) -> Error {
    match rejected.iter().find(|r| r.conflict) {
        Some(r) => Error::conflict("EVENT_CONFLICT", r.reason.clone()),
        None => {
            let mut fields = Fields::default();
            for r in rejected.iter().take(20) {
                fields.push(
                    "events",
                    format!("{:?}: {}", r.id.as_deref().unwrap_or(""), r.reason),
                );
            }
            fields
                .finish()
                .err()
                .unwrap_or_else(|| Error::field("events", "holds no event that could be taken"))
        }
    }
    .with_details(serde_json::json!({ "rejected": rejected }))
}

enum Checked {
    New(TenantId, ComputerId, Fact),
    Duplicate,
}

/// Why an event is not taken: by itself, or because the whole request fails.
enum Refusal {
    Event { reason: String, conflict: bool },
    Request(Error),
}

fn no(reason: impl Into<String>) -> Refusal {
    Refusal::Event {
        reason: reason.into(),
        conflict: false,
    }
}

fn conflict(reason: impl Into<String>) -> Refusal {
    Refusal::Event {
        reason: reason.into(),
        conflict: true,
    }
}

impl From<Error> for Refusal {
    fn from(e: Error) -> Self {
        if e.status().is_client_error() {
            no(e.message())
        } else {
            Refusal::Request(e)
        }
    }
}

impl From<rusqlite::Error> for Refusal {
    fn from(e: rusqlite::Error) -> Self {
        Refusal::Request(e.into())
    }
}

/// What two events with one id must have in common to be the same.
#[derive(PartialEq, Clone)]
struct Same {
    kind: String,
    computer: ComputerId,
    at: i64,
    size: Option<Size>,
    place: Option<(WorkspaceId, ProjectId)>,
}

/// A computer that is reported about.
#[derive(Clone)]
struct Subject {
    tenant: TenantId,
    workspace: WorkspaceId,
    external: bool,
    user: Option<String>,
    created_at: i64,
    deleted_at: Option<Timestamp>,
}

/// What was looked up for this batch.
struct Known<'a, 'tx> {
    tx: &'a WriteTx<'tx>,
    fleet: &'a Fleet,
    caller: &'a Caller,
    computers: HashMap<ComputerId, Option<Subject>>,
    places: HashMap<(WorkspaceId, Option<ProjectId>), (WorkspaceId, ProjectId)>,
}

impl Known<'_, '_> {
    fn check(
        &mut self,
        mut event: Parsed,
        batch: &mut HashMap<String, Same>,
        moved: &mut Vec<MovedUp>,
    ) -> Result<Checked, Refusal> {
        let most = self.tx.now().0 + MAX_SKEW_MS;
        if event.at > most {
            // Perhaps it is the agent's clock that is right; then it is refused for no good.
            if event.at <= most.saturating_add(self.tx.clock().ahead_ms) {
                return Err(Refusal::Request(
                    Error::unavailable(
                        "the clock of this server jumped ahead and is not followed yet; nothing was changed, send \
                         the same again",
                        60,
                    )
                    .with_code("CLOCK_JUMPED"),
                ));
            }
            return Err(no(
                "time is more than 5 minutes ahead of the clock of this server",
            ));
        }
        let subject = self.subject(event.computer)?;
        if (subject.created_at - MAX_SKEW_MS..subject.created_at).contains(&event.at) {
            moved.push(MovedUp {
                id: event.id.clone(),
                time: Timestamp(event.at).rfc3339_ms(),
                at: Timestamp(subject.created_at).rfc3339_ms(),
            });
            event.at = subject.created_at;
        }
        let place = event.place.map(|place| self.place(place)).transpose()?;
        let same = Same {
            kind: event.kind.into(),
            computer: event.computer,
            at: event.at,
            size: event.size,
            place,
        };
        let earlier = match batch.get(&event.id) {
            Some(earlier) => Some(earlier.clone()),
            None => self.stored(subject.tenant, &event.id)?,
        };
        match earlier {
            Some(earlier) if earlier == same => return Ok(Checked::Duplicate),
            Some(_) => {
                return Err(conflict(
                    "an event with this id and other content is there already; send a new id",
                ));
            }
            None => {}
        }
        if event.at < subject.created_at {
            return Err(no(
                "time is more than 5 minutes before the computer was created",
            ));
        }
        batch.insert(event.id.clone(), same);
        let fact = Fact {
            event_id: Some(event.id),
            kind: event.kind.into(),
            at: event.at,
            status: event.status,
            size: event.size,
            place,
        };
        Ok(Checked::New(subject.tenant, event.computer, fact))
    }

    /// The computer, live or deleted, if the caller may report about it.
    fn subject(&mut self, id: ComputerId) -> Result<Subject, Refusal> {
        let tx = self.tx;
        let found = match self.computers.get(&id) {
            Some(found) => found.clone(),
            None => {
                let sql = "SELECT tenant_id, workspace_id, driver, external_user_id, created_at, deleted_at FROM computers c WHERE id = ?1
                        AND NOT EXISTS (SELECT 1 FROM imports i WHERE i.workspace_id = c.workspace_id)";
                let found = tx
                    .row(sql, [id], |row| {
                        Ok(Subject {
                            tenant: row.get(0)?,
                            workspace: row.get(1)?,
                            external: row.get::<_, String>(2)? == "external",
                            user: row.get(3)?,
                            created_at: row.get(4)?,
                            deleted_at: row.get(5)?,
                        })
                    })
                    .optional()?;
                self.computers.insert(id, found.clone());
                found
            }
        };
        let subject = found.ok_or_else(|| no("computer not found"))?;
        self.caller
            .within_reach(subject.tenant, subject.workspace)?;
        if self
            .caller
            .only_user()
            .is_some_and(|user| subject.user.as_deref() != Some(user))
        {
            return Err(no("forbidden"));
        }
        if !subject.external {
            return Err(conflict(
                "the built-in driver runs this computer; only computers of the driver external are reported",
            ));
        }
        Ok(subject)
    }

    /// Workspace and project that a report names.
    fn place(
        &mut self,
        named: (WorkspaceId, Option<ProjectId>),
    ) -> Result<(WorkspaceId, ProjectId), Refusal> {
        if let Some(place) = self.places.get(&named) {
            return Ok(*place);
        }
        let workspace = workspaces::reach(self.tx, self.caller, named.0)?;
        let project = match named.1 {
            Some(id) => {
                let project = projects::reach(self.tx, self.caller, id)?;
                if project.workspace_id != named.0 {
                    return Err(no("data.project_id is not a project of data.workspace_id"));
                }
                id
            }
            None => {
                projects::default_or_create(
                    self.tx,
                    &self.fleet.config.file,
                    self.caller,
                    &workspace.view,
                )?
                .id
            }
        };
        self.places.insert(named, (named.0, project));
        Ok((named.0, project))
    }

    /// The event of this tenant that has this id already.
    fn stored(&self, tenant: TenantId, id: &str) -> Result<Option<Same>, Refusal> {
        let sql = "SELECT computer_id, type, at, stated, size, workspace_id, project_id FROM compute_events
                 WHERE tenant_id = ?1 AND event_id = ?2";
        let found = self
            .tx
            .row(sql, (tenant, id), |row| {
                let mut columns = Columns::new(row);
                let Some(computer) = columns.get()? else {
                    return Ok(None);
                };
                let (kind, at, stated) = (columns.get()?, columns.get()?, columns.get::<i64>()?);
                let (size, place) = (columns.get()?, (columns.get()?, columns.get()?));
                Ok(Some(Same {
                    kind,
                    computer,
                    at,
                    size: (stated & SIZE != 0).then_some(size),
                    place: (stated & PLACE != 0).then_some(place),
                }))
            })
            .optional()?;
        match found {
            Some(None) => Err(conflict(
                "a correction with this id is there already; send a new id",
            )),
            found => Ok(found.flatten()),
        }
    }
}

/// Which limits a computer exceeds where it now is.
fn over_limit(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    caller: &Caller,
    id: ComputerId,
    over: &mut Vec<OverLimit>,
) -> Result<()> {
    let Some(computer) = computers::load(tx, id)? else {
        return Ok(());
    };
    // What cannot be looked at is not told of, and is no reason to refuse all others.
    let Ok(workspace) = workspaces::reach(tx, caller, computer.workspace_id) else {
        return Ok(());
    };
    let effective = limits::effective(tx, &fleet.config.file, &workspace)?;
    let workspace_id = computer.workspace_id;
    let count = workspace.view.computer_count;
    let listed = |o: &OverLimit| o.limit == "max_computers" && o.workspace_id == workspace_id;
    if let Some(max) = effective.max_computers.value.filter(|max| count > *max)
        && !over.iter().any(listed)
    {
        let (max, current) = (max.into(), count.into());
        over.push(OverLimit {
            limit: "max_computers",
            workspace_id,
            computer_id: None,
            max,
            current,
        });
    }
    if let Some(max) = effective
        .max_computer_size
        .value
        .filter(|max| computer.size > *max)
        && !over.iter().any(|o| o.computer_id == Some(id))
    {
        let (max, current) = (max.as_str().into(), computer.size.as_str().into());
        over.push(OverLimit {
            limit: "max_computer_size",
            workspace_id,
            computer_id: Some(id),
            max,
            current,
        });
    }
    Ok(())
}
