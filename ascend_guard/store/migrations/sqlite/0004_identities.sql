-- People are told apart by who vouches for them and how they are called there; a name may be written in several ways.
-- One of a name and an identity: which names and identities belong together must not be forgotten.
CREATE TABLE told_apart (
    action_id INTEGER NOT NULL REFERENCES actions (id),
    approver TEXT NOT NULL,
    comment TEXT,
    at REAL NOT NULL,
    groups TEXT,                              -- JSON list: the approver's, as their token said; NULL where nobody signs in
    identity TEXT                             -- JSON list: the token's issuer and its sub; NULL where people have a name only
);
INSERT INTO told_apart SELECT action_id, approver, comment, at, groups, NULL FROM approvals;
DROP TABLE approvals;
ALTER TABLE told_apart RENAME TO approvals;
CREATE INDEX approvals_action ON approvals (action_id);
