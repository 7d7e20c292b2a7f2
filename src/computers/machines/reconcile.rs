//! One computer's container, brought to what is wanted: look, tell what was seen, do the next step, look again.
//!
//! Every step may be the last one before a crash. What the engine has is found again by its name, what was
//! asked for is in the table, and a start that was carried out is known by when it began.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::OptionalExtension;

use super::facts::{self, Circumstances, Observation, judge, started_for};
use super::host::age_ms;
use super::kept;
use super::seam::{About, Answer, Engine, Fault, Life, Seen};
use super::spec;
use super::variables;
use super::walls::{self, Done, Walls};
use super::wanted::{self, Desired, Wanted};
use crate::audit::Actor;
use crate::clock::Clock;
use crate::computers::{self, Fleet, Record, lifecycle};
use crate::db::Store;
use crate::error::Error;
use crate::ids::{ComputerId, WorkspaceId};
use crate::rules::config::{Firewall, Network};
use crate::store::{Tx, WriteTx};

/// What an engine may take for a look.
pub const LOOK: Duration = Duration::from_secs(15);
/// Until a container is made or started: its image may have to be unpacked.
const MAKE: Duration = Duration::from_secs(90);
/// Until an engine has noticed an end by itself.
const A_WHILE: Duration = Duration::from_secs(2);
/// A process is made before its container is said to have started; so much later it is another one.
const MADE_BEFORE_MS: i64 = 2_000;
/// Seconds that a container has to end by itself.
const GRACE: i32 = 10;
/// Steps to one aim at most; more is a defect, or somebody who works against it.
const STEPS: usize = 10;
/// Attempts to start, before it is given up.
const ATTEMPTS: i64 = 4;

/// Why it did not get there.
#[derive(Debug)]
pub enum Trouble {
    Engine(Fault),
    Store(Error),
}

impl From<Fault> for Trouble {
    fn from(e: Fault) -> Self {
        Trouble::Engine(e)
    }
}

impl From<Error> for Trouble {
    fn from(e: Error) -> Self {
        Trouble::Store(e)
    }
}

/// What the steps are done with.
pub struct Kit {
    pub store: Store,
    pub fleet: Fleet,
    pub engine: Arc<dyn Engine>,
    pub about: About,
    pub install: String,
    pub known: Mutex<Circumstances>,
    /// Docker makes two networks of one name for two who ask at the same time.
    pub networks: tokio::sync::Mutex<()>,
    /// `None`: computers are kept apart by the engine alone.
    pub walls: Option<Walls>,
}

/// Gives up a call that takes too long.
///
/// # Errors
/// What the call returns; [`Fault::Silent`] when it returns nothing in time.
pub async fn bounded<T>(patience: Duration, call: Answer<'_, T>) -> Result<T, Fault> {
    match tokio::time::timeout(patience, call).await {
        Ok(answer) => answer,
        Err(_) => Err(Fault::Silent(format!(
            "the container engine did not answer within {} s",
            patience.as_secs()
        ))),
    }
}

/// Brings a computer's container to what is wanted, as far as that goes now, and says in its row what
/// stands in the way. False: the engine did not even say how it is, so that an end of it may not be known yet.
///
/// # Errors
/// When the store fails.
pub async fn bring(kit: &Kit, id: ComputerId) -> Result<bool, Trouble> {
    let mut told = false;
    match steps(kit, id, &mut told).await {
        Err(Trouble::Engine(e)) => {
            let text = e.text().to_owned();
            tracing::warn!(computer = %id, fault = text, "a machine is not what it should be");
            let fleet = kit.fleet.clone();
            kit.store
                .write(move |tx| {
                    let Some(w) = wanted::load(tx, id)? else {
                        return Ok(());
                    };
                    let starting = w.desired == Desired::Running && w.pending();
                    if starting && matches!(&e, Fault::Refused(_)) && w.failures + 1 >= ATTEMPTS {
                        wanted::give_up(tx, id, w.op, Some(e.text()))?;
                    } else {
                        wanted::failed(tx, id, w.op, e.text())?;
                    }
                    lifecycle::follow_events(tx, &fleet, Actor::System, id)
                })
                .await?;
            Ok(told)
        }
        other => other.map(|()| true),
    }
}

