//! Reading a row from left to right.

use rusqlite::Row;
use rusqlite::types::{FromSql, Type};
use serde::de::DeserializeOwned;

/// The columns of a row in the order of the statement. To find each by its name would cost more
/// than all the rest of reading a list.
pub struct Columns<'r, 's> {
    row: &'r Row<'s>,
    next: usize,
}

impl<'r, 's> Columns<'r, 's> {
    /// From the first column on.
    pub fn new(row: &'r Row<'s>) -> Self {
        Columns { row, next: 0 }
    }

    fn place(&mut self) -> usize {
        self.next += 1;
        self.next - 1
    }

    /// The next column.
    ///
    /// # Errors
    /// When it is of another type, or there is none.
    pub fn get<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        let place = self.place();
        self.row.get(place)
    }

    /// The next column, which holds JSON.
    ///
    /// # Errors
    /// When it holds something else, or there is none.
    pub fn json<T: DeserializeOwned>(&mut self) -> rusqlite::Result<T> {
        let place = self.place();
        serde_json::from_str(self.row.get_ref(place)?.as_str()?)
            .map_err(|e| rusqlite::Error::FromSqlConversionFailure(place, Type::Text, Box::new(e)))
    }
}

/// One list for both sides of a look-up: the columns that a statement selects, and the type that a row
/// of them becomes. `field: [sql]` is read as it is, `field: json [sql]` from the JSON that it holds, and
/// `field: [sql] => f` through `f`.
macro_rules! columns {
    ($name:ident { $($field:ident: $($kind:ident)? [$sql:expr] $(=> $map:expr)?),* $(,)? }) => {
        impl $name {
            /// What [`Self::from_columns`] reads, in this order.
            pub const COLUMNS: &[&str] = &[$($sql),*];

            /// From the next columns of a row.
            ///
            /// # Errors
            /// When one of them is of another type.
            pub fn from_columns(
                row: &mut $crate::store::columns::Columns<'_, '_>,
            ) -> rusqlite::Result<Self> {
                Ok($name { $($field: columns!(@read row $($kind)? $(=> $map)?)),* })
            }
        }
    };
    (@read $row:ident) => { $row.get()? };
    (@read $row:ident json) => { $row.json()? };
    (@read $row:ident => $map:expr) => { ($map)($row.get()?) };
}
pub(crate) use columns;
