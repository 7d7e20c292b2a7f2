//! What the host has left: nothing is created or started that would take of what is kept for the host itself.

use rusqlite::named_params;
use serde_json::{Value, json};

use super::host::Host;
use super::link::Link;
use super::walls;
use crate::computers::Fleet;
use crate::error::{Error, Result};
use crate::ids::ComputerId;
use crate::rules::config::Firewall;
use crate::rules::size::Size;
use crate::store::Tx;

/// What a computer takes soon after it was started, MB, or its whole memory where that is less. What is being
/// started is not seen in the host's memory yet.
const BEGINS_WITH_MB: i64 = 256;
/// Seconds after which it may be different.
const AGAIN: u32 = 30;

/// MB of disk that are kept, and those that are left where that is too little.
pub fn disk_is_low(host: &Host, kept_mb: u64) -> Option<(i64, i64)> {
    let twentieth = host.disk_mb.unwrap_or(0) / 20;
    let kept = i64::try_from(kept_mb).unwrap_or(i64::MAX).max(twentieth);
    let left = host.disk_left_mb.filter(|left| *left < kept)?;
    Some((left, kept))
}

fn refused(resource: &str, text: String, left: Value, kept: Value) -> Error {
    Error::unavailable(text, AGAIN)
        .with_code("HOST_FULL")
        .with_details(json!({ "resource": resource, "left": left, "kept": kept }))
}

/// What all those are held to that run or are about to, but this one: MB of memory and virtual CPUs, and what those
/// begin with that are about to.
fn promised(tx: &Tx<'_>, fleet: &Fleet, but: Option<ComputerId>) -> Result<(i64, i64, i64)> {
    let sql = "SELECT c.size, c.status FROM machines m JOIN computers c ON c.id = m.computer_id
         WHERE m.desired = 'running' AND c.deleted_at IS NULL AND (:but IS NULL OR c.id <> :but)
             AND c.status IN ('provisioning', 'starting', 'running')";
    let mut statement = tx.prepare_cached(sql)?;
    let mut rows = statement.query(named_params! { ":but": but })?;
    let (mut memory, mut cpus, mut begins) = (0, 0, 0);
    while let Some(row) = rows.next()? {
        let size: Size = row.get(0)?;
        let status: String = row.get(1)?;
        let hardware = fleet.catalog.hardware(size);
        memory += hardware.memory_mb;
        cpus += hardware.vcpus;
        if status != "running" {
            begins += hardware.memory_mb.min(BEGINS_WITH_MB);
        }
    }
    Ok((memory, cpus, begins))
}

/// Whether the disk of containers takes more.
///
/// # Errors
/// 503 `ENGINE_UNAVAILABLE`; 507 `STORAGE_FULL`.
pub fn check_disk(fleet: &Fleet) -> Result<()> {
    fleet.engine.ready()?;
    let settings = fleet.config.engine.as_ref();
    let kept = settings.map_or(0, |engine| engine.reserve.disk_mb);
    match disk_is_low(&fleet.engine.host(), kept) {
        Some(low) => Err(disk_full(low)),
        None => Ok(()),
    }
}

fn disk_full((left, kept): (i64, i64)) -> Error {
    Error::no_space(format!(
        "nothing was changed: the disk of containers has {left} MB left, and {kept} MB are kept for the host; delete \
         computers or snapshots, or lower [engine.reserve] disk_mb"
    ))
    .with_details(json!({ "resource": "disk", "left": left, "kept": kept }))
}

/// Whether the host has room for one more computer of this size, and the engine what it takes to start one.
///
/// # Errors
/// 503 `ENGINE_UNAVAILABLE` or `HOST_FULL`, 507 `STORAGE_FULL`: nothing was changed.
pub fn check(tx: &Tx<'_>, fleet: &Fleet, size: Size, id: Option<ComputerId>) -> Result<()> {
    let link: &Link = &fleet.engine;
    link.ready()?;
    let standing = link.standing.lock().clone();
    if let Some(why) = standing.broken {
        return Err(
            Error::unavailable(format!("nothing was changed: {why}"), AGAIN)
                .with_code("ENGINE_UNAVAILABLE"),
        );
    }
    let Some(settings) = fleet.config.engine.as_ref() else {
        return Ok(());
    };
    if let Some(why) = &standing.open
        && settings.firewall == Firewall::Required
    {
        let text = format!("nothing was changed: {}", walls::unwalled(why));
        return Err(Error::unavailable(text, AGAIN).with_code("ENGINE_UNAVAILABLE"));
    }
    let reserve = settings.reserve;
    let host = link.host();
    if let Some(low) = disk_is_low(&host, reserve.disk_mb) {
        return Err(disk_full(low));
    }
    let hardware = fleet.catalog.hardware(size);
    let (memory, cpus, begins) = promised(tx, fleet, id)?;
    let kept = i64::try_from(reserve.memory_mb).unwrap_or(i64::MAX);
    if let Some(available) = host.available_mb {
        let left = available - begins;
        if left - hardware.memory_mb.min(BEGINS_WITH_MB) < kept {
            return Err(refused(
                "memory",
                format!(
                    "nothing was changed: the host has {left} MB of memory left, and {kept} MB are kept for it; stop \
                     computers, or lower [engine.reserve] memory_mb"
                ),
                left.into(),
                kept.into(),
            ));
        }
    }
    if let Some(all) = host.memory_mb.filter(|_| reserve.memory_ratio > 0.0) {
        let most = ((all - kept) as f64 * reserve.memory_ratio) as i64;
        if memory + hardware.memory_mb > most {
            return Err(refused(
                "memory",
                format!(
                    "nothing was changed: computers that run may take {memory} MB of the {most} MB that may be promised, and \
                     {size} is {} MB; stop computers, or raise [engine.reserve] memory_ratio",
                    hardware.memory_mb
                ),
                (most - memory).into(),
                kept.into(),
            ));
        }
    }
    if let Some(all) = host.cpus.filter(|_| reserve.cpu_ratio > 0.0) {
        let most = (all as f64 * reserve.cpu_ratio) as i64;
        if cpus + hardware.vcpus > most {
            return Err(refused(
                "cpu",
                format!(
                    "nothing was changed: computers that run have {cpus} of the {most} virtual CPUs that may be promised, and \
                     {size} has {}; stop computers, or raise [engine.reserve] cpu_ratio",
                    hardware.vcpus
                ),
                (most - cpus).into(),
                0.into(),
            ));
        }
    }
    Ok(())
}
