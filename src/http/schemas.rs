//! Named schemas of request and reply types, for the OpenAPI document and for checking names.

use std::collections::BTreeMap;

use utoipa::ToSchema;
use utoipa::openapi::{Ref, RefOr, Schema};

/// Named schemas, as they are met.
pub type Components = BTreeMap<String, RefOr<Schema>>;

/// Adds `T` and all that it refers to, and returns a reference to it.
pub fn schema_ref<T: ToSchema>(components: &mut Components) -> RefOr<Schema> {
    let mut more = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut more);
    for (name, schema) in more {
        let before = components.insert(name.clone(), schema);
        debug_assert!(
            before.is_none_or(|before| Some(&before) == components.get(&name)),
            "two schemas are called {name}: give one another name with #[schema(as = ...)]"
        );
    }
    Ref::from_schema_name(T::name()).into()
}

/// Adds a type and what it refers to, and returns the reference.
pub type SchemaFn = fn(&mut Components) -> RefOr<Schema>;
