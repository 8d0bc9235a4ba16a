-- One log for each organization; the tables of actions, approvals, switches and things are computed from it.
-- A key is the organization's number << 40 | a number that counts within the organization.
CREATE TABLE heads (                          -- the end of each log
    number bigint PRIMARY KEY,
    organization text NOT NULL UNIQUE,        -- '' is the system's own
    seq bigint NOT NULL,
    hash bytea NOT NULL,
    mac bytea NOT NULL,
    last_action bigint NOT NULL,
    turns bigint NOT NULL,                     -- how often a kill switch was turned
    projected bigint NOT NULL                -- the record up to which the tables are computed
) WITH (fillfactor = 10);                     -- changed by every group of writes

CREATE TABLE writing (one integer PRIMARY KEY CHECK (one = 1)); -- a process that writes locks its row: replicas take turns
INSERT INTO writing VALUES (1);

CREATE TABLE log (
    key bigint PRIMARY KEY,
    action bigint,                           -- the key of the action that it is about
    event text NOT NULL,
    body bytea NOT NULL,                       -- the exact bytes that were hashed
    salt bytea NOT NULL,
    leaf bytea NOT NULL
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
    key bigint PRIMARY KEY,
    status text NOT NULL,                     -- pending | approved | denied
    agent_id text NOT NULL,
    agent_name text NOT NULL,
    action_type text NOT NULL,
    tool_name text NOT NULL,
    resource text NOT NULL,
    risk_score double precision NOT NULL,
    risk_level text NOT NULL,
    rule text,
    reason text NOT NULL,
    session_id text,
    orchestration_session_id text,
    parent_action_id bigint,                 -- in the same organization
    depth bigint NOT NULL,
    digest text NOT NULL,                     -- keyed digest of the arguments that were approved
    created_at double precision NOT NULL, -- seconds since the epoch, as every _at
    submitted_seq bigint NOT NULL,           -- its records in the log, which need no index then
    started_seq bigint,
    completed_seq bigint,
    -- the wait for a person
    fingerprint text,                         -- the same call again has the same one
    requirements text,                        -- JSON list: which groups must approve, and how many, for which rule
    quorum bigint,
    timeout double precision,             -- seconds
    expires_at double precision,
    decided_at double precision,
    decided_by text,
    edits text,                               -- JSON object: argument values an approver changed
    waiter text,                              -- the process whose call waits for the decision
    -- the run
    runner text,                              -- the process that took the permit
    claimed_at double precision,
    outcome text,                             -- completed | failed | handed_over | unknown
    settled_at double precision,
    duration double precision,
    error text
) WITH (fillfactor = 80);                     -- room for outcomes, which come soon after and touch no index
CREATE INDEX actions_undecided ON actions (expires_at) WHERE expires_at IS NOT NULL AND claimed_at IS NULL;
CREATE INDEX actions_pending ON actions (key) WHERE status = 'pending';
CREATE INDEX actions_repeatable ON actions (fingerprint) WHERE fingerprint IS NOT NULL;
CREATE INDEX actions_session ON actions USING hash (session_id) WHERE session_id IS NOT NULL;

ALTER TABLE approvals RENAME TO old_approvals;
DROP INDEX approvals_action;
CREATE TABLE approvals (
    action bigint NOT NULL,                  -- the key of the action
    approver text COLLATE "C" NOT NULL,
    comment text,
    at double precision NOT NULL,
    groups text,                              -- JSON list: the approver's, as their token said; NULL where nobody signs in
    identity text                             -- JSON list: the token's issuer and its sub; NULL where people have a name only
);
CREATE INDEX approvals_action ON approvals (action);

ALTER TABLE kill_switches RENAME TO old_kill_switches;
CREATE TABLE kill_switches (
    organization text NOT NULL,
    agent_id text NOT NULL,                   -- '' means every agent of the organization
    reason text NOT NULL,
    activated_at double precision NOT NULL,
    activated_by text NOT NULL
);                                            -- no index: few, and agents' names have no bound

CREATE TABLE things (                         -- what an organization has registered: agents, keys, servers, webhooks ...
    id bigint NOT NULL,                      -- the record that registered it
    organization text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    body bytea NOT NULL,                       -- JSON object
    created_at double precision NOT NULL,
    updated_at double precision NOT NULL,
    due_at double precision,                              -- when something must be done about it
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
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    organization text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    body bytea NOT NULL,                       -- JSON object
    created_at double precision NOT NULL,
    updated_at double precision NOT NULL,
    due_at double precision,
    UNIQUE (organization, kind, name)
);
CREATE INDEX bookkeeping_name ON bookkeeping (kind, name);
CREATE INDEX bookkeeping_due ON bookkeeping (kind, due_at) WHERE due_at IS NOT NULL;

ALTER TABLE runners RENAME TO old_runners;
CREATE TABLE runners (                        -- processes that have claimed something
    runner text NOT NULL,
    organization text NOT NULL,
    since bigint NOT NULL,                   -- the key of its first claimed action there
    seen_at double precision,                             -- when a process behind HTTP was last heard of
    PRIMARY KEY (runner, organization)
);
