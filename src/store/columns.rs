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
