//! Computers that are looked at are in use.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::clock::Stopwatch;
use crate::computers::Fleet;
use crate::computers::machines::inside;
use crate::db::Store;
use crate::ids::ComputerId;

/// A computer in use is said to be so this often at most.
const NOTED_MS: u64 = 10_000;
/// Computers that are remembered.
const MOST: usize = 10_000;

/// Since when computers have been noted as in use.
#[derive(Default)]
pub struct Used(Mutex<HashMap<ComputerId, Stopwatch>>);

impl Used {
    /// The computer is in use now.
    pub async fn note(&self, store: &Store, fleet: &Fleet, id: ComputerId) {
        fleet
            .engine
            .happened(id, store.now(), inside::Activity::Visit);
        {
            let mut noted = self.0.lock();
            if noted.len() > MOST {
                noted.clear();
            }
            let fresh = noted
                .get(&id)
                .is_some_and(|since| since.micros() / 1000 < NOTED_MS);
            if fresh {
                return;
            }
            noted.insert(id, Stopwatch::start());
        }
        if let Err(e) = inside::active(store, fleet, id, inside::Activity::Visit).await {
            tracing::warn!(computer = %id, error = e.message(), "a computer in use was not noted as such");
        }
    }
}
