//! JSON in columns, and caller metadata that is passed through without being taken apart.

use rusqlite::Row;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Schema, Type};

/// A caller's JSON object as text. Read from the store and written to the reply unparsed.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Object(Box<RawValue>);

impl Object {
    /// `{}`
    pub fn empty() -> Self {
        Object::from(Map::new())
    }

    /// Whether it says `true` under a name.
    pub fn is_true(&self, name: &str) -> bool {
        let map: Map<String, Value> = serde_json::from_str(self.text()).unwrap_or_default();
        map.get(name) == Some(&Value::Bool(true))
    }

    /// The same with another value under a name.
    #[must_use]
    pub fn with(&self, name: &str, value: Value) -> Self {
        let mut map: Map<String, Value> = serde_json::from_str(self.text()).unwrap_or_default();
        map.insert(name.to_owned(), value);
        Object::from(map)
    }

    /// The text, as stored.
    pub fn text(&self) -> &str {
        self.0.get()
    }
}

impl From<Map<String, Value>> for Object {
    fn from(map: Map<String, Value>) -> Self {
        let text = Value::Object(map).to_string();
        // The text of a JSON value is JSON.
        Object(RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Map::deserialize(d).map(Object::from)
    }
}

impl rusqlite::ToSql for Object {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        Ok(self.text().into())
    }
}

impl rusqlite::types::FromSql for Object {
    fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
        RawValue::from_string(value.as_str()?.to_owned())
            .map(Object)
            .map_err(|e| rusqlite::types::FromSqlError::Other(Box::new(e)))
    }
}

impl utoipa::PartialSchema for Object {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .additional_properties(Some(AdditionalProperties::FreeForm(true)))
            .into()
    }
}
impl utoipa::ToSchema for Object {}

/// A column that holds JSON, as `T`.
///
/// # Errors
/// When the column is not there or holds something else.
pub fn column<T: DeserializeOwned>(row: &Row<'_>, name: &str) -> rusqlite::Result<T> {
    let index = row.as_ref().column_index(name)?;
    let text = row.get_ref(index)?.as_str()?;
    serde_json::from_str(text).map_err(|e| {
        rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(e))
    })
}

/// `value` as JSON that has been written already, for what is shown in more than one place.
///
/// # Errors
/// Never for the types of this program; the store's error otherwise.
pub fn raw(value: &impl Serialize) -> crate::error::Result<Box<RawValue>> {
    serde_json::value::to_raw_value(value).map_err(crate::error::Error::internal)
}

/// `value` as the text of a JSON column.
///
/// # Errors
/// Never for the types of this program; the store's error otherwise.
pub fn text(value: &impl Serialize) -> crate::error::Result<String> {
    serde_json::to_string(value).map_err(crate::error::Error::internal)
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
