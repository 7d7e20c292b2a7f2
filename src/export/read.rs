//! Reading a capsule from somebody's hands: bounded, line by line, and nothing in it is believed. The
//! file is read twice: first all of it is checked, of which only numbers are kept; then [`Lines`] hands out
//! the lines to be written. What is checked holds together in itself; whether there is a place for it, the
//! import finds out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, BufRead, BufReader, Read};

use data_encoding::HEXLOWER;
use flate2::bufread::GzDecoder;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::format::{
    Audit, Computer, End, FORMAT, Head, Line, OLDEST, PreviewDomain, Project, Rows, Workspace,
};
use super::write::Digested;
use super::{MAX_EVENTS, MAX_LINE, MAX_LINES, MAX_TEXT};
use crate::error::{Error, Fields, Result};
use crate::http::Source;
use crate::ids::{ComputerId, ProjectId};
use crate::rules::config::MAX_CREDITS_PER_HOUR;
use crate::rules::size::Size;
use crate::rules::status::Status;
use crate::rules::text;
use crate::time_zones;
use crate::usage::ledger::attribution::Past;
use crate::usage::ledger::tariff::Price;
use crate::usage::ledger::transfer::{self, Consumed, ExportedEvent, Held};
use crate::usage::meter::Flow;
use crate::workspaces::types::MAX_AUTO_STOP_SECONDS;

/// How far the clock that exported may be ahead of ours, milliseconds.
const SKEW_MS: i64 = 5 * 60_000;
/// Computers at most: with the highest price, what they consume in an era stays a 64-bit number.
const MAX_COMPUTERS: usize = 10_000;
/// Earlier attributions of a computer or project, and earlier sizes of processors.
const MAX_PAST: usize = 100_000;
/// Processors of a size, as in the configuration.
const MAX_VCPUS: i64 = 1 << 24;
/// All corrections together, micro-credits.
const MAX_CORRECTIONS: i64 = 1_000_000_000_000_000_000;
/// Names in a list.
const MAX_NAMES: usize = 100;

/// A capsule that holds together, without its lines.
pub(super) struct Checked {
    pub head: Head,
    pub workspace: Workspace,
    pub end: End,
    pub live_projects: usize,
    pub live_computers: usize,
    /// Size of the largest of them.
    pub largest: Option<Size>,
    pub domains: Vec<PreviewDomain>,
    /// The last line of an event.
    pub last_event: Option<ExportedEvent>,
    /// Whether usage is corrected.
    pub corrects: bool,
    pub ran: HashSet<ComputerId>,
    /// What is up, or on its way, at the instant of the export.
    pub up: Vec<Up>,
    /// What the meter is to be told, in the order in which it holds: the instant, and the place of the event
    /// among the events of the file.
    pub steps: Vec<(i64, u32, Flow)>,
    /// What an hour of a size cost from an instant on.
    pub prices: Vec<Price>,
    /// Size and project that deleted computers had at their end, where an agent reported others for a time
    /// after it.
    pub ended: Vec<(ComputerId, Size, ProjectId)>,
}

/// A computer that is up, or on its way, at the instant of the export.
#[derive(Clone, Copy)]
pub(super) struct Up {
    pub id: ComputerId,
    pub simulated: bool,
    /// What its last event says.
    pub held: Held,
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

/// The bytes of a capsule, unpacked.
enum Input<'a> {
    Plain(Box<dyn BufRead + 'a>),
    Gzip(BufReader<GzDecoder<Box<dyn BufRead + 'a>>>),
}

impl<'a> Input<'a> {
    fn new(mut bytes: Box<dyn BufRead + 'a>) -> io::Result<Self> {
        Ok(if bytes.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
            Input::Gzip(BufReader::new(GzDecoder::new(bytes)))
        } else {
            Input::Plain(bytes)
        })
    }

    /// At most `most` bytes up to a line end and with it; how many.
    fn line(&mut self, most: u64, line: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Input::Plain(input) => input.take(most).read_until(b'\n', line),
            Input::Gzip(input) => input.take(most).read_until(b'\n', line),
        }
    }

