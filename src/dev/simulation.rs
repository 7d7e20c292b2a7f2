//! What the people of a scenario do: each computer with a rhythm goes on and off by it.
//!
//! When exactly is left to chance, and chance is decided by the seed, the computer's id and the day.
//! So what happens between two instants is the same however many steps the clock takes between them,
//! and goes on for ever without being kept anywhere.

use std::collections::VecDeque;

use sha2::{Digest, Sha256};

use super::emulator::Emulator;
use super::scenario::{Rhythm, Scenario};
use super::state;
use crate::clock::{DAY_MS, Timestamp};
use crate::computers::lifecycle;
use crate::error::Result;
use crate::ids::ComputerId;
use crate::store::{Tx, WriteTx};

/// A computer goes on or off.
struct Action {
    at: Timestamp,
    computer: ComputerId,
    on: bool,
}

/// The scenario that goes on, from where it has come to.
pub(super) struct Simulation {
    scenario: Scenario,
    seed: u64,
    simulated_until: Timestamp,
    /// The next day to be planned, as its first instant.
    next_day: i64,
    planned: VecDeque<Action>,
}

impl Simulation {
    /// The scenario of this database, if there is one.
    pub fn load(tx: &Tx<'_>) -> Result<Option<Self>> {
        let Some(kept) = state::kept(tx)? else {
            return Ok(None);
        };
        let scenario = Scenario::parse(&kept.scenario).map_err(state::unreadable)?;
        if scenario.rhythms.is_empty() {
            return Ok(None);
        }
        Ok(Some(Simulation {
            scenario,
            seed: kept.seed,
            simulated_until: kept.simulated_until,
            next_day: kept.simulated_until.0.div_euclid(DAY_MS) * DAY_MS,
            planned: VecDeque::new(),
        }))
    }

    /// When somebody next does something, if that is not after `until`.
    pub fn next(&mut self, tx: &Tx<'_>, until: Timestamp) -> Result<Option<Timestamp>> {
        while self.planned.is_empty() && self.next_day <= until.0 {
            self.plan(tx)?;
        }
        Ok(self.planned.front().map(|action| action.at))
    }

    /// Does what is planned up to `at`.
    pub fn act(&mut self, tx: &WriteTx<'_>, dev: &Emulator, at: Timestamp) -> Result<usize> {
        let mut done = 0;
        while let Some(action) = self.planned.pop_front_if(|action| action.at <= at) {
            lifecycle::drive(tx, &dev.fleet, action.computer, action.on)?;
            done += 1;
        }
        Ok(done)
    }

    /// Plans a day: what begins on it, and what ends on it that began the day before.
    fn plan(&mut self, tx: &Tx<'_>) -> Result<()> {
        let day = self.next_day;
        self.next_day += DAY_MS;
        let sql = "SELECT id, json_extract(metadata, '$.rhythm') FROM computers
             WHERE deleted_at IS NULL AND json_type(metadata, '$.rhythm') = 'text' ORDER BY id";
        let mut statement = tx.prepare_cached(sql)?;
        let computers = statement.query_map([], |row| {
            Ok((row.get::<_, ComputerId>(0)?, row.get::<_, String>(1)?))
        })?;
        let mut actions = Vec::new();
        for found in computers {
            let (computer, name) = found?;
            let Some(rhythm) = self.scenario.rhythms.get(&name) else {
                continue;
            };
            // An hour that is moved by chance, or a night, may lie on a neighbouring day.
            for start in (-2..=1).map(|n| day + n * DAY_MS) {
                let Some((on, off)) = session(rhythm, self.seed, computer, start) else {
                    continue;
                };
                let add = |at: i64, on| Action {
                    at: Timestamp(at),
                    computer,
                    on,
                };
                actions.push(add(on, true));
                actions.extend(off.map(|off| add(off, false)));
            }
        }
        actions.retain(|action| {
            (day..day + DAY_MS).contains(&action.at.0) && action.at > self.simulated_until
        });
        actions.sort_by_key(|action| (action.at, action.computer));
        self.planned.extend(actions);
        Ok(())
    }
}

