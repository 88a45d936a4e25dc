-- The secret of an account's one-time passwords, and the last time step that one was used for.
CREATE TABLE second_factors (
    account INTEGER NOT NULL PRIMARY KEY,
    secret BLOB NOT NULL,
    last_step INTEGER NOT NULL
);

-- OAuth clients; of their secrets only the SHA-256 is kept.
CREATE TABLE clients (
    id TEXT NOT NULL PRIMARY KEY,
    account INTEGER NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    redirect_uri TEXT,
    scope TEXT,
    secret BLOB NOT NULL,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX clients_by_account ON clients (account, created_at);

-- The definition is JSON.
CREATE TABLE webhooks (
    id TEXT NOT NULL PRIMARY KEY,
    account INTEGER NOT NULL,
    product INTEGER,
    definition TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX webhooks_by_account ON webhooks (account, created_at);

-- What became of a webhook's deliveries; days since 1970.
CREATE TABLE webhook_days (
    webhook TEXT NOT NULL,
    day INTEGER NOT NULL,
    succeeded INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    skipped INTEGER NOT NULL,
    discarded INTEGER NOT NULL,
    PRIMARY KEY (webhook, day)
) WITHOUT ROWID;
