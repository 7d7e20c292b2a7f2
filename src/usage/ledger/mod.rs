//! The history that is billed.
//!
//! * [`event`]: its rows, and the state that each of them carries
//! * [`agreed`]: rates that an organization or workspace has of its own
//! * [`append`]: by which every change of a computer enters it
//! * [`attribution`]: whose what ran was, at that time
//! * [`held`]: what holds for a computer by its events
//! * [`history`]: events that come late, into the middle of a computer's history
//! * [`intervals`]: what ran from when to when
//! * [`labels`]: what metadata said when something ran
//! * [`repair`]: what a clock that was ahead has dated wrongly
//! * [`tariff`], [`rates`], [`reprice`]: prices, and what their changes do to what runs
//! * [`transfer`]: events on their way to another installation
//! * [`verify`]: the proof, and the rebuild

pub mod agreed;
pub mod append;
pub mod attribution;
pub mod event;
pub mod held;
pub mod history;
pub mod intervals;
pub mod labels;
pub mod rates;
pub mod repair;
pub mod reprice;
pub mod tariff;
pub mod transfer;
pub mod verify;

pub use append::{Event, append};
pub use event::{ALL, PLACE, PROJECT_MOVED, SIZE, STATUS};
pub use held::{Held, held};
