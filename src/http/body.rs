//! Request bodies: read within limits, and turned from JSON into types.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::names::{self, snake};
use crate::error::{Error, Fields, Result};

/// Bytes of a request body that are read unless a route says otherwise.
pub const MAX_BODY: usize = 1 << 20;

/// A body that is read but not needed: nothing, null, or any object.
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
#[schema(as = Anything)]
pub struct NoBody {}

/// A JSON body as `T`. No body, `null` and `{}` are the same: nothing was given.
///
/// Field names are accepted in camelCase too: one client sends them as its callers wrote them.
pub(super) fn parse_body<T: Body>(parts: &Parts, bytes: &Bytes) -> Result<T> {
    if !bytes.is_empty() && !is_json(parts) {
        return Err(Error::unsupported_media_type());
    }
    let value = if bytes.iter().all(u8::is_ascii_whitespace) {
        Value::Null
    } else {
        serde_json::from_slice(bytes).map_err(|e| {
            Error::bad_request("INVALID_JSON", format!("the body is not valid JSON: {e}"))
        })?
    };
    // The one body of the API that is a list: CloudEvents, in the form of their HTTP binding.
    from_json(match media_type(parts).as_deref() {
        Some("application/cloudevents-batch+json") => serde_json::json!({ "events": value }),
        Some("application/cloudevents+json") => serde_json::json!({ "events": [value] }),
        _ => {
            names::check_body(parts, &value)?;
            value
        }
    })
}

/// [`parse_body`] after the text has been read.
pub fn from_json<T: Body>(value: Value) -> Result<T> {
    match value {
        Value::Null => T::of(Map::new()),
        Value::Object(object) => T::of(snake_case(object)?),
        _ => Err(Error::field("body", "must be a JSON object")),
    }
}

/// What a body is read as: nearly always a type, field by field.
pub trait Body: Sized {
    fn of(object: Map<String, Value>) -> Result<Self>;
}

impl<T: DeserializeOwned> Body for T {
    fn of(object: Map<String, Value>) -> Result<Self> {
        typed(object)
    }
}

/// An object as `T`; an error names the field.
pub fn typed<T: DeserializeOwned>(object: Map<String, Value>) -> Result<T> {
    serde_path_to_error::deserialize(Value::Object(object).into_deserializer()).map_err(|e| {
        let path = e.path().to_string();
        let field = if path == "." {
            "body".to_string()
        } else {
            path
        };
        Error::field(field, plain(&e.into_inner().to_string()))
    })
}

/// What the parser says of a value, in the words of the API instead of those of a programming language.
fn plain(why: &str) -> String {
    let said = why
        .strip_prefix("invalid type: ")
        .or_else(|| why.strip_prefix("invalid value: "))
        .and_then(|rest| rest.rsplit_once(", expected "));
    let Some((given, expected)) = said else {
        return why.to_owned();
    };
    let expected = match expected {
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0",
        "f32" | "f64" => "a number",
        "a string" => "a text (string)",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object",
        other if other.starts_with("struct ") => "an object",
        other => other,
    };
    let given = match given {
        "sequence" => "a list",
        "map" => "an object",
        "unit value" | "null" => "nothing (null)",
        // Behind the name of its type stands the value.
        other => other
            .split_once(['`', '"'])
            .map_or(other, |(_, value)| value.trim_end_matches(['`', '"'])),
    };
    format!("must be {expected}, not {given}")
}

fn is_json(parts: &Parts) -> bool {
    media_type(parts).is_none_or(|kind| {
        kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
    })
}

/// What the body is declared to be, without parameters.
fn media_type(parts: &Parts) -> Option<String> {
    let value = parts.headers.get(CONTENT_TYPE)?.to_str().unwrap_or("");
    Some(
        value
            .split(';')
            .next()
            .unwrap_or("")
            .trim()
            .to_ascii_lowercase(),
    )
}

/// Renames the keys of the object itself; what a caller stores in `metadata` stays as it is.
fn snake_case(object: Map<String, Value>) -> Result<Map<String, Value>> {
    if !object
        .keys()
        .any(|key| key.bytes().any(|b| b.is_ascii_uppercase()))
    {
        return Ok(object);
    }
    let mut fields = Fields::default();
    let mut renamed = Map::with_capacity(object.len());
    for (key, value) in object {
        let name = snake(&key);
        if renamed.get(&name).is_some_and(|other| *other != value) {
            fields.push(
                name.clone(),
                "is given in two spellings with different values",
            );
        }
        renamed.insert(name, value);
    }
    fields.finish().map(|()| renamed)
}

