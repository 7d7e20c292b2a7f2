//! Workspace export: a workspace as one file (a *capsule*), from one installation to another: `GET /workspaces/{id}/export`,
//! `POST /workspaces/import`, `workspaced export` and `workspaced import`.
//!
//! * [`format`]: the lines of the file
//! * [`write`]: from one snapshot of the database
//! * [`read`]: back from the file, which nobody believes
//! * [`import`]: into the importing organization, in turns, and all or nothing
//!
//! Decided here:
//! * Ids are kept. What belongs to a workspace comes along: projects, computers, settings, preview
//!   domains (to be proven again), compute events, the audit log. Keys do not: they are secrets.
//! * The usage of the workspace is the same to the millisecond before and after, or the import is
//!   refused. A computer that has moved elsewhere stays behind; what it ran here comes along under an id
//!   of its own, so that the other workspace can follow with the real one.
//! * The copy shows the instant of the export. What ran then is stopped in the copy at that instant: the
//!   original keeps running and is billed where it is, so nothing is billed twice and nothing is lost.
//! * The same file again changes nothing, also when the workspace has lived on since.
mod checks;
pub mod format;
pub mod handlers;
pub mod import;
mod parts;
mod place;
pub mod read;
mod rows;
pub mod undo;
pub mod write;

/// Bytes of the body of an import, compressed or not.
pub const MAX_BODY: usize = 16 << 20;
/// Bytes of a capsule unpacked.
const MAX_TEXT: usize = 128 << 20;
/// Bytes of one line: an audit row may show two bodies of 1 MiB.
const MAX_LINE: usize = 4 << 20;
/// Lines of a capsule.
const MAX_LINES: usize = 400_000;
/// Compute events of a capsule, and of the computers that it is made from.
const MAX_EVENTS: usize = 250_000;
/// What a capsule is, compressed or not.
pub const CONTENT: &str = "application/x-ndjson";
/// What an import may be called; the bytes themselves say what they are.
pub const TAKEN: &[&str] = &[CONTENT, "application/octet-stream"];
