//! Workspaces: a tenant's customers, with the limits and defaults that hold inside each.

pub mod handlers;
pub mod restore;
mod rows;
pub mod search;
pub mod settings;
pub mod types;

pub use rows::*;
pub use types::*;
