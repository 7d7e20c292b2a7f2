//! Ids in paths, and query strings.

use std::collections::HashSet;
use std::marker::PhantomData;

use axum::extract::{FromRequestParts, OriginalUri, Path};
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa::__dev::ComposeSchema;
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::error::{Error, Fields, Result};
use crate::ids::{ApiKeyId, ComputerId, DeliveryId, ProjectId, WorkspaceId, parse_uuid};
use crate::store::WriteTx;

/// Rides in a request whose path names something otherwise than by its id: that id.
#[derive(Clone, Copy)]
pub struct NamedId(pub Uuid);

/// The id in a path, or 400 `INVALID_ID`.
pub struct PathId<T>(pub T);

impl<T: From<Uuid> + Send, S: Send + Sync> FromRequestParts<S> for PathId<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        if let Some(NamedId(id)) = parts.extensions.get() {
            return Ok(PathId(T::from(*id)));
        }
        let invalid = || {
            Error::bad_request(
                "INVALID_ID",
                "the id in the path is not a UUID, nor what a workspace or project is called (its slug, or external:YOUR-ID)",
            )
        };
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

/// The id in a path and the word after it, or 400 `INVALID_ID`.
pub struct PathWord<T>(pub T, pub String);

impl<T: From<Uuid> + Send, S: Send + Sync> FromRequestParts<S> for PathWord<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let invalid = || Error::bad_request("INVALID_ID", "the id in the path is not a UUID");
        let Path((id, word)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|_| invalid())?;
        parse_uuid(&id)
            .map(|id| PathWord(T::from(id), word))
            .ok_or_else(invalid)
    }
}

/// The query string as `T`; a failure is held until [`Params::get`].
///
/// Fields of `T` are [`Param`]s, or optional texts where any text will do. A parameter that is given twice is refused, since it would
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
        let query = parts.uri.query().unwrap_or("");
        if query.is_empty() {
            return Ok(Params(parse_query(query, None)));
        }
        let uri = parts.extensions.get::<OriginalUri>();
        let uri = uri.map_or(&parts.uri, |original| &original.0);
        let target = uri.path_and_query().map(|target| target.as_str());
        Ok(Params(parse_query(query, target)))
    }
}

/// The name under which a [`PageQuery`](super::PageQuery) finds what was asked for as a whole; no request can use it.
pub(super) const TARGET: &str = "\0target";

fn parse_query<T: DeserializeOwned>(query: &str, target: Option<&str>) -> Result<T> {
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
    match target {
        Some(target) => object.insert(TARGET.to_owned(), target.into()),
        None => object.remove(TARGET),
    };
    T::deserialize(Value::Object(object)).map_err(|e| Error::field("query", e.to_string()))
}

/// A parameter of a query string: the text that came, and the one type that is its document and its
/// parser. What is wrong with it is told with all else that is wrong, hence read late.
#[derive(Deserialize)]
#[serde(transparent, bound = "")]
pub struct Param<T> {
    text: Option<String>,
    #[serde(skip)]
    read_as: PhantomData<fn() -> T>,
}

/// What a [`Param`] can be.
pub trait FromText: Sized {
    fn schema() -> ObjectBuilder;
    fn from_text(text: &str) -> Option<Self>;
    /// What to say of a text that is none.
    fn wanted() -> String;
}

impl<T> Param<T> {
    /// The text that came.
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    pub fn is_given(&self) -> bool {
        self.text.is_some()
    }
}

impl<T: FromText> Param<T> {
    /// The value, if it is there; a text that is none goes to `fields`.
    pub fn read(&self, fields: &mut Fields, name: &'static str) -> Option<T> {
        let text = self.text()?;
        let value = T::from_text(text);
        if value.is_none() {
            fields.push(name, T::wanted());
        }
        value
    }

    /// The value of a parameter that nothing else is wrong beside.
    ///
    /// # Errors
    /// 422.
    pub fn get(&self, name: &'static str) -> Result<Option<T>> {
        let mut fields = Fields::default();
        let value = self.read(&mut fields, name);
        fields.finish().map(|()| value)
    }
}

impl Param<bool> {
    /// [`Param::read`], with no for what is not there.
    pub fn is_true(&self, fields: &mut Fields, name: &'static str) -> bool {
        self.read(fields, name) == Some(true)
    }
}

impl<T> Default for Param<T> {
    fn default() -> Self {
        Param {
            text: None,
            read_as: PhantomData,
        }
    }
}

impl<T> From<&str> for Param<T> {
    fn from(text: &str) -> Self {
        Param {
            text: Some(text.to_owned()),
            ..Param::default()
        }
    }
}

/// By hand, because the derived schema would be that of an object.
impl<T: FromText> ComposeSchema for Param<T> {
    fn compose(_: Vec<RefOr<Schema>>) -> RefOr<Schema> {
        <T as FromText>::schema().into()
    }
}

impl<T: FromText> ToSchema for Param<T> {}

/// `true`, `1` and the empty value are yes; `false` and `0` are no.
impl FromText for bool {
    fn schema() -> ObjectBuilder {
        ObjectBuilder::new().schema_type(Type::Boolean)
    }

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "true" | "1" | "" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        }
    }

    fn wanted() -> String {
        "must be true or false".to_owned()
    }
}

