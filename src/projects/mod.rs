//! Projects: apps, sites or campaigns inside a workspace; computers belong to them.

pub mod handlers;
pub mod restore;
mod rows;
mod types;
pub mod unfinished;

pub use rows::*;
pub use types::*;
