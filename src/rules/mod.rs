//! What an installation allows and charges, and what names may look like. No requests, no rows.

pub mod catalog;
pub mod config;
pub mod driven_by;
pub mod grace;
pub mod host;
pub mod hosted;
pub mod listen;
pub mod public_url;
pub mod role;
pub mod size;
pub mod status;
pub mod text;
