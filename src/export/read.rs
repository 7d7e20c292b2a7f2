//! Reading a capsule from somebody's hands: bounded, line by line, and nothing in it is believed. What
//! comes out holds together in itself; whether there is a place for it, the import finds out.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};

use data_encoding::HEXLOWER;
use flate2::bufread::GzDecoder;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::format::{Audit, Computer, End, FORMAT, Head, Line, Project, Workspace};
use super::write::Contents;
use super::{MAX_EVENTS, MAX_LINE, MAX_LINES, MAX_TEXT};
use crate::error::{Error, Fields, Result};
use crate::ids::{ComputerId, ProjectId};
use crate::rules::config::MAX_CREDITS_PER_HOUR;
use crate::rules::size::Size;
use crate::rules::status::Status;
use crate::rules::text;
use crate::usage::ledger::transfer::{self, ExportedEvent};
use crate::workspaces::types::MAX_AUTO_STOP_SECONDS;

/// How far the clock that exported may be ahead of ours, milliseconds.
const SKEW_MS: i64 = 5 * 60_000;
/// Computers at most: with the highest price, what they consume in an era stays a 64-bit number.
const MAX_COMPUTERS: usize = 10_000;
/// All corrections together, micro-credits.
const MAX_CORRECTIONS: i64 = 1_000_000_000_000_000_000;
/// Names in a list.
const MAX_NAMES: usize = 100;

/// A capsule that holds together.
pub(super) struct Capsule {
    pub head: Head,
    pub contents: Contents,
    pub end: End,
}

fn damaged(text: impl std::fmt::Display) -> Error {
    Error::bad_request(
        "CAPSULE_DAMAGED",
        format!("the file is damaged or incomplete ({text}); export it again"),
    )
}

fn invalid(line: usize, text: impl std::fmt::Display) -> Error {
    Error::field("capsule", format!("line {line}: {text}")).with_code("CAPSULE_INVALID")
}

/// Reads and checks a capsule, compressed or not.
///
/// # Errors
/// 400 `CAPSULE_DAMAGED`, 422 `CAPSULE_TOO_NEW`, `CAPSULE_INVALID`.
pub(super) fn read(bytes: &[u8], now: i64) -> Result<Capsule> {
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut unpacked = BufReader::new(GzDecoder::new(bytes));
        let capsule = parse(&mut unpacked, now)?;
        if !unpacked.into_inner().into_inner().is_empty() {
            return Err(damaged("there is more after its end"));
        }
        Ok(capsule)
    } else {
        parse(&mut BufReader::new(bytes), now)
    }
}

/// The next line with its end; `None` at the end of the file.
fn next(input: &mut impl BufRead, line: &mut Vec<u8>) -> Result<Option<()>> {
    line.clear();
    let most = MAX_LINE + 1;
    let length = input
        .by_ref()
        .take(most as u64)
        .read_until(b'\n', line)
        .map_err(damaged)?;
    match length {
        0 => Ok(None),
        _ if line.last() == Some(&b'\n') => Ok(Some(())),
        _ if length == most => Err(damaged(format!("a line is longer than {MAX_LINE} bytes"))),
        _ => Err(damaged("its last line is cut")),
    }
}

fn parse(input: &mut impl BufRead, now: i64) -> Result<Capsule> {
    let mut line = Vec::new();
    let mut hash = Sha256::new();
    next(input, &mut line)?.ok_or_else(|| damaged("it is empty"))?;
    let head = head(&line, now)?;
    hash.update(&line);
    let mut text = line.len();
    let mut parts = Parts::default();
    for number in 2.. {
        next(input, &mut line)?.ok_or_else(|| damaged("its last line is missing"))?;
        text += line.len();
        if number > MAX_LINES || text > MAX_TEXT {
            let most = MAX_TEXT >> 20;
            return Err(invalid(
                number,
                format!("a capsule has at most {MAX_LINES} lines and {most} MiB of text"),
            ));
        }
        let parsed: Line = serde_json::from_slice(&line).map_err(|e| invalid(number, e))?;
        if let Line::End(end) = parsed {
            if end.sha256 != HEXLOWER.encode(&hash.finalize()) {
                return Err(damaged("its checksum is another one"));
            }
            if next(input, &mut line)?.is_some() {
                return Err(damaged("there is more after its last line"));
            }
            return parts.finish(head, end, number);
        }
        hash.update(&line);
        parts
            .take(parsed, head.exported_at)
            .map_err(|text| invalid(number, text))?;
    }
    Err(damaged("it has no end"))
}

