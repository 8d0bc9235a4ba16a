-- One log for each organization; the tables of actions, approvals, switches and things are computed from it.
-- A key is the organization's number << 40 | a number that counts within the organization.
CREATE TABLE heads (                          -- the end of each log
    number INTEGER PRIMARY KEY,
    organization TEXT NOT NULL UNIQUE,        -- '' is the system's own
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL,
    mac BLOB NOT NULL,
    last_action INTEGER NOT NULL,
    turns INTEGER NOT NULL,                    -- how often a kill switch was turned
    projected INTEGER NOT NULL                -- the record up to which the tables are computed
);

CREATE TABLE log (
    key INTEGER PRIMARY KEY,
    action INTEGER,                           -- the key of the action that it is about
    event TEXT NOT NULL,
    body BLOB NOT NULL,                       -- the exact bytes that were hashed
    salt BLOB NOT NULL,
    leaf BLOB NOT NULL
);
CREATE INDEX log_action ON log (action)
    WHERE action IS NOT NULL AND event<>'submitted' AND event<>'started' AND event<>'completed';

ALTER TABLE actions RENAME TO old_actions;
DROP INDEX actions_undecided;
DROP INDEX actions_pending;
DROP INDEX actions_repeatable;
DROP INDEX actions_session;
DROP INDEX actions_organization;
CREATE TABLE actions (
    key INTEGER PRIMARY KEY,
    status TEXT NOT NULL,                     -- pending | approved | denied
    agent_id TEXT NOT NULL,
    agent_name TEXT NOT NULL,
    action_type TEXT NOT NULL,
    tool_name TEXT NOT NULL,
    resource TEXT NOT NULL,
    risk_score REAL NOT NULL,
    risk_level TEXT NOT NULL,
    rule TEXT,
    reason TEXT NOT NULL,
    session_id TEXT,
    orchestration_session_id TEXT,
    parent_action_id INTEGER,                 -- in the same organization
    depth INTEGER NOT NULL,
    digest TEXT NOT NULL,                     -- keyed digest of the arguments that were approved
    created_at REAL NOT NULL,                 -- seconds since the epoch, as every _at
    submitted_seq INTEGER NOT NULL,           -- its records in the log, which need no index then
    started_seq INTEGER,
    completed_seq INTEGER,
    -- the wait for a person
    fingerprint TEXT,                         -- the same call again has the same one
    requirements TEXT,                        -- JSON list: which groups must approve, and how many, for which rule
    quorum INTEGER,
    timeout REAL,                             -- seconds
    expires_at REAL,
    decided_at REAL,
    decided_by TEXT,
    edits TEXT,                               -- JSON object: argument values an approver changed
    waiter TEXT,                              -- the process whose call waits for the decision
    -- the run
    runner TEXT,                              -- the process that took the permit
    claimed_at REAL,
    outcome TEXT,                             -- completed | failed | handed_over | unknown
    settled_at REAL,
    duration REAL,
    error TEXT
);
CREATE INDEX actions_undecided ON actions (expires_at) WHERE expires_at IS NOT NULL AND claimed_at IS NULL;
CREATE INDEX actions_pending ON actions (key) WHERE status = 'pending';
CREATE INDEX actions_repeatable ON actions (fingerprint) WHERE fingerprint IS NOT NULL;
CREATE INDEX actions_session ON actions (session_id) WHERE session_id IS NOT NULL;

ALTER TABLE approvals RENAME TO old_approvals;
DROP INDEX approvals_action;
CREATE TABLE approvals (
    action INTEGER NOT NULL,                  -- the key of the action
    approver TEXT NOT NULL,
    comment TEXT,
    at REAL NOT NULL,
    groups TEXT,                              -- JSON list: the approver's, as their token said; NULL where nobody signs in
    identity TEXT                             -- JSON list: the token's issuer and its sub; NULL where people have a name only
);
CREATE INDEX approvals_action ON approvals (action);

ALTER TABLE kill_switches RENAME TO old_kill_switches;
CREATE TABLE kill_switches (
    organization TEXT NOT NULL,
    agent_id TEXT NOT NULL,                   -- '' means every agent of the organization
    reason TEXT NOT NULL,
    activated_at REAL NOT NULL,
    activated_by TEXT NOT NULL,
    PRIMARY KEY (organization, agent_id)
) WITHOUT ROWID;

CREATE TABLE things (                         -- what an organization has registered: agents, keys, servers, webhooks ...
    id INTEGER NOT NULL,                      -- the record that registered it
    organization TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    body BLOB NOT NULL,                       -- JSON object
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    due_at REAL,                              -- when something must be done about it
    UNIQUE (organization, kind, name)
);
CREATE INDEX things_number ON things (organization, kind, id);
CREATE INDEX things_name ON things (kind, name);
CREATE INDEX things_due ON things (kind, due_at) WHERE due_at IS NOT NULL;

-- What follows is not computed from the log.
ALTER TABLE records RENAME TO old_records;
DROP INDEX records_name;
DROP INDEX records_due;
CREATE TABLE bookkeeping (                    -- what is still to be sent, counted or forgotten
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    organization TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    body BLOB NOT NULL,                       -- JSON object
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    due_at REAL,
    UNIQUE (organization, kind, name)
);
CREATE INDEX bookkeeping_name ON bookkeeping (kind, name);
CREATE INDEX bookkeeping_due ON bookkeeping (kind, due_at) WHERE due_at IS NOT NULL;

ALTER TABLE runners RENAME TO old_runners;
CREATE TABLE runners (                        -- processes that have claimed something
    runner TEXT NOT NULL,
    organization TEXT NOT NULL,
    since INTEGER NOT NULL,                   -- the key of its first claimed action there
    seen_at REAL,                             -- when a process behind HTTP was last heard of
    PRIMARY KEY (runner, organization)
) WITHOUT ROWID;
