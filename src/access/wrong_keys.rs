//! Wrong keys at the sign-in cost an address a growing delay, a minute at most; the right key passes
//! all the same.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use parking_lot::Mutex;

use super::throttle::neighbourhood;
use crate::clock::{HOUR_MS, Timestamp};
use crate::error::{Error, Result};

/// Addresses that are remembered at most; the one that failed longest ago makes room.
const ADDRESSES: usize = 4096;
/// Wrong keys of one address that cost nothing.
const FREE: u32 = 5;
/// Longest wait, seconds.
const LONGEST_WAIT: i64 = 60;
/// An address that fails no more is forgotten after this time.
const FORGET_MS: i64 = HOUR_MS;

/// Failed sign-ins that are written down in a minute, of all addresses: whoever has many of them must not fill
/// the disk.
const NOTED: u32 = 60;
const MINUTE_MS: i64 = 60_000;

/// Failed sign-ins by address.
#[derive(Default)]
pub struct WrongKeys(Mutex<HashMap<IpAddr, Failures>>, Mutex<Noted>);

/// How many were written down since when.
#[derive(Default)]
struct Noted {
    since: i64,
    count: u32,
}

struct Failures {
    count: u32,
    last: Timestamp,
}

impl Failures {
    /// Seconds from the last failure until the next try.
    fn wait(&self) -> i64 {
        match self.count.checked_sub(FREE) {
            None | Some(0) => 0,
            Some(beyond) => (1_i64 << beyond.min(30)).min(LONGEST_WAIT),
        }
    }
}

fn place(ip: Option<IpAddr>) -> IpAddr {
    neighbourhood(ip.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)))
}

impl WrongKeys {
    /// Whether this address may try now.
    pub fn admit(&self, ip: Option<IpAddr>, now: Timestamp) -> Result<()> {
        let mut all = self.0.lock();
        let ip = place(ip);
        let Some(failures) = all.get(&ip) else {
            return Ok(());
        };
        // A clock that stepped back must not prolong a wait.
        let passed = (now.0 - failures.last.0).max(0);
        if passed > FORGET_MS {
            all.remove(&ip);
            return Ok(());
        }
        let left = failures.wait() - passed / 1000;
        if left <= 0 {
            return Ok(());
        }
        Err(Error::too_many(
            "too many wrong keys from this address; try again later",
            u32::try_from(left).unwrap_or(1),
        ))
    }

    pub fn failed(&self, ip: Option<IpAddr>, now: Timestamp) {
        let mut all = self.0.lock();
        let ip = place(ip);
        if all.len() >= ADDRESSES && !all.contains_key(&ip) {
            let oldest = all
                .iter()
                .min_by_key(|(_, failures)| failures.last)
                .map(|(ip, _)| *ip);
            oldest.map(|ip| all.remove(&ip));
        }
        let failures = all.entry(ip).or_insert(Failures {
            count: 0,
            last: now,
        });
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
    }

    /// Whether one more may be written down.
    pub fn may_note(&self, now: Timestamp) -> bool {
        let mut noted = self.1.lock();
        // A clock that stepped back begins a minute of its own.
        if !(0..MINUTE_MS).contains(&(now.0 - noted.since)) {
            *noted = Noted {
                since: now.0,
                count: 0,
            };
        }
        noted.count += 1;
        noted.count <= NOTED
    }

    pub fn succeeded(&self, ip: Option<IpAddr>) {
        let mut all = self.0.lock();
        all.remove(&place(ip));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_keys_cost_more_and_more_but_never_for_ever() {
        let wrong_keys = WrongKeys::default();
        let ip = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        let mut now = Timestamp(0);
        let mut waits = Vec::new();
        for _ in 0..14 {
            assert!(wrong_keys.admit(ip("10.0.0.1"), now).is_ok());
            wrong_keys.failed(ip("10.0.0.1"), now);
            let wait = wrong_keys
                .admit(ip("10.0.0.1"), now)
                .err()
                .and_then(|e| e.retry_after());
            waits.push(wait.unwrap_or(0));
            now = now.plus_seconds(i64::from(wait.unwrap_or(0)));
        }
        assert_eq!(waits, [0, 0, 0, 0, 0, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
        assert!(wrong_keys.admit(ip("10.0.0.2"), Timestamp(0)).is_ok());
        // One /64 is one neighbour, and a sign-in that succeeds makes good.
        for _ in 0..7 {
            wrong_keys.failed(ip("2001:db8::1"), now);
        }
        assert!(wrong_keys.admit(ip("2001:db8::2"), now).is_err());
        assert!(wrong_keys.admit(ip("2001:db8:0:1::2"), now).is_ok());
        wrong_keys.succeeded(ip("2001:db8::3"));
        assert!(wrong_keys.admit(ip("2001:db8::1"), now).is_ok());
    }

    #[test]
    fn memory_is_bounded() {
        let wrong_keys = WrongKeys::default();
        for n in 0..(ADDRESSES as u32 + 100) {
            wrong_keys.failed(Some(IpAddr::V4(n.into())), Timestamp(n.into()));
        }
        assert_eq!(wrong_keys.0.lock().len(), ADDRESSES);
    }
}
