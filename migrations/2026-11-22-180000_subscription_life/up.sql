-- What the whole life of a paid subscription needs. Why:
--   * A change of plan can be planned for the period's end: it is shown until it happens.
--   * A trial is part of what a checkout asks for, so it is kept with the attempt: the same key must ask for the same thing.
--   * Money that went back decides about access, so payments with refunds and disputes are kept as the provider last showed them.
--   * What must be ended at the provider (a second subscription, one that was refunded) is written down in the transaction that
--     finds out, and carried out afterwards: no network call is inside a transaction, and none is forgotten.
--   * Who changes a subscription does so in turn: a change of plan is several calls to the provider, and two of them mixed would
--     leave it with the items of both plans. The turn has an end, so that a process that dies keeps nobody out for long.
--   * Usage above a limit is owed to the provider from the transaction on that counts it: one open row for each counter gathers
--     it, is sealed under an identifier of its own, and stays until the provider has it.

ALTER TABLE subscriptions
    ADD COLUMN planned_tier TEXT,
    ADD COLUMN planned_version INTEGER,
    ADD COLUMN planned_at TIMESTAMPTZ,
    ADD CONSTRAINT subscriptions_planned_check CHECK ((planned_at IS NULL) = (planned_tier IS NULL)
                                                  AND (planned_tier IS NULL) = (planned_version IS NULL)),
    ADD CONSTRAINT subscriptions_planned_fkey FOREIGN KEY (planned_tier, planned_version) REFERENCES plan_versions (tier, version);
CREATE INDEX subscriptions_planned_plan_idx ON subscriptions (planned_tier, planned_version);
-- Live ones whose period ended without news are looked for every few minutes.
CREATE INDEX subscriptions_overdue_idx ON subscriptions (provider, current_period_end)
    WHERE status IN ('trialing', 'active', 'past_due');

-- Who pays at the provider. Usage is told of them; the customer may have been bound to another name by an earlier checkout.
ALTER TABLE subscription_leases ADD COLUMN provider_customer_id TEXT;

-- An event that asks for nothing but a look at its subject: one look answers all of them that came before it.
ALTER TABLE webhooks ADD COLUMN refetch_only BOOLEAN NOT NULL DEFAULT false;

ALTER TABLE checkout_sessions
    ADD COLUMN trial_days INTEGER CONSTRAINT checkout_sessions_trial_days_check CHECK (trial_days > 0);

ALTER TABLE subscription_leases ADD COLUMN changing_until TIMESTAMPTZ;

ALTER TABLE subscription_transitions
    DROP CONSTRAINT subscription_transitions_cause_check,
    ADD CONSTRAINT subscription_transitions_cause_check CHECK (cause IN ('webhook', 'operator', 'job', 'request'));

CREATE TABLE charges (
    customer_id               TEXT        NOT NULL REFERENCES customers (customer_id),
    provider                  TEXT        NOT NULL,
    charge_id                 TEXT        NOT NULL,
    -- The subscription whose invoice it paid; NULL: none is known.
    provider_subscription_id  TEXT,
    -- Minor units.
    amount                    BIGINT      NOT NULL CONSTRAINT charges_amount_check CHECK (amount >= 0),
    amount_refunded           BIGINT      NOT NULL CONSTRAINT charges_amount_refunded_check CHECK (amount_refunded >= 0),
    currency                  TEXT        NOT NULL,
    dispute                   TEXT        CONSTRAINT charges_dispute_check CHECK (dispute IN ('under_review', 'won', 'lost')),
    created_at                TIMESTAMPTZ NOT NULL,
    updated_at                TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (customer_id, provider, charge_id)
);

