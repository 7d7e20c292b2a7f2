//! Projects: apps, sites or campaigns inside a workspace; computers belong to them.

mod handlers;
mod rows;
mod shapes;

pub use handlers::*;
pub use rows::*;
pub use shapes::*;
