//! Computers that a container engine on this machine runs: Docker, or Podman, which speaks the same API.
//!
//! * [`seam`]: what is asked of an engine, and what it answers; a second kind of engine begins here
//! * [`engine`]: the one file that knows the crate
//! * [`link`]: the engine that is there at present, or why there is none
//! * [`spec`]: what a computer is as a container, and what holds it
//! * [`wanted`]: what was asked for, and how far that has come
//! * [`facts`]: what the engine saw, on its way into the history that is billed
//! * [`reconcile`]: one computer's container, brought to what is wanted
//! * [`watch`]: the task that does all this; [`pulse`], [`signs`]: whether their processes are there, without the engine
//! * [`inside`], [`exec`], [`files`], [`logs`]: work in a computer; [`terminal`], [`seats`]: with both streams open
//! * [`desktop`]: a screen, where the image has one
//! * [`env`], [`variables`], [`listening`]: what its programs find, and where they listen
//! * [`around`]: what else published clients ask about it
//! * [`load`], [`room`]: what each of them uses, and what the host has left; [`cores`]: which of its CPUs each has
//! * [`probe`]: a container that is only tried out
//! * [`import`]: an image, given to an engine
//! * [`walls`]: what keeps them apart, besides what an engine does
//! * [`snapshots`], [`kept`], [`taking`]: what a computer was at an instant, for another one to begin with
//! * [`disk`]: what one has on its disk, as a file
//! * [`adopt`]: a container without a computer becomes one again
//!
//! Requests write what is wanted in their transaction and answer; nothing here is awaited inside one. What
//! the engine saw comes in as reports from outside do: with ids that follow from what happened, so that a
//! repeat changes nothing and what comes late lands where it belongs. So every step may be interrupted, and
//! is done again.

pub mod adopt;
pub mod around;
pub mod cores;
pub mod desktop;
pub mod disk;
pub mod engine;
pub mod env;
pub mod exec;
pub mod facts;
pub mod files;
pub mod host;
pub mod import;
pub mod inside;
pub mod kept;
pub mod link;
pub mod listening;
pub mod load;
pub mod logs;
pub mod probe;
pub mod pulse;
pub mod reconcile;
pub mod room;
pub mod seam;
pub mod seats;
pub mod signs;
pub mod snapshots;
pub mod spec;
pub mod taking;
pub mod terminal;
pub mod variables;
pub mod walls;
pub mod wanted;
pub mod watch;
