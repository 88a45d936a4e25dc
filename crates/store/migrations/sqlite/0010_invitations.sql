-- Who may create an account; of the code that was mailed only the SHA-256 is kept.
CREATE TABLE invitations (
    email_key TEXT NOT NULL PRIMARY KEY,
    email TEXT NOT NULL,
    code BLOB NOT NULL,
    made_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX denied_devices_by_device ON denied_devices (device);
