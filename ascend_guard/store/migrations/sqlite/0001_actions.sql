CREATE TABLE actions (
    id INTEGER PRIMARY KEY,
    organization TEXT NOT NULL,
    status TEXT NOT NULL,                 -- pending | approved | denied
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
    parent_action_id INTEGER,
    depth INTEGER NOT NULL,
    digest TEXT NOT NULL,                 -- keyed digest of the arguments that were approved
    created_at REAL NOT NULL,             -- seconds since the epoch, as every _at
    submitted_seq INTEGER NOT NULL,       -- its audit records, which need no index then
    started_seq INTEGER,
    completed_seq INTEGER,
    -- the wait for a person
    fingerprint TEXT,                     -- the same call again has the same one
    requirements TEXT,                    -- JSON list: which groups must approve, and how many, for which rule
    quorum INTEGER,
    timeout REAL,                         -- seconds
    expires_at REAL,
    decided_at REAL,
    decided_by TEXT,
    edits TEXT,                           -- JSON object: argument values an approver changed
    waiter TEXT,                          -- the process whose call waits for the decision
    -- the run
    runner TEXT,                          -- the process that took the permit
    claimed_at REAL,
    outcome TEXT,                         -- completed | failed | unknown
    settled_at REAL,
    duration REAL,
    error TEXT
);
CREATE INDEX actions_undecided ON actions (expires_at) WHERE expires_at IS NOT NULL AND claimed_at IS NULL;
CREATE INDEX actions_pending ON actions (id) WHERE status = 'pending';
CREATE INDEX actions_repeatable ON actions (fingerprint) WHERE fingerprint IS NOT NULL;
CREATE INDEX actions_session ON actions (session_id) WHERE session_id IS NOT NULL;

CREATE TABLE runners (                    -- processes that have claimed something
    runner TEXT PRIMARY KEY,
    since INTEGER NOT NULL                -- its first claimed action
) WITHOUT ROWID;

CREATE TABLE approvals (
    action_id INTEGER NOT NULL REFERENCES actions (id),
    approver TEXT NOT NULL,
    comment TEXT,
    at REAL NOT NULL,
    PRIMARY KEY (action_id, approver)
) WITHOUT ROWID;

CREATE TABLE kill_switches (
    organization TEXT NOT NULL,
    agent_id TEXT NOT NULL,               -- '' means every agent of the organization
    reason TEXT NOT NULL,
    activated_at REAL NOT NULL,
    activated_by TEXT NOT NULL,
    PRIMARY KEY (organization, agent_id)
) WITHOUT ROWID;

CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    action_id INTEGER,
    event TEXT NOT NULL,
    body BLOB NOT NULL,                   -- the exact bytes that were hashed
    hash BLOB NOT NULL
);
CREATE INDEX audit_action ON audit (action_id)
    WHERE action_id IS NOT NULL AND event<>'submitted' AND event<>'started' AND event<>'completed';

CREATE TABLE head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL,
    mac BLOB NOT NULL,
    kill_version INTEGER NOT NULL         -- grows with every turn of a kill switch
);
