-- People are told apart by who vouches for them and how they are called there; a name may be written in several ways.
ALTER TABLE approvals ADD COLUMN identity TEXT; -- JSON list: the token's issuer and its sub; NULL where people have a name only
