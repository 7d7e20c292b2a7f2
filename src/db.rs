//! The store, with the error of this program and what its commits tell.

use crate::error::Error;

/// The open database. Cheap to clone.
pub type Store = crate::store::Store<Error>;

/// What commits make known.
pub mod topics {
    use crate::store::Topic;

    /// API keys or organizations: what was remembered about keys is void.
    pub const KEYS: Topic = Topic::new(0);
    /// A computer has something to do at a new instant.
    pub const AGENDA: Topic = Topic::new(1);
    /// There is something to do for a container engine.
    pub const MACHINES: Topic = Topic::new(2);
    /// There is something to send to a webhook.
    pub const OUTBOX: Topic = Topic::new(3);
}
