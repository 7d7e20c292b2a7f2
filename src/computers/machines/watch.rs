//! The task that runs machines: finds the engine, looks at all containers every few seconds, follows its
//! events in between, and has what is wanted done, four computers at a time and one task a computer.

use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;

use super::engine;
use super::facts::Circumstances;
use super::host::{age_ms, boot_id};
use super::inside::{Activity, active};
use super::kept;
use super::link::State;
use super::load::BUSY_PERCENT;
use super::probe::probe;
use super::reconcile::{Kit, LOOK, Trouble, bounded, bring, is_dead, keep_apart};
use super::seam::{About, Engine, Fault, Life, Listed};
use super::signs;
use super::spec;
use super::taking;
use super::walls::Walls;
use super::wanted::{self, Desired};
use crate::audit::Actor;
use crate::clock::Timestamp;
use crate::computers::{Fleet, lifecycle};
use crate::db::{Store, topics};
use crate::error::Error;
use crate::ids::{ComputerId, parse_uuid};
use crate::rules::config::{EngineSettings, Firewall, Network};
use crate::rules::status::Status;
use crate::store::{Tx, WriteTx};
use crate::usage::ledger::held;

/// Until an engine that is not there is looked for again.
const AGAIN: Duration = Duration::from_secs(2);
/// Between two looks at what is to be done, should nobody have announced it.
const ROUND: Duration = Duration::from_secs(1);
const CONNECT: Duration = Duration::from_secs(10);
/// Between two looks at what computers use.
const SAMPLE: Duration = Duration::from_secs(15);
/// Until a container is tried out again, where that did not work.
const TRY_AGAIN: Duration = Duration::from_secs(30);
/// Computers that are worked on at the same time.
const AT_ONCE: usize = 4;
/// How long whoever has a terminal open is waited for when the service stops.
const LEAVE: Duration = Duration::from_secs(5);
/// Events before the last look that are asked for again, seconds.
const OVERLAP: i64 = 5;

/// Runs machines until `stop` changes; returns at once where there are none.
pub async fn run(store: Store, fleet: Fleet, stop: watch::Receiver<bool>) {
    let Some(settings) = fleet.config.engine.clone() else {
        return;
    };
    tokio::select! {
        () = signs::follow(&store, &fleet, settings.pulse_every) => {}
        () = follow(&store, &fleet, &settings, stop) => {}
    }
    fleet.engine.seats.close(LEAVE).await;
}