fn head(line: &[u8], now: i64) -> Result<Head> {
    let value: Value = serde_json::from_slice(line)
        .map_err(|_| damaged("its first line is not that of a workspace capsule"))?;
    let format = value["capsule"]["format"].as_u64();
    if let Some(newer) = format.filter(|format| *format > u64::from(FORMAT)) {
        return Err(Error::field(
            "capsule",
            format!(
                "has the format {newer}, and this server reads up to {FORMAT}; upgrade workspaced"
            ),
        )
        .with_code("CAPSULE_TOO_NEW"));
    }
    let Ok(Line::Capsule(head)) = serde_json::from_value(value) else {
        return Err(damaged("its first line is not that of a workspace capsule"));
    };
    if head.format != FORMAT {
        return Err(invalid(1, "there is no such format"));
    }
    if !(0..=now.saturating_add(SKEW_MS)).contains(&head.exported_at) {
        return Err(invalid(
            1,
            "exported_at is ahead of this server's clock; set the clocks right",
        ));
    }
    Ok(head)
}

/// What has been read so far, and what it refers to.
#[derive(Default)]
struct Parts {
    workspace: Option<Workspace>,
    projects: Vec<Project>,
    computers: Vec<Computer>,
    domains: Vec<super::format::PreviewDomain>,
    events: Vec<ExportedEvent>,
    audit: Vec<Audit>,
    /// Whether it is live.
    known_projects: BTreeMap<ProjectId, bool>,
    known_computers: BTreeSet<ComputerId>,
    event_ids: BTreeSet<String>,
    domain_owners: BTreeSet<Option<ProjectId>>,
    corrections: i64,
    /// Which kind of line the last one was.
    stage: u8,
}

type Check = std::result::Result<(), String>;

impl Parts {
    fn take(&mut self, line: Line, until: i64) -> Check {
        let stage = match &line {
            Line::Capsule(_) | Line::End(_) => return Err("is in the wrong place".into()),
            Line::Workspace(_) => 1,
            Line::Project(_) => 2,
            Line::Computer(_) => 3,
            Line::PreviewDomain(_) => 4,
            Line::Event(_) => 5,
            Line::Audit(_) => 6,
        };
        if stage < self.stage || (stage == 1) != self.workspace.is_none() {
            return Err("is in the wrong place".into());
        }
        self.stage = stage;
        match line {
            Line::Workspace(workspace) => {
                check_workspace(&workspace, until)?;
                self.workspace = Some(*workspace);
            }
            Line::Project(project) => {
                check_project(&project)?;
                let live = project.deleted_at.is_none();
                if self.known_projects.insert(project.id, live).is_some() {
                    return Err("has an id that is there already".into());
                }
                self.projects.push(project);
            }
            Line::Computer(computer) => self.computer(*computer)?,
            Line::PreviewDomain(domain) => {
                let live = domain.project_id.is_none_or(|id| self.is_live(id));
                if !live || !self.domain_owners.insert(domain.project_id) {
                    return Err("is not the one domain of a project of this file".into());
                }
                self.domains.push(domain);
            }
            Line::Event(event) => self.event(event, until)?,
            Line::Audit(row) => {
                check_audit(&row, until)?;
                self.audit.push(*row);
            }
            Line::Capsule(_) | Line::End(_) => {}
        }
        Ok(())
    }

    fn is_live(&self, project: ProjectId) -> bool {
        self.known_projects.get(&project) == Some(&true)
    }

    fn computer(&mut self, computer: Computer) -> Check {
        check_computer(&computer)?;
        let live = computer.status != Status::Destroyed;
        if live == computer.deleted_at.is_some() {
            return Err("is deleted or it is not".into());
        }
        match self.known_projects.get(&computer.project_id) {
            None => return Err("names a project that is not in this file".into()),
            Some(false) if live => return Err("is live in a project that is deleted".into()),
            Some(_) => {}
        }
        if self.computers.len() == MAX_COMPUTERS {
            return Err(format!("is one of more than {MAX_COMPUTERS} computers"));
        }
        if !self.known_computers.insert(computer.id) {
            return Err("has an id that is there already".into());
        }
        self.computers.push(computer);
        Ok(())
    }

