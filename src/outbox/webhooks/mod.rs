//! Webhooks: an organization is told of what happens in it, at URLs of its choice.
//!
//! | module | what |
//! |---|---|
//! | `types`, `rows`, [`handlers`] | the resource and its endpoints |
//! | [`catalog`] | the types of events |
//! | [`queue`] | the outbox: messages are queued in the transaction of the change that they tell of |
//! | [`deliver`] | a fixed number of threads that send what is due |
//! | [`send`] | one attempt: signatures, time limits, what of the answer is kept |
//! | [`target`] | where a webhook may lead |
//!
//! Delivery is *at least once*: a message counts as delivered when its receiver answered 2xx and that
//! answer is on disk; a crash in between sends it again, with the same id and the same bytes. First
//! attempts of one webhook come in the order of the events, one at a time.

pub mod catalog;
pub mod deliver;
mod extra;
pub mod handlers;
pub mod queue;
mod rows;
pub mod send;
pub mod target;
mod types;

pub use types::*;
