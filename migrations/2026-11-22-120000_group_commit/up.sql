-- What the meter's group commit needs. Why:
--   * Holds: a reservation counts until it is settled or, by the database's clock, expired. Nothing has to clean up for that to hold.
--     Their sum is kept with the counter: summing up thousands of settled reservations' remains would slow every admission down.
--   * The meter writes ledger rows and counters under its lock on the customer's row, which it reads or makes first, so their
--     foreign keys prove nothing that is not known and cost a trigger for every row: they go.
--   * Event ids are ordered by the time of recording, so a span of the ledger is found by them: the index by `occurred_at` goes.
--   * All counters of a customer's current period are read together: the key leads to them.
--   * Old months can be moved aside; their keys are remembered there, and the sums of both parts together are the counters.

CREATE TABLE reservations (
    customer_id         TEXT        NOT NULL,
    reservation_id      UUID        NOT NULL,
    metric_name         TEXT        NOT NULL,
    -- The counter it settles in: the period in which it was made.
    period_start        TIMESTAMPTZ NOT NULL,
    period_end          TIMESTAMPTZ,
    -- Expiry is no state: a held reservation counts while the database's clock is before `expires_at`.
    state               TEXT        NOT NULL CONSTRAINT reservations_state_check
                        CHECK (state IN ('held', 'committed', 'released')),
    quantity            BIGINT      NOT NULL CONSTRAINT reservations_quantity_check CHECK (quantity > 0),
    committed_quantity  BIGINT      CONSTRAINT reservations_committed_check
                        CHECK (committed_quantity BETWEEN 0 AND quantity),
    idempotency_key     TEXT,
    -- SHA-256 of the request after defaults: another payload under the same key is refused.
    fingerprint         BYTEA,
    -- The numbers of the answers, to be given again: of the hold (where it has a key) and of its commit.
    outcome             JSONB,
    settlement          JSONB,
    -- The ledger entry of its commit; NULL: nothing was recorded.
    event_id            UUID,
    created_at          TIMESTAMPTZ NOT NULL,
    expires_at          TIMESTAMPTZ NOT NULL,
    settled_at          TIMESTAMPTZ,
    PRIMARY KEY (customer_id, reservation_id)
);
CREATE UNIQUE INDEX reservations_idempotency_key ON reservations (customer_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX reservations_held_idx ON reservations (customer_id, expires_at) WHERE state = 'held';

ALTER TABLE usage_events
    DROP CONSTRAINT usage_events_customer_id_fkey,
    DROP CONSTRAINT usage_events_operation_check,
    ADD CONSTRAINT usage_events_operation_check
        CHECK (operation IN ('consume', 'record', 'release', 'set', 'commit', 'adjust'));
DROP INDEX usage_events_period_idx;

ALTER TABLE usage_metrics
    -- What live reservations hold of the counter, and the first instant at which one of them may have expired: until then
    -- the sum is exact, from then on it is summed up anew. NULL: nothing is held.
    ADD COLUMN held BIGINT NOT NULL DEFAULT 0 CONSTRAINT usage_metrics_held_check CHECK (held >= 0),
    ADD COLUMN held_until TIMESTAMPTZ,
    DROP CONSTRAINT usage_metrics_customer_id_fkey,
    DROP CONSTRAINT usage_metrics_pkey,
    ADD PRIMARY KEY (customer_id, period_start, metric_name);

-- Old months of the ledger. Their keys stay remembered, so it has the ledger's key, too.
CREATE TABLE usage_events_archive (
    LIKE usage_events INCLUDING DEFAULTS,
    PRIMARY KEY (customer_id, event_id),
    CONSTRAINT usage_events_archive_idempotency_key UNIQUE (customer_id, operation, source, idempotency_key)
);

-- The whole ledger, wherever its rows lie.
CREATE VIEW ledger AS
    SELECT * FROM usage_events
    UNION ALL
    SELECT * FROM usage_events_archive;
