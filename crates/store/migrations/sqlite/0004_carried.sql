-- Bytes over the carrier, with their headers: small sums to limit by, and the detail. Product 0: none.
CREATE TABLE carried_accounts (
    account INTEGER NOT NULL,
    hour INTEGER NOT NULL,
    product INTEGER NOT NULL,
    bearer INTEGER NOT NULL,
    received INTEGER NOT NULL,
    sent INTEGER NOT NULL,
    PRIMARY KEY (account, hour, product, bearer)
) WITHOUT ROWID;

CREATE TABLE carried_devices (
    account INTEGER NOT NULL,
    hour INTEGER NOT NULL,
    device BLOB NOT NULL,
    product INTEGER NOT NULL,
    bearer INTEGER NOT NULL,
    received INTEGER NOT NULL,
    sent INTEGER NOT NULL,
    PRIMARY KEY (account, hour, device, product, bearer)
) WITHOUT ROWID;

-- Whether the device's Describe told of a modem.
ALTER TABLE pulse ADD COLUMN has_modem INTEGER;