/// A plain date is its first instant, UTC.
impl FromText for Timestamp {
    fn schema() -> ObjectBuilder {
        ObjectBuilder::new().schema_type(Type::String)
    }

    fn from_text(text: &str) -> Option<Self> {
        if text.len() == 10 && !text.contains('T') {
            Timestamp::parse(&format!("{text}T00:00:00Z"))
        } else {
            // The plus of an offset is a space in a query string, unless the caller took care of it.
            Timestamp::parse(&text.replace(' ', "+"))
        }
    }

    fn wanted() -> String {
        "must be an RFC 3339 time such as 2026-05-10T00:00:00Z, or a date such as 2026-05-10"
            .to_owned()
    }
}

/// The id of something, whatever it is.
pub struct AnyId(pub Uuid);

macro_rules! ids {
    ($($name:ident),+) => {$(
        impl FromText for $name {
            fn schema() -> ObjectBuilder {
                let uuid = SchemaFormat::KnownFormat(KnownFormat::Uuid);
                ObjectBuilder::new().schema_type(Type::String).format(Some(uuid))
            }

            fn from_text(text: &str) -> Option<Self> {
                parse_uuid(text).map($name)
            }

            fn wanted() -> String {
                "is not a valid UUID".to_owned()
            }
        }
    )+};
}

ids!(
    AnyId,
    ApiKeyId,
    WorkspaceId,
    ProjectId,
    ComputerId,
    DeliveryId
);

/// A whole number from `MIN` to `MAX`.
pub struct Within<const MIN: i64, const MAX: i64>(pub i64);

impl<const MIN: i64, const MAX: i64> FromText for Within<MIN, MAX> {
    fn schema() -> ObjectBuilder {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
            .minimum(Some(MIN))
            .maximum((MAX < i64::MAX).then_some(MAX))
    }

    fn from_text(text: &str) -> Option<Self> {
        let number = text.parse().ok()?;
        (MIN..=MAX).contains(&number).then_some(Within(number))
    }

    fn wanted() -> String {
        if MAX == i64::MAX {
            format!("must be a whole number from {MIN}")
        } else {
            format!("must be a whole number from {MIN} to {MAX}")
        }
    }
}

impl<const MIN: i64, const MAX: i64> ComposeSchema for Within<MIN, MAX> {
    fn compose(_: Vec<RefOr<Schema>>) -> RefOr<Schema> {
        <Self as FromText>::schema().into()
    }
}

impl ComposeSchema for AnyId {
    fn compose(_: Vec<RefOr<Schema>>) -> RefOr<Schema> {
        <Self as FromText>::schema().into()
    }
}

/// An enum of words that a parameter may have: one list for the parser, the document and the error.
macro_rules! words {
    ($($(#[$doc:meta])* $vis:vis enum $name:ident { $($(#[$each:meta])* $variant:ident = $word:literal,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        $vis enum $name { $($(#[$each])* $variant,)+ }

        impl $name {
            $vis fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }
        }

        impl $crate::http::params::FromText for $name {
            fn schema() -> utoipa::openapi::ObjectBuilder {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .enum_values(Some([$($word),+]))
            }

            fn from_text(text: &str) -> Option<Self> {
                match text { $($word => Some($name::$variant),)+ _ => None }
            }

            fn wanted() -> String {
                format!("must be one of: {}", [$($word),+].join(", "))
            }
        }

        impl utoipa::__dev::ComposeSchema for $name {
            fn compose(_: Vec<utoipa::openapi::RefOr<utoipa::openapi::Schema>>) -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                <$name as $crate::http::params::FromText>::schema().into()
            }
        }

        impl utoipa::ToSchema for $name {}

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.as_str())
            }
        }
    )+};
}

pub(crate) use words;

/// Only to see what would come of it.
#[derive(Deserialize, utoipa::IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct DryRunQuery {
    /// true: the answer that the request would have, or its refusal, and nothing is done
    #[param(inline)]
    pub dry_run: Param<bool>,
}

impl DryRunQuery {
    /// Runs `f`, and undoes it where only a rehearsal was asked for.
    ///
    /// # Errors
    /// What `f` returns; 422.
    pub fn run<T>(&self, tx: &WriteTx<'_>, f: impl FnOnce() -> Result<T>) -> Result<T> {
        match self.dry_run.get("dry_run")? {
            Some(true) => tx.rehearsed(f).map_err(Error::rehearsed),
            _ => f(),
        }
    }
}

/// What was deleted, too.
#[derive(Deserialize, utoipa::IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct DeletedQuery {
    /// 1: also where it is deleted; for operators and keys with the scope tenant:admin
    #[param(inline)]
    pub include_deleted: Param<bool>,
}

impl DeletedQuery {
    /// Whether it was asked for.
    ///
    /// # Errors
    /// 422.
    pub fn included(&self) -> Result<bool> {
        Ok(self.include_deleted.get("include_deleted")? == Some(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize, Debug, PartialEq, Default)]
    #[serde(default)]
    struct Body {
        project_slug: Option<String>,
    }

    #[test]
    fn a_repeated_parameter_is_refused() {
        assert!(parse_query::<Body>("project_slug=a&other=1", None).is_ok());
        let e = parse_query::<Body>("project_slug=a&project_slug=b", None).unwrap_err();
        assert!(
            e.message()
                .starts_with("project_slug is given more than once")
        );
    }
}