/// `told` becomes true when what there is of the container was written down.
async fn steps(kit: &Kit, id: ComputerId, told: &mut bool) -> Result<(), Trouble> {
    for _ in 0..STEPS {
        let found = kit.store.read(move |tx| wanted::load(tx, id)).await?;
        let Some(before) = found else {
            return Ok(());
        };
        let (seen, what) = look(kit, &before).await?;
        let known = *kit.known.lock();
        let fleet = kit.fleet.clone();
        let written = kit
            .store
            .write(move |tx| {
                facts::take(tx, &fleet, id, &what, known.seen_at)?;
                let wanted = wanted::load(tx, id)?;
                Ok::<_, Error>((wanted, computers::load(tx, id)?, what))
            })
            .await?;
        *told = true;
        let (Some(w), computer, what) = written else {
            return Ok(());
        };
        if !next(kit, &w, computer.as_ref(), seen.as_ref(), &what).await? {
            let (looks, fleet) = (before.looks, kit.fleet.clone());
            return Ok(kit
                .store
                .write(move |tx| {
                    wanted::settled(tx, id, looks)?;
                    lifecycle::follow_events(tx, &fleet, Actor::System, id)
                })
                .await?);
        }
    }
    Err(Fault::Refused("it does not stay as it was brought; it is tried again".into()).into())
}

/// What there is of a computer's container.
async fn look(kit: &Kit, w: &Wanted) -> Result<(Option<Seen>, Observation), Trouble> {
    let name = spec::name(w.computer_id);
    let mut seen = match bounded(LOOK, kit.engine.inspect(&name)).await {
        Ok(seen) => Some(seen),
        Err(Fault::Missing(_)) => None,
        Err(e) => return Err(e.into()),
    };
    if let Some(seen) = &seen
        && seen.labels.get(spec::INSTALL) != Some(&kit.install)
    {
        return Err(Fault::Refused(format!(
            "the engine has a container {name} of another installation; remove it, or use another engine"
        ))
        .into());
    }
    let mut dead = match &seen {
        Some(seen) => is_dead(kit.engine.as_ref(), seen).await?,
        None => false,
    };
    if dead {
        // It may be about to say so by itself, with the true end.
        tokio::time::sleep(A_WHILE).await;
        seen = match bounded(LOOK, kit.engine.inspect(&name)).await {
            Ok(seen) => Some(seen),
            Err(Fault::Missing(_)) => None,
            Err(e) => return Err(e.into()),
        };
        dead = match &seen {
            Some(seen) => is_dead(kit.engine.as_ref(), seen).await?,
            None => false,
        };
    }
    let runs = seen
        .as_ref()
        .filter(|seen| seen.life == Life::Running && !dead);
    kit.fleet.engine.pulses.found(w.computer_id, runs);
    let cores = &kit.fleet.engine.cores;
    match runs {
        Some(seen) => cores.found(w.computer_id, &seen.cpus),
        None if w.desired == Desired::Running && w.pending() => {}
        None => cores.forget(w.computer_id),
    }
    let mut known = *kit.known.lock();
    known.seen_at = known.seen_at.max(w.seen_at.unwrap_or(known.seen_at));
    let what = judge(seen.as_ref(), dead, &known);
    Ok((seen, what))
}

/// What is to be seen of the process of a container that is said to run.
#[derive(PartialEq, Eq)]
enum Process {
    There,
    /// It has ended, and nobody has asked for how.
    Zombie,
    /// It has ended, and another one has its number.
    Stranger,
    /// Not here: it has ended, or processes are counted differently.
    Unknown,
}

fn process(seen: &Seen) -> Process {
    let Some(pid) = seen.pid else {
        return Process::Unknown;
    };
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    let state = stat
        .as_deref()
        .and_then(|stat| stat.rsplit_once(')')?.1.trim_start().chars().next());
    match state {
        Some('Z' | 'X') => Process::Zombie,
        Some(_) if is_stranger(pid, seen) => Process::Stranger,
        Some(_) => Process::There,
        None => Process::Unknown,
    }
}

/// Whether a number belongs to another process by now: one that began after the container did, and is not in it.
/// Podman 4 goes on naming the number, and would list the stranger's processes as those of the container.
fn is_stranger(pid: u32, seen: &Seen) -> bool {
    let (Some(age), Some(started)) = (age_ms(pid), seen.started) else {
        return false;
    };
    let began = Clock::System.now().0 - age;
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    began > started / 1_000_000 + MADE_BEFORE_MS && !groups.is_empty() && !groups.contains(&seen.id)
}

/// Whether a container that is said to run does not: its process has ended, or is not there and cannot be
/// listed either.
///
/// # Errors
/// When the engine is silent.
pub async fn is_dead(engine: &dyn Engine, seen: &Seen) -> Result<bool, Fault> {
    if seen.life != Life::Running {
        return Ok(false);
    }
    match process(seen) {
        Process::There => Ok(false),
        Process::Zombie | Process::Stranger => Ok(true),
        Process::Unknown => Ok(!bounded(LOOK, engine.alive(&seen.id)).await?),
    }
}

