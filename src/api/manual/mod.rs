//! The manual: the Markdown pages of `assets/manual`, served below `/docs/manual` with a search, and
//! printed by `workspaced help TOPIC`.
//!
//! Pages are rendered here and not in the browser, so that they can be read without scripts.

mod html;
mod markdown;
pub mod pages;
pub mod routes;
mod search;
pub mod terminal;
