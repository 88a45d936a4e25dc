-- Reports of usage that somebody asked for; the request is JSON. Who knows the secret may fetch it.
CREATE TABLE usage_reports (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account INTEGER NOT NULL,
    request TEXT NOT NULL,
    secret TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    available_at INTEGER
);
CREATE INDEX usage_reports_by_account ON usage_reports (account, id);
