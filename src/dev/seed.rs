//! Making what a scenario says. One transaction that passes through all its days, with ids from the
//! seed: the same bytes on every machine.

use super::emulator::Emulator;
use super::scenario::{self, Computer, Scenario, Workspace};
use super::scheduler;
use super::state::{self, Kept};
use crate::access::caller::Caller;
use crate::access::key::{DEV_KEY, find_key, hash};
use crate::api_keys::NewKey;
use crate::audit::Actor;
use crate::clock::{Course, DAY_MS, Mode, Timestamp};
use crate::computers::create::{Create, create_computer};
use crate::computers::lifecycle::Change;
use crate::error::{Error, Result};
use crate::ids::ComputerId;
use crate::json::{Object, Patch};
use crate::rules::size::Size;
use crate::rules::text;
use crate::store::{IdSource, WriteTx};
use crate::{computers, domains, projects, tenants, workspaces};

/// What was made.
#[derive(Debug, PartialEq, Eq)]
pub struct Seeded {
    /// Workspaces, with the default one.
    pub workspaces: i64,
    /// Computers that are there at the end.
    pub computers: i64,
    pub events: i64,
    /// The scenario's end, which is where a driven clock begins.
    pub end: Timestamp,
}

/// Something that the scenario dates.
enum Step<'a> {
    Workspace(&'a Workspace),
    Computer(&'a Workspace, &'a Computer, u32),
    History(&'a Workspace, &'a Computer, &'a str),
}

/// Makes all of a scenario in an empty database. `progress` hears of each day that has passed.
///
/// # Errors
/// 409 where there is an organization already; 422 for a scenario that asks for what is refused.
pub fn seed(
    tx: &WriteTx<'_>,
    dev: &Emulator,
    file: &str,
    seed: u64,
    progress: &dyn Fn(u64),
) -> Result<Seeded> {
    if !tenants::all(tx)?.is_empty() {
        return Err(Error::conflict(
            "NOT_EMPTY",
            "a scenario needs an empty database, and this one has an organization; choose another data directory",
        ));
    }
    let scenario = Scenario::parse(file).map_err(state::unreadable)?;
    let source = IdSource::seeded(seed);
    let end = scenario.end();
    let caller = tx.at(scenario.start, Some(&source), |tx| {
        state::keep_course(tx, Course::new(Mode::Running, end, 1))?;
        let kept = Kept {
            scenario: scenario.without_customers()?,
            seed,
            simulated_until: scenario.start,
        };
        state::keep_scenario(tx, &kept)?;
        organization(tx, dev, &scenario)
    })?;

    let mut now = scenario.start;
    for (at, step) in steps(&scenario)? {
        if at > end {
            return Err(Error::field(
                "scenario",
                "dates something after its last day",
            ));
        }
        let_time_pass(tx, dev, &source, now, at, progress, &scenario)?;
        now = at;
        tx.at(at, Some(&source), |tx| perform(tx, dev, &caller, step))?;
    }
    let_time_pass(tx, dev, &source, now, end, progress, &scenario)?;
    let count = |sql| Ok::<_, Error>(tx.query_row(sql, [], |row| row.get(0))?);
    Ok(Seeded {
        workspaces: count("SELECT sum(workspace_count) FROM tenants")?,
        computers: count("SELECT sum(computer_count) FROM tenants")?,
        events: count("SELECT count(*) FROM compute_events")?,
        end,
    })
}

/// The text of a built-in scenario, or of a file.
///
/// # Errors
/// A text that names what there is.
pub(crate) fn find(name: &str) -> std::result::Result<String, String> {
    if let Some((_, text)) = scenario::BUILT_IN.iter().find(|(known, _)| *known == name) {
        return Ok((*text).to_owned());
    }
    std::fs::read_to_string(name).map_err(|e| {
        let known: Vec<&str> = scenario::BUILT_IN.iter().map(|(name, _)| *name).collect();
        format!(
            "{name}: {e}; name a scenario file, or one of: {}",
            known.join(", ")
        )
    })
}

/// The organization, with the key of development mode: a secret out of a seed would be none.
fn organization(tx: &WriteTx<'_>, dev: &Emulator, scenario: &Scenario) -> Result<Caller> {
    let key = NewKey {
        fixed: Some(DEV_KEY.to_owned()),
        ..NewKey::operator()
    };
    tenants::insert(
        tx,
        &dev.fleet.config.file,
        Actor::Operator,
        &scenario.organization,
        &scenario.slug,
        scenario.credits,
        key,
    )?;
    let key = find_key(tx, &hash(DEV_KEY))?
        .ok_or_else(|| Error::internal("the key of development mode is not there"))?;
    Ok(Caller::without_request(key, "scenario"))
}

/// Lets the time between two instants pass, day by day.
fn let_time_pass(
    tx: &WriteTx<'_>,
    dev: &Emulator,
    source: &IdSource,
    from: Timestamp,
    to: Timestamp,
    progress: &dyn Fn(u64),
    scenario: &Scenario,
) -> Result<()> {
    let mut at = from;
    loop {
        let next_day = Timestamp((at.0.div_euclid(DAY_MS) + 1) * DAY_MS);
        let until = to.min(next_day);
        tx.at(at, Some(source), |tx| {
            scheduler::run(tx, dev, until, usize::MAX, false)
        })?;
        progress(u64::try_from((until.0 - scenario.start.0) / DAY_MS).unwrap_or(0));
        at = until;
        if at >= to {
            return Ok(());
        }
    }
}

/// Everything that has a date, in order; at the same instant in the order of the file.
fn steps(scenario: &Scenario) -> Result<Vec<(Timestamp, Step<'_>)>> {
    let mut steps = Vec::new();
    for workspace in &scenario.workspaces {
        let day = |n: u32| scenario.start.plus_ms(i64::from(n) * DAY_MS);
        steps.push((day(workspace.day), Step::Workspace(workspace)));
        for computer in &workspace.computers {
            if computer.history.is_empty() {
                let at = day(computer.day).plus_seconds(computer.at.seconds());
                for n in 1..=computer.count {
                    steps.push((at, Step::Computer(workspace, computer, n)));
                }
            }
            for line in &computer.history {
                let at = line.split(' ').next().and_then(Timestamp::parse);
                let at = at.ok_or_else(|| unreadable_line(line))?;
                steps.push((at, Step::History(workspace, computer, line)));
            }
        }
    }
    steps.sort_by_key(|(at, step)| {
        (
            *at,
            matches!(step, Step::Workspace(_)).then_some(0).unwrap_or(1),
        )
    });
    Ok(steps)
}

fn unreadable_line(line: &str) -> Error {
    state::unreadable(format!(
        "{line:?} is not a line of history such as \"2026-05-01T08:00:00.000Z running small\""
    ))
}

fn perform(tx: &WriteTx<'_>, dev: &Emulator, caller: &Caller, step: Step<'_>) -> Result<()> {
    match step {
        Step::Workspace(workspace) => make_workspace(tx, dev, caller, workspace),
        Step::Computer(workspace, computer, n) => {
            make_computer(tx, dev, caller, workspace, computer, n).map(drop)
        }
        Step::History(workspace, computer, line) => {
            follow(tx, dev, caller, workspace, computer, line)
        }
    }
}

fn make_workspace(tx: &WriteTx<'_>, dev: &Emulator, caller: &Caller, w: &Workspace) -> Result<()> {
    let record = match workspaces::find_by_slug(tx, caller.tenant_id(), &slug_of(w))? {
        // The default one is there from the beginning.
        Some(record) if record.view.is_default => record,
        _ => {
            let input = workspaces::Create {
                name: Some(w.name.clone()),
                external_workspace_id: w.external_id.clone(),
                description: w.description.clone(),
                metadata: Some(Object::from(w.metadata.clone())),
                ..Default::default()
            };
            match workspaces::handlers::create_or_reuse(tx, &dev.fleet, caller, input)? {
                workspaces::handlers::Outcome::Created(new) => new.record,
                workspaces::handlers::Outcome::Reused(record) => record,
            }
        }
    };
    for name in &w.projects {
        let slug = text::slugify(name, "project");
        let new = projects::New {
            name,
            slug: &slug,
            external_project_id: None,
            description: None,
            metadata: Object::empty(),
            is_default: false,
        };
        projects::insert(tx, &dev.fleet.config.file, caller, &record.view, new)?;
    }
    let id = record.view.id;
    if w.max_computers.is_some() || w.max_computer_size.is_some() || w.auto_stop_seconds.is_some() {
        let set = |value: &Option<i64>| value.map_or(Patch::Absent, Patch::Set);
        let input = workspaces::UpdateSettings {
            max_computers: set(&w.max_computers),
            max_computer_size: w
                .max_computer_size
                .clone()
                .map_or(Patch::Absent, Patch::Set),
            default_auto_stop_seconds: set(&w.auto_stop_seconds),
            ..Default::default()
        };
        workspaces::settings::apply_settings(tx, &dev.fleet, caller, record, input)?;
    }
    match &w.domain {
        Some(domain) => domains::change::set_as_found(
            tx,
            &dev.fleet.config,
            caller,
            id,
            domain,
            w.domain_records,
        ),
        None => Ok(()),
    }
}

fn slug_of(w: &Workspace) -> String {
    text::slugify(&w.name, "workspace")
}

fn make_computer(
    tx: &WriteTx<'_>,
    dev: &Emulator,
    caller: &Caller,
    workspace: &Workspace,
    computer: &Computer,
    n: u32,
) -> Result<ComputerId> {
    let mut metadata = computer.metadata.clone();
    if let Some(rhythm) = &computer.rhythm {
        metadata.insert("rhythm".into(), rhythm.clone().into());
    }
    let name = if computer.count > 1 {
        format!("{}-{n}", computer.name)
    } else {
        computer.name.clone()
    };
    let input = Create {
        name: Some(name),
        workspace_slug: Some(slug_of(workspace)),
        project_slug: computer
            .project
            .as_deref()
            .map(|p| text::slugify(p, "project")),
        size: computer.size.map(|size| size.to_string()),
        template_type: computer.template.clone(),
        auto_stop_seconds: computer.auto_stop_seconds,
        external_user_id: computer.user.clone(),
        metadata: Some(Object::from(metadata)),
        ..Default::default()
    };
    create_computer(tx, &dev.fleet, caller, input)
}

/// One line of a computer's history: the first one makes it.
fn follow(
    tx: &WriteTx<'_>,
    dev: &Emulator,
    caller: &Caller,
    workspace: &Workspace,
    computer: &Computer,
    line: &str,
) -> Result<()> {
    let mut words = line.split(' ').skip(1);
    let status = words.next().and_then(|word| word.parse().ok());
    let Ok(size) = words.next().map(str::parse::<Size>).transpose() else {
        return Err(unreadable_line(line));
    };
    let Some(status) = status else {
        return Err(unreadable_line(line));
    };
    if computer.history.first().is_some_and(|first| first == line) {
        let first = Computer {
            size: size.or(computer.size),
            count: 1,
            ..computer.clone()
        };
        make_computer(tx, dev, caller, workspace, &first, 1)?;
        return Ok(());
    }
    let slug = slug_of(workspace);
    let sql = "SELECT c.id FROM computers c JOIN workspaces w ON w.id = c.workspace_id
         WHERE c.tenant_id = ?1 AND w.slug = ?2 AND c.name = ?3 AND c.deleted_at IS NULL
         ORDER BY c.created_at DESC LIMIT 1";
    let id: ComputerId = tx.query_row(sql, (caller.tenant_id(), &slug, &computer.name), |row| {
        row.get(0)
    })?;
    let before = computers::load(tx, id)?
        .ok_or_else(|| Error::internal("a computer of the scenario is not there"))?;
    let size = size.unwrap_or(before.size);
    if (before.status, before.size) == (status, size) {
        return Ok(()); // The driver has taken it there by itself.
    }
    let kind = if before.status == status {
        "computer.resized"
    } else {
        status.event()
    };
    let after = computers::Record {
        status,
        size,
        ..before.clone()
    };
    Change {
        kind,
        at: tx.now(),
        actor: Actor::System,
    }
    .apply(tx, &dev.fleet, Some(&before), after)
    .map(drop)
}
