//! Links that sign their first visitor in to the admin page: what `workspaced open` opens. Who asks for one has
//! shown a key; the link is good once, for a minute, and lives in memory only.

use std::collections::HashMap;

use data_encoding::HEXLOWER;
use parking_lot::Mutex;

use super::session::token_hash;
use crate::clock::Timestamp;
use crate::ids::ApiKeyId;

/// How long a link is good, milliseconds.
const GOOD_MS: i64 = 60_000;
/// Links that wait for their visitor at most.
const MOST: usize = 100;

/// Whose session a link begins: the key, and the secret that it was shown with.
type Opens = (ApiKeyId, [u8; 32]);

/// All links that nobody has visited yet, by the hash of their token.
#[derive(Default)]
pub struct Links(Mutex<HashMap<[u8; 32], (Opens, Timestamp)>>);

impl Links {
    /// A link for a key; returns its token. `None` where too many wait.
    pub fn make(&self, opens: Opens, random: [u8; 32], now: Timestamp) -> Option<String> {
        let mut links = self.0.lock();
        // A clock that was set back makes none good for longer.
        links.retain(|_, (_, made)| (0..GOOD_MS).contains(&(now.0 - made.0)));
        if links.len() >= MOST {
            return None;
        }
        let token = HEXLOWER.encode(&random);
        links.insert(token_hash(&token), (opens, now));
        Some(token)
    }

    /// What the link opens, which it does this once.
    pub fn take(&self, token: &str, now: Timestamp) -> Option<Opens> {
        let (opens, made) = self.0.lock().remove(&token_hash(token))?;
        (0..GOOD_MS).contains(&(now.0 - made.0)).then_some(opens)
    }
}
