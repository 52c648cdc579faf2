-- Forgets what providers were told and what is still owed to them: only for a database that never sold anything.
DROP TABLE usage_reports, subscription_endings, charges;
UPDATE subscription_transitions SET cause = 'job' WHERE cause = 'request';
ALTER TABLE subscription_transitions
    DROP CONSTRAINT subscription_transitions_cause_check,
    ADD CONSTRAINT subscription_transitions_cause_check CHECK (cause IN ('webhook', 'operator', 'job'));
ALTER TABLE subscription_leases DROP COLUMN changing_until;
ALTER TABLE webhooks DROP COLUMN refetch_only;
ALTER TABLE subscription_leases DROP COLUMN provider_customer_id;
ALTER TABLE checkout_sessions DROP COLUMN trial_days;
DROP INDEX subscriptions_overdue_idx;
ALTER TABLE subscriptions
    DROP COLUMN planned_tier,
    DROP COLUMN planned_version,
    DROP COLUMN planned_at;
