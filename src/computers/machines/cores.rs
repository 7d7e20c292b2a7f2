//! Which CPUs of the host a computer runs on: as many as its size has, the ones that fewest others were given.
//!
//! A quota says how much of a second a computer gets, and not from how many CPUs at once: four loops of one virtual
//! CPU take every CPU of a small host for a part of each tenth of a second, and whoever else wants one waits. On
//! CPUs of its own it is loud there only, and programs in it see as many as it has.

use std::cmp::Reverse;
use std::collections::HashMap;

use parking_lot::Mutex;

use crate::ids::ComputerId;

/// Numbers of CPUs, in order; empty: any.
pub type Cpus = Vec<u32>;

/// What was given to computers that run, or are about to.
#[derive(Default)]
pub struct Cores {
    given: Mutex<HashMap<ComputerId, Cpus>>,
}

impl Cores {
    /// `count` CPUs out of `all` for a computer: those it has, unless others are less in demand. From the highest
    /// number down, since hosts do their own work on the lowest.
    pub fn give(&self, id: ComputerId, count: usize, all: &[u32]) -> Cpus {
        let mut given = self.given.lock();
        let others = given.iter().filter(|(other, _)| **other != id);
        let mut demand: HashMap<u32, usize> = HashMap::new();
        for cpu in others.flat_map(|(_, cpus)| cpus) {
            *demand.entry(*cpu).or_default() += 1;
        }
        let wanted = |cpu: &u32| demand.get(cpu).copied().unwrap_or(0);
        let mut best = all.to_vec();
        best.sort_by_key(|cpu| (wanted(cpu), Reverse(*cpu)));
        best.truncate(count);
        best.sort_unstable();
        let sum = |cpus: &[u32]| cpus.iter().map(wanted).sum::<usize>();
        let has = given.get(&id).filter(|has| {
            has.len() == best.len()
                && has.iter().all(|cpu| all.contains(cpu))
                && sum(has) <= sum(&best)
        });
        let cpus = has.cloned().unwrap_or(best);
        given.insert(id, cpus.clone());
        cpus
    }

    /// A computer runs, on these.
    pub fn found(&self, id: ComputerId, cpus: &[u32]) {
        self.given.lock().insert(id, cpus.to_vec());
    }

    /// A computer does not run, and is not about to.
    pub fn forget(&self, id: ComputerId) {
        self.given.lock().remove(&id);
    }
}

/// As Linux and engines write it: `0-2,5`. Empty where it says something else.
pub fn parse(text: &str) -> Cpus {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?)
    };
    let ranges: Option<Vec<_>> = text.trim().split(',').map(range).collect();
    let mut cpus: Cpus = ranges.unwrap_or_default().into_iter().flatten().collect();
    cpus.sort_unstable();
    cpus.dedup();
    cpus
}

pub fn to_text(cpus: &[u32]) -> String {
    let cpus: Vec<String> = cpus.iter().map(u32::to_string).collect();
    cpus.join(",")
}

#[cfg(test)]
mod tests {
    use super::{Cores, parse, to_text};
    use crate::ids::ComputerId;

    fn id(n: u128) -> ComputerId {
        ComputerId(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn each_gets_those_that_fewest_have() {
        let cores = Cores::default();
        let all = [0, 1, 2, 3];
        assert_eq!(cores.give(id(1), 1, &all), [3]);
        assert_eq!(cores.give(id(2), 2, &all), [1, 2]);
        assert_eq!(cores.give(id(3), 1, &all), [0]);
        assert_eq!(cores.give(id(4), 3, &all), [1, 2, 3]);
        assert_eq!(cores.give(id(5), 1, &all), [0]);
        cores.forget(id(1));
        cores.forget(id(4));
        assert_eq!(cores.give(id(6), 1, &all), [3]);
        assert_eq!(cores.give(id(7), 64, &all), all);
    }

    #[test]
    fn it_keeps_what_it_has_where_nothing_else_is_better() {
        let cores = Cores::default();
        cores.found(id(1), &[0]);
        assert_eq!(cores.give(id(1), 1, &[0, 1]), [0]);
        cores.found(id(2), &[0]);
        assert_eq!(cores.give(id(1), 1, &[0, 1]), [1], "CPU 0 has another one");
        assert_eq!(cores.give(id(1), 2, &[0, 1]), [0, 1], "it has grown");
        assert_eq!(cores.give(id(1), 1, &[2, 3]), [3], "another host");
    }

    #[test]
    fn lists_of_cpus_are_read_as_linux_writes_them() {
        assert_eq!(parse("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(parse("3"), [3]);
        assert_eq!(parse(&to_text(&[0, 7])), [0, 7]);
        for nothing in ["", "all", "1-", "-1"] {
            assert_eq!(parse(nothing), [0_u32; 0], "{nothing:?}");
        }
    }
}
