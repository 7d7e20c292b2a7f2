//! How the simulated life of computers goes, and what changing a computer needs.

use std::sync::Arc;

use super::machines::link::Link;
use super::rows::Record;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::ComputerId;
use crate::rules::catalog::Catalog;
use crate::rules::config::Config;
use crate::rules::status::Status;
use crate::store::Tx;

/// What a simulated computer comes to next, and when. What it says is written in the
/// transaction of the change, so it must not wait for anything outside.
pub trait Simulation: Send + Sync {
    /// When a computer that came to its status at `at` goes on, where it would at `due`.
    fn delay(
        &self,
        tx: &Tx<'_>,
        computer: &Record,
        at: Timestamp,
        due: Timestamp,
    ) -> Result<Timestamp>;

    /// The status that a computer comes to, where it would to `status`.
    fn arrive(&self, id: ComputerId, status: Status) -> Status;
}

/// Everything happens when the configuration says, and nothing fails.
pub struct AsConfigured;

impl Simulation for AsConfigured {
    fn delay(&self, _: &Tx<'_>, _: &Record, _: Timestamp, due: Timestamp) -> Result<Timestamp> {
        Ok(due)
    }

    fn arrive(&self, _: ComputerId, status: Status) -> Status {
        status
    }
}

/// What changing a computer needs of the installation beside its rows.
#[derive(Clone)]
pub struct Fleet {
    /// Delays, ceilings, the base domain.
    pub config: Arc<Config>,
    pub catalog: Arc<Catalog>,
    /// The container engine, where there is one.
    pub engine: Arc<Link>,
    /// What goes on by itself.
    pub simulation: Arc<dyn Simulation>,
}
