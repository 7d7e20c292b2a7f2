-- From version 1 to 2: the meter. The program fills it from compute_events right after this.

CREATE TABLE meter_steps (
    workspace_id BLOB NOT NULL,
    at           INTEGER NOT NULL,
    seq          INTEGER NOT NULL,
    running      INTEGER NOT NULL,
    running_ms   INTEGER NOT NULL,
    rate         INTEGER NOT NULL,
    credit_ms    INTEGER NOT NULL,
    micros       INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, at, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE meter_hours (
    workspace_id BLOB NOT NULL,
    hour         INTEGER NOT NULL,                   -- its start, a multiple of 3 600 000
    running      INTEGER NOT NULL,
    running_ms   INTEGER NOT NULL,
    rate         INTEGER NOT NULL,
    credit_ms    INTEGER NOT NULL,
    micros       INTEGER NOT NULL,
    steps        INTEGER NOT NULL,                   -- rows of meter_steps in it; the row goes with the last
    PRIMARY KEY (workspace_id, hour)
) STRICT, WITHOUT ROWID;

CREATE TABLE meter_eras (
    workspace_id BLOB NOT NULL,
    era          INTEGER NOT NULL,                   -- its start, a multiple of 1 209 600 000
    running      INTEGER NOT NULL,
    running_ms   INTEGER NOT NULL,
    rate         INTEGER NOT NULL,
    credit_ms    INTEGER NOT NULL,
    micros       INTEGER NOT NULL,
    steps        INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, era)
) STRICT, WITHOUT ROWID;

CREATE TABLE metered_computers (
    tenant_id    BLOB NOT NULL,
    workspace_id BLOB NOT NULL,
    computer_id  BLOB NOT NULL,
    PRIMARY KEY (tenant_id, workspace_id, computer_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE rates (
    size           TEXT NOT NULL,
    effective_from INTEGER NOT NULL,                 -- 0: since ever
    rate           INTEGER NOT NULL CHECK (rate >= 0),          -- credits per hour
    applied        INTEGER NOT NULL CHECK (applied IN (0, 1)),  -- running computers have been re-priced
    PRIMARY KEY (size, effective_from)
) STRICT, WITHOUT ROWID;
