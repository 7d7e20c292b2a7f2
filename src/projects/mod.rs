//! Projects: apps, sites or campaigns inside a workspace; computers belong to them.

pub mod handlers;
mod rows;
mod types;
pub mod unfinished;

pub use rows::*;
pub use types::*;
