//! Workspaces: a tenant's customers, with the limits and defaults that hold inside each.

mod handlers;
mod rows;
mod shapes;

pub use handlers::*;
pub use rows::*;
pub use shapes::*;
