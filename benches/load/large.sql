-- A large installation, made set-wise: customers c0000001 and on, ten ledger rows for each (seven in the month before, three in
-- this one), and the counters that follow from them. Run as one batch, in a session with `bench.customers` set.
--
-- Only these columns are relied on. What a recorded answer looked like is left out: it takes room in rows that no consume
-- reads again, and none in an index.

BEGIN;

-- Indexes are built faster over finished tables, and foreign keys are checked faster all at once.
CREATE TEMPORARY TABLE set_aside ON COMMIT DROP AS
SELECT conrelid::regclass::text AS relation,
       conname::text AS name,
       format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) AS restore,
       CASE contype WHEN 'f' THEN 1 ELSE 2 END AS step
FROM pg_constraint
WHERE (contype IN ('p', 'u') AND conrelid IN ('usage_events'::regclass, 'usage_metrics'::regclass))
   OR (contype = 'f' AND (conrelid IN ('usage_events'::regclass, 'usage_metrics'::regclass)
                          OR confrelid IN ('usage_events'::regclass, 'usage_metrics'::regclass)));

CREATE TEMPORARY TABLE indexes_aside ON COMMIT DROP AS
SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS restore
FROM pg_index
WHERE indrelid IN ('usage_events'::regclass, 'usage_metrics'::regclass)
  AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid);

DO $$
DECLARE
    object record;
BEGIN
    FOR object IN SELECT * FROM set_aside ORDER BY step LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', object.relation, object.name);
    END LOOP;
    FOR object IN SELECT * FROM indexes_aside LOOP
        EXECUTE format('DROP INDEX %s', object.name);
    END LOOP;
END $$;

INSERT INTO customers (customer_id, created_at, updated_at)
SELECT 'c' || lpad(customer::text, 7, '0'), now(), now()
FROM generate_series(1, current_setting('bench.customers')::integer) AS customer;

INSERT INTO usage_metrics (customer_id, metric_name, period_start, period_end, value, warning_level, updated_at)
SELECT 'c' || lpad(customer::text, 7, '0'),
       'attribution_runs',
       date_trunc('month', now()) - months * interval '1 month',
       date_trunc('month', now()) - (months - 1) * interval '1 month',
       CASE months WHEN 0 THEN 3 ELSE 7 END,
       0,
       now()
FROM generate_series(0, 1) AS months,
     generate_series(1, current_setting('bench.customers')::integer) AS customer;

-- In the order of time, as a ledger grows: neighbours in the table belong to different customers.
INSERT INTO usage_events (customer_id, event_id, metric_name, period_start, operation, quantity, source, idempotency_key,
                          fingerprint, occurred_at, recorded_at)
SELECT 'c' || lpad(customer::text, 7, '0'),
       -- Version 7: milliseconds first.
       (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(turn), 3, '0')
        || '8' || lpad(to_hex(customer), 15, '0'))::uuid,
       'attribution_runs',
       date_trunc('month', at),
       'consume',
       1,
       '',
       'seed-' || lpad(turn::text, 4, '0') || '-' || lpad(customer::text, 12, '0'),
       decode(md5(customer::text) || md5(turn::text), 'hex'),
       at,
       at
FROM (SELECT turn,
             CASE WHEN turn <= 7
                  THEN date_trunc('month', now()) - interval '1 month' + turn * interval '1 day'
                  ELSE date_trunc('month', now()) + (now() - date_trunc('month', now())) * (turn - 7) / 4
             END AS at
      FROM generate_series(1, 10) AS turn) AS turns,
     generate_series(1, current_setting('bench.customers')::integer) AS customer;

DO $$
DECLARE
    statement text;
BEGIN
    FOR statement IN SELECT restore FROM indexes_aside LOOP
        EXECUTE statement;
    END LOOP;
    FOR statement IN SELECT restore FROM set_aside ORDER BY step DESC LOOP
        EXECUTE statement;
    END LOOP;
END $$;

COMMIT;
