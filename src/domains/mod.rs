//! Preview domains: the host names under which an organization, a workspace or a project shows its
//! previews.
//!
//! A level without a domain of its own has that of the next level above: project, workspace,
//! organization, and last the base domain of this server. A domain is free to use at once; whether
//! the DNS leads from it to this server is checked when asked for, and the last answer is kept. A
//! check that got no answer is remembered as such and changes nothing else.
pub mod change;
pub mod check;
mod claims;
mod dns;
pub mod handlers;
pub mod list;
pub mod owner;
pub mod restore;
mod rows;
mod status;

pub use dns::{Dns, DnsRecord, RecordStatus};
pub use rows::{OF_COMPUTER, forget, is_verified};
pub use status::{DomainStatus, Scope};
