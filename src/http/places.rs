//! Who has one of the connections there may be.
//!
//! While there is room everybody gets a place. When there is none, a newcomer gets that of another
//! address which holds more of them than its own: a stranger's first, then that of somebody with a key. An
//! address that holds the most itself is told to come again. So one address, or many without a key, keep
//! nobody out, and nobody needs to be told how many connections are too many.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

/// All the places.
pub(super) struct Places {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    next: u64,
    /// By running number: the lowest has been there longest.
    guests: HashMap<u64, Arc<Guest>>,
}

/// Who is at the other end of a connection.
pub struct Guest {
    address: IpAddr,
    /// Everybody comes from this address, so that it says nothing about who it is.
    shared: bool,
    /// A request with a right key came over this connection.
    known: AtomicBool,
    /// The place is another's now.
    leave: Notify,
}

impl Guest {
    /// A right key came.
    pub fn is_known(&self) {
        self.known.store(true, Ordering::Relaxed);
    }

    /// Returns when the place is needed.
    pub(super) async fn leave(&self) {
        self.leave.notified().await;
    }
}

/// A place, free again when this is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    pub(super) guest: Arc<Guest>,
}

impl Places {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Places {
            most,
            taken: Mutex::default(),
        })
    }

    /// A place for a connection from `address`; `None` when it must wait.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr, shared: bool) -> Option<Place> {
        let mut taken = self.taken();
        if taken.guests.len() >= self.most {
            let number = taken.least_deserving(address)?;
            if let Some(guest) = taken.guests.remove(&number) {
                guest.leave.notify_one();
            }
        }
        let number = taken.next;
        taken.next += 1;
        let guest = Arc::new(Guest {
            address,
            shared,
            known: AtomicBool::new(false),
            leave: Notify::new(),
        });
        taken.guests.insert(number, guest.clone());
        Some(Place {
            places: self.clone(),
            number,
            guest,
        })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock()
    }
}

impl Taken {
    /// Whose place a newcomer from `address` gets: of the address with the most strangers the one that
    /// has been there longest; where there are none, the same of those with a key. What somebody with a
    /// key has at an address that everybody comes from is nobody else's.
    fn least_deserving(&self, address: IpAddr) -> Option<u64> {
        [false, true].into_iter().find_map(|known| {
            let mut held: HashMap<IpAddr, (usize, u64)> = HashMap::new();
            for (number, guest) in &self.guests {
                if guest.known.load(Ordering::Relaxed) == known && !(known && guest.shared) {
                    let (count, oldest) = held.entry(guest.address).or_insert((0, *number));
                    *count += 1;
                    *oldest = (*oldest).min(*number);
                }
            }
            let own = held.get(&address).map_or(0, |(count, _)| *count);
            let (of, (count, oldest)) = held
                .into_iter()
                .max_by_key(|(_, (count, oldest))| (*count, std::cmp::Reverse(*oldest)))?;
            (of != address && count > own).then_some(oldest)
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().guests.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    #[test]
    fn one_address_keeps_no_other_out_and_is_told_to_come_again() {
        let places = Places::new(10);
        let mut held: Vec<Place> = (0..10)
            .map(|_| places.take(address(1), false).unwrap())
            .collect();
        assert!(
            places.take(address(1), false).is_none(),
            "it holds the most itself"
        );
        let other = places.take(address(2), false).unwrap();
        assert_eq!(places.taken().guests.len(), 10);
        assert!(
            !places.taken().guests.contains_key(&held[0].number),
            "the oldest left"
        );
        drop(held.remove(0));
        assert_eq!(places.taken().guests.len(), 10, "its place is another's");
        drop(other);
        assert_eq!(places.taken().guests.len(), 9);
        assert!(places.take(address(1), false).is_some());
    }

    #[test]
    fn strangers_make_room_before_those_with_a_key() {
        let places = Places::new(4);
        let known: Vec<Place> = (0..3)
            .map(|_| places.take(address(1), false).unwrap())
            .collect();
        known.iter().for_each(|place| place.guest.is_known());
        let stranger = places.take(address(3), false).unwrap();
        let newcomer = places.take(address(2), false).unwrap();
        let numbers: Vec<bool> = [&stranger, &newcomer]
            .map(|place| places.taken().guests.contains_key(&place.number))
            .into();
        assert_eq!(numbers, [false, true]);
        newcomer.guest.is_known();
        // Only keys are left: the address with the most of them makes room, but not for itself.
        assert!(places.take(address(1), false).is_none());
        let third = places.take(address(4), false).unwrap();
        assert!(!places.taken().guests.contains_key(&known[0].number));
        third.guest.is_known();
        // Two each at most: nobody holds more than the newcomer's own.
        let fourth = places.take(address(4), false);
        assert!(fourth.is_none_or(|place| places.taken().guests.contains_key(&place.number)));
    }

    #[test]
    fn a_proxy_that_all_come_through_is_no_single_client() {
        let places = Places::new(2);
        let through: Vec<Place> = (0..2)
            .map(|_| places.take(address(1), true).unwrap())
            .collect();
        through[0].guest.is_known();
        assert!(
            places.take(address(2), false).is_some(),
            "the stranger behind it"
        );
        assert!(places.taken().guests.contains_key(&through[0].number));
    }
}