/// Whether the head says that the body is longer than `limit`.
pub(super) fn too_long(parts: &Parts, limit: usize) -> bool {
    let declared = parts
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.parse::<u64>().ok());
    declared.is_some_and(|length| length > limit as u64)
}

/// How long a body may take, and three quarters of the request timeout where that is less: who sends
/// too slowly hears that, not that the server was slow.
pub fn body_patience(request_timeout: Duration) -> Duration {
    Duration::from_secs(30).min(request_timeout * 3 / 4)
}

/// Reads at most `limit` bytes, for as long as `patience`, into memory.
pub async fn read_body(
    parts: &Parts,
    body: axum::body::Body,
    limit: usize,
    patience: Duration,
) -> Result<Bytes> {
    if too_long(parts, limit) {
        return Err(Error::too_large(limit));
    }
    let whole = Limited::new(body, limit).collect();
    let Ok(read) = tokio::time::timeout(patience, whole).await else {
        return Err(Error::too_slow(patience));
    };
    match read {
        Ok(all) => Ok(all.to_bytes()),
        Err(e) if e.is::<LengthLimitError>() => Err(Error::too_large(limit)),
        Err(_) => Err(Error::bad_request(
            "INVALID_BODY",
            "the request body ended early; send it again",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Patch;
    use serde_json::json;

    #[derive(Deserialize, Debug, PartialEq, Default)]
    #[serde(default)]
    struct Body {
        project_slug: Option<String>,
        description: Patch<String>,
        metadata: Option<Value>,
    }

    #[test]
    fn camel_case_is_an_alias_of_the_field_only() {
        let body: Body =
            from_json(json!({"projectSlug": "a", "metadata": {"innerKey": 1}})).unwrap();
        assert_eq!(body.project_slug.as_deref(), Some("a"));
        assert_eq!(body.metadata, Some(json!({"innerKey": 1})));
        assert!(from_json::<Body>(json!({"projectSlug": "a", "project_slug": "a"})).is_ok());
        let clash =
            from_json::<Body>(json!({"projectSlug": "a", "project_slug": "b"})).unwrap_err();
        assert_eq!(clash.code(), "VALIDATION_FAILED");
    }

    #[test]
    fn absent_and_null_are_told_apart() {
        let patch = |v| from_json::<Body>(v).unwrap().description;
        assert_eq!(patch(json!({})), Patch::Absent);
        assert_eq!(patch(Value::Null), Patch::Absent);
        assert_eq!(patch(json!({"description": null})), Patch::Null);
        assert_eq!(patch(json!({"description": "x"})), Patch::Set("x".into()));
    }

    #[test]
    fn a_wrong_type_is_said_in_words_that_no_programmer_is_needed_for() {
        #[derive(Deserialize, Debug, Default)]
        #[serde(default)]
        struct Typed {
            number: Option<i64>,
            count: u32,
            text: Option<String>,
            yes: Option<bool>,
            list: Option<Vec<String>>,
        }
        for (body, says) in [
            (
                json!({"number": "x"}),
                "number must be a whole number, not x",
            ),
            (
                json!({"number": 1.5}),
                "number must be a whole number, not 1.5",
            ),
            (
                json!({"number": [1]}),
                "number must be a whole number, not a list",
            ),
            (
                json!({"count": -1}),
                "count must be a whole number from 0, not -1",
            ),
            (
                json!({"count": null}),
                "count must be a whole number from 0, not nothing (null)",
            ),
            (
                json!({"text": {}}),
                "text must be a text (string), not an object",
            ),
            (json!({"text": 5}), "text must be a text (string), not 5"),
            (json!({"yes": "on"}), "yes must be true or false, not on"),
            (
                json!({"list": "a, expected b"}),
                "list must be a list, not a, expected b",
            ),
        ] {
            assert_eq!(from_json::<Typed>(body).unwrap_err().message(), says);
        }
    }

    #[test]
    fn a_wrong_type_names_its_field() {
        let e = from_json::<Body>(json!({"project_slug": 5})).unwrap_err();
        assert!(e.message().starts_with("project_slug "), "{}", e.message());
        assert_eq!(
            from_json::<Body>(json!([1])).unwrap_err().code(),
            "VALIDATION_FAILED"
        );
    }
}
