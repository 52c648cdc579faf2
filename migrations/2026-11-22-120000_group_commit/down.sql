-- Undoes the group commit's schema. Archived rows go back first; reservations are lost, as are adjustments' names: entries of
-- operations that the former schema does not know become `set`, which counts the same.
DROP VIEW ledger;
INSERT INTO usage_events SELECT * FROM usage_events_archive;
DROP TABLE usage_events_archive;

ALTER TABLE usage_metrics
    DROP COLUMN held,
    DROP COLUMN held_until,
    DROP CONSTRAINT usage_metrics_pkey,
    ADD PRIMARY KEY (customer_id, metric_name, period_start),
    ADD CONSTRAINT usage_metrics_customer_id_fkey FOREIGN KEY (customer_id) REFERENCES customers (customer_id);

CREATE INDEX usage_events_period_idx ON usage_events (customer_id, metric_name, occurred_at);
ALTER TABLE usage_events DROP CONSTRAINT usage_events_operation_check;
UPDATE usage_events SET operation = 'set', source = operation || ':' || event_id WHERE operation IN ('commit', 'adjust');
ALTER TABLE usage_events
    ADD CONSTRAINT usage_events_operation_check CHECK (operation IN ('consume', 'record', 'release', 'set')),
    ADD CONSTRAINT usage_events_customer_id_fkey FOREIGN KEY (customer_id) REFERENCES customers (customer_id);

DROP TABLE reservations;
