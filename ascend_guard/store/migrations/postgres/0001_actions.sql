CREATE TABLE actions (
    id bigint PRIMARY KEY,                -- handed out by head
    organization text NOT NULL,
    status text NOT NULL,                 -- pending | approved | denied
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
    parent_action_id bigint,
    depth bigint NOT NULL,
    digest text NOT NULL,                 -- keyed digest of the arguments that were approved
    created_at double precision NOT NULL, -- seconds since the epoch, as every _at
    submitted_seq bigint NOT NULL,        -- its audit records, which need no index then
    started_seq bigint,
    completed_seq bigint,
    -- the wait for a person
    fingerprint text,                     -- the same call again has the same one
    requirements text,                    -- JSON list: which groups must approve, and how many, for which rule
    quorum bigint,
    timeout double precision,             -- seconds
    expires_at double precision,
    decided_at double precision,
    decided_by text,
    edits text,                           -- JSON object: argument values an approver changed
    waiter text,                          -- the process whose call waits for the decision
    -- the run
    runner text,                          -- the process that took the permit
    claimed_at double precision,
    outcome text,                         -- completed | failed | unknown
    settled_at double precision,
    duration double precision,
    error text
) WITH (fillfactor = 80);                 -- room for outcomes, which come soon after and touch no index
CREATE INDEX actions_undecided ON actions (expires_at) WHERE expires_at IS NOT NULL AND claimed_at IS NULL;
CREATE INDEX actions_pending ON actions (id) WHERE status = 'pending';
CREATE INDEX actions_repeatable ON actions (fingerprint) WHERE fingerprint IS NOT NULL;
CREATE INDEX actions_session ON actions USING hash (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX actions_organization ON actions (organization, id) WHERE organization <> 'local';

CREATE TABLE runners (                    -- processes that have claimed something
    runner text PRIMARY KEY,
    since bigint NOT NULL,                -- its first claimed action
    seen_at double precision              -- when a process behind HTTP was last heard of
);

CREATE TABLE approvals (
    action_id bigint NOT NULL,
    approver text COLLATE "C" NOT NULL,
    comment text,
    at double precision NOT NULL,
    groups text                           -- JSON list: the approver's, as their token said; NULL where nobody signs in
);
CREATE INDEX approvals_action ON approvals (action_id); -- one of a person, as names may be longer than an index takes

CREATE TABLE kill_switches (
    organization text NOT NULL,
    agent_id text NOT NULL,               -- '' means every agent of the organization
    reason text NOT NULL,
    activated_at double precision NOT NULL,
    activated_by text NOT NULL
);                                        -- no index: few, read all at once, and agents' names have no bound

CREATE TABLE audit (
    seq bigint PRIMARY KEY,
    action_id bigint,
    event text NOT NULL,
    body bytea NOT NULL,                  -- the exact bytes that were hashed
    hash bytea NOT NULL,
    organization text NOT NULL
);
CREATE INDEX audit_action ON audit (action_id)
    WHERE action_id IS NOT NULL AND event <> 'submitted' AND event <> 'started' AND event <> 'completed';
CREATE INDEX audit_organization ON audit (organization, seq) WHERE organization <> 'local';

CREATE TABLE head (                       -- a process that writes locks its row: replicas take turns
    one integer PRIMARY KEY CHECK (one = 1),
    seq bigint NOT NULL,
    hash bytea NOT NULL,
    mac bytea NOT NULL,
    kill_version bigint NOT NULL,         -- grows with every turn of a kill switch
    last_action bigint NOT NULL           -- the newest action's id
) WITH (fillfactor = 10);                 -- one row, changed by every group of writes

CREATE TABLE records (                    -- what an organization has registered: agents, keys, servers, webhooks ...
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    organization text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    body bytea NOT NULL,                  -- JSON object
    created_at double precision NOT NULL,
    updated_at double precision NOT NULL,
    due_at double precision,              -- when something must be done about it
    UNIQUE (organization, kind, name)
);
CREATE INDEX records_name ON records (kind, name);
CREATE INDEX records_due ON records (kind, due_at) WHERE due_at IS NOT NULL;
