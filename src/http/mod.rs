//! The kit that every handler is made of: parameters, bodies, idempotent changes, pages of lists, and
//! the connections underneath. It knows no resource.

mod body;
mod drain_body;
pub mod idempotency;
mod mutation;
mod names;
mod paging;
mod params;
mod schemas;
mod server;

pub use body::{MAX_BODY, NoBody, from_json, read_body};
pub use idempotency::Reply;
pub use mutation::{Kit, Mutation};
pub use names::{Checks, Known, NamedIn, Recorder, Treatment, Used, check_query, nearest};
pub use paging::{List, Page, PageQuery};
pub use params::{DeletedQuery, Params, PathId, PathIds, id_param};
pub use schemas::{Components, SchemaFn, schema_ref};
pub use server::{Cut, serve};