    /// Whether anything follows what was compressed.
    fn has_more(self) -> io::Result<bool> {
        Ok(match self {
            Input::Plain(_) => false,
            Input::Gzip(input) => !input.into_inner().into_inner().fill_buf()?.is_empty(),
        })
    }
}

/// The lines of a capsule, compressed or not.
pub(super) struct Lines<'a> {
    input: Input<'a>,
    line: Vec<u8>,
    /// How many there were.
    number: usize,
    text: usize,
}

impl<'a> Lines<'a> {
    /// From the beginning.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn new(file: &'a mut Source) -> Result<Self> {
        Ok(Lines {
            input: file.rewound().and_then(Input::new).map_err(damaged)?,
            line: Vec::new(),
            number: 0,
            text: 0,
        })
    }

    /// The next line with its end, if there is one.
    fn next(&mut self) -> Result<Option<&[u8]>> {
        self.line.clear();
        let most = MAX_LINE + 1;
        let length = self
            .input
            .line(most as u64, &mut self.line)
            .map_err(damaged)?;
        match length {
            0 => return Ok(None),
            _ if self.line.last() == Some(&b'\n') => {}
            _ if length == most => {
                return Err(damaged(format!("a line is longer than {MAX_LINE} bytes")));
            }
            _ => return Err(damaged("its last line is cut")),
        }
        self.number += 1;
        self.text += length;
        if self.number > MAX_LINES || self.text > MAX_TEXT {
            let most = MAX_TEXT >> 20;
            return Err(invalid(
                self.number,
                format!("a capsule has at most {MAX_LINES} lines and {most} MiB of text"),
            ));
        }
        Ok(Some(&self.line))
    }

    /// The next line after the head, of a file that has been checked.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn parsed(&mut self) -> Result<Option<(Line, usize)>> {
        if self.number == 0 {
            self.next()?;
        }
        let number = self.number + 1;
        let Some(line) = self.next()? else {
            return Ok(None);
        };
        let length = line.len();
        let line = serde_json::from_slice(line).map_err(|e| invalid(number, e))?;
        Ok(Some((line, length)))
    }

    fn has_more(mut self) -> Result<bool> {
        Ok(self.next()?.is_some() || self.input.has_more().map_err(damaged)?)
    }
}

/// Reads and checks a capsule, compressed or not.
///
/// # Errors
/// 400 `CAPSULE_DAMAGED`, 422 `CAPSULE_TOO_NEW`, `CAPSULE_INVALID`.
pub(super) fn check(file: &mut Source, now: i64) -> Result<Checked> {
    let mut lines = Lines::new(file)?;
    let mut hash = Sha256::new();
    let first = lines.next()?.ok_or_else(|| damaged("it is empty"))?;
    let head = head(first, now)?;
    hash.update(first);
    let mut parts = Parts::default();
    loop {
        let number = lines.number + 1;
        let line = lines
            .next()?
            .ok_or_else(|| damaged("its last line is missing"))?;
        let parsed: Line = serde_json::from_slice(line).map_err(|e| invalid(number, e))?;
        if let Line::End(end) = parsed {
            if end.sha256 != HEXLOWER.encode(&hash.finalize()) {
                return Err(damaged("its checksum is another one"));
            }
            if lines.has_more()? {
                return Err(damaged("there is more after its last line"));
            }
            return parts.finish(head, end, number);
        }
        hash.update(line);
        parts
            .take(parsed, head.exported_at)
            .map_err(|text| invalid(number, text))?;
    }
}

