//! Computers: machines inside projects.
//!
//! * [`types`], [`rows`], [`handlers`]: what requests and replies show, look-ups, reading
//! * [`create`]: creating and cloning, with the resolution of workspace and project
//! * [`start_stop`]: start, stop, restart
//! * [`lifecycle`]: how a change is written; what falls due by itself
//! * [`change`]: renaming, resizing, moving, deleting
//! * [`restore`]: those that were deleted and come back
//! * [`past`]: those that ran before they were known here
//! * [`repair`]: after a clock that was ahead
//! * [`auto_stop`], [`notices`], [`activity`]: the idle auto-stop, word of it, and what postpones it
//! * [`simulation`]: how the simulated life of computers goes
//! * [`machines`]: those that a container engine runs
//!
//! The row of a computer is its present; `compute_events` is its past, which is billed. Both are
//! written by [`lifecycle::Change`], in one transaction; else only where they come from elsewhere, whole: an
//! import, and a container that is adopted.

pub mod activity;
pub mod auto_stop;
pub mod change;
pub mod create;
pub mod handlers;
pub mod lifecycle;
pub mod machines;
pub mod notices;
pub mod past;
pub mod repair;
pub mod restore;
pub mod rows;
pub mod simulation;
mod sort;
pub mod start_stop;
pub mod types;
mod view;

pub use rows::{Record, find, load};
pub use simulation::Fleet;
pub use types::*;
pub use view::changed;