    fn event(&mut self, event: ExportedEvent, until: i64) -> Check {
        if self.events.len() == MAX_EVENTS {
            return Err(format!("is one of more than {MAX_EVENTS} events"));
        }
        let mut fields = Fields::default();
        text::external_id(&mut fields, "event_id", event.event_id.as_deref());
        words(&mut fields, "type", &event.r#type);
        instants(
            &mut fields,
            &[
                ("at", Some(event.at)),
                ("recorded_at", Some(event.recorded_at)),
            ],
        );
        text::limited(&mut fields, "reason", event.reason.as_deref(), 1, 500);
        text::limited(&mut fields, "actor", event.actor.as_deref(), 1, 100);
        finish(fields)?;
        if event.at > until {
            return Err("is dated after the export".into());
        }
        if !(0..=i64::from(MAX_CREDITS_PER_HOUR)).contains(&event.rate)
            || !(0..=7).contains(&event.stated)
        {
            return Err("has a rate or parts of a state that cannot be".into());
        }
        match event.computer_id {
            Some(computer) => {
                let complete = event.status.is_some() && event.size.is_some();
                let corrects = event.amount_micros.is_some()
                    || event.reason.is_some()
                    || event.actor.is_some()
                    || event.r#type == "usage.adjusted";
                if !complete || corrects {
                    return Err("is neither a computer's event nor a correction".into());
                }
                let project = event.project_id;
                if !self.known_computers.contains(&computer)
                    || !project.is_some_and(|id| self.known_projects.contains_key(&id))
                {
                    return Err("names a computer or a project that is not in this file".into());
                }
            }
            None => {
                let state = event.project_id.is_some()
                    || event.status.is_some()
                    || event.size.is_some()
                    || event.rate != 0
                    || event.stated != 0;
                let complete = event.reason.is_some() && event.actor.is_some();
                if state || !complete || event.r#type != "usage.adjusted" {
                    return Err("is neither a computer's event nor a correction".into());
                }
                let amount = event.amount_micros.and_then(i64::checked_abs);
                let sum = amount.and_then(|amount| self.corrections.checked_add(amount));
                self.corrections = sum
                    .filter(|sum| *sum <= MAX_CORRECTIONS)
                    .ok_or("corrects by more than anybody has")?;
            }
        }
        if let Some(id) = &event.event_id
            && !self.event_ids.insert(id.clone())
        {
            return Err("has an id that is there already".into());
        }
        self.events.push(event);
        Ok(())
    }

    fn finish(self, head: Head, end: End, line: usize) -> Result<Capsule> {
        let workspace = self
            .workspace
            .filter(|workspace| workspace.id == head.workspace_id)
            .ok_or_else(|| invalid(line, "the workspace of the first line is not there"))?;
        let contents = Contents {
            exported_at: head.exported_at,
            workspace,
            projects: self.projects,
            computers: self.computers,
            domains: self.domains,
            events: self.events,
            audit: self.audit,
        };
        if contents.rows() != end.rows {
            return Err(invalid(line, "there are not as many lines as it says"));
        }
        check_histories(&contents).map_err(|text| invalid(line, text))?;
        Ok(Capsule {
            head,
            contents,
            end,
        })
    }
}

/// Each computer is in the state that its last event says, and consumed what its events say.
fn check_histories(contents: &Contents) -> Check {
    let mut histories: BTreeMap<ComputerId, Vec<&ExportedEvent>> = BTreeMap::new();
    for event in &contents.events {
        if let Some(computer) = event.computer_id {
            histories.entry(computer).or_default().push(event);
        }
    }
    for computer in &contents.computers {
        let id = computer.id;
        let mut history = histories.remove(&id).unwrap_or_default();
        // Stable: at the same instant the one that arrived later holds.
        history.sort_by_key(|event| event.at);
        if history
            .first()
            .is_none_or(|first| first.at > computer.created_at)
        {
            return Err(format!("the computer {id} has no event at its creation"));
        }
        let state = |event: &&ExportedEvent| {
            (event.status, event.size, event.project_id)
                == (
                    Some(computer.status),
                    Some(computer.size),
                    Some(computer.project_id),
                )
        };
        if !history.last().is_some_and(state) {
            return Err(format!(
                "the last event of the computer {id} says otherwise"
            ));
        }
        let consumed = transfer::consumed(history, contents.exported_at)
            .map_err(|_| format!("the computer {id} consumed more than a number can say"))?;
        if consumed != computer.usage {
            return Err(format!(
                "the events of the computer {id} do not add up to its usage"
            ));
        }
    }
    Ok(())
}

fn finish(fields: Fields) -> Check {
    fields.finish().map_err(|e| e.message().to_owned())
}

