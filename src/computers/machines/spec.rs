//! What a computer is as a container, and what holds it.
//!
//! Nothing of this can be chosen by a request: never privileged, no path and no namespace of the host, no
//! published port. What a container does not need of the default capabilities is dropped.

use std::collections::BTreeMap;

use rustix::process::{Resource, getrlimit};

use super::cores::Cpus;
use super::seam::{About, Limits, Spec};
use crate::computers::{Fleet, Record};
use crate::error::{Error, Result};
use crate::ids::{ComputerId, SnapshotId, WorkspaceId};
use crate::rules::config::Network;
use crate::rules::size::Size;

/// The installation that a container belongs to.
pub const INSTALL: &str = "dev.workspaced.install";
/// The computer that it is.
pub const COMPUTER: &str = "dev.workspaced.computer";
/// What it was made from.
pub const TEMPLATE: &str = "dev.workspaced.template";
/// The size it was made with.
pub const SIZE: &str = "dev.workspaced.size";

/// Instead of these: a container that is only tried out.
pub const PROBE: &str = "dev.workspaced.probe";

/// Processes and threads for each virtual CPU.
const PROCESSES: i64 = 512;
/// File handles of a process, and processes of a user: less than what an engine may grant, whose own limits
/// are often lower than those of a log-in.
const HANDLES: u64 = 16_384;

/// The container of a computer.
pub fn name(id: ComputerId) -> String {
    format!("ws-{}", id.0)
}

/// The volume of a computer, which outlives its container.
pub fn volume(id: ComputerId) -> String {
    format!("ws-{}-home", id.0)
}

/// The network of a workspace.
pub fn network(id: WorkspaceId) -> String {
    format!("ws-net-{}", id.0)
}

/// The interface of this machine that a network is: a rule can name it before it is there. As long as such names may
/// be; the end of an id is its random part.
pub fn bridge(network: &str) -> String {
    let letters: Vec<char> = network.chars().filter(|c| *c != '-').collect();
    let last: String = letters[letters.len().saturating_sub(12)..].iter().collect();
    format!("wsb{last}")
}

/// The image of a snapshot.
pub fn snapshot(id: SnapshotId) -> String {
    format!("localhost/workspaced/snapshot:{}", id.0)
}

/// The label of everything of an installation.
pub fn label(install: &str) -> String {
    format!("{INSTALL}={install}")
}

/// What a virtual CPU weighs where CPUs are scarce: the host's own services, this one among them, come first.
const SHARES: i64 = 128;

/// What holds a container of this size on an engine; it runs on any CPU.
pub fn limits(fleet: &Fleet, about: &About, size: Size) -> Limits {
    let hardware = fleet.catalog.hardware(size);
    // An engine refuses more than the host has.
    let cpus = hardware.vcpus.min(about.cpus);
    Limits {
        nano_cpus: cpus * 1_000_000_000,
        cpu_shares: cpus * SHARES,
        cpus: Cpus::new(),
        memory: hardware.memory_mb << 20,
        processes: PROCESSES * hardware.vcpus,
    }
}

/// What holds a computer, on CPUs that are given to it here.
pub fn limits_of(fleet: &Fleet, about: &About, id: ComputerId, size: Size) -> Limits {
    let count = usize::try_from(fleet.catalog.hardware(size).vcpus).unwrap_or(usize::MAX);
    let mut limits = limits(fleet, about, size);
    limits.cpus = fleet.engine.cores.give(id, count, &about.pins_to);
    limits
}

/// More than its own hard limit a process without CAP_SYS_RESOURCE cannot grant.
fn own(resource: Resource) -> i64 {
    let most = getrlimit(resource).maximum.unwrap_or(HANDLES).min(HANDLES);
    i64::try_from(most).unwrap_or(1024)
}

/// File handles of a process.
pub fn files() -> i64 {
    own(Resource::Nofile)
}

/// Processes of a user, on the whole host.
pub fn user_processes() -> i64 {
    own(Resource::Nproc)
}

/// The network that a computer belongs into; `None`: none.
pub fn network_of(fleet: &Fleet, c: &Record) -> Option<String> {
    let engine = fleet.config.engine.as_ref()?;
    (engine.network != Network::None).then(|| network(c.workspace_id))
}

/// The container of a computer, to be made.
///
/// # Errors
/// When its template has no image any more.
pub fn of(
    fleet: &Fleet,
    about: &About,
    install: &str,
    c: &Record,
    env: Vec<String>,
) -> Result<Spec> {
    let engine = fleet.config.engine.as_ref();
    let engine = engine.ok_or_else(|| Error::internal("no engine is configured"))?;
    let image = engine.images.get(&c.template_type).ok_or_else(|| {
        Error::field(
            "template_type",
            format!(
                "template {} has no image: name one in [images]",
                c.template_type
            ),
        )
    })?;
    let labels = [
        (INSTALL, install.to_owned()),
        (COMPUTER, c.id.0.to_string()),
        (TEMPLATE, c.template_type.clone()),
        (SIZE, c.size.to_string()),
    ];
    Ok(Spec {
        name: name(c.id),
        host_name: c.slug.clone(),
        image: image.image.clone(),
        command: image.command.clone(),
        env,
        labels: labels
            .map(|(k, v)| (k.to_owned(), v))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
        limits: limits_of(fleet, about, c.id, c.size),
        files: files(),
        user_processes: user_processes(),
        network: network_of(fleet, c),
        runtime: engine.runtime.clone(),
        volume: Some((volume(c.id), image.home.clone())),
        read_only: image.read_only,
        user: image.user.clone(),
    })
}
