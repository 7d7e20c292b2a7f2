//! Variables of computers as the store has them: the table `computer_env`.

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::ComputerId;
use crate::store::Tx;

/// A variable.
#[derive(Serialize, ToSchema)]
pub struct Variable {
    pub name: String,
    pub value: String,
    pub computer_id: ComputerId,
    pub updated_at: Timestamp,
}

/// Whether a variable may be called so.
pub fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= 255
        && bytes
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// All of a computer.
pub fn all(tx: &Tx<'_>, id: ComputerId) -> Result<Vec<Variable>> {
    let sql =
        "SELECT name, value, updated_at FROM computer_env WHERE computer_id = ?1 ORDER BY name";
    let mut statement = tx.prepare_cached(sql)?;
    let found = statement.query_map([id], |row| {
        Ok(Variable {
            name: row.get(0)?,
            value: row.get(1)?,
            computer_id: id,
            updated_at: row.get(2)?,
        })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// As programs are given them.
pub fn of(tx: &Tx<'_>, id: ComputerId) -> Result<Vec<String>> {
    let all = all(tx, id)?.into_iter();
    Ok(all.map(|v| format!("{}={}", v.name, v.value)).collect())
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn names_of_variables() {
        for (name, good) in [
            ("A", true),
            ("_a1", true),
            ("", false),
            ("1A", false),
            ("A-B", false),
            ("A=B", false),
            ("ä", false),
        ] {
            assert_eq!(is_name(name), good, "{name}");
        }
    }
}
