-- Undoes the first schema: everything goes, the other way round.
DROP TABLE audit_log, api_keys, webhooks, checkout_sessions, denials, overrides, usage_events, usage_metrics,
    subscription_transitions, subscription_leases, subscriptions, provider_customers, plan_prices, plan_versions, customers;
