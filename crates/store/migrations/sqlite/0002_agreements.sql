-- What an account agreed to and what its keeper remembers, as JSON; the hours of its open billing period.
-- What is folded later for an hour before the open period counts in its first hour.
CREATE TABLE agreements (
    account INTEGER NOT NULL PRIMARY KEY,
    agreement TEXT NOT NULL,
    keeper TEXT NOT NULL,
    opened INTEGER NOT NULL,
    closes INTEGER NOT NULL
);

-- What accounts were told, oldest first; the body is JSON.
CREATE TABLE notices (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account INTEGER NOT NULL,
    at INTEGER NOT NULL,
    body TEXT NOT NULL,
    mailed_at INTEGER
);
CREATE INDEX notices_by_account ON notices (account, id);
CREATE INDEX notices_to_mail ON notices (id) WHERE mailed_at IS NULL;

-- Periods that ended; the body is JSON.
CREATE TABLE closed_periods (
    account INTEGER NOT NULL,
    opened INTEGER NOT NULL,
    closed INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (account, opened)
) WITHOUT ROWID;
