//! Workspaces: a tenant's customers, with the limits and defaults that hold inside each.

mod handlers;
mod rows;
mod search;
mod shapes;

pub use handlers::*;
pub use rows::*;
pub use search::index as index_search;
pub use shapes::*;
