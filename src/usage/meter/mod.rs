//! The meter: what a workspace consumes, as sums by the hour that a series is read from.
//!
//! * [`write`]: changes of a workspace's flow become rows
//! * [`reading`]: rows become readings at the edges of buckets
//! * [`units`]: exact amounts, and the integers that are shown of them

pub mod reading;
pub mod units;
mod write;

pub use write::{Changes, Flow, apply, floor};
