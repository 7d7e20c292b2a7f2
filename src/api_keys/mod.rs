//! API keys: shown once, stored as a hash, never stronger than the key that made them.

mod handlers;
mod rows;
mod shapes;

pub use handlers::*;
pub use rows::*;
pub use shapes::*;
