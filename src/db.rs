//! The store, with the error of this program.

use crate::error::Error;

/// The open database. Cheap to clone.
pub type Store = crate::store::Store<Error>;
