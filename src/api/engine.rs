//! How the work with a container engine goes, for those who run this: in `/readyz`, in `/metrics`, on the page.

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::computers::Fleet;
use crate::computers::machines::link::State;
use crate::computers::machines::room;
use crate::computers::machines::wanted;
use crate::db::Store;
use crate::error::Result;

/// The container engine, as it is now.
#[derive(Serialize, ToSchema)]
#[schema(as = Engine)]
pub struct EngineView {
    /// `up`, `broken` (it answers, and cannot run a container), or `down`.
    pub state: &'static str,
    /// Such as `Docker 20.10.24`; null where it is down.
    pub name: Option<String>,
    /// Why it is not up, in a sentence.
    pub why: Option<String>,
    /// What it can hold a computer to: memory, cpu, processes, system calls.
    pub limits: Vec<&'static str>,
    /// Users in computers are not the host's.
    pub user_namespaces: bool,
    /// Templates and their images.
    pub images: Vec<ImageView>,
    /// Computers that it runs, or is to run or remove.
    pub machines: i64,
    /// Of these, something was asked for that is not done.
    pub pending: i64,
    /// Of these, something is wrong.
    pub faults: i64,
    /// Containers of this installation that belong to no computer; see `workspaced machines ls`.
    pub orphans: usize,
    /// When all containers were last looked at.
    pub looked_at: Option<Timestamp>,
    /// When all were last seen to run that should: what a loss of power could hide began then.
    pub seen_at: Option<Timestamp>,
    /// Why only the engine's own rules keep computers apart; null: those of this server do, or none are wanted.
    pub firewall_why: Option<String>,
    /// How often rules that keep computers apart were gone, and set again.
    pub firewall_mended: u64,
    /// Terminals that are open.
    pub terminals: usize,
    pub host: HostView,
}

/// A template.
#[derive(Serialize, ToSchema)]
#[schema(as = EngineImage)]
pub struct ImageView {
    pub template: String,
    pub image: String,
}

/// What the host has left, MB; null: not known.
#[derive(Serialize, ToSchema)]
#[schema(as = EngineHost)]
pub struct HostView {
    pub memory_mb: Option<i64>,
    pub memory_available_mb: Option<i64>,
    /// Below this nothing is started.
    pub memory_reserve_mb: u64,
    /// Where containers lie.
    pub disk_mb: Option<i64>,
    pub disk_left_mb: Option<i64>,
    /// Below this, or 5 %, nothing is started.
    pub disk_reserve_mb: u64,
}

/// How it goes; `None` where nobody runs machines.
///
/// # Errors
/// When the store fails.
pub async fn view(store: &Store, fleet: &Fleet) -> Result<Option<EngineView>> {
    let Some(settings) = fleet.config.engine.as_ref() else {
        return Ok(None);
    };
    let tally = store.read(wanted::tally).await?;
    let standing = fleet.engine.standing.lock().clone();
    let (about, down) = match fleet.engine.state() {
        State::Up(_, about) => (Some(about), None),
        State::Down(why) => (None, Some(why)),
        State::None => (None, Some("nobody looks for it yet".into())),
    };
    let host = fleet.engine.host();
    let state = match (&about, &standing.broken) {
        (None, _) => "down",
        (Some(_), Some(_)) => "broken",
        (Some(_), None) => "up",
    };
    let can = about.as_ref().map(|about| {
        [
            (about.limits_memory, "memory"),
            (about.limits_cpu, "cpu"),
            (about.limits_pids, "processes"),
            (about.seccomp, "system calls"),
        ]
    });
    let images = settings.images.iter().map(|(template, image)| ImageView {
        template: template.clone(),
        image: image.image.clone(),
    });
    Ok(Some(EngineView {
        state,
        why: down.or(standing.broken),
        firewall_why: standing.open,
        firewall_mended: standing.mended,
        limits: can
            .into_iter()
            .flatten()
            .filter_map(|(can, what)| can.then_some(what))
            .collect(),
        user_namespaces: about.as_ref().is_some_and(|about| about.user_namespaces),
        name: about.map(|about| about.name),
        images: images.collect(),
        machines: tally.all,
        pending: tally.pending,
        faults: tally.faults,
        orphans: standing.orphans,
        looked_at: standing.looked_at,
        seen_at: tally.heartbeat,
        terminals: fleet.engine.seats.count(),
        host: HostView {
            memory_mb: host.memory_mb,
            memory_available_mb: host.available_mb,
            memory_reserve_mb: settings.reserve.memory_mb,
            disk_mb: host.disk_mb,
            disk_left_mb: host.disk_left_mb,
            disk_reserve_mb: settings.reserve.disk_mb,
        },
    }))
}

/// What somebody should look at, in sentences.
pub async fn warnings(store: &Store, fleet: &Fleet) -> Vec<String> {
    let Ok(Some(view)) = view(store, fleet).await else {
        return Vec::new();
    };
    let mut warnings = Vec::new();
    if let Some(why) = &view.why {
        warnings.push(format!("the container engine is {}: {why}", view.state));
    }
    if let Some((left, kept)) = room::disk_is_low(&fleet.engine.host(), view.host.disk_reserve_mb) {
        warnings.push(format!(
            "the disk of containers has {left} MB left, of which {kept} are kept for the host: no computer is created or started"
        ));
    }
    if let Some(why) = &view.firewall_why {
        warnings.push(format!(
            "only the engine's own rules keep computers apart: {why}"
        ));
    }
    if view.orphans > 0 {
        warnings.push(format!(
            "{} containers of this installation belong to no computer: workspaced machines ls",
            view.orphans
        ));
    }
    warnings
}
