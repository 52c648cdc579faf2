-- A second provider, that has no idempotency keys, shows no intentions, cannot put a subscription on another plan and has no meters:
-- what it does not keep is kept here.

-- Names of providers are checked where they are read; a third one needs no migration.
ALTER TABLE subscriptions DROP CONSTRAINT subscriptions_provider_check;

ALTER TABLE checkout_sessions
    -- The subscription, by the provider's id, whose place the new one takes once it is paid.
    ADD COLUMN replaces TEXT,
    -- When the new subscription's first period begins; NULL: with the payment.
    ADD COLUMN starts_at TIMESTAMPTZ,
    -- Whoever asks a provider without idempotency keys for the session does so alone until then.
    ADD COLUMN claimed_until TIMESTAMPTZ;
CREATE INDEX checkout_sessions_replaces_idx ON checkout_sessions (customer_id, provider, replaces) WHERE replaces IS NOT NULL;
-- Sessions that should have closed by themselves, for the look at what there is no event of.
CREATE INDEX checkout_sessions_expiry_idx ON checkout_sessions (expires_at) WHERE state = 'open';

-- When the provider was told to end the subscription with its period, where the intention was kept here until then.
-- Noted before the provider is asked: an answer that was lost may have had its effect.
ALTER TABLE subscription_leases
    ADD COLUMN end_sent_at TIMESTAMPTZ,
    -- When the provider is told again, because no answer came; NULL: it has answered, or was never told.
    ADD COLUMN end_retry_at TIMESTAMPTZ;
CREATE INDEX subscriptions_awaiting_payment_idx ON subscriptions (provider, updated_at) WHERE status = 'incomplete';
CREATE INDEX subscriptions_to_end_idx ON subscriptions (provider, current_period_end) WHERE cancel_at_period_end;

ALTER TABLE subscription_endings DROP CONSTRAINT subscription_endings_reason_check;
ALTER TABLE subscription_endings
    ADD CONSTRAINT subscription_endings_reason_check
        CHECK (reason IN ('duplicate', 'full_refund', 'dispute_lost', 'replaced')),
    -- What of the paid period lies after that instant is given back; NULL: all of the payment.
    ADD COLUMN refund_since TIMESTAMPTZ;

-- Sums of closed periods that a customer is asked for with a payment link, because the provider has no meters.
CREATE TABLE overage_invoices (
    customer_id       TEXT        NOT NULL REFERENCES customers (customer_id),
    invoice_id        UUID        NOT NULL,
    provider          TEXT        NOT NULL,
    -- sealed: to be asked for; asked: there is a link; paid; closed: the link can no longer be paid.
    state             TEXT        NOT NULL CONSTRAINT overage_invoices_state_check
                      CHECK (state IN ('sealed', 'asked', 'paid', 'closed')),
    -- Minor units.
    amount            BIGINT      NOT NULL CONSTRAINT overage_invoices_amount_check CHECK (amount > 0),
    currency          TEXT        NOT NULL,
    -- What the customer reads.
    description       TEXT        NOT NULL,
    -- Known to the provider once: an answer that was lost is looked for under it.
    reference         TEXT        NOT NULL,
    provider_link_id  TEXT,
    url               TEXT,
    payment_id        TEXT,
    attempts          INTEGER     NOT NULL DEFAULT 0,
    error             TEXT,
    next_attempt_at   TIMESTAMPTZ NOT NULL,
    claimed_until     TIMESTAMPTZ,
    created_at        TIMESTAMPTZ NOT NULL,
    asked_at          TIMESTAMPTZ,
    paid_at           TIMESTAMPTZ,
    updated_at        TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (customer_id, invoice_id)
);
-- What is to be asked for, and links of which there may be news that never came.
CREATE INDEX overage_invoices_due_idx ON overage_invoices (next_attempt_at) WHERE state IN ('sealed', 'asked');
-- News of a link can be quicker than its id.
CREATE INDEX overage_invoices_reference_idx ON overage_invoices (provider, reference);
CREATE INDEX overage_invoices_link_idx ON overage_invoices (provider, provider_link_id) WHERE provider_link_id IS NOT NULL;

-- The invoice that a report is billed with, where no meter is told of it.
ALTER TABLE usage_reports ADD COLUMN invoice_id UUID;
CREATE INDEX usage_reports_invoice_idx ON usage_reports (customer_id, invoice_id) WHERE invoice_id IS NOT NULL;
-- What is billed with links stays open until its period is over, and must not be met by whoever looks for what is to be told.
CREATE INDEX usage_reports_closing_idx ON usage_reports (provider, period_end) WHERE state = 'open';
