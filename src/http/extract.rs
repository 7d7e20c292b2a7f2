//! Extractors that reject in the one error body.
//!
//! The order of checks is CONTRACT §5: key, id syntax, existence, tenant, scope, body, state. A
//! body or query that cannot be read is therefore *held* as an error, and the handler asks for it
//! (`?`) after it has found the resource.

use std::collections::HashSet;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{Deserialize, DeserializeOwned, Deserializer, IntoDeserializer};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::MAX_BODY;
use super::auth::Caller;
use super::fields;
use super::idempotency::{self, Idempotency};
use super::routes::Access;
use crate::app::App;
use crate::error::{Error, Fields, Result};
use crate::ids::parse_uuid;
use crate::store::Undo;

/// How long a body may take, and three quarters of the request timeout where that is less: who sends
/// too slowly hears that, not that the server was slow.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// The id in a path, or 400 `INVALID_ID`.
pub struct PathId<T>(pub T);

impl<T: From<Uuid> + Send, S: Send + Sync> FromRequestParts<S> for PathId<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let invalid = || Error::bad_request("INVALID_ID", "the id in the path is not a UUID");
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| invalid())?;
        parse_uuid(&text)
            .map(|id| PathId(T::from(id)))
            .ok_or_else(invalid)
    }
}

/// Both ids in a path, or 400 `INVALID_ID`.
pub struct PathIds<A, B>(pub A, pub B);

impl<A: From<Uuid> + Send, B: From<Uuid> + Send, S: Send + Sync> FromRequestParts<S>
    for PathIds<A, B>
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let invalid = || Error::bad_request("INVALID_ID", "an id in the path is not a UUID");
        let Path((first, second)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|_| invalid())?;
        match (parse_uuid(&first), parse_uuid(&second)) {
            (Some(first), Some(second)) => Ok(PathIds(A::from(first), B::from(second))),
            _ => Err(invalid()),
        }
    }
}

/// The query string as `T`; a failure is held until [`Params::get`].
///
/// Fields of `T` are optional texts. A parameter that is given twice is refused, since it would
/// be a guess which of the two is meant; unknown ones are ignored.
pub struct Params<T>(Result<T>);

impl<T> Params<T> {
    /// The parameters, or 422.
    ///
    /// # Errors
    /// When a parameter was given twice.
    pub fn get(self) -> Result<T> {
        self.0
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        Ok(Params(parse_query(parts.uri.query().unwrap_or(""))))
    }
}

fn parse_query<T: DeserializeOwned>(query: &str) -> Result<T> {
    let mut fields = Fields::default();
    let mut seen = HashSet::new();
    let mut object = Map::new();
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        if !seen.insert(key.to_string()) {
            fields.push(key.to_string(), "is given more than once");
        }
        object.insert(key.into_owned(), Value::String(value.into_owned()));
    }
    fields.finish()?;
    T::deserialize(Value::Object(object)).map_err(|e| Error::field("query", e.to_string()))
}

/// A JSON body as `T`. No body, `null` and `{}` are the same: nothing was given.
///
/// Field names are accepted in camelCase too (CONTRACT §0.4 no. 18).
fn parse_body<T: DeserializeOwned>(app: &App, parts: &Parts, bytes: &Bytes) -> Result<T> {
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
            fields::check_body(app, parts, &value)?;
            value
        }
    })
}

/// [`parse_body`] after the text has been read.
pub(crate) fn from_json<T: DeserializeOwned>(value: Value) -> Result<T> {
    let object = match value {
        Value::Null => Map::new(),
        Value::Object(object) => snake_case(object)?,
        _ => return Err(Error::field("body", "must be a JSON object")),
    };
    serde_path_to_error::deserialize(Value::Object(object).into_deserializer()).map_err(|e| {
        let path = e.path().to_string();
        let field = if path == "." {
            "body".to_string()
        } else {
            path
        };
        Error::field(field, e.into_inner().to_string())
    })
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

/// `projectSlug` → `project_slug`.
pub(super) fn snake(key: &str) -> String {
    let mut name = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

/// A field that tells "not given" from `null`: absent leaves a value, `null` clears it.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Patch<T> {
    /// The field was not in the body.
    #[default]
    Absent,
    /// The field was `null`.
    Null,
    /// The field had a value.
    Set(T),
}

impl<T> Patch<T> {
    /// The new value of a column that may be NULL, from the old one.
    pub fn apply(self, old: Option<T>) -> Option<T> {
        match self {
            Patch::Absent => old,
            Patch::Null => None,
            Patch::Set(value) => Some(value),
        }
    }

    /// The value, if one was given.
    pub fn value(&self) -> Option<&T> {
        match self {
            Patch::Set(value) => Some(value),
            _ => None,
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Option::<T>::deserialize(d).map(|value| value.map_or(Patch::Null, Patch::Set))
    }
}

/// For the schema's defaults only: an absent field has none.
impl<T: serde::Serialize> serde::Serialize for Patch<T> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.value().serialize(s)
    }
}