/// Does what comes next. False: nothing more is to be done.
async fn next(
    kit: &Kit,
    w: &Wanted,
    computer: Option<&Record>,
    seen: Option<&Seen>,
    what: &Observation,
) -> Result<bool, Trouble> {
    let id = w.computer_id;
    let engine = &kit.engine;
    let name = spec::name(id);
    if let Some(seen) = seen
        && w.engine_ref.as_ref() != Some(&seen.id)
        && w.desired != Desired::Gone
    {
        let size = seen
            .labels
            .get(spec::SIZE)
            .and_then(|size| size.parse().ok());
        if let (Some(size), container) = (size, seen.id.clone()) {
            write(kit, move |tx| wanted::known_as(tx, id, &container, size)).await?;
            return Ok(true);
        }
    }
    let runs = what.ended.is_none();
    let Some(c) = computer.filter(|_| w.desired != Desired::Gone) else {
        if kit.store.read(move |tx| wanted::is_kept(tx, id)).await? {
            if seen.is_some() && runs {
                bounded(MAKE, engine.stop(&name, GRACE)).await?;
                return Ok(true);
            }
            let op = w.op;
            write(kit, move |tx| wanted::done(tx, id, op)).await?;
            return Ok(false);
        }
        if seen.is_some() {
            bounded(MAKE, engine.remove(&name)).await?;
            return Ok(true);
        }
        match bounded(MAKE, engine.remove_volume(&spec::volume(id))).await {
            Ok(()) | Err(Fault::Missing(_)) => {}
            Err(e) => return Err(e.into()),
        }
        write(kit, move |tx| wanted::removed(tx, id)).await?;
        if let Some(place) = place_of(kit, id).await? {
            // Refused as long as somebody is in it.
            let _alone = kit.networks.lock().await;
            let _ = bounded(LOOK, engine.remove_network(&spec::network(place))).await;
        }
        return Ok(false);
    };
    match (w.desired, seen) {
        (Desired::Stopped, Some(_)) if runs => {
            bounded(MAKE, engine.stop(&name, GRACE)).await?;
            Ok(true)
        }
        (Desired::Stopped, _) => {
            if w.pending() {
                let op = w.op;
                write(kit, move |tx| wanted::done(tx, id, op)).await?;
            }
            Ok(false)
        }
        (Desired::Running, Some(_)) if runs => {
            if w.pending() && w.restart && !started_for(w, what) {
                bounded(MAKE, engine.stop(&name, GRACE)).await?;
                return Ok(true);
            }
            follow(kit, w, c, seen, true).await?;
            if w.pending() {
                let op = w.op;
                write(kit, move |tx| wanted::done(tx, id, op)).await?;
            }
            Ok(false)
        }
        // It ended by itself, and that was told.
        (Desired::Running, _) if !w.pending() => Ok(false),
        (Desired::Running, None) => {
            make(kit, c).await?;
            Ok(true)
        }
        // It was started as asked, and has ended already.
        (Desired::Running, Some(seen)) if started_for(w, what) => {
            let (op, code) = (w.op, seen.exit_code);
            let text = format!("exited {code} right after it was started; its logs may say why");
            write(kit, move |tx| wanted::give_up(tx, id, op, Some(&text))).await?;
            Ok(false)
        }
        (Desired::Running, Some(seen)) => {
            // Said to run and dead, or in a state that it does not leave: only a new one helps. So it is
            // where its limits cannot be changed, or where it did not start twice.
            let beyond_help = matches!(seen.life, Life::Running | Life::Stuck) || w.failures >= 2;
            if beyond_help || !follow(kit, w, c, Some(seen), false).await? {
                bounded(MAKE, engine.remove(&name)).await?;
                make(kit, c).await?;
            }
            keep_apart(kit).await?;
            bounded(MAKE, engine.start(&name)).await?;
            Ok(true)
        }
        (Desired::Gone, _) => Ok(false),
    }
}

/// Where a computer is, also a deleted one.
async fn place_of(kit: &Kit, id: ComputerId) -> Result<Option<WorkspaceId>, Trouble> {
    let place = kit.store.read(move |tx| {
        let found = tx.row(
            "SELECT workspace_id FROM computers WHERE id = ?1",
            [id],
            |row| row.get(0),
        );
        Ok::<_, Error>(found.optional()?)
    });
    Ok(place.await?)
}

