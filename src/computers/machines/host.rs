//! The machine that computers run on.

use std::path::Path;

use super::cores::{Cpus, parse};

/// A host as it is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Host {
    pub memory_mb: Option<i64>,
    /// What programs could still have without others being thrown out.
    pub available_mb: Option<i64>,
    /// Where containers lie.
    pub disk_mb: Option<i64>,
    pub disk_left_mb: Option<i64>,
    pub cpus: Option<i64>,
}

impl Host {
    /// This machine, whose containers lie below `data`.
    pub fn here(data: Option<&Path>, cpus: Option<i64>) -> Host {
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kb = |name: &str| {
            let line = memory.lines().find_map(|line| line.strip_prefix(name))?;
            let kb: i64 = line.split_whitespace().next()?.parse().ok()?;
            Some(kb >> 10)
        };
        let disk = data.and_then(|data| rustix::fs::statvfs(data).ok());
        let disk = disk.as_ref();
        let mb = |blocks: u64, size: u64| i64::try_from(blocks.saturating_mul(size) >> 20).ok();
        Host {
            memory_mb: kb("MemTotal:"),
            available_mb: kb("MemAvailable:"),
            disk_mb: disk.and_then(|fs| mb(fs.f_blocks, fs.f_frsize)),
            disk_left_mb: disk.and_then(|fs| mb(fs.f_bavail, fs.f_frsize)),
            cpus,
        }
    }
}

/// The CPUs of this machine that work.
pub fn online_cpus() -> Cpus {
    parse(&std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default())
}

/// Which start of this machine this is.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

/// When a process of this machine was started, in hundredths of a second since that was; `None`: it is not there, or
/// has ended.
pub fn born(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let over = matches!(fields.next()?, "Z" | "X");
    fields.nth(18)?.parse().ok().filter(|_| !over)
}

/// How long ago a process of this machine was started, milliseconds.
pub fn age_ms(pid: u32) -> Option<i64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = stat.rsplit_once(')')?.1;
    let ticks: f64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    let up = std::fs::read_to_string("/proc/uptime").ok()?;
    let up: f64 = up.split_whitespace().next()?.parse().ok()?;
    // The kernel tells both in hundredths of a second.
    Some(((up - ticks / 100.0).max(0.0) * 1000.0) as i64)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_is_as_old_as_it_is() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let (own, young) = (super::age_ms(std::process::id()), super::age_ms(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(young.unwrap() <= own.unwrap() + 20 && young.unwrap() < 30_000);
        assert_eq!(super::age_ms(u32::MAX), None);
    }
}
