//! The processes that machines are on this host: whether one is there is seen without asking the engine.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::host::{age_ms, born};
use super::seam::Seen;
use crate::clock::Clock;
use crate::ids::ComputerId;

/// A container and its first process begin within this time of each other.
const TOGETHER_MS: i64 = 10_000;

/// A process of this machine: its number, and what tells it from the next one that has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Process {
    pid: u32,
    born: u64,
}

impl Process {
    fn is_alive(self) -> bool {
        born(self.pid) == Some(self.born)
    }
}

/// The machines of which the process is known.
#[derive(Default)]
pub struct Pulses {
    known: Mutex<HashMap<ComputerId, Process>>,
}

impl Pulses {
    /// What a look has found: from now on its process is looked at, if it has one that can be seen from here.
    pub fn found(&self, id: ComputerId, seen: Option<&Seen>) {
        let process = seen.and_then(process_of);
        let mut known = self.known.lock();
        match process {
            Some(process) => known.insert(id, process),
            None => known.remove(&id),
        };
    }

    /// Whether its process is known.
    pub fn knows(&self, id: ComputerId) -> bool {
        self.known.lock().contains_key(&id)
    }

    /// Those whose process is there, and as what it is written down.
    pub fn alive(&self, boot: &str) -> Vec<(ComputerId, Option<String>)> {
        let known = self.known.lock().clone();
        let alive = known.into_iter().filter(|(_, process)| process.is_alive());
        alive
            .map(|(id, p)| (id, Some(format!("{} {} {boot}", p.pid, p.born))))
            .collect()
    }

    /// As it was written down, in this boot of the host.
    pub fn remember(&self, id: ComputerId, text: &str, boot: &str) {
        let mut parts = text.splitn(3, ' ');
        let (pid, born) = (parts.next(), parts.next());
        let process = pid
            .and_then(|pid| pid.parse().ok())
            .zip(born.and_then(|born| born.parse().ok()));
        if let (Some((pid, born)), true) = (process, parts.next() == Some(boot)) {
            self.known.lock().insert(id, Process { pid, born });
        }
    }
}

/// The process of a container that runs; `None` where it is not of this machine, or not certainly that one.
fn process_of(seen: &Seen) -> Option<Process> {
    let pid = seen.pid?;
    let process = Process {
        pid,
        born: born(pid)?,
    };
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let began = Clock::System.now().0 - age_ms(pid)?;
    let together = seen
        .started
        .is_some_and(|at| (at / 1_000_000 - began).abs() <= TOGETHER_MS);
    (groups.contains(&seen.id) || together).then_some(process)
}

#[cfg(test)]
mod tests {
    use super::Pulses;
    use crate::computers::machines::host::born;
    use crate::ids::ComputerId;

    #[test]
    fn a_process_is_alive_until_it_ends_and_the_next_one_of_its_number_is_another() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let (pid, began) = (child.id(), born(child.id()).unwrap());
        let pulses = Pulses::default();
        let one = ComputerId(uuid::Uuid::nil());
        pulses.remember(one, &format!("{pid} {began} this"), "this");
        let text = format!("{pid} {began} this");
        assert_eq!(pulses.alive("this"), [(one, Some(text))]);
        // Of another boot, or another start.
        let others = Pulses::default();
        others.remember(one, &format!("{pid} {began} that"), "this");
        assert!(!others.knows(one));
        others.remember(one, &format!("{pid} {} this", began + 1), "this");
        assert!(others.knows(one) && others.alive("this").is_empty());
        child.kill().unwrap();
        // Nobody has asked for how it ended yet.
        while born(pid).is_some() {
            std::thread::yield_now();
        }
        assert!(pulses.alive("this").is_empty());
        child.wait().unwrap();
        assert!(pulses.alive("this").is_empty());
    }
}
