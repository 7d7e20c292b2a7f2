//! Ids in paths, and query strings.

use std::collections::HashSet;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::error::{Error, Fields, Result};
use crate::ids::parse_uuid;

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
/// A parameter that is an id, or 422.
///
/// # Errors
/// 422 when the text is not a UUID.
pub fn id_param<T: From<Uuid>>(name: &'static str, value: Option<&str>) -> Result<Option<T>> {
    match value {
        None => Ok(None),
        Some(text) => match parse_uuid(text) {
            Some(id) => Ok(Some(T::from(id))),
            None => Err(Error::field(name, "is not a valid UUID")),
        },
    }
}

/// A parameter that is yes or no: `true`, `1` and the empty value are yes; absent, `false` and `0` are no.
pub fn flag(fields: &mut Fields, name: &'static str, value: Option<&str>) -> bool {
    match value {
        None | Some("false" | "0") => false,
        Some("true" | "1" | "") => true,
        Some(_) => {
            fields.push(name, "must be true or false");
            false
        }
    }
}

/// What was deleted, too.
#[derive(serde::Deserialize, utoipa::IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct DeletedQuery {
    /// 1: also where it is deleted; for operators and keys with the scope tenant:admin
    #[param(value_type = Option<bool>)]
    pub include_deleted: Option<String>,
}

impl DeletedQuery {
    /// Whether it was asked for.
    ///
    /// # Errors
    /// 422.
    pub fn included(&self) -> Result<bool> {
        let mut fields = Fields::default();
        let included = flag(
            &mut fields,
            "include_deleted",
            self.include_deleted.as_deref(),
        );
        fields.finish().map(|()| included)
    }
}

/// Reads the instant of a parameter, if it is there; a text that is none goes to `fields`. A plain date is
/// its first instant, UTC.
pub fn instant(fields: &mut Fields, name: &'static str, text: Option<&str>) -> Option<Timestamp> {
    let at = text.map(|text| {
        if is_date(text) {
            Timestamp::parse(&format!("{text}T00:00:00Z"))
        } else {
            // The plus of an offset is a space in a query string, unless the caller took care of it.
            Timestamp::parse(&text.replace(' ', "+"))
        }
    });
    if at == Some(None) {
        fields.push(
            name,
            "must be an RFC 3339 time such as 2026-05-10T00:00:00Z, or a date such as 2026-05-10",
        );
    }
    at.flatten()
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && !text.contains('T')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize, Debug, PartialEq, Default)]
    #[serde(default)]
    struct Body {
        project_slug: Option<String>,
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
