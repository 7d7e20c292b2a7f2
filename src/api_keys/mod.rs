//! API keys: shown once, stored as a hash, never stronger than the key that made them.

pub mod handlers;
pub mod people;
mod rows;
mod types;

pub use rows::*;
pub use types::*;
