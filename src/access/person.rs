//! A person who signs in by name, where others show a key.

use serde::Serialize;
use utoipa::ToSchema;

/// Who somebody is by the word of the sign-in provider.
#[derive(Serialize, ToSchema, Clone, PartialEq, Eq, Debug)]
pub struct Person {
    /// For people.
    pub name: String,
    pub email: Option<String>,
    /// The provider.
    pub issuer: String,
    /// What the provider calls somebody, for good.
    pub subject: String,
}

impl Person {
    /// With the address, where that says more.
    pub fn shown(&self) -> String {
        match &self.email {
            Some(email) if *email != self.name => format!("{} ({email})", self.name),
            _ => self.name.clone(),
        }
    }

    /// From a row of `api_keys`; `None` where that is a key.
    pub fn from_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<Self>> {
        let Some(subject) = row.get("subject")? else {
            return Ok(None);
        };
        Ok(Some(Person {
            name: row.get("name")?,
            email: row.get("email")?,
            issuer: row.get("issuer")?,
            subject,
        }))
    }
}
