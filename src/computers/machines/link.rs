//! The engine that is there at present, or why there is none.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::cores::Cores;
use super::host::Host;
use super::load::Loads;
use super::pulse::Pulses;
use super::seam::{About, Engine};
use super::seats::Seats;
use crate::clock::Timestamp;
use crate::computers::activity::Activity;
use crate::error::{Error, Result};
use crate::ids::ComputerId;

/// What is known of the engine.
#[derive(Clone)]
pub enum State {
    /// This server runs no machines.
    None,
    /// It is looked for, or was lost; why.
    Down(String),
    Up(Arc<dyn Engine>, About),
}

/// The engine of this process, as far as it is there.
pub struct Link {
    state: Mutex<State>,
    /// Turns inside computers.
    turns: Places,
    /// Places before their screens.
    viewers: Places,
    next: AtomicU64,
    /// Terminals that are open.
    pub seats: Arc<Seats>,
    /// What computers use.
    pub loads: Loads,
    /// Who is alive.
    pub pulses: Pulses,
    /// Which CPUs they run on.
    pub cores: Cores,
    /// What last happened in each, also what is not written down yet.
    active: Mutex<HashMap<ComputerId, (Timestamp, Activity)>>,
    pub standing: Mutex<Standing>,
    /// What a test says that the host has.
    pub pretended: Mutex<Option<Host>>,
}

/// How the work with the engine goes.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// When all containers were last looked at, and all of it went well.
    pub looked_at: Option<Timestamp>,
    /// Containers of ours that belong to no computer.
    pub orphans: usize,
    /// What the engine could not do when it was tried out at the start.
    pub broken: Option<String>,
    /// Why only the engine's own rules keep computers apart.
    pub open: Option<String>,
    /// How often the rules that keep them apart were gone, or others.
    pub mended: u64,
}

/// Programs that run in one computer at the same time: an engine keeps processes of its own for each.
const TURNS: usize = 8;
/// Who looks at the screen of one computer at the same time.
const VIEWERS: usize = 8;

type Places = Mutex<HashMap<ComputerId, Arc<Semaphore>>>;

/// One of `most` places of a computer, if one is free.
fn place(all: &Places, id: ComputerId, most: usize) -> Option<OwnedSemaphorePermit> {
    let mut all = all.lock();
    all.retain(|known, places| *known == id || places.available_permits() < most);
    let places = all
        .entry(id)
        .or_insert_with(|| Arc::new(Semaphore::new(most)));
    places.clone().try_acquire_owned().ok()
}

impl Default for Link {
    fn default() -> Self {
        Link {
            state: Mutex::new(State::None),
            turns: Mutex::default(),
            viewers: Mutex::default(),
            next: AtomicU64::new(0),
            seats: Arc::default(),
            loads: Loads::default(),
            pulses: Pulses::default(),
            cores: Cores::default(),
            active: Mutex::default(),
            standing: Mutex::default(),
            pretended: Mutex::default(),
        }
    }
}

impl Link {
    /// What is known by now.
    pub fn state(&self) -> State {
        self.state.lock().clone()
    }

    pub fn set(&self, state: State) {
        *self.state.lock() = state;
    }

    /// Another number each time.
    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A turn inside a computer.
    ///
    /// # Errors
    /// 429 where too many have one.
    pub fn turn(&self, id: ComputerId) -> Result<OwnedSemaphorePermit> {
        place(&self.turns, id, TURNS).ok_or_else(|| {
            Error::too_many(
                format!("{TURNS} programs run in this computer already; wait for one of them"),
                1,
            )
        })
    }

    /// A place before the screen of a computer.
    ///
    /// # Errors
    /// 429 where too many look at it.
    pub fn viewer(&self, id: ComputerId) -> Result<OwnedSemaphorePermit> {
        place(&self.viewers, id, VIEWERS).ok_or_else(|| {
            Error::too_many(
                format!("{VIEWERS} viewers look at this screen already; close one of them"),
                5,
            )
        })
    }

    /// Something happened in a computer.
    pub fn happened(&self, id: ComputerId, at: Timestamp, by: Activity) {
        let mut active = self.active.lock();
        let last = active.entry(id).or_insert((at, by));
        if at >= last.0 {
            *last = (at, by);
        }
    }

    /// What last happened in a computer, as far as this process knows: what is open in it happens now.
    pub fn last_activity(&self, id: ComputerId, now: Timestamp) -> Option<(Timestamp, Activity)> {
        if self.seats.of(id, now).iter().any(|seat| seat.is_taken()) {
            return Some((now, Activity::Terminal));
        }
        let turns = self.turns.lock().get(&id).cloned();
        if turns.is_some_and(|turns| turns.available_permits() < TURNS) {
            return Some((now, Activity::Command));
        }
        self.active.lock().get(&id).copied()
    }

    /// The host as it is now.
    pub fn host(&self) -> Host {
        if let Some(host) = *self.pretended.lock() {
            return host;
        }
        match self.state() {
            State::Up(_, about) => Host::here(about.data.as_deref(), Some(about.cpus)),
            _ => Host::here(None, None),
        }
    }

    /// Forgets all computers but these.
    pub fn keep(&self, there: impl Fn(&ComputerId) -> bool) {
        self.loads.keep(&there);
        self.active.lock().retain(|id, _| there(id));
    }

    /// The engine.
    ///
    /// # Errors
    /// 503 `ENGINE_UNAVAILABLE` with the reason.
    pub fn ready(&self) -> Result<Arc<dyn Engine>> {
        match self.state() {
            State::Up(engine, _) => Ok(engine),
            State::Down(why) => Err(Error::unavailable(
                format!("nothing was changed: {why}"),
                10,
            )
            .with_code("ENGINE_UNAVAILABLE")),
            State::None => Err(Error::unavailable(
                "nothing was changed: this server was started without --driver docker, so nobody runs this computer",
                60,
            )
            .with_code("ENGINE_UNAVAILABLE")),
        }
    }
}
