-- Forgets what providers were told and what is still owed to them: only for a database that never sold anything.
DROP TABLE usage_reports, subscription_endings, charges;
ALTER TABLE checkout_sessions DROP COLUMN trial_days;
DROP INDEX subscriptions_overdue_idx;
ALTER TABLE subscriptions
    DROP COLUMN planned_tier,
    DROP COLUMN planned_version,
    DROP COLUMN planned_at;