/// What [`Contents::digest`](super::write::Contents::digest) would be of a capsule that has been checked.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn digest(file: &mut Source) -> Result<[u8; 32]> {
    let mut lines = Lines::new(file)?;
    let mut digest = Digested::default();
    while let Some((line, _)) = lines.parsed()? {
        if !matches!(line, Line::End(_)) {
            digest.line(line)?;
        }
    }
    Ok(digest.finish())
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
    if !(OLDEST..=FORMAT).contains(&head.format) {
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

/// What is kept of an event.
#[derive(Clone, Copy)]
struct Kept {
    at: i64,
    rate: i64,
    /// Its place among the events.
    order: u32,
    /// Its computer's and its project's.
    computer: u32,
    project: u32,
    status: Status,
    size: Size,
}

/// What is kept of a computer.
struct Machine {
    id: ComputerId,
    project: ProjectId,
    status: Status,
    size: Size,
    simulated: bool,
    created_at: i64,
    deleted_at: Option<i64>,
    usage: Consumed,
}

/// What has been read so far, and what it refers to.
#[derive(Default)]
struct Parts {
    workspace: Option<Workspace>,
    rows: Rows,
    /// Place, and whether it is live.
    projects: HashMap<ProjectId, (u32, bool)>,
    project_ids: Vec<ProjectId>,
    computers: HashMap<ComputerId, u32>,
    machines: Vec<Machine>,
    domains: Vec<PreviewDomain>,
    domain_owners: HashSet<Option<ProjectId>>,
    events: Vec<Kept>,
    last_event: Option<ExportedEvent>,
    /// Half of a hash each.
    event_ids: HashSet<[u8; 16]>,
    /// Instant, place among the events, and amount.
    amounts: Vec<(i64, u32, i64)>,
    corrections: i64,
    attributions: usize,
    /// Which kind of line the last one was.
    stage: u8,
}

type Check = std::result::Result<(), String>;

/// The number of something of which there are fewer than 2^32.
fn number(n: usize) -> std::result::Result<u32, String> {
    u32::try_from(n).map_err(|_| "is one of too many".into())
}

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
                self.may_live(project.deleted_at)?;
                check_project(&project)?;
                self.past(&project.past_external_ids, until)?;
                let known = (number(self.rows.projects)?, project.deleted_at.is_none());
                if self.projects.insert(project.id, known).is_some() {
                    return Err("has an id that is there already".into());
                }
                self.project_ids.push(project.id);
                self.rows.projects += 1;
            }
            Line::Computer(computer) => {
                self.past(&computer.past_external_ids, until)?;
                self.computer(*computer)?;
            }
            Line::PreviewDomain(domain) => {
                self.may_live(None)?;
                let live = domain.project_id.is_none_or(|id| self.is_live(id));
                if !live || !self.domain_owners.insert(domain.project_id) {
                    return Err("is not the one domain of a project of this file".into());
                }
                self.domains.push(domain);
                self.rows.preview_domains += 1;
            }
            Line::Event(event) => self.event(event, until)?,
            Line::Audit(row) => {
                check_audit(&row, until)?;
                self.rows.audit += 1;
            }
            Line::Capsule(_) | Line::End(_) => {}
        }
        Ok(())
    }

    /// What attributions were before: in order, and not after the export.
    fn past(&mut self, past: &[Past], until: i64) -> Check {
        self.attributions += past.len();
        if self.attributions > MAX_PAST {
            return Err(format!(
                "is one of more than {MAX_PAST} earlier attributions"
            ));
        }
        let mut last = -1;
        for one in past {
            if one.until <= last || one.until > until {
                return Err("has earlier attributions that are not in order".into());
            }
            last = one.until;
            let mut fields = Fields::default();
            text::external_id(&mut fields, "past_external_ids", one.external_id.as_deref());
            finish(fields)?;
        }
        Ok(())
    }

    fn is_live(&self, project: ProjectId) -> bool {
        self.projects.get(&project).is_some_and(|(_, live)| *live)
    }

    /// In a workspace that is deleted nothing is live.
    fn may_live(&self, deleted_at: Option<i64>) -> Check {
        let gone = |workspace: &Workspace| workspace.deleted_at.is_some();
        if deleted_at.is_none() && self.workspace.as_ref().is_some_and(gone) {
            return Err("is live in a workspace that is deleted".into());
        }
        Ok(())
    }

    fn computer(&mut self, computer: Computer) -> Check {
        self.may_live(computer.deleted_at)?;
        check_computer(&computer)?;
        let live = computer.status != Status::Destroyed;
        if live == computer.deleted_at.is_some() {
            return Err("is deleted or it is not".into());
        }
        match self.projects.get(&computer.project_id) {
            None => return Err("names a project that is not in this file".into()),
            Some((_, false)) if live => return Err("is live in a project that is deleted".into()),
            Some(_) => {}
        }
        if self.machines.len() == MAX_COMPUTERS {
            return Err(format!("is one of more than {MAX_COMPUTERS} computers"));
        }
        let place = number(self.machines.len())?;
        if self.computers.insert(computer.id, place).is_some() {
            return Err("has an id that is there already".into());
        }
        self.machines.push(Machine {
            id: computer.id,
            project: computer.project_id,
            status: computer.status,
            size: computer.size,
            simulated: computer.driver == "simulated",
            created_at: computer.created_at,
            deleted_at: computer.deleted_at,
            usage: computer.usage,
        });
        self.rows.computers += 1;
        Ok(())
    }

    fn event(&mut self, event: ExportedEvent, until: i64) -> Check {
        if self.rows.events == MAX_EVENTS {
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
        let order = number(self.rows.events)?;
        match event.computer_id {
            Some(computer) => {
                let corrects = event.amount_micros.is_some()
                    || event.reason.is_some()
                    || event.actor.is_some()
                    || event.r#type == "usage.adjusted";
                let (Some(status), Some(size), false) = (event.status, event.size, corrects) else {
                    return Err("is neither a computer's event nor a correction".into());
                };
                let project = event.project_id.and_then(|id| self.projects.get(&id));
                let (Some(computer), Some((project, _))) = (self.computers.get(&computer), project)
                else {
                    return Err("names a computer or a project that is not in this file".into());
                };
                self.events.push(Kept {
                    at: event.at,
                    rate: event.rate,
                    order,
                    computer: *computer,
                    project: *project,
                    status,
                    size,
                });
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
                let amount = event.amount_micros.unwrap_or(0);
                self.amounts.push((event.at, order, amount));
            }
        }
        if let Some(id) = &event.event_id {
            let mut half = [0; 16];
            half.copy_from_slice(&Sha256::digest(id)[..16]);
            if !self.event_ids.insert(half) {
                return Err("has an id that is there already".into());
            }
        }
        self.last_event = Some(event);
        self.rows.events += 1;
        Ok(())
    }

    fn finish(mut self, head: Head, end: End, line: usize) -> Result<Checked> {
        let workspace = self
            .workspace
            .take()
            .filter(|workspace| workspace.id == head.workspace_id)
            .ok_or_else(|| invalid(line, "the workspace of the first line is not there"))?;
        if self.rows != end.rows {
            return Err(invalid(line, "there are not as many lines as it says"));
        }
        self.event_ids = HashSet::new();
        let live = || {
            let all = self.machines.iter();
            all.filter(|machine| machine.status != Status::Destroyed)
        };
        let mut checked = Checked {
            live_projects: self.projects.values().filter(|(_, live)| *live).count(),
            live_computers: live().count(),
            largest: live().map(|machine| machine.size).max(),
            domains: std::mem::take(&mut self.domains),
            last_event: self.last_event.take(),
            corrects: !self.amounts.is_empty(),
            ran: HashSet::new(),
            up: Vec::new(),
            steps: Vec::new(),
            prices: if workspace.prices.is_empty() {
                self.prices()
            } else {
                workspace.prices.clone()
            },
            ended: Vec::new(),
            head,
            workspace,
            end,
        };
        self.histories(&mut checked)
            .map_err(|text| invalid(line, text))?;
        let amounts = self.amounts.iter().map(|(at, order, micros)| {
            let flow = Flow {
                micros: *micros,
                ..Flow::default()
            };
            (*at, *order, flow)
        });
        checked.steps.extend(amounts);
        checked
            .steps
            .sort_unstable_by_key(|(at, order, _)| (*at, *order));
        Ok(checked)
    }

    /// The prices of the installation that the events come from, as they show them: a file of format 1 has no
    /// others.
    fn prices(&mut self) -> Vec<Price> {
        self.events
            .sort_unstable_by_key(|event| (event.at, event.size, event.rate));
        let mut last: BTreeMap<Size, i64> = BTreeMap::new();
        let mut prices = BTreeMap::new();
        for event in &self.events {
            let before = last.insert(event.size, event.rate);
            if before != Some(event.rate) {
                prices.insert((event.size, before.map_or(0, |_| event.at)), event.rate);
            }
        }
        let price = |((size, effective_from), rate)| Price {
            size,
            effective_from,
            rate,
        };
        prices.into_iter().map(price).collect()
    }

    /// Each computer is in the state that its last event says, and consumed what its events say.
    fn histories(&mut self, checked: &mut Checked) -> Check {
        // At the same instant the one that arrived later holds.
        self.events
            .sort_unstable_by_key(|event| (event.computer, event.at, event.order));
        let mut rest = &self.events[..];
        for (place, machine) in self.machines.iter().enumerate() {
            let id = machine.id;
            let place = number(place)?;
            let length = rest.partition_point(|event| event.computer <= place);
            let (history, others) = rest.split_at(length);
            rest = others;
            if history
                .first()
                .is_none_or(|first| first.at > machine.created_at)
            {
                return Err(format!("the computer {id} has no event at its creation"));
            }
            let project = |event: &Kept| {
                let place = usize::try_from(event.project).unwrap_or(usize::MAX);
                self.project_ids.get(place).copied()
            };
            let last = history.last().and_then(|last| {
                Some(Held {
                    project: project(last)?,
                    status: last.status,
                    size: last.size,
                    rate: last.rate,
                })
            });
            let state = |held: &Held| {
                (held.status, held.size, held.project)
                    == (machine.status, machine.size, machine.project)
            };
            let Some(held) = last.filter(state) else {
                return Err(format!(
                    "the last event of the computer {id} says otherwise"
                ));
            };
            let at_end = machine.deleted_at.and_then(|end| {
                let event = history.iter().rev().find(|event| event.at <= end)?;
                Some((event.size, project(event)?))
            });
            if let Some((size, project)) = at_end
                && (size, project) != (machine.size, machine.project)
            {
                checked.ended.push((id, size, project));
            }
            let flows = history
                .iter()
                .map(|event| (event.at, event.status.billable(), event.rate));
            let consumed = transfer::consumed(flows, checked.head.exported_at)
                .map_err(|_| format!("the computer {id} consumed more than a number can say"))?;
            if consumed != machine.usage {
                return Err(format!(
                    "the events of the computer {id} do not add up to its usage"
                ));
            }
            let mut before = Flow::default();
            for event in history {
                let flow = if event.status.billable() {
                    checked.ran.insert(id);
                    Flow {
                        running: 1,
                        rate: event.rate,
                        micros: 0,
                    }
                } else {
                    Flow::default()
                };
                if flow != before {
                    checked.steps.push((event.at, event.order, flow - before));
                }
                before = flow;
            }
            if machine.status == Status::Stopping || is_up(machine.status) {
                checked.up.push(Up {
                    id,
                    simulated: machine.simulated,
                    held,
                });
            }
        }
        Ok(())
    }
}

