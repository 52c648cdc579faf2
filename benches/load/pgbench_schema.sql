-- A minimal consume's two tables, with the keys that the product's have. `:customers` is replaced by their number.
CREATE TABLE peer_ledger (
    customer_id      TEXT        NOT NULL,
    event_id         UUID        NOT NULL,
    metric_name      TEXT        NOT NULL,
    period_start     TIMESTAMPTZ NOT NULL,
    operation        TEXT        NOT NULL,
    quantity         BIGINT      NOT NULL,
    source           TEXT        NOT NULL,
    idempotency_key  TEXT        NOT NULL,
    recorded_at      TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (customer_id, event_id),
    UNIQUE (customer_id, operation, source, idempotency_key)
);
CREATE TABLE peer_counters (
    customer_id   TEXT        NOT NULL,
    metric_name   TEXT        NOT NULL,
    period_start  TIMESTAMPTZ NOT NULL,
    value         BIGINT      NOT NULL,
    updated_at    TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (customer_id, metric_name, period_start)
);
INSERT INTO peer_counters
SELECT 'c' || customer, 'attribution_runs', date_trunc('month', now()), 0, now()
FROM generate_series(1, :customers) AS customer;
