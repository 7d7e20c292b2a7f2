//! A bucket of a series as replies show it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::usage::meter::units::{Hours, Shown};

/// One bucket.
#[derive(Serialize, ToSchema, Clone)]
pub struct Bucket {
    /// Its aligned start, also where the window begins inside it.
    pub ts: Timestamp,
    /// Whole credits.
    pub credits_used: i64,
    /// Running hours, summed over computers.
    pub compute_hours: Hours,
    /// The same in milliseconds.
    pub compute_ms: i64,
    /// Credits in micro-credits.
    pub credits_micros: i64,
    /// The window begins or ends inside it, or it is not over yet.
    pub partial: bool,
}

impl Bucket {
    pub fn new((ts, partial): (Timestamp, bool), shown: Shown) -> Self {
        Bucket {
            ts,
            credits_used: shown.credits_used,
            compute_hours: shown.compute_hours,
            compute_ms: shown.compute_ms,
            credits_micros: shown.credits_micros,
            partial,
        }
    }

    /// Appends what serde writes of it. A month by the hour is 721 of these: to look through every key and time for
    /// what has to be escaped took more than half of that answer.
    fn write_json(&self, out: &mut Vec<u8>) {
        let mut digits = itoa::Buffer::new();
        let mut number = |out: &mut Vec<u8>, key: &str, value: i64| {
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(digits.format(value).as_bytes());
        };
        out.extend_from_slice(b"{\"ts\":\"");
        self.ts
            .with_rfc3339(|text| out.extend_from_slice(text.as_bytes()));
        number(out, "\",\"credits_used\":", self.credits_used);
        out.extend_from_slice(b",\"compute_hours\":");
        self.compute_hours.write_json(out);
        number(out, ",\"compute_ms\":", self.compute_ms);
        number(out, ",\"credits_micros\":", self.credits_micros);
        out.extend_from_slice(if self.partial {
            b",\"partial\":true}"
        } else {
            b",\"partial\":false}"
        });
    }
}

/// Puts buckets into the empty list with which `text`, the JSON of an object, ends. False: it does not end so.
pub fn fill_list(text: &mut Vec<u8>, buckets: &[Bucket]) -> bool {
    const END: &[u8] = b"]}";
    if !text.ends_with(b"[]}") {
        return false;
    }
    text.truncate(text.len() - END.len());
    text.reserve(buckets.len() * 150);
    for (n, bucket) in buckets.iter().enumerate() {
        if n > 0 {
            text.push(b',');
        }
        bucket.write_json(text);
    }
    text.extend_from_slice(END);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_list_is_what_serde_writes(
            all in proptest::collection::vec((0i64..5_000_000_000_000, any::<bool>(), any::<i64>(), any::<i32>(), any::<i64>(), any::<i64>()), 0..4),
            tenths in any::<i16>(),
        ) {
            let mut buckets: Vec<Bucket> = all.into_iter().map(|(ts, partial, credits_used, hours, compute_ms, credits_micros)| Bucket {
                ts: Timestamp(ts), credits_used, compute_hours: Hours(hours.into()), compute_ms, credits_micros, partial,
            }).collect();
            if let Some(first) = buckets.first_mut() {
                first.compute_hours = Hours(i64::from(tenths) * 1_000);
            }
            let mut text = b"{\"series\":[]}".to_vec();
            prop_assert!(fill_list(&mut text, &buckets));
            prop_assert_eq!(String::from_utf8(text).unwrap(), serde_json::json!({ "series": buckets }).to_string());
        }
    }

    #[test]
    fn what_does_not_end_in_an_empty_list_stays() {
        let mut text = b"{\"series\":[],\"groups\":1}".to_vec();
        let before = text.clone();
        assert!(!fill_list(&mut text, &[]));
        assert_eq!(text, before);
    }
}
