-- Locations that devices told and that are stored; the newest of each device.
CREATE TABLE points (
    device BLOB NOT NULL,
    told_at INTEGER NOT NULL,
    latitude REAL NOT NULL,
    longitude REAL NOT NULL,
    PRIMARY KEY (device, told_at)
) WITHOUT ROWID;
