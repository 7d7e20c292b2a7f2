//! What happened, told to others. Both read what the audit log says.
//!
//! * [`events`]: as it happens, as server-sent events
//! * [`webhooks`]: sent to where an organization wants to hear of it: queued with the change, signed, retried

pub mod events;
pub mod webhooks;
