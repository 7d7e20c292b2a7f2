//! What computers use, as the engine counts it: looked at now and then, and kept for a week, in memory.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use serde::Serialize;
use utoipa::ToSchema;

use super::seam::Usage;
use crate::clock::Timestamp;
use crate::ids::ComputerId;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;
/// Minutes and hours that are kept.
const MINUTES: i64 = 61;
const HOURS: i64 = 7 * 24 + 1;
/// Two looks further apart than this say nothing about the time between.
const TOGETHER_MS: i64 = 5 * MINUTE_MS;
/// Percent of one CPU, on average between two looks, from which on a computer is busy.
pub const BUSY_PERCENT: f64 = 5.0;

/// What a computer uses.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Present {
    /// When it was looked at.
    pub at: Timestamp,
    /// Percent of one virtual CPU since the look before; null after the first look.
    pub cpu_percent: Option<f64>,
    /// Memory in use, MB, without what could be dropped.
    pub memory_mb: i64,
    /// What it may use at most, MB.
    pub memory_limit_mb: i64,
    pub processes: u64,
    /// Bytes over its network since it was started.
    pub received_bytes: u64,
    pub sent_bytes: u64,
}

/// Sums over a time.
#[derive(Clone, Copy, Debug, Default)]
struct Bin {
    cpu_ns: u64,
    ms: i64,
    memory: u64,
    looks: u64,
}

/// What a computer used over a time, on average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Average {
    /// Percent of one virtual CPU.
    pub cpu_percent: f64,
    pub memory_mb: i64,
}

impl Bin {
    fn add(&mut self, other: Bin) {
        self.cpu_ns += other.cpu_ns;
        self.ms += other.ms;
        self.memory += other.memory;
        self.looks += other.looks;
    }

    fn average(self) -> Average {
        Average {
            cpu_percent: percent(self.cpu_ns, self.ms),
            memory_mb: megabytes(self.memory / self.looks.max(1)),
        }
    }
}

fn percent(cpu_ns: u64, ms: i64) -> f64 {
    if ms <= 0 {
        return 0.0;
    }
    let percent = cpu_ns as f64 / (ms as f64 * 1e6) * 100.0;
    (percent * 10.0).round() / 10.0
}

fn megabytes(bytes: u64) -> i64 {
    i64::try_from(bytes >> 20).unwrap_or(i64::MAX)
}

#[derive(Default)]
struct Load {
    last: Option<(Timestamp, Usage)>,
    present: Option<Present>,
    minutes: BTreeMap<i64, Bin>,
    hours: BTreeMap<i64, Bin>,
}

/// What all computers use.
#[derive(Default)]
pub struct Loads(Mutex<HashMap<ComputerId, Load>>);

impl Loads {
    /// Takes a look at a computer into account; returns how many percent of a CPU it used since the one before.
    pub fn take(&self, id: ComputerId, at: Timestamp, usage: Usage) -> Option<f64> {
        let mut all = self.0.lock();
        let load = all.entry(id).or_default();
        let mut bin = Bin {
            memory: usage.memory,
            looks: 1,
            ..Bin::default()
        };
        // After a start it counts from nothing.
        if let Some((before, used)) = load.last
            && (1..=TOGETHER_MS).contains(&(at.0 - before.0))
            && usage.cpu >= used.cpu
        {
            bin.cpu_ns = usage.cpu - used.cpu;
            bin.ms = at.0 - before.0;
        }
        let cpu_percent = (bin.ms > 0).then(|| percent(bin.cpu_ns, bin.ms));
        let (minute, hour) = (at.0.div_euclid(MINUTE_MS), at.0.div_euclid(HOUR_MS));
        load.minutes.entry(minute).or_default().add(bin);
        load.hours.entry(hour).or_default().add(bin);
        load.minutes.retain(|of, _| *of > minute - MINUTES);
        load.hours.retain(|of, _| *of > hour - HOURS);
        load.last = Some((at, usage));
        load.present = Some(Present {
            at,
            cpu_percent,
            memory_mb: megabytes(usage.memory),
            memory_limit_mb: megabytes(usage.memory_limit),
            processes: usage.processes,
            received_bytes: usage.received,
            sent_bytes: usage.sent,
        });
        cpu_percent
    }

    /// What a computer uses now, if it was looked at in the last minutes.
    pub fn present(&self, id: ComputerId, now: Timestamp) -> Option<Present> {
        let all = self.0.lock();
        let present = all.get(&id)?.present?;
        (now.0 - present.at.0 < TOGETHER_MS).then_some(present)
    }

    /// What a computer used from `start` to `end`, if it was looked at; whole minutes, or whole hours.
    pub fn between(&self, id: ComputerId, start: i64, end: i64) -> Option<Average> {
        let all = self.0.lock();
        let load = all.get(&id)?;
        let (bins, unit) = if end - start <= MINUTE_MS {
            (&load.minutes, MINUTE_MS)
        } else {
            (&load.hours, HOUR_MS)
        };
        let mut sum = Bin::default();
        // A bucket that is cut by the present belongs to its unit whole.
        let range = start.div_euclid(unit)..(end + unit - 1).div_euclid(unit);
        for (_, bin) in bins.range(range) {
            sum.add(*bin);
        }
        (sum.looks > 0).then(|| sum.average())
    }

    /// Forgets all but these.
    pub fn keep(&self, there: impl Fn(&ComputerId) -> bool) {
        self.0.lock().retain(|id, _| there(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_become_averages() {
        let loads = Loads::default();
        let id = ComputerId(uuid::Uuid::nil());
        let usage = |cpu_s: u64, memory_mb: u64| Usage {
            cpu: cpu_s * 1_000_000_000,
            memory: memory_mb << 20,
            memory_limit: 1 << 30,
            ..Usage::default()
        };
        assert_eq!(loads.take(id, Timestamp(0), usage(7, 100)), None);
        assert_eq!(
            loads.take(id, Timestamp(10_000), usage(12, 200)),
            Some(50.0)
        );
        assert_eq!(loads.take(id, Timestamp(20_000), usage(12, 300)), Some(0.0));
        let average = |cpu_percent, memory_mb| {
            Some(Average {
                cpu_percent,
                memory_mb,
            })
        };
        assert_eq!(loads.between(id, 0, MINUTE_MS), average(25.0, 200));
        assert_eq!(loads.between(id, 0, HOUR_MS), average(25.0, 200));
        assert_eq!(loads.between(id, MINUTE_MS, 2 * MINUTE_MS), None);
        // It was started again.
        assert_eq!(loads.take(id, Timestamp(30_000), usage(1, 10)), None);
        assert_eq!(loads.present(id, Timestamp(31_000)).unwrap().memory_mb, 10);
        assert!(loads.present(id, Timestamp(HOUR_MS)).is_none());
        loads.keep(|_| false);
        assert_eq!(loads.between(id, 0, MINUTE_MS), None);
    }
}