async fn write(
    kit: &Kit,
    f: impl FnOnce(&WriteTx<'_>) -> Result<(), Error> + Send + 'static,
) -> Result<(), Trouble> {
    Ok(kit.store.write(f).await?)
}

/// Makes the container of a computer.
async fn make(kit: &Kit, c: &Record) -> Result<(), Trouble> {
    let id = c.id;
    let begins = move |tx: &Tx<'_>| Ok::<_, Error>((variables::of(tx, id)?, kept::origin(tx, id)?));
    let (env, origin) = kit.store.read(begins).await?;
    let mut spec = match spec::of(&kit.fleet, &kit.about, &kit.install, c, env) {
        Ok(spec) => spec,
        Err(e) => return Err(Fault::Refused(e.message().to_owned()).into()),
    };
    if let Some(snapshot) = origin {
        spec.image = spec::snapshot(snapshot);
    }
    if !bounded(LOOK, kit.engine.has_image(&spec.image)).await? {
        return Err(Fault::Refused(format!(
            "template {} is the image {}, which this engine does not have; bring it there, then start this computer",
            c.template_type, spec.image
        ))
        .into());
    }
    if let Some(network) = &spec.network {
        network_of(kit, network).await?;
    }
    let container = bounded(MAKE, kit.engine.create(&spec)).await?;
    let (size, fleet) = (c.size, kit.fleet.clone());
    write(kit, move |tx| {
        facts::resized(tx, &fleet, id, &container, size)
    })
    .await
}

async fn network_of(kit: &Kit, name: &str) -> Result<(), Fault> {
    let internal = kit
        .fleet
        .config
        .engine
        .as_ref()
        .is_some_and(|engine| engine.network == Network::Internal);
    let label = spec::label(&kit.install);
    let _alone = kit.networks.lock().await;
    bounded(LOOK, kit.engine.network(name, &label, internal)).await?;
    keep_apart(kit).await
}

/// Sees to it that the host keeps workspaces apart from each other and from itself, also where somebody has taken
/// the rules for it away.
///
/// # Errors
/// When the engine is silent; when they cannot be set, and nothing is to run without.
pub async fn keep_apart(kit: &Kit) -> Result<(), Fault> {
    let Some(walls) = &kit.walls else {
        return Ok(());
    };
    let networks = bounded(LOOK, kit.engine.networks(&spec::label(&kit.install))).await?;
    let stood = walls.stand(&networks).await;
    let mut standing = kit.fleet.engine.standing.lock();
    match stood {
        Ok(done) => {
            standing.open = None;
            if done == Done::Mended {
                standing.mended += 1;
                tracing::warn!(
                    "somebody had removed or changed the rules that keep computers apart from each other and from the host; they are set again"
                );
            }
            Ok(())
        }
        Err(why) => {
            if standing.open.as_ref() != Some(&why) {
                tracing::warn!(why, "only the engine's own rules keep computers apart");
            }
            standing.open = Some(why.clone());
            let settings = kit.fleet.config.engine.as_ref();
            if settings.is_some_and(|engine| engine.firewall == Firewall::Required) {
                return Err(Fault::Refused(walls::unwalled(&why)));
            }
            Ok(())
        }
    }
}

/// Lets a container follow its computer: its size, and its workspace's network. False: it cannot be held to
/// its size; where it runs, that waits for the next start.
async fn follow(
    kit: &Kit,
    w: &Wanted,
    c: &Record,
    seen: Option<&Seen>,
    runs: bool,
) -> Result<bool, Trouble> {
    let (id, name) = (c.id, spec::name(c.id));
    if let (Some(network), Some(seen)) = (spec::network_of(&kit.fleet, c), seen)
        && !seen.networks.contains(&network)
    {
        network_of(kit, &network).await?;
        bounded(LOOK, kit.engine.plug(&name, &network, &seen.networks)).await?;
    }
    let held = w.held_to == Some(c.size);
    if held && runs {
        return Ok(true);
    }
    let limits = spec::limits_of(&kit.fleet, &kit.about, id, c.size);
    let has = seen.map_or(&[][..], |seen| &seen.cpus);
    if held && limits.cpus == has {
        return Ok(true);
    }
    match bounded(LOOK, kit.engine.update(&name, limits)).await {
        Ok(()) => {}
        // The CPUs that it has are as good as others, only more in demand.
        Err(Fault::Unable(_)) => return Ok(held),
        // Less memory than it uses, for one.
        Err(Fault::Refused(why)) if runs => {
            tracing::warn!(computer = %id, why, "a machine keeps its size until its next start");
            return Ok(false);
        }
        Err(e) => return Err(e.into()),
    }
    let (container, size, fleet) = (
        w.engine_ref.clone().unwrap_or_default(),
        c.size,
        kit.fleet.clone(),
    );
    write(kit, move |tx| {
        facts::resized(tx, &fleet, id, &container, size)
    })
    .await?;
    Ok(true)
}
