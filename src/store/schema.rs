//! The schema: its text, its version, and the steps up to it.

use rusqlite::Connection;

/// The whole current schema.
pub const SCHEMA: &str = include_str!("../../schema.sql");

/// `STEPS[n]` takes a database from version `n + 1` to `n + 2`. Never edited once released.
pub(super) const STEPS: &[&str] = &[
    METER,
    LISTS,
    EMULATOR,
    WEBHOOKS,
    CHECKS,
    FEWER_TREES,
    PAST,
    BILLS,
    INSIDE,
];

/// Version 2: the meter, filled from the events that are there.
const METER: &str = concat!(
    include_str!("upgrade_2.sql"),
    "INSERT INTO metered_computers ",
    include_str!("../usage/ledger/rebuild/computers.sql"),
    ";INSERT INTO meter_steps SELECT * FROM (",
    include_str!("../usage/ledger/rebuild/steps.sql"),
    ");INSERT INTO meter_hours SELECT * FROM (",
    include_str!("../usage/ledger/rebuild/hours.sql"),
    ");INSERT INTO meter_eras SELECT * FROM (",
    include_str!("../usage/ledger/rebuild/eras.sql"),
    ");",
);

/// Version 3: indexes for every list.
const LISTS: &str = include_str!("upgrade_3.sql");

/// Version 4: the driven clock and its scenario.
const EMULATOR: &str = include_str!("upgrade_4.sql");

/// Version 5: webhooks and their deliveries.
const WEBHOOKS: &str = include_str!("upgrade_5.sql");

/// Version 6: cheaper checks, the driver's agenda in order.
const CHECKS: &str = include_str!("upgrade_6.sql");

/// Version 7: fewer b-trees to a new workspace and to a repeatable request.
const FEWER_TREES: &str = include_str!("upgrade_7.sql");

/// Version 8: what held in the past.
const PAST: &str = include_str!("upgrade_8.sql");

/// Version 9: statements, budgets, and what else goes out to customers.
const BILLS: &str = include_str!("upgrade_9.sql");

/// Version 10: work in machines.
const INSIDE: &str = include_str!("upgrade_10.sql");

/// The version of [`SCHEMA`].
pub const VERSION: i64 = STEPS.len() as i64 + 1;

/// Marks a file as ours ("wksp"), so that another program's database is not touched.
pub(super) const APPLICATION_ID: i64 = 0x776b_7370;

/// Makes an empty database of [`VERSION`].
pub(crate) fn create(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(SCHEMA)?;
    conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    conn.pragma_update(None, "user_version", VERSION)
}
