-- From version 9 to 10.

-- ---- work in machines ----

-- Variables in the environment of a computer that a container engine runs.
CREATE TABLE computer_env (
    computer_id BLOB NOT NULL,
    tenant_id   BLOB NOT NULL,
    name        TEXT NOT NULL,
    value       TEXT NOT NULL,
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (computer_id, name)
) STRICT, WITHOUT ROWID;

-- Ports of it of which somebody has said something; all others are as visible as the computer.
CREATE TABLE computer_ports (
    computer_id BLOB NOT NULL,
    tenant_id   BLOB NOT NULL,
    port        INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
    protocol    TEXT NOT NULL,
    visibility  TEXT CHECK (visibility IN ('public', 'tenant', 'key')),  -- NULL: as the computer
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (computer_id, port)
) STRICT, WITHOUT ROWID;

-- What last kept it awake.
CREATE TABLE computer_activity (
    computer_id BLOB PRIMARY KEY,
    tenant_id   BLOB NOT NULL,
    at          INTEGER NOT NULL,
    by          TEXT NOT NULL
) STRICT, WITHOUT ROWID;
