//! Who asks, and what they may: keys, callers, scopes, sign-in sessions, and how much is too much.

pub mod auth;
pub mod caller;
pub mod grip;
pub mod key;
pub mod links;
pub mod networks;
pub mod oidc;
pub mod own_host;
pub mod person;
pub mod scopes;
pub mod session;
pub mod throttle;
pub mod wrong_keys;
