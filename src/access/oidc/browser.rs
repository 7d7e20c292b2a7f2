//! What ties a sign-in to the browser that began it: one cookie, from which the state, the nonce and the secret of PKCE
//! are derived under a key that this process alone has. Nothing is kept for who only begins.

use std::collections::HashMap;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::clock::Timestamp;

/// How long somebody may take at the provider, milliseconds.
pub const GOOD_MS: i64 = 10 * 60_000;
/// Sign-ins that are remembered as done; the provider takes a code once, too.
const MOST: usize = 10_000;

/// One attempt to sign in.
pub struct Attempt {
    pub state: String,
    pub nonce: String,
    pub verifier: String,
}

impl Attempt {
    /// What the provider compares the verifier with.
    pub fn challenge(&self) -> String {
        BASE64URL_NOPAD.encode(&Sha256::digest(&self.verifier))
    }

    /// Whether it is the one that the provider answers to.
    pub fn answers_to(&self, state: &str) -> bool {
        self.state.as_bytes().ct_eq(state.as_bytes()).into()
    }
}

/// The value of a new cookie.
pub fn cookie(random: &[u8], now: Timestamp) -> String {
    format!("{}.{}", now.0, HEXLOWER.encode(random))
}

/// What a cookie stands for; `None` where its time is over.
pub fn attempt(secret: &[u8; 32], cookie: &str, now: Timestamp) -> Option<Attempt> {
    let (made, _) = cookie.split_once('.')?;
    let made: i64 = made.parse().ok()?;
    // A clock that was set back makes none good for longer.
    if !(0..GOOD_MS).contains(&now.0.checked_sub(made)?) {
        return None;
    }
    let derived = |label: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret)
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of every length"));
        mac.update(label.as_bytes());
        mac.update(cookie.as_bytes());
        BASE64URL_NOPAD.encode(&mac.finalize().into_bytes())
    };
    Some(Attempt {
        state: derived("state "),
        nonce: derived("nonce "),
        verifier: derived("verifier "),
    })
}

/// Attempts that have led to a session: none does so twice.
#[derive(Default)]
pub struct Spent(Mutex<HashMap<String, Timestamp>>);

impl Spent {
    /// Whether this is the first time.
    pub fn spend(&self, state: &str, now: Timestamp) -> bool {
        let mut all = self.0.lock();
        all.retain(|_, at| (0..GOOD_MS).contains(&(now.0 - at.0)));
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(state.to_owned(), now).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_known_by_its_cookie_for_ten_minutes_and_spent_once() {
        let now = Timestamp(1_000_000);
        let given = cookie(&[7; 32], now);
        let first = attempt(&[1; 32], &given, now).unwrap();
        let again = attempt(&[1; 32], &given, now.plus_ms(GOOD_MS - 1)).unwrap();
        assert!(again.answers_to(&first.state) && !again.answers_to(&first.nonce));
        assert_eq!(first.verifier.len(), 43);
        assert!(attempt(&[1; 32], &given, now.plus_ms(GOOD_MS)).is_none());
        assert!(attempt(&[1; 32], &given, now.plus_ms(-1)).is_none());
        // Neither another process nor another time comes to the same.
        let other = attempt(&[2; 32], &given, now).unwrap();
        assert!(!other.answers_to(&first.state));
        let later = given.replacen("1000000", "1000001", 1);
        let later = attempt(&[1; 32], &later, now.plus_ms(1)).unwrap();
        assert!(!later.answers_to(&first.state));
        assert!(attempt(&[1; 32], "nonsense", now).is_none());
        let spent = Spent::default();
        assert!(spent.spend(&first.state, now) && !spent.spend(&first.state, now.plus_ms(1)));
    }
}
