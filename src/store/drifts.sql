-- Counters that are not the sum of their ledger rows, either side missing included. $1: one customer's only, or NULL.
-- The sum is text: only that holds what does not fit into a counter.
SELECT coalesce(m.customer_id, e.customer_id)   AS customer_id,
       coalesce(m.metric_name, e.metric_name)   AS metric_name,
       coalesce(m.period_start, e.period_start) AS period_start,
       m.period_end                             AS period_end,
       coalesce(e.total, 0)::text               AS ledger,
       coalesce(m.value, 0)                     AS counter
FROM (SELECT * FROM usage_metrics WHERE $1 IS NULL OR customer_id = $1) m
FULL JOIN (SELECT customer_id, metric_name, period_start, sum(quantity) AS total
           FROM ledger
           WHERE $1 IS NULL OR customer_id = $1
           GROUP BY customer_id, metric_name, period_start) e
       ON (e.customer_id, e.metric_name, e.period_start) = (m.customer_id, m.metric_name, m.period_start)
WHERE coalesce(e.total, 0) <> coalesce(m.value, 0)
ORDER BY 1, 2, 3
LIMIT 1000
