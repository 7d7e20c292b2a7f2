//! Organizations, and who asks.

pub mod first_start;
pub mod handlers;
mod rows;

pub use rows::{Overview, all, derived_slug, first, insert};
