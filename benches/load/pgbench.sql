\set customer random(1, :customers)
\set key random(1, 9000000000000000)
BEGIN;
INSERT INTO peer_ledger VALUES ('c' || :customer::text, gen_random_uuid(), 'attribution_runs', date_trunc('month', now()), 'consume', 1, '', :key::text, now());
UPDATE peer_counters SET value = value + 1, updated_at = now() WHERE customer_id = 'c' || :customer::text AND metric_name = 'attribution_runs' AND period_start = date_trunc('month', now());
COMMIT;
