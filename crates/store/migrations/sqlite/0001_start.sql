-- Ids of devices are 12 bytes, hashes 32, times milliseconds since 1970 UTC, hours whole hours since 1970.

CREATE TABLE accounts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    info TEXT,
    created_at INTEGER NOT NULL
);

CREATE TABLE tokens (
    hash BLOB NOT NULL PRIMARY KEY,
    prefix TEXT NOT NULL,
    account INTEGER NOT NULL,
    client TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER
) WITHOUT ROWID;
CREATE INDEX tokens_by_account ON tokens (account, created_at);

CREATE TABLE refresh_tokens (
    hash BLOB NOT NULL PRIMARY KEY,
    access BLOB NOT NULL,
    account INTEGER NOT NULL,
    client TEXT NOT NULL,
    expires_at INTEGER
) WITHOUT ROWID;
CREATE INDEX refresh_tokens_by_access ON refresh_tokens (access);
CREATE INDEX refresh_tokens_by_account ON refresh_tokens (account);

CREATE TABLE claims (
    hash BLOB NOT NULL PRIMARY KEY,
    account INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE settings (
    name TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE products (
    id INTEGER NOT NULL PRIMARY KEY,
    account INTEGER NOT NULL,
    name TEXT NOT NULL,
    slug TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    platform INTEGER NOT NULL,
    location_opt_in INTEGER NOT NULL,
    created_at INTEGER NOT NULL
);
CREATE INDEX products_by_account ON products (account);

CREATE TABLE devices (
    id BLOB NOT NULL PRIMARY KEY,
    account INTEGER,
    product INTEGER,
    name TEXT,
    name_key TEXT,
    platform INTEGER,
    key_hash BLOB,
    first_use INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    claimed_at INTEGER,
    notes TEXT
) WITHOUT ROWID;
CREATE UNIQUE INDEX devices_by_name ON devices (account, name_key);
CREATE INDEX devices_by_key ON devices (key_hash);
CREATE INDEX devices_by_product ON devices (product) WHERE product IS NOT NULL;

-- A key may serve several devices.
CREATE TABLE device_keys (
    hash BLOB NOT NULL PRIMARY KEY,
    spki BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE former_keys (
    device BLOB NOT NULL,
    replaced_at INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (device, replaced_at, hash)
) WITHOUT ROWID;

-- What follows is folded from the journal, up to the place in this table's only row.
CREATE TABLE folded (
    one INTEGER NOT NULL PRIMARY KEY,
    place INTEGER NOT NULL
);
INSERT INTO folded (one, place) VALUES (1, 1);

-- What changes often about a device.
CREATE TABLE pulse (
    device BLOB NOT NULL PRIMARY KEY,
    record_limit INTEGER NOT NULL,
    record_seen INTEGER NOT NULL,
    online INTEGER,
    last_heard INTEGER,
    handshake_at INTEGER,
    peer TEXT,
    platform INTEGER,
    application BLOB
) WITHOUT ROWID;

CREATE TABLE sessions (
    device BLOB NOT NULL PRIMARY KEY,
    body BLOB NOT NULL,
    subscriptions BLOB NOT NULL
) WITHOUT ROWID;

-- Application descriptions by their own hash: a fleet has few different ones.
CREATE TABLE descriptions (
    id BLOB NOT NULL PRIMARY KEY,
    body BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE systems (
    device BLOB NOT NULL PRIMARY KEY,
    body BLOB NOT NULL,
    told_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE vitals (
    device BLOB NOT NULL,
    told_at INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (device, told_at)
) WITHOUT ROWID;

-- The same charges twice: small sums to bill by, and the detail. Product 0: none.
CREATE TABLE ledger_accounts (
    account INTEGER NOT NULL,
    hour INTEGER NOT NULL,
    product INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    operations INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (account, hour, product, kind)
) WITHOUT ROWID;

CREATE TABLE ledger_devices (
    account INTEGER NOT NULL,
    hour INTEGER NOT NULL,
    device BLOB NOT NULL,
    product INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    operations INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (account, hour, device, product, kind)
) WITHOUT ROWID;
