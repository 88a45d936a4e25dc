-- Who works on a product beside its owner. API users are accounts without a password.
CREATE TABLE members (
    product INTEGER NOT NULL,
    account INTEGER NOT NULL,
    role TEXT NOT NULL,
    programmatic INTEGER NOT NULL,
    added_at INTEGER NOT NULL,
    PRIMARY KEY (product, account)
) WITHOUT ROWID;
CREATE INDEX members_by_account ON members (account);

-- Customers of products: accounts whose name is the product's own.
CREATE TABLE customers (
    account INTEGER NOT NULL PRIMARY KEY,
    product INTEGER NOT NULL,
    email TEXT NOT NULL,
    created_at INTEGER NOT NULL
);
CREATE INDEX customers_by_product ON customers (product, account);

-- Absent: the account's own.
ALTER TABLE clients ADD COLUMN product INTEGER;

-- Devices that may not come back into a product by themselves.
CREATE TABLE denied_devices (
    product INTEGER NOT NULL,
    device BLOB NOT NULL,
    denied_at INTEGER NOT NULL,
    PRIMARY KEY (product, device)
) WITHOUT ROWID;

CREATE TABLE serial_numbers (
    serial_key TEXT NOT NULL PRIMARY KEY,
    serial TEXT NOT NULL,
    device BLOB NOT NULL UNIQUE
) WITHOUT ROWID;

-- Ways to a new password; of what was mailed only the SHA-256 is kept.
CREATE TABLE password_resets (
    hash BLOB NOT NULL PRIMARY KEY,
    account INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;

-- Mails that are no notices; those handed over go.
CREATE TABLE letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    address TEXT NOT NULL,
    subject TEXT NOT NULL,
    body TEXT NOT NULL,
    at INTEGER NOT NULL
);

-- What webhooks sent and got; the body is JSON.
CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook TEXT NOT NULL,
    at INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    event TEXT NOT NULL,
    origin TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX deliveries_by_webhook ON deliveries (webhook, id);
CREATE INDEX deliveries_by_time ON deliveries (at);

ALTER TABLE refresh_tokens ADD COLUMN scopes TEXT NOT NULL DEFAULT '';
