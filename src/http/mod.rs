//! The kit that every handler is made of: parameters, bodies, idempotent changes, pages of lists, and
//! the connections underneath. It knows no resource.

mod arrival;
mod body;
mod budget;
mod cells;
pub(crate) mod cursor;
mod drain_body;
pub(crate) mod etag;
pub mod idempotency;
mod mutation;
mod names;
mod on_disk;
mod pace;
mod paced;
mod paging;
pub(crate) mod params;
mod places;
mod refusals;
mod repeats;
mod room;
mod schemas;
mod server;
mod spool;
pub mod websocket;

pub use body::{Body, MAX_BODY, NoBody, body_patience, from_json, read_body, typed};
pub use cells::cell;
pub use cursor::link;
pub use etag::{Guarded, Look, Seen, Single, Versioned};
pub use idempotency::Reply;
pub use mutation::{Kit, Mutation};
pub use names::{Checks, Ignored, Known, NamedIn, Recorder, Treatment, Used, check_query, nearest};
pub use paging::{List, Page, PageMeta, PageQuery, linked};
pub(crate) use params::words;
pub use params::{
    AnyId, DeletedQuery, DryRunQuery, FromText, NamedId, Param, Params, PathId, PathIds, PathWord,
    Within,
};
pub use places::Guest;
pub use refusals::visit_refused;
pub use repeats::Repeats;
pub use room::{Heavy, Room, in_turn};
pub use schemas::{Components, SchemaFn, schema_ref};
pub use server::{Cut, serve, serve_all};
pub use spool::{Source, not_kept};
