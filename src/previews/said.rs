//! What has been said of ports of a computer: the table `computer_ports`.

use std::collections::BTreeMap;

use rusqlite::OptionalExtension;

use crate::error::{Fields, Result};
use crate::ids::ComputerId;
use crate::store::Tx;

/// What has been said of a port.
pub struct Said {
    pub protocol: String,
    pub visibility: Option<String>,
}

/// All of a computer.
pub fn all(tx: &Tx<'_>, id: ComputerId) -> Result<BTreeMap<u16, Said>> {
    let sql = "SELECT port, protocol, visibility FROM computer_ports WHERE computer_id = ?1";
    let mut statement = tx.prepare_cached(sql)?;
    let found = statement.query_map([id], |row| {
        let said = Said {
            protocol: row.get(1)?,
            visibility: row.get(2)?,
        };
        Ok((row.get(0)?, said))
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Who may look at a port, where that was said.
pub fn visibility(tx: &Tx<'_>, id: ComputerId, port: u16) -> Result<Option<String>> {
    let sql = "SELECT visibility FROM computer_ports WHERE computer_id = ?1 AND port = ?2";
    Ok(tx
        .row(sql, (id, port), |row| row.get(0))
        .optional()?
        .flatten())
}

/// A port out of a body.
pub fn number(fields: &mut Fields, given: Option<i64>) -> u16 {
    let port = given.and_then(|port| u16::try_from(port).ok());
    port.filter(|port| *port > 0).unwrap_or_else(|| {
        fields.push("port", "must be a whole number from 1 to 65535");
        0
    })
}

/// # Errors
/// 422 for what is no port.
pub fn in_path(text: &str) -> Result<u16> {
    let mut fields = Fields::default();
    let port = number(&mut fields, text.parse().ok());
    fields.finish()?;
    Ok(port)
}
