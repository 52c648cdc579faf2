-- Subscriptions of a second provider must be gone before this can be undone.
DROP INDEX usage_reports_closing_idx, usage_reports_invoice_idx;
ALTER TABLE usage_reports DROP COLUMN invoice_id;
DROP TABLE overage_invoices;
ALTER TABLE subscription_endings DROP COLUMN refund_since,
    DROP CONSTRAINT subscription_endings_reason_check;
ALTER TABLE subscription_endings
    ADD CONSTRAINT subscription_endings_reason_check CHECK (reason IN ('duplicate', 'full_refund', 'dispute_lost'));
DROP INDEX subscriptions_to_end_idx, subscriptions_awaiting_payment_idx;
ALTER TABLE subscription_leases DROP COLUMN end_sent_at, DROP COLUMN end_retry_at;
DROP INDEX checkout_sessions_expiry_idx, checkout_sessions_replaces_idx;
ALTER TABLE checkout_sessions DROP COLUMN replaces, DROP COLUMN starts_at, DROP COLUMN claimed_until;
ALTER TABLE subscriptions
    ADD CONSTRAINT subscriptions_provider_check CHECK (provider IN ('stripe', 'manual'));
