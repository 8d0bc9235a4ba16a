CREATE TABLE switch_file (                    -- which file beside the database holds the kill switches, and how much of it is recorded
    one INTEGER PRIMARY KEY CHECK (one = 1),
    nonce TEXT NOT NULL,
    size INTEGER NOT NULL,                    -- bytes whose switches are in kill_switches and in the trail
    digest BLOB NOT NULL                      -- SHA-256 of those bytes
);