fn instants(fields: &mut Fields, given: &[(&'static str, Option<i64>)]) {
    /// The last instant that RFC 3339 can write.
    const LAST: i64 = 253_402_300_799_999;
    for (field, at) in given {
        if at.is_some_and(|at| !(0..=LAST).contains(&at)) {
            fields.push(*field, "is no instant after 1970");
        }
    }
}

/// The name of a kind: `computer.running`, `workspace.preview_domain_updated`.
fn words(fields: &mut Fields, field: &'static str, text: &str) {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_');
    if text.is_empty() || text.len() > 64 || !text.bytes().all(word) {
        fields.push(field, "is no name of a kind");
    }
}

fn names(fields: &mut Fields, field: &'static str, list: &[String]) {
    if list.len() > MAX_NAMES {
        fields.push(field, format!("has more than {MAX_NAMES} names"));
    }
    for name in list {
        text::limited(fields, field, Some(name), 1, text::MAX_EXTERNAL_ID);
    }
}

/// Names are stored trimmed.
fn name(fields: &mut Fields, given: &str) {
    if text::name(fields, "name", Some(given)) != given {
        fields.push("name", "begins or ends with a space");
    }
}

fn check_workspace(w: &Workspace, until: i64) -> Check {
    let mut fields = Fields::default();
    name(&mut fields, &w.name);
    text::slug(&mut fields, "slug", &w.slug);
    for (field, id) in [
        ("external_workspace_id", &w.external_workspace_id),
        ("external_user_id", &w.external_user_id),
    ] {
        text::external_id(&mut fields, field, id.as_deref());
    }
    text::description(&mut fields, w.description.as_deref());
    text::metadata(&mut fields, "metadata", Some(&w.metadata));
    names(
        &mut fields,
        "allowed_template_types",
        &w.allowed_template_types,
    );
    if w.max_computers.is_some_and(|max| max < 0) {
        fields.push("max_computers", "must not be negative");
    }
    if w.max_computer_size
        .is_some_and(|size| !(Size::Small..=Size::Large).contains(&size))
    {
        fields.push("max_computer_size", "must be small, medium or large");
    }
    auto_stop(
        &mut fields,
        "default_auto_stop_seconds",
        w.default_auto_stop_seconds,
    );
    let times = [
        ("created_at", Some(w.created_at)),
        ("updated_at", Some(w.updated_at)),
    ];
    instants(&mut fields, &times);
    finish(fields)?;
    if w.created_at > until {
        return Err("was created after the export".into());
    }
    Ok(())
}

fn auto_stop(fields: &mut Fields, field: &'static str, seconds: i64) {
    if !(0..=MAX_AUTO_STOP_SECONDS).contains(&seconds) {
        fields.push(field, format!("must be 0 to {MAX_AUTO_STOP_SECONDS}"));
    }
}

fn check_project(p: &Project) -> Check {
    let mut fields = Fields::default();
    name(&mut fields, &p.name);
    text::slug(&mut fields, "slug", &p.slug);
    text::external_id(
        &mut fields,
        "external_project_id",
        p.external_project_id.as_deref(),
    );
    text::description(&mut fields, p.description.as_deref());
    text::metadata(&mut fields, "metadata", Some(&p.metadata));
    let times = [
        ("created_at", Some(p.created_at)),
        ("updated_at", Some(p.updated_at)),
        ("deleted_at", p.deleted_at),
    ];
    instants(&mut fields, &times);
    finish(fields)
}

fn check_computer(c: &Computer) -> Check {
    let mut fields = Fields::default();
    name(&mut fields, &c.name);
    text::slug(&mut fields, "slug", &c.slug);
    text::limited(
        &mut fields,
        "template_type",
        Some(&c.template_type),
        1,
        text::MAX_EXTERNAL_ID,
    );
    for (field, value, allowed) in [
        (
            "driver",
            &c.driver,
            &["simulated", "external", "docker"][..],
        ),
        ("visibility", &c.visibility, &["public", "tenant", "key"]),
    ] {
        if !allowed.contains(&value.as_str()) {
            fields.push(field, format!("must be one of: {}", allowed.join(", ")));
        }
    }
    text::metadata(&mut fields, "metadata", Some(&c.metadata));
    text::metadata(&mut fields, "settings", Some(&c.settings));
    names(&mut fields, "selected_apps", &c.selected_apps);
    for (field, id) in [
        ("external_user_id", &c.external_user_id),
        ("external_project_id", &c.external_project_id),
    ] {
        text::external_id(&mut fields, field, id.as_deref());
    }
    auto_stop(&mut fields, "auto_stop_seconds", c.auto_stop_seconds);
    let times = [
        ("created_at", Some(c.created_at)),
        ("updated_at", Some(c.updated_at)),
        ("started_at", c.started_at),
        ("stopped_at", c.stopped_at),
        ("deleted_at", c.deleted_at),
    ];
    instants(&mut fields, &times);
    finish(fields)
}

fn check_audit(row: &Audit, exported_at: i64) -> Check {
    let mut fields = Fields::default();
    words(&mut fields, "type", &row.r#type);
    words(&mut fields, "resource_type", &row.resource_type);
    if matches!(
        row.r#type.as_str(),
        "workspace.imported" | "workspace.exported"
    ) {
        fields.push("type", "is about copies of the workspace");
    }
    if !matches!(row.actor_type.as_str(), "api_key" | "system" | "operator") {
        fields.push("actor_type", "must be one of: api_key, system, operator");
    }
    for (field, value) in [
        ("actor_label", &row.actor_label),
        ("ip_address", &row.ip_address),
        ("request_id", &row.request_id),
    ] {
        text::limited(&mut fields, field, value.as_deref(), 0, 64);
    }
    instants(&mut fields, &[("at", Some(row.at))]);
    if row.at > exported_at {
        fields.push("at", "is after the instant of the export");
    }
    finish(fields)
}
