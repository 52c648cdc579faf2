-- Moves old ledger rows from usage_events to usage_events_archive, up to 20 000 at a time. Repeat until it says
-- "INSERT 0 0". Each run is one statement, so at no instant is a row in both tables or in neither: counters equal the ledger
-- throughout, and every key stays remembered. The service may run.
--
--   psql "$DATABASE_URL" -v before="'2026-01-01'" -f ops/archive-ledger.sql
WITH chosen AS (
    SELECT customer_id, event_id
    FROM usage_events
    WHERE recorded_at < :before
    LIMIT 20000
), moved AS (
    DELETE FROM usage_events e
    USING chosen c
    WHERE e.customer_id = c.customer_id AND e.event_id = c.event_id
    RETURNING e.*
)
INSERT INTO usage_events_archive SELECT * FROM moved;
