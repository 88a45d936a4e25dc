-- The firmware of products. Files lie elsewhere, each under its SHA-256.
CREATE TABLE firmware (
    product INTEGER NOT NULL,
    version INTEGER NOT NULL,
    title TEXT NOT NULL,
    description TEXT NOT NULL,
    name TEXT NOT NULL,
    mandatory INTEGER NOT NULL,
    file BLOB NOT NULL,
    bytes INTEGER NOT NULL,
    uploaded_by INTEGER NOT NULL,
    uploaded_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (product, version)
) WITHOUT ROWID;
CREATE INDEX firmware_by_file ON firmware (file);

CREATE TABLE system_modules (
    file BLOB NOT NULL PRIMARY KEY,
    platform INTEGER NOT NULL,
    function INTEGER NOT NULL,
    place INTEGER NOT NULL,
    version INTEGER NOT NULL,
    dependencies BLOB NOT NULL,
    name TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    added_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE device_groups (
    product INTEGER NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    color TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (product, name)
) WITHOUT ROWID;

-- A device is in groups of its own product alone: what is assigned goes when it leaves. Groups: packed names.
CREATE TABLE assignments (
    device BLOB NOT NULL PRIMARY KEY,
    groups_in BLOB NOT NULL,
    desired INTEGER,
    development INTEGER NOT NULL
) WITHOUT ROWID;

-- Groups: packed names, none for all devices. The state is JSON.
CREATE TABLE releases (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    product INTEGER NOT NULL,
    version INTEGER NOT NULL,
    groups_for BLOB NOT NULL,
    made_by INTEGER NOT NULL,
    made_at INTEGER NOT NULL,
    ended_at INTEGER,
    state TEXT NOT NULL
);
CREATE INDEX releases_by_product ON releases (product, id);
CREATE INDEX releases_in_force ON releases (id) WHERE ended_at IS NULL;

CREATE TABLE release_devices (
    release_id INTEGER NOT NULL,
    device BLOB NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (release_id, device)
) WITHOUT ROWID;

CREATE TABLE updates (
    device BLOB NOT NULL PRIMARY KEY,
    id INTEGER NOT NULL,
    file BLOB NOT NULL,
    is_open INTEGER NOT NULL,
    asked_at INTEGER NOT NULL,
    body TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX updates_open ON updates (id) WHERE is_open = 1;
