-- From version 3 to 4: the driven clock and its scenario.

CREATE TABLE dev_state (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    mode     TEXT NOT NULL CHECK (mode IN ('real', 'frozen', 'running')),
    at       INTEGER NOT NULL,                       -- what the clock showed when it was last set
    speed    INTEGER NOT NULL CHECK (speed > 0),     -- its seconds in one of the wall clock
    scenario TEXT,                                   -- TOML: when its computers go on and off
    seed     INTEGER,                                -- decides whatever is left to chance in it
    lived_to INTEGER                                 -- computers have gone on and off up to here
) STRICT;
