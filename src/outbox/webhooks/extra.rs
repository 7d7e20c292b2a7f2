//! Headers of a webhook's own, sent with each of its messages.
//!
//! Their values may be secrets of the receiver, so none is ever shown again.

use std::collections::BTreeMap;

use axum::http::{HeaderName, HeaderValue};

use crate::error::Fields as Problems;

/// Names and values.
pub type Headers = BTreeMap<String, String>;

/// What is shown in place of a value; sent back, it stands for the value that is there.
pub const MASK: &str = "•••";

/// Headers of one webhook at most.
const MOST: usize = 20;
/// Characters of a name and of a value at most.
const LONGEST_NAME: usize = 64;
const LONGEST_VALUE: usize = 1024;

/// Names that the connection, or this service itself, needs.
const RESERVED: &[&str] = &[
    "host",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
    "expect",
    "content-length",
    "content-type",
    "content-encoding",
    "user-agent",
    "forwarded",
    "via",
];
/// Beginnings of such names: signatures, proxies.
const RESERVED_PREFIXES: &[&str] = &["proxy-", "x-miosa-", "miosa-", "webhook-", "x-forwarded-"];

/// Headers as they came in a request, beside those that are there.
pub fn check(problems: &mut Problems, given: Headers, there: &Headers) -> Headers {
    let mut headers = Headers::new();
    if given.len() > MOST {
        problems.push("headers", format!("should be at most {MOST}"));
        return headers;
    }
    for (name, value) in given {
        let name = name.trim().to_ascii_lowercase();
        let shown: String = name.chars().take(LONGEST_NAME).collect();
        let mut refuse = |text: String| problems.push("headers", text);
        if name.len() > LONGEST_NAME || HeaderName::from_bytes(name.as_bytes()).is_err() {
            refuse(format!("{shown:?} is not the name of a header"));
            continue;
        }
        if RESERVED.contains(&name.as_str())
            || RESERVED_PREFIXES.iter().any(|p| name.starts_with(p))
        {
            refuse(format!(
                "{shown} is set by this service or by the connection; choose another name"
            ));
            continue;
        }
        let value = if value == MASK {
            match there.get(&name) {
                Some(value) => value.clone(),
                None => {
                    refuse(format!("{shown} has no value yet; send one"));
                    continue;
                }
            }
        } else {
            value
        };
        let printable = value.bytes().all(|b| (b' '..=b'~').contains(&b));
        if value.trim().is_empty() || value.len() > LONGEST_VALUE || !printable {
            refuse(format!(
                "the value of {shown} must be 1 to {LONGEST_VALUE} printable ASCII characters"
            ));
            continue;
        }
        if HeaderValue::from_str(&value).is_ok() && headers.insert(name, value).is_some() {
            refuse(format!("{shown} is given twice"));
        }
    }
    headers
}

/// As they are shown.
pub fn masked(headers: Headers) -> Headers {
    headers
        .into_keys()
        .map(|name| (name, MASK.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(name: &str, value: &str) -> Result<Headers, String> {
        let mut problems = Problems::default();
        let there = Headers::from([("x-token".to_owned(), "old".to_owned())]);
        let given = Headers::from([(name.to_owned(), value.to_owned())]);
        let headers = check(&mut problems, given, &there);
        let done = problems.finish().map(|()| headers);
        done.map_err(|e| e.message().to_owned())
    }

    #[test]
    fn names_and_values() {
        for name in ["Authorization", "x-token", "X-Api-Key", "cookie"] {
            let headers = checked(name, "Bearer 1").unwrap();
            assert_eq!(headers[&name.to_ascii_lowercase()], "Bearer 1");
        }
        for name in [
            "Host",
            "connection",
            "Transfer-Encoding",
            "Content-Length",
            "X-MIOSA-Signature",
            "miosa-signature",
            "Webhook-Id",
            "proxy-authorization",
            "a b",
            "",
            "x\r\ny",
        ] {
            assert!(checked(name, "1").is_err(), "{name}");
        }
        for value in ["", " ", "a\r\nb: c", "é", "\u{0}"] {
            assert!(checked("x-other", value).is_err(), "{value:?}");
        }
        assert!(checked("x-other", &"a".repeat(1025)).is_err());
    }

    #[test]
    fn the_mask_stands_for_what_is_there() {
        assert_eq!(checked("X-Token", MASK).unwrap()["x-token"], "old");
        assert!(checked("x-other", MASK).is_err());
    }
}
