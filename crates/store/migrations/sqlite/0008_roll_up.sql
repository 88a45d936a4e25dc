-- How far the ledger is rolled up: sums of hours before `days` are sums of days, those before `months` sums of
-- months as far as their billing period is closed. What lies there as an hour all the same means its day or month.
CREATE TABLE rolled_up (
    one INTEGER NOT NULL PRIMARY KEY,
    days INTEGER NOT NULL,
    months INTEGER NOT NULL
);
INSERT INTO rolled_up (one, days, months) VALUES (1, 0, 0);
