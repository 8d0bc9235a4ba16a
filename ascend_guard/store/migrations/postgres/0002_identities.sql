-- People are told apart by who vouches for them and how they are called there; a name may be written in several ways.
-- One of a name and an identity: which names and identities belong together must not be forgotten.
ALTER TABLE approvals ADD COLUMN identity text; -- JSON list: the token's issuer and its sub; NULL where people have a name only