CREATE TABLE subscription_endings (
    customer_id               TEXT        NOT NULL,
    subscription_id           UUID        NOT NULL,
    provider                  TEXT        NOT NULL,
    provider_subscription_id  TEXT        NOT NULL,
    reason                    TEXT        NOT NULL CONSTRAINT subscription_endings_reason_check
                              CHECK (reason IN ('duplicate', 'full_refund', 'dispute_lost')),
    -- Whether its latest payment is given back first.
    refund                    BOOLEAN     NOT NULL,
    state                     TEXT        NOT NULL CONSTRAINT subscription_endings_state_check CHECK (state IN ('due', 'done')),
    attempts                  INTEGER     NOT NULL,
    error                     TEXT,
    next_attempt_at           TIMESTAMPTZ NOT NULL,
    claimed_until             TIMESTAMPTZ,
    created_at                TIMESTAMPTZ NOT NULL,
    done_at                   TIMESTAMPTZ,
    PRIMARY KEY (customer_id, subscription_id),
    FOREIGN KEY (customer_id, subscription_id) REFERENCES subscriptions (customer_id, subscription_id)
);
CREATE INDEX subscription_endings_due_idx ON subscription_endings (next_attempt_at) WHERE state = 'due';

CREATE TABLE usage_reports (
    customer_id      TEXT        NOT NULL,
    -- Ours; the identifier under which the provider is told derives from it, the same each time.
    report_id        UUID        NOT NULL,
    provider         TEXT        NOT NULL,
    metric_name      TEXT        NOT NULL,
    -- The counter that it accounts for.
    period_start     TIMESTAMPTZ NOT NULL,
    period_end       TIMESTAMPTZ,
    -- open: gathers; sealed: to be told, its quantity is fixed; sent: the provider has it; retracting: to be taken back;
    -- retracted: was taken back; refused: the provider could not use it; doubtful: whether the provider has it needs a person.
    state            TEXT        NOT NULL CONSTRAINT usage_reports_state_check
                     CHECK (state IN ('open', 'sealed', 'sent', 'retracting', 'retracted', 'refused', 'doubtful')),
    -- Units above the limit. An open row may be negative: corrections that later usage makes up for, or that are taken back.
    -- All rows of a counter but the retracting and retracted ones add up to what is owed for it, never below zero.
    quantity         BIGINT      NOT NULL,
    -- The latest use that it accounts for.
    used_at          TIMESTAMPTZ NOT NULL,
    -- Of whom the provider is told, by its own id.
    provider_customer_id TEXT,
    -- The instant under which the provider was last told; decides about the invoice.
    told_at          TIMESTAMPTZ,
    -- The earliest instant under which it may have been told.
    told_since       TIMESTAMPTZ,
    first_tried_at   TIMESTAMPTZ,
    sent_at          TIMESTAMPTZ,
    -- The provider would not take it back.
    is_final         BOOLEAN     NOT NULL DEFAULT FALSE,
    attempts         INTEGER     NOT NULL DEFAULT 0,
    error            TEXT,
    next_attempt_at  TIMESTAMPTZ NOT NULL,
    claimed_until    TIMESTAMPTZ,
    -- Since when it has had something to tell.
    created_at       TIMESTAMPTZ NOT NULL,
    updated_at       TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (customer_id, report_id)
);
CREATE UNIQUE INDEX usage_reports_open_key ON usage_reports (customer_id, provider, metric_name, period_start)
    WHERE state = 'open';
-- What the provider has is told from its sum of all meters, which is ambiguous where two are on their way.
CREATE UNIQUE INDEX usage_reports_under_way_key ON usage_reports (customer_id, provider)
    WHERE state IN ('sealed', 'retracting');
CREATE INDEX usage_reports_due_idx ON usage_reports (next_attempt_at) WHERE state IN ('open', 'sealed', 'retracting');
CREATE INDEX usage_reports_counter_idx ON usage_reports (customer_id, metric_name, period_start);
CREATE INDEX usage_reports_told_idx ON usage_reports (customer_id, provider, told_at) WHERE state = 'sent';
CREATE INDEX usage_reports_trouble_idx ON usage_reports (state) WHERE state IN ('refused', 'doubtful');
-- Providers name a report by its identifier alone.
CREATE INDEX usage_reports_report_idx ON usage_reports (report_id);
