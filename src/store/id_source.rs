//! Where new ids and secrets come from: the operating system, or a seed.

use std::cell::Cell;

use sha2::{Digest, Sha256};
use uuid::{Builder, ContextV7, Uuid};

use super::failure::StoreError;
use crate::clock::Timestamp;

/// A source of ids and random bytes.
pub(crate) enum IdSource {
    /// The operating system's randomness.
    System(ContextV7),
    /// The same on every machine for the same seed: for scenarios, whose secrets are no secrets.
    Seeded(Seeded),
}

/// SHA-256 of a seed and a running number: as random as ids need, and the same for ever, which no
/// library's generator promises.
pub(crate) struct Seeded {
    seed: u64,
    drawn: Cell<u64>,
    last: Cell<(i64, u16)>,
}

impl IdSource {
    pub(super) fn system() -> Self {
        IdSource::System(ContextV7::new())
    }

    /// A source that only its seed decides.
    pub(crate) fn seeded(seed: u64) -> Self {
        IdSource::Seeded(Seeded {
            seed,
            drawn: Cell::new(0),
            last: Cell::new((i64::MIN, 0)),
        })
    }

    pub(super) fn id(&self, now: Timestamp) -> Uuid {
        let ms = u64::try_from(now.0).unwrap_or(0);
        match self {
            IdSource::System(context) => {
                let nanos = u32::try_from(ms % 1000).unwrap_or(0) * 1_000_000;
                Uuid::new_v7(uuid::Timestamp::from_unix(context, ms / 1000, nanos))
            }
            IdSource::Seeded(seeded) => {
                let mut bytes = [0; 10];
                bytes.copy_from_slice(&seeded.draw()[..10]);
                // The first twelve bits count within the millisecond, so that ids stay in order.
                let (at, n) = seeded.last.get();
                let n = if at == now.0 { n.wrapping_add(1) } else { 0 };
                seeded.last.set((now.0, n));
                bytes[..2].copy_from_slice(&(n & 0x0fff).to_be_bytes());
                Builder::from_unix_timestamp_millis(ms, &bytes).into_uuid()
            }
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one legal site: secrets come from the store"
    )]
    pub(super) fn random<const N: usize>(&self) -> Result<[u8; N], StoreError> {
        let mut bytes = [0; N];
        match self {
            IdSource::System(_) => getrandom::fill(&mut bytes)
                .map_err(|e| StoreError::Internal(format!("no randomness: {e}")))?,
            IdSource::Seeded(seeded) => {
                for part in bytes.chunks_mut(32) {
                    part.copy_from_slice(&seeded.draw()[..part.len()]);
                }
            }
        }
        Ok(bytes)
    }
}

impl Seeded {
    fn draw(&self) -> [u8; 32] {
        let n = self.drawn.replace(self.drawn.get().wrapping_add(1));
        let mut hash = Sha256::new_with_prefix(b"workspaced seed");
        hash.update(self.seed.to_be_bytes());
        hash.update(n.to_be_bytes());
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_ids_in_order() {
        let draw = |seed| {
            let source = IdSource::seeded(seed);
            let ids: Vec<Uuid> = [7, 7, 7, 8, 8].map(|ms| source.id(Timestamp(ms))).into();
            let bytes: [u8; 40] = source.random().unwrap();
            (ids, bytes)
        };
        let (ids, bytes) = draw(42);
        assert_eq!((ids.clone(), bytes), draw(42));
        assert_ne!(ids, draw(43).0);
        assert!(ids.is_sorted() && ids.iter().all(|id| id.get_version_num() == 7));
        assert_eq!(
            ids[0].to_string(),
            "00000000-0007-7000-9151-da0097b1928d",
            "what was seeded once stays what it is"
        );
    }
}