/// When a computer goes on and off on the day that begins at `day`, if it is used on that day. Without
/// an end it is left to its auto-stop.
fn session(
    rhythm: &Rhythm,
    seed: u64,
    computer: ComputerId,
    day: i64,
) -> Option<(i64, Option<i64>)> {
    let weekday = (day.div_euclid(DAY_MS) + 3).rem_euclid(7); // 1970-01-01 was a Thursday.
    if !rhythm.days.contains(usize::try_from(weekday).unwrap_or(0)) {
        return None;
    }
    let mut hash = Sha256::new_with_prefix(seed.to_be_bytes());
    hash.update(computer.0.as_bytes());
    hash.update(day.to_be_bytes());
    let hash = hash.finalize();
    let chance = |n: usize, of: i64| {
        let bytes = [
            hash[4 * n],
            hash[4 * n + 1],
            hash[4 * n + 2],
            hash[4 * n + 3],
        ];
        i64::from(u32::from_be_bytes(bytes)) % of.max(1)
    };
    if chance(0, 100) < i64::from(rhythm.skip_percent) {
        return None;
    }
    let spread = i64::from(rhythm.jitter_minutes) * 60;
    let on = day + (rhythm.from.seconds() + chance(1, 2 * spread + 1) - spread) * 1000;
    let off = rhythm.to.map(|to| {
        let overnight = if to <= rhythm.from { DAY_MS } else { 0 };
        let off = day + overnight + (to.seconds() + chance(2, 2 * spread + 1) - spread) * 1000;
        off.max(on + 60_000)
    });
    Some((on, off))
}

/// The job: what the scenario's people have done since the last time, while the clock runs.
pub fn live(tx: &WriteTx<'_>, dev: &Emulator) -> Result<usize> {
    if !dev.fleet.config.virtual_clock {
        return Ok(0);
    }
    let Some(mut simulation) = Simulation::load(tx)? else {
        return Ok(0);
    };
    let mut done = 0;
    while simulation
        .next(tx, tx.now())?
        .is_some_and(|at| at <= tx.now())
    {
        done += simulation.act(tx, dev, tx.now())?;
    }
    if done > 0 {
        state::keep_simulated_until(tx, tx.now())?;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::HOUR_MS;

    const MONDAY: i64 = 1_776_643_200_000; // 2026-04-20

    fn rhythm(text: &str) -> Rhythm {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_session_keeps_to_its_rhythm() {
        let office =
            rhythm("days = \"mon-fri\"\nfrom = \"08:00\"\nto = \"18:00\"\njitter_minutes = 30");
        let computer = ComputerId(uuid::Uuid::from_u128(7));
        let (on, off) = session(&office, 42, computer, MONDAY).unwrap();
        assert!((on - MONDAY - 8 * HOUR_MS).abs() <= HOUR_MS / 2);
        assert!((off.unwrap() - MONDAY - 18 * HOUR_MS).abs() <= HOUR_MS / 2);
        assert_eq!(session(&office, 42, computer, MONDAY), Some((on, off)));
        assert_ne!(session(&office, 43, computer, MONDAY), Some((on, off)));
        for weekend in [5, 6] {
            assert_eq!(
                session(&office, 42, computer, MONDAY + weekend * DAY_MS),
                None
            );
        }
    }

    #[test]
    fn a_night_ends_on_the_next_day() {
        let night = rhythm("days = \"daily\"\nfrom = \"22:00\"\nto = \"04:00\"");
        let computer = ComputerId(uuid::Uuid::from_u128(7));
        let (on, off) = session(&night, 1, computer, MONDAY).unwrap();
        assert_eq!(on, MONDAY + 22 * HOUR_MS);
        assert_eq!(off, Some(MONDAY + 28 * HOUR_MS));
    }
}
