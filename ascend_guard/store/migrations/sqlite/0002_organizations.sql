-- Records of every organization in one trail; 'local' is the one there was. Indexes leave it out: embedded it is all there is.
ALTER TABLE audit ADD COLUMN organization TEXT NOT NULL DEFAULT 'local';
CREATE INDEX audit_organization ON audit (organization, seq) WHERE organization <> 'local';
CREATE INDEX actions_organization ON actions (organization, id) WHERE organization <> 'local';

ALTER TABLE runners ADD COLUMN seen_at REAL;  -- when a process behind HTTP was last heard of

CREATE TABLE records (                        -- what an organization has registered: agents, keys, servers, webhooks ...
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    organization TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    body BLOB NOT NULL,                       -- JSON object
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    due_at REAL,                              -- when something must be done about it
    UNIQUE (organization, kind, name)
);
CREATE INDEX records_name ON records (kind, name);
CREATE INDEX records_due ON records (kind, due_at) WHERE due_at IS NOT NULL;

ALTER TABLE approvals ADD COLUMN groups TEXT; -- JSON list: the approver's, as their token said; NULL where nobody signs in