/// Whether it runs or is about to.
pub(super) fn is_up(status: Status) -> bool {
    matches!(
        status,
        Status::Running | Status::Starting | Status::Provisioning
    )
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
        ("deleted_at", w.deleted_at),
    ];
    instants(&mut fields, &times);
    finish(fields)?;
    if w.created_at > until || w.deleted_at.is_some_and(|at| at > until) {
        return Err("was created or deleted after the export".into());
    }
    if w.tz
        .as_deref()
        .is_some_and(|tz| time_zones::canonical(tz).is_err())
    {
        return Err(format!("has a tz that {}", time_zones::WANTED));
    }
    if w.vcpus.len() + w.prices.len() > MAX_PAST {
        return Err(format!(
            "has more than {MAX_PAST} prices and numbers of processors"
        ));
    }
    let mut last = None;
    for price in &w.prices {
        let at = (price.size, price.effective_from);
        if last.replace(at) >= Some(at)
            || !(0..=until).contains(&price.effective_from)
            || !(0..=i64::from(MAX_CREDITS_PER_HOUR)).contains(&price.rate)
        {
            return Err("has prices that are not in order".into());
        }
    }
    let mut last = None;
    for since in &w.vcpus {
        let at = (since.size, since.effective_from);
        if last.replace(at) >= Some(at)
            || !(0..=until).contains(&since.effective_from)
            || !(1..=MAX_VCPUS).contains(&since.vcpus)
        {
            return Err("has numbers of processors that are not in order".into());
        }
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
