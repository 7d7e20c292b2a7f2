//! Whether a key that was chosen before the first start could be guessed.

use std::collections::BTreeSet;

/// Why a key could be found by guessing; `None` for one that is long and looks random.
pub(super) fn too_simple(key: &str) -> Option<&'static str> {
    let Some(secret) = key.strip_prefix("msk_") else {
        return Some("does not begin with msk_");
    };
    let bytes = secret.as_bytes();
    if !bytes
        .iter()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    {
        return Some("holds something else than letters, digits, _ and -");
    }
    if !(32..=200).contains(&bytes.len()) {
        return Some("is too short, or too long");
    }
    // What repeats itself has few different triples; what is written with few characters few bits in each.
    let triples: BTreeSet<&[u8]> = bytes.windows(3).collect();
    let mut counts = [0_u32; 256];
    bytes.iter().for_each(|b| counts[usize::from(*b)] += 1);
    let length = f64::from(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    let bits: f64 = counts
        .into_iter()
        .filter(|n| *n > 0)
        .map(|n| f64::from(n) * (length / f64::from(n)).log2())
        .sum();
    (bits < MIN_BITS || triples.len() * 4 < bytes.len() * 3).then_some(
        "could be guessed: too few different characters, or a pattern that repeats itself",
    )
}

/// Bits that a chosen key has at least, by the characters that it uses.
pub(super) const MIN_BITS: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::too_simple;

    #[test]
    fn a_key_that_could_be_guessed_is_told_from_a_random_one() {
        for key in [
            "msk_a_9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822c",
            "msk_u_qQ4BA9Qa8mrTTJX25qiB2Rho83I1GvrrLXtdgSad",
            "msk_5up-J0q8Qv_1x2ZkTnW3bLr9YdCfGhKe",
        ] {
            assert_eq!(too_simple(key), None, "{key}");
        }
        for (key, why) in [
            ("", "msk_"),
            ("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822c", "msk_"),
            ("msk_u_dev", "short"),
            ("msk_9f86d081884c7d659a2feaa0c55ad01", "short"),
            (
                "msk_9f86d081884c7d659a2f eaa0c55ad015a3bf4f1b2b0b",
                "letters",
            ),
            ("msk_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "guessed"),
            ("msk_0123456789012345678901234567890123456789", "guessed"),
            ("msk_password-password-password-password-1", "guessed"),
            ("msk_0000000000000000000000000000000000000001", "guessed"),
        ] {
            let found = too_simple(key).unwrap();
            assert!(found.contains(why), "{key}: {found}");
        }
    }
}
