//! Typed ids. A workspace id cannot be passed where a computer id is meant, and what is not a
//! UUID never reaches a query.

use std::fmt;

use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// Reads the hyphenated form only (`550e8400-e29b-41d4-a716-446655440000`, any case): braces, URNs
/// and bare hex are other spellings of the same id, and one resource has one URL.
pub fn parse_uuid(text: &str) -> Option<Uuid> {
    (text.len() == 36)
        .then(|| Uuid::try_parse(text).ok())
        .flatten()
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub struct $name(pub Uuid);

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self { $name(id) }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.fmt(f) }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                parse_uuid(&text).map($name).ok_or_else(|| serde::de::Error::custom("is not a valid UUID"))
            }
        }
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::Borrowed(ValueRef::Blob(self.0.as_bytes())))
            }
        }
        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                <[u8; 16]>::column_result(value).map(|b| $name(Uuid::from_bytes(b)))
            }
        }
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)))
                    .into()
            }
        }
        impl utoipa::ToSchema for $name {}
    )*};
}

ids! {
    /// An organization.
    TenantId;
    /// A workspace.
    WorkspaceId;
    /// A project.
    ProjectId;
    /// A computer.
    ComputerId;
    /// An API key (the row, not the secret).
    ApiKeyId;
    /// A webhook.
    WebhookId;
    /// One message to a webhook.
    DeliveryId;
    /// A share link (the row, not the secret).
    ShareLinkId;
    /// A link to the screen of a computer (the row, not the secret).
    DesktopLinkId;
    /// A snapshot of a computer.
    SnapshotId;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hyphenated_form_is_an_id() {
        let id = "550e8400-e29b-41d4-a716-446655440000";
        assert_eq!(parse_uuid(id).map(|u| u.to_string()).as_deref(), Some(id));
        assert!(parse_uuid(&id.to_uppercase()).is_some());
        for other in [
            "",
            "default",
            "550e8400e29b41d4a716446655440000",
            "{550e8400-e29b-41d4-a716-44665544000}",
            "550e8400-e29b-41d4-a716-44665544000g",
        ] {
            assert!(parse_uuid(other).is_none(), "{other}");
        }
    }
}