/// Works with the engine, and looks for it again when it is lost.
async fn follow(
    store: &Store,
    fleet: &Fleet,
    settings: &EngineSettings,
    mut stop: watch::Receiver<bool>,
) {
    let mut said = String::new();
    fleet.engine.set(State::Down(
        "the container engine is being looked for".into(),
    ));
    loop {
        let why = tokio::select! {
            _ = stop.changed() => break,
            why = serve(store, fleet, settings) => why,
        };
        if why != said {
            tracing::error!(
                why,
                "no container engine; what is asked for is done when it is there"
            );
            said.clone_from(&why);
        }
        {
            let mut standing = fleet.engine.standing.lock();
            standing.broken = None;
        }
        fleet.engine.set(State::Down(why));
        if let Err(e) = overdue(store, fleet).await {
            tracing::error!(
                error = e.message(),
                detail = e.internal_detail(),
                "machines"
            );
        }
        tokio::select! {
            _ = stop.changed() => break,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

/// Finds the engine.
///
/// # Errors
/// Why there is none, in a sentence that says what to do.
pub async fn find(sockets: &[PathBuf]) -> Result<(Arc<dyn Engine>, About, PathBuf), String> {
    let mut missing = Vec::new();
    for socket in sockets {
        match tokio::time::timeout(CONNECT, engine::connect(socket)).await {
            Ok(Ok((api, about))) => {
                return Ok((Arc::new(api), about, socket.clone()));
            }
            Ok(Err(Fault::Missing(_))) => missing.push(socket.display().to_string()),
            Ok(Err(e)) => return Err(e.text().to_owned()),
            Err(_) => {
                return Err(format!(
                    "{} took the connection and does not answer; restart the engine",
                    socket.display()
                ));
            }
        }
    }
    Err(format!(
        "no container engine: looked for {}. Install one (apt install docker.io, or podman and \"systemctl enable --now podman.socket\"), or leave --driver out: computers are then simulated",
        missing.join(", ")
    ))
}

/// Whether an engine can hold what it runs.
fn fit(settings: &EngineSettings, about: &About) -> Result<(), String> {
    let name = &about.name;
    if let Some(runtime) = settings
        .runtime
        .as_ref()
        .filter(|r| !about.runtimes.contains(r))
    {
        return Err(format!(
            "{name} has no runtime {runtime}; it has {}: correct [engine] runtime, or install it",
            about.runtimes.join(", ")
        ));
    }
    for (can, what) in [
        (
            about.limits_memory,
            "limit memory (cgroup controller missing)",
        ),
        (about.limits_cpu, "limit CPU (cgroup controller missing)"),
        (
            about.limits_pids,
            "limit processes (cgroup controller missing)",
        ),
        (about.seccomp, "filter system calls (seccomp)"),
    ] {
        if !can && !settings.allow_unlimited {
            return Err(format!(
                "{name} cannot {what}; mend that, or go on without with [engine] allow_unlimited = true"
            ));
        }
    }
    Ok(())
}

/// Finds the engine and works with it, until it is lost; returns why.
async fn serve(store: &Store, fleet: &Fleet, settings: &EngineSettings) -> String {
    let (engine, mut about, socket) = match find(&settings.sockets).await {
        Ok(found) => found,
        Err(why) => return why,
    };
    if !settings.pin_cpus {
        about.pins_to.clear();
    }
    if let Err(why) = fit(settings, &about) {
        return why;
    }
    match Watch::begin(store, fleet, engine, about, &socket).await {
        Ok(watch) => watch.work().await,
        Err(e) => trouble(&e),
    }
}

fn trouble(e: &Trouble) -> String {
    match e {
        Trouble::Engine(e) => e.text().to_owned(),
        Trouble::Store(e) => {
            let detail = e.internal_detail().unwrap_or_default();
            tracing::error!(error = e.message(), detail, "machines");
            e.message().to_owned()
        }
    }
}

/// Gives up what takes too long, whether or not there is an engine.
async fn overdue(store: &Store, fleet: &Fleet) -> Result<(), Error> {
    let late = |tx: &Tx<'_>| {
        let all = wanted::all(tx)?;
        Ok::<_, Error>(
            all.into_iter()
                .filter(|w| w.overdue(tx.now()))
                .collect::<Vec<_>>(),
        )
    };
    for w in store.read(late).await? {
        let fleet = fleet.clone();
        store
            .write(move |tx| {
                let id = w.computer_id;
                let Some(w) = wanted::load(tx, id)?.filter(|w| w.overdue(tx.now())) else {
                    return Ok(());
                };
                let why = w.fault.as_deref().unwrap_or("the container engine does not answer");
                match w.desired {
                    Desired::Running => {
                        let text = format!("could not be started in time: {why}");
                        wanted::give_up(tx, id, w.op, Some(&text))?;
                    }
                    _ if w.fault.is_none() => wanted::failed(
                        tx,
                        id,
                        w.op,
                        "could not be stopped yet, and is tried on: the container engine does not answer",
                    )?,
                    _ => {}
                }
                lifecycle::follow_events(tx, &fleet, Actor::System, id)
            })
            .await?;
    }
    Ok(())
}

/// When the process that answers at a socket was started. Where systemd holds the socket, nobody knows.
fn answering_since(socket: &Path, now: Timestamp) -> Option<Timestamp> {
    let stream = UnixStream::connect(socket).ok()?;
    let peer = rustix::net::sockopt::socket_peercred(stream.as_fd()).ok()?;
    let pid = u32::try_from(peer.pid.as_raw_nonzero().get()).ok()?;
    let age = age_ms(pid)?;
    (pid != 1).then(|| now.plus_ms(-age))
}

/// What goes on beside the loop.
enum Task {
    Look(Result<(), Trouble>),
    Sampled(Result<(), Trouble>),
    Tried(Result<bool, Trouble>),
    Kept(Result<(), Trouble>),
    Brought,
}

struct Watch {
    kit: Arc<Kit>,
    /// Who is worked on.
    busy: Arc<Mutex<HashSet<ComputerId>>>,
    turns: Arc<Semaphore>,
    free: Arc<Notify>,
    /// Containers of ours that belong to no computer, as far as they were spoken of.
    orphans: Arc<Mutex<HashSet<String>>>,
    boot_id: String,
}

impl Watch {
    /// Looks at everything once, as it was left when it was last seen.
    async fn begin(
        store: &Store,
        fleet: &Fleet,
        engine: Arc<dyn Engine>,
        about: About,
        socket: &Path,
    ) -> Result<Arc<Watch>, Trouble> {
        let boot_id = boot_id();
        let boot = boot_id.clone();
        let install = store.write(move |tx| wanted::install(tx, &boot)).await?;
        let last = store.read(wanted::last_seen).await?;
        let now = store.now();
        let known = Circumstances {
            seen_at: last.as_ref().map_or(now, |last| last.at),
            rebooted: last.is_some_and(|last| last.boot_id != boot_id),
            engine_since: answering_since(socket, now),
        };
        tracing::info!(engine = about.name, socket = %socket.display(), "container engine");
        let settings = fleet.config.engine.as_ref();
        let walls = settings
            .filter(|e| e.firewall != Firewall::Off && e.network != Network::None)
            .map(|e| Walls::new(&install, &e.host_ports));
        let watch = Arc::new(Watch {
            kit: Arc::new(Kit {
                store: store.clone(),
                fleet: fleet.clone(),
                engine: engine.clone(),
                about: about.clone(),
                install,
                known: Mutex::new(known),
                networks: tokio::sync::Mutex::default(),
                walls,
            }),
            busy: Arc::default(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            free: Arc::default(),
            orphans: Arc::default(),
            boot_id,
        });
        watch.look_at_all(true).await?;
        fleet.engine.set(State::Up(engine, about));
        Ok(watch)
    }

    /// Works until the engine is lost; returns why.
    async fn work(self: Arc<Self>) -> String {
        // Whoever ends this ends what is under way, too; it is begun again from what is written down.
        let mut tasks: JoinSet<Task> = JoinSet::new();
        let every = self
            .kit
            .fleet
            .config
            .engine
            .as_ref()
            .map(|engine| engine.look_every);
        let mut look = tokio::time::interval(every.unwrap_or(LOOK));
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        look.tick().await;
        let mut round = tokio::time::interval(ROUND);
        round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let sampled = self.kit.fleet.config.engine.as_ref();
        let sampled = sampled.map_or(SAMPLE, |engine| engine.sample_every);
        let mut sample = tokio::time::interval(sampled);
        sample.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut try_out = tokio::time::interval(TRY_AGAIN);
        try_out.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut looking, mut sampling, mut trying, mut keeping) = (false, false, false, false);
        let mut sound = false;
        let mut events = self.events().await;
        loop {
            if let Err(e) = self.begin_what_is_due(&mut tasks).await {
                return trouble(&Trouble::Store(e));
            }
            // One snapshot after another: each reads and writes all that a computer has.
            match self.kit.store.read(kept::due).await {
                Ok(Some(id)) if !keeping => {
                    keeping = true;
                    let watch = self.clone();
                    tasks.spawn(async move { Task::Kept(taking::work(&watch.kit, id).await) });
                }
                Ok(_) => {}
                Err(e) => return trouble(&Trouble::Store(e)),
            }
            tokio::select! {
                () = self.kit.store.signals().changed(topics::MACHINES) => {}
                () = self.free.notified() => {}
                _ = round.tick() => {
                    if let Err(e) = overdue(&self.kit.store, &self.kit.fleet).await {
                        return trouble(&Trouble::Store(e));
                    }
                }
                told = next_event(&mut events) => match told {
                    Some(container) => {
                        if let Err(e) = self.happened(container).await {
                            return trouble(&Trouble::Store(e));
                        }
                    }
                    // The next look finds what is missed.
                    None => events = None,
                },
                _ = look.tick(), if !looking => {
                    looking = true;
                    if events.is_none() {
                        events = self.events().await;
                    }
                    let watch = self.clone();
                    tasks.spawn(async move { Task::Look(watch.look_at_all(false).await) });
                }
                _ = sample.tick(), if !sampling => {
                    sampling = true;
                    let watch = self.clone();
                    tasks.spawn(async move { Task::Sampled(watch.sample().await) });
                }
                _ = try_out.tick(), if !sound && !trying => {
                    trying = true;
                    let watch = self.clone();
                    tasks.spawn(async move { Task::Tried(watch.try_out().await) });
                }
                Some(ended) = tasks.join_next() => {
                    match ended {
                        Ok(Task::Tried(done)) => {
                            trying = false;
                            match done {
                                Ok(found) => sound = found,
                                Err(e) => return trouble(&e),
                            }
                        }
                        Ok(Task::Kept(done)) => {
                            keeping = false;
                            if let Err(e) = done {
                                return trouble(&e);
                            }
                        }
                        Ok(Task::Sampled(done)) => {
                            sampling = false;
                            if let Err(e) = done {
                                return trouble(&e);
                            }
                        }
                        Ok(Task::Look(Ok(()))) => looking = false,
                        Ok(Task::Look(Err(e))) => return trouble(&e),
                        Ok(Task::Brought) => {}
                        Err(e) => tracing::error!(error = %e, "machines: a task broke off"),
                    }
                }
            }
        }
    }

    async fn events(&self) -> Option<tokio::sync::mpsc::Receiver<String>> {
        let since = self.kit.known.lock().seen_at.0 / 1000 - OVERLAP;
        self.kit.engine.events(since).await.ok()
    }

    /// Something happened to a container.
    async fn happened(&self, container: String) -> Result<(), Error> {
        self.kit
            .store
            .write(move |tx| {
                tx.run(
                    "UPDATE machines SET look_at = ?1, looks = looks + 1 WHERE engine_ref = ?2",
                    (tx.now(), container),
                )?;
                Ok(())
            })
            .await
    }

    /// Begins with every computer that has something to do.
    async fn begin_what_is_due(&self, tasks: &mut JoinSet<Task>) -> Result<(), Error> {
        for id in self.kit.store.read(wanted::due).await? {
            if !self.busy.lock().insert(id) {
                continue;
            }
            let (kit, busy, turns, free) = (
                self.kit.clone(),
                self.busy.clone(),
                self.turns.clone(),
                self.free.clone(),
            );
            tasks.spawn(async move {
                let turn = turns.acquire().await;
                if let Err(e) = bring(&kit, id).await {
                    trouble(&e);
                    tokio::time::sleep(ROUND).await;
                }
                drop(turn);
                busy.lock().remove(&id);
                free.notify_one();
                Task::Brought
            });
        }
        Ok(())
    }

    /// Tries a container out, until one works: whether it does.
    async fn try_out(&self) -> Result<bool, Trouble> {
        let kit = &self.kit;
        let Some(settings) = kit.fleet.config.engine.as_ref().filter(|e| e.probe) else {
            return Ok(true);
        };
        let engine = kit.engine.as_ref();
        let broken = probe(engine, &kit.fleet, settings, &kit.about, &kit.install).await?;
        if let Some(why) = &broken {
            tracing::error!(
                why,
                "the container engine was found, and does not do what it has to; nothing is created or started"
            );
        }
        let sound = broken.is_none();
        kit.fleet.engine.standing.lock().broken = broken;
        Ok(sound)
    }

    /// Looks at what every computer uses that runs; one that is busy is not idle.
    async fn sample(&self) -> Result<(), Trouble> {
        let kit = &self.kit;
        let running = kit.store.read(wanted::running).await?;
        let there: HashSet<ComputerId> = running.iter().copied().collect();
        kit.fleet.engine.keep(|id| there.contains(id));
        let looks = futures_util::stream::iter(running).map(|id| async move {
            let found = bounded(LOOK, kit.engine.usage(&spec::name(id))).await;
            (id, kit.store.now(), found)
        });
        let mut looks = std::pin::pin!(looks.buffer_unordered(AT_ONCE));
        while let Some((id, at, found)) = looks.next().await {
            match found {
                Ok(usage) => {
                    let percent = kit.fleet.engine.loads.take(id, at, usage);
                    if percent.is_some_and(|percent| percent >= BUSY_PERCENT) {
                        active(&kit.store, &kit.fleet, id, Activity::Cpu).await?;
                    }
                }
                Err(e @ Fault::Silent(_)) => return Err(e.into()),
                // It has just ended.
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Compares all containers with what the events say, looks closer where they differ, and then has seen
    /// everything. At the `first` time everything is looked at closely.
    async fn look_at_all(&self, first: bool) -> Result<(), Trouble> {
        let kit = &self.kit;
        let at = kit.store.now();
        let label = spec::label(&kit.install);
        match keep_apart(kit).await {
            Ok(()) | Err(Fault::Refused(_)) => {}
            Err(e) => return Err(e.into()),
        }
        let listed = bounded(LOOK, kit.engine.list(&label)).await?;
        let mut by_computer: HashMap<ComputerId, &Listed> = HashMap::new();
        for container in &listed {
            let computer = container
                .labels
                .get(spec::COMPUTER)
                .and_then(|id| parse_uuid(id));
            if let Some(id) = computer {
                by_computer.insert(ComputerId(id), container);
            }
        }
        let known = kit
            .store
            .read(|tx| {
                let all = wanted::all(tx)?;
                all.into_iter()
                    .map(|w| {
                        let held = held(tx, w.computer_id)?;
                        Ok((
                            w.computer_id,
                            held.is_some_and(|held| held.status == Status::Running),
                        ))
                    })
                    .collect::<Result<HashMap<ComputerId, bool>, Error>>()
            })
            .await?;
        self.orphans(&by_computer, &known).await?;
        let running = known
            .keys()
            .filter_map(|id| Some((*id, *by_computer.get(id)?)))
            .filter(|(_, container)| container.life == Life::Running);
        let liars = match first {
            true => HashSet::new(),
            false => self.alive(at, running).await?,
        };
        let mut differ = Vec::new();
        let mut whole = true;
        for (id, billed) in &known {
            let listed = by_computer.get(id);
            let runs = listed.is_some_and(|c| c.life == Life::Running);
            let lies = liars.contains(id);
            // What is being worked on is looked at there. Until that has told of an end, not all was seen to run: that
            // end would be dated to this look.
            if !first && self.busy.lock().contains(id) {
                whole &= !lies && (runs || !billed);
                continue;
            }
            if first || runs != *billed || lies {
                differ.push(*id);
            }
        }
        let mut tasks = JoinSet::new();
        for id in differ {
            let (kit, turns) = (kit.clone(), self.turns.clone());
            let (busy, free) = (self.busy.clone(), self.free.clone());
            if !busy.lock().insert(id) {
                whole = false;
                continue;
            }
            tasks.spawn(async move {
                let turn = turns.acquire().await;
                let done = bring(&kit, id).await;
                drop(turn);
                busy.lock().remove(&id);
                free.notify_one();
                done
            });
        }
        while let Some(done) = tasks.join_next().await {
            match done {
                Ok(Ok(told)) => whole &= told,
                Ok(Err(e)) => {
                    trouble(&e);
                    whole = false;
                }
                Err(_) => whole = false,
            }
        }
        if whole {
            // Where nothing runs nothing can be lost.
            if first || known.values().any(|billed| *billed) {
                let boot_id = self.boot_id.clone();
                kit.store
                    .write(move |tx| wanted::seen(tx, &boot_id, at))
                    .await?;
            }
            let mut known = kit.known.lock();
            known.seen_at = at.max(known.seen_at);
            known.rebooted = false;
            kit.fleet.engine.standing.lock().looked_at = Some(at);
        }
        Ok(())
    }

    /// Writes down which of these containers that are said to run do so, also when the engine breaks off halfway; returns
    /// those that do not. Where the process can be seen from here, that is looked at more often.
    async fn alive(
        &self,
        at: Timestamp,
        running: impl Iterator<Item = (ComputerId, &Listed)>,
    ) -> Result<HashSet<ComputerId>, Trouble> {
        let (mut liars, mut alive, mut broken) = (HashSet::new(), Vec::new(), None);
        for (id, container) in running {
            match self.may_lie(container).await {
                Ok(true) => {
                    liars.insert(id);
                }
                Ok(false) if self.kit.fleet.engine.pulses.knows(id) => {}
                Ok(false) => alive.push((id, None)),
                Err(e) => {
                    broken = Some(e);
                    break;
                }
            }
        }
        if !alive.is_empty() {
            let write = move |tx: &WriteTx<'_>| wanted::alive(tx, at, &alive);
            self.kit.store.write(write).await?;
        }
        match broken {
            Some(e) => Err(e),
            None => Ok(liars),
        }
    }

    /// Podman goes on calling a container running whose processes went with a power loss.
    async fn may_lie(&self, listed: &Listed) -> Result<bool, Trouble> {
        if !self.kit.about.podman {
            return Ok(false);
        }
        match bounded(LOOK, self.kit.engine.inspect(&listed.id)).await {
            Ok(seen) => Ok(is_dead(self.kit.engine.as_ref(), &seen).await?),
            Err(Fault::Missing(_)) => Ok(true),
            Err(e) => Err(e.into()),
        }
    }

    /// Containers of this installation that belong to no machine: those of deleted computers go, those of
    /// nobody are spoken of and left alone, since a restored backup makes good machines look like that.
    async fn orphans(
        &self,
        listed: &HashMap<ComputerId, &Listed>,
        known: &HashMap<ComputerId, bool>,
    ) -> Result<(), Trouble> {
        let mut nobodys = 0;
        for (id, container) in listed.iter().filter(|(id, _)| !known.contains_key(id)) {
            let (id, name) = (*id, container.name.clone());
            let deleted = self
                .kit
                .store
                .write(move |tx| {
                    let sql = "INSERT INTO machines (computer_id, tenant_id, desired, op, op_at, restart, done_op, look_at)
                         SELECT id, tenant_id, 'gone', 1, ?2, 0, 0, ?2 FROM computers
                         WHERE id = ?1 AND deleted_at IS NOT NULL ON CONFLICT DO NOTHING";
                    let deleted = tx.run(
                        sql,
                        (id, tx.now()),
                    )?;
                    tx.changed(topics::MACHINES);
                    Ok::<_, Error>(deleted > 0)
                })
                .await?;
            nobodys += usize::from(!deleted);
            if !deleted && self.orphans.lock().insert(name.clone()) {
                tracing::warn!(
                    container = name,
                    "a container of this installation belongs to no computer; see workspaced machines ls"
                );
            }
        }
        self.kit.fleet.engine.standing.lock().orphans = nobodys;
        Ok(())
    }
}

async fn next_event(events: &mut Option<tokio::sync::mpsc::Receiver<String>>) -> Option<String> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}