/// A request that changes something: who asks, what they send, and whether they may be repeating
/// themselves. Run with [`Mutation::run`] (see [`super::idempotency`]).
pub struct Mutation<T> {
    pub(super) app: App,
    /// Who asks.
    pub caller: Caller,
    pub(super) body: Result<T>,
    pub(super) idempotency: Option<Idempotency>,
    pub(super) undo: Undo,
}

impl<T> Mutation<T> {
    /// What it runs refuses before it changes anything, and so needs no savepoint: see
    /// [`Store::write_deciding_first`](crate::store::Store::write_deciding_first).
    pub fn deciding_first(mut self) -> Self {
        self.undo = Undo::Nothing;
        self
    }
}

impl<T: DeserializeOwned> FromRequest<App> for Mutation<T> {
    type Rejection = Error;

    async fn from_request(request: Request, app: &App) -> Result<Self> {
        let (mut parts, body) = request.into_parts();
        let caller = Caller::from_request_parts(&mut parts, app).await?;
        let (bytes, idempotency) = receive(&parts, body, app).await?;
        let body = parse_body(app, &parts, &bytes);
        Ok(Mutation {
            app: app.clone(),
            caller,
            body,
            idempotency,
            undo: Undo::Alone,
        })
    }
}

impl Mutation<Bytes> {
    /// A request whose body is not JSON, as it is.
    ///
    /// # Errors
    /// As every extractor of a mutation.
    pub(crate) async fn raw(request: Request, app: &App) -> Result<Self> {
        let (mut parts, body) = request.into_parts();
        let caller = Caller::from_request_parts(&mut parts, app).await?;
        let (bytes, idempotency) = receive(&parts, body, app).await?;
        Ok(Mutation {
            app: app.clone(),
            caller,
            body: Ok(bytes),
            idempotency,
            undo: Undo::Alone,
        })
    }

    /// With what `parse` makes of the body, off the threads that serve requests: it may take a while.
    ///
    /// # Errors
    /// When `parse` panics; what it returns is held like any other body.
    pub(crate) async fn parsed<T: Send + 'static>(
        self,
        parse: impl FnOnce(Bytes) -> Result<T> + Send + 'static,
    ) -> Result<Mutation<T>> {
        let body = match self.body {
            Ok(bytes) => tokio::task::spawn_blocking(move || parse(bytes))
                .await
                .map_err(Error::internal)?,
            Err(e) => Err(e),
        };
        Ok(Mutation {
            app: self.app,
            caller: self.caller,
            body,
            idempotency: self.idempotency,
            undo: self.undo,
        })
    }
}

/// The body of a mutation within the route's limits, and its Idempotency-Key.
async fn receive(
    parts: &Parts,
    body: axum::body::Body,
    app: &App,
) -> Result<(Bytes, Option<Idempotency>)> {
    let limit = parts
        .extensions
        .get::<Access>()
        .map_or(MAX_BODY, |access| access.max_body);
    let patience = BODY_PATIENCE.min(app.config.request_timeout * 3 / 4);
    let bytes = read_body(parts, body, limit, patience).await?;
    let idempotency = idempotency::from_headers(parts, &bytes)?;
    Ok((bytes, idempotency))
}

/// Reads at most `limit` bytes, for as long as `patience`.
pub(crate) async fn read_body(
    parts: &Parts,
    body: axum::body::Body,
    limit: usize,
    patience: Duration,
) -> Result<Bytes> {
    let declared = parts
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limit as u64) {
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
    use serde::Deserialize;
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
    fn a_wrong_type_names_its_field() {
        let e = from_json::<Body>(json!({"project_slug": 5})).unwrap_err();
        assert!(e.message().starts_with("project_slug "), "{}", e.message());
        assert_eq!(
            from_json::<Body>(json!([1])).unwrap_err().code(),
            "VALIDATION_FAILED"
        );
    }

    #[test]
    fn a_repeated_parameter_is_refused() {
        assert!(parse_query::<Body>("project_slug=a&other=1").is_ok());
        let e = parse_query::<Body>("project_slug=a&project_slug=b").unwrap_err();
        assert!(
            e.message()
                .starts_with("project_slug is given more than once")
        );
    }
}
