//! What the lines of a capsule say together.

use std::collections::{BTreeMap, HashMap, HashSet};

use sha2::{Digest, Sha256};

use super::MAX_EVENTS;
use super::checks::*;
use super::format::{Computer, End, Head, Line, PreviewDomain, Rows, Workspace};
use crate::error::{Fields, Result};
use crate::ids::{ComputerId, ProjectId};
use crate::rules::config::MAX_CREDITS_PER_HOUR;
use crate::rules::size::Size;
use crate::rules::status::Status;
use crate::rules::text;
use crate::usage::ledger::attribution::Past;
use crate::usage::ledger::labels::PastMetadata;
use crate::usage::ledger::tariff::Price;
use crate::usage::ledger::transfer::{self, Consumed, ExportedEvent, Held};
use crate::usage::meter::Flow;

/// Computers at most: with the highest price, what they consume in an era stays a 64-bit number.
const MAX_COMPUTERS: usize = 10_000;

/// All corrections together, micro-credits.
const MAX_CORRECTIONS: i64 = 1_000_000_000_000_000_000;

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

/// What is kept of an event.
#[derive(Clone, Copy)]
pub(super) struct Kept {
    pub at: i64,
    pub rate: i64,
    /// Its place among the events.
    pub order: u32,
    /// Its computer's and its project's.
    pub computer: u32,
    pub project: u32,
    pub status: Status,
    pub size: Size,
}

/// What is kept of a computer.
pub(super) struct Machine {
    pub id: ComputerId,
    pub project: ProjectId,
    pub status: Status,
    pub size: Size,
    pub simulated: bool,
    pub created_at: i64,
    pub deleted_at: Option<i64>,
    pub usage: Consumed,
}

/// What has been read so far, and what it refers to.
#[derive(Default)]
pub(super) struct Parts {
    pub workspace: Option<Workspace>,
    pub rows: Rows,
    /// Place, and whether it is live.
    pub projects: HashMap<ProjectId, (u32, bool)>,
    pub project_ids: Vec<ProjectId>,
    pub computers: HashMap<ComputerId, u32>,
    pub machines: Vec<Machine>,
    pub domains: Vec<PreviewDomain>,
    pub domain_owners: HashSet<Option<ProjectId>>,
    pub events: Vec<Kept>,
    pub last_event: Option<ExportedEvent>,
    /// Half of a hash each.
    pub event_ids: HashSet<[u8; 16]>,
    /// Instant, place among the events, and amount.
    pub amounts: Vec<(i64, u32, i64)>,
    pub corrections: i64,
    pub attributions: usize,
    /// Which kind of line the last one was.
    pub stage: u8,
}

/// The number of something of which there are fewer than 2^32.
pub(super) fn number(n: usize) -> std::result::Result<u32, String> {
    u32::try_from(n).map_err(|_| "is one of too many".into())
}

impl Parts {
    pub fn take(&mut self, line: Line, until: i64) -> Check {
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
                self.past_metadata(&workspace.past_metadata, until)?;
                self.workspace = Some(*workspace);
            }
            Line::Project(project) => {
                self.may_live(project.deleted_at)?;
                check_project(&project)?;
                self.past(&project.past_external_ids, until)?;
                self.past_metadata(&project.past_metadata, until)?;
                let known = (number(self.rows.projects)?, project.deleted_at.is_none());
                if self.projects.insert(project.id, known).is_some() {
                    return Err("has an id that is there already".into());
                }
                self.project_ids.push(project.id);
                self.rows.projects += 1;
            }
            Line::Computer(computer) => {
                self.past(&computer.past_external_ids, until)?;
                self.past_metadata(&computer.past_metadata, until)?;
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
    pub fn past(&mut self, past: &[Past], until: i64) -> Check {
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

    /// What metadata was before: in order, and not after the export.
    pub fn past_metadata(&mut self, past: &[PastMetadata], until: i64) -> Check {
        self.attributions += past.len();
        if self.attributions > MAX_PAST {
            return Err(format!(
                "is one of more than {MAX_PAST} earlier attributions"
            ));
        }
        let mut last = -1;
        for one in past {
            if one.until <= last || one.until > until {
                return Err("has earlier metadata that is not in order".into());
            }
            last = one.until;
            let mut fields = Fields::default();
            text::metadata(&mut fields, "past_metadata", Some(&one.metadata));
            finish(fields)?;
        }
        Ok(())
    }

    pub fn is_live(&self, project: ProjectId) -> bool {
        self.projects.get(&project).is_some_and(|(_, live)| *live)
    }

    /// In a workspace that is deleted nothing is live.
    pub fn may_live(&self, deleted_at: Option<i64>) -> Check {
        let gone = |workspace: &Workspace| workspace.deleted_at.is_some();
        if deleted_at.is_none() && self.workspace.as_ref().is_some_and(gone) {
            return Err("is live in a workspace that is deleted".into());
        }
        Ok(())
    }

    pub fn computer(&mut self, computer: Computer) -> Check {
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

    pub fn event(&mut self, event: ExportedEvent, until: i64) -> Check {
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

    pub fn finish(mut self, head: Head, end: End, line: usize) -> Result<Checked> {
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
    pub fn prices(&mut self) -> Vec<Price> {
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
    pub fn histories(&mut self, checked: &mut Checked) -> Check {
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
