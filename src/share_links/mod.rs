//! Share links: a page about one workspace for its customer, who has no key. Whoever has the link sees what it
//! shows of that workspace, until it ends or is revoked, and nothing else is reached with it.
//!
//! * [`links`]: making, listing and revoking them
//! * [`visit`]: opening one
//! * [`page`]: what is then seen

pub mod links;
mod page;
pub mod visit;
