//! Who did something, besides the key that it was done with.

use serde::Serialize;
use utoipa::ToSchema;

use crate::access::caller::Caller;

/// Who an actor is besides a key: a person by name, an operator of another organization, or both.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditActor)]
pub struct Who {
    /// Of a person.
    name: Option<String>,
    email: Option<String>,
    /// What the sign-in provider calls the person, for good.
    subject: Option<String>,
    /// That provider.
    issuer: Option<String>,
    /// The slug of the operator's own organization, where the operator acted as this one.
    operator_of: Option<String>,
}

impl Who {
    pub(super) fn of(caller: &Caller) -> Option<Who> {
        let key = caller.key();
        let person = key.person.as_ref();
        (person.is_some() || key.acts_from.is_some()).then(|| Who {
            name: person.map(|person| person.name.clone()),
            email: person.and_then(|person| person.email.clone()),
            subject: person.map(|person| person.subject.clone()),
            issuer: person.map(|person| person.issuer.clone()),
            operator_of: key.acts_from.clone(),
        })
    }
}
