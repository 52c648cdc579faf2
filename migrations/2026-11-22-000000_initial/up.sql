-- The first schema. Why it looks the way it does:
--   * `customer_id` leads every primary key, unique constraint and foreign key of a customer's rows, so that the database can be
--     distributed by customer later without changing a statement.
--   * Enums are TEXT with a named CHECK: they can grow in a rolling deploy, and code matches constraint names, never messages.
--   * Ids and times are made by the application, there are no triggers; the ledger and the transitions are append-only.

CREATE TABLE customers (
    customer_id         TEXT PRIMARY KEY,
    email               TEXT,
    name                TEXT,
    country             TEXT,
    currency            TEXT,
    metadata            JSONB       NOT NULL DEFAULT '{}',
    -- Usage periods are monthly steps from this instant; NULL: calendar months, UTC.
    period_anchor       TIMESTAMPTZ,
    -- When the anchor above took over: the first period under it cannot begin earlier.
    period_anchored_at  TIMESTAMPTZ,
    -- When a report was last applied: what the clock did until then stays as it was judged then.
    period_settled_at   TIMESTAMPTZ,
    created_at          TIMESTAMPTZ NOT NULL,
    updated_at          TIMESTAMPTZ NOT NULL
);

-- What was ever sold, immutable. `content` is the whole plan; equal content is the same version.
CREATE TABLE plan_versions (
    tier            TEXT        NOT NULL,
    version         INTEGER     NOT NULL,
    content_sha256  BYTEA       NOT NULL,
    content         JSONB       NOT NULL,
    -- Position in the catalogue that introduced it: ranks tiers that the current catalogue no longer lists.
    position        INTEGER     NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (tier, version),
    CONSTRAINT plan_versions_content_key UNIQUE (tier, content_sha256)
);

-- Provider prices under which a version was sold: never forgotten, so that an old renewal keeps its meaning.
CREATE TABLE plan_prices (
    provider    TEXT        NOT NULL,
    price_id    TEXT        NOT NULL,
    tier        TEXT        NOT NULL,
    version     INTEGER     NOT NULL,
    role        TEXT        NOT NULL CONSTRAINT plan_prices_role_check CHECK (role IN ('base', 'overage')),
    created_at  TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (provider, price_id, tier, version),
    FOREIGN KEY (tier, version) REFERENCES plan_versions (tier, version)
);
CREATE INDEX plan_prices_plan_idx ON plan_prices (tier, version);

-- The provider's name for our customer. `generation` rises when a customer is bound anew (idempotency keys derive from it).
CREATE TABLE provider_customers (
    customer_id           TEXT        NOT NULL REFERENCES customers (customer_id),
    provider              TEXT        NOT NULL,
    provider_customer_id  TEXT,
    generation            INTEGER     NOT NULL DEFAULT 1,
    updated_at            TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (customer_id, provider)
);
CREATE INDEX provider_customers_lookup_idx ON provider_customers (provider, provider_customer_id);

CREATE TABLE subscriptions (
    customer_id               TEXT        NOT NULL REFERENCES customers (customer_id),
    subscription_id           UUID        NOT NULL,
    provider                  TEXT        NOT NULL CONSTRAINT subscriptions_provider_check
                              CHECK (provider IN ('stripe', 'manual')),
    provider_subscription_id  TEXT        NOT NULL,
    status                    TEXT        NOT NULL CONSTRAINT subscriptions_status_check
                              CHECK (status IN ('trialing', 'active', 'past_due', 'incomplete', 'incomplete_expired',
                                                'unpaid', 'canceled', 'paused', 'expired')),
    plan_tier                 TEXT        NOT NULL,
    plan_version              INTEGER     NOT NULL,
    -- What is paid each interval, in minor units; NULL: the plan's own price.
    unit_amount               BIGINT      CONSTRAINT subscriptions_unit_amount_check CHECK (unit_amount >= 0),
    currency                  TEXT,
    anchor                    TIMESTAMPTZ NOT NULL,
    current_period_start      TIMESTAMPTZ,
    current_period_end        TIMESTAMPTZ,
    cancel_at_period_end      BOOLEAN     NOT NULL,
    -- When paid access is known to end (cancellation at the period's end, a date set, an operator's `until`).
    access_ends_at            TIMESTAMPTZ,
    ended_at                  TIMESTAMPTZ,
    trial_end                 TIMESTAMPTZ,
    grace_tier                TEXT,
    grace_version             INTEGER,
    grace_ends_at             TIMESTAMPTZ,
    -- A lapse has begun: it has had, or has forfeited, its one grace.
    lapsed                    BOOLEAN     NOT NULL,
    -- The fencing number of the last write: a slower worker's older fetch can never overwrite a newer one.
    fence                     BIGINT      NOT NULL,
    started_at                TIMESTAMPTZ NOT NULL,
    updated_at                TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (customer_id, subscription_id),
    CONSTRAINT subscriptions_provider_key UNIQUE (customer_id, provider, provider_subscription_id),
    CONSTRAINT subscriptions_grace_check CHECK ((grace_ends_at IS NULL) = (grace_tier IS NULL)
                                            AND (grace_tier IS NULL) = (grace_version IS NULL)),
    FOREIGN KEY (plan_tier, plan_version) REFERENCES plan_versions (tier, version),
    FOREIGN KEY (grace_tier, grace_version) REFERENCES plan_versions (tier, version)
);
CREATE INDEX subscriptions_plan_idx ON subscriptions (plan_tier, plan_version);
CREATE INDEX subscriptions_grace_plan_idx ON subscriptions (grace_tier, grace_version);

-- Leases: who may write what was fetched for a provider's subscription, and whose it is once known.
CREATE TABLE subscription_leases (
    provider                  TEXT   NOT NULL,
    provider_subscription_id  TEXT   NOT NULL,
    fence                     BIGINT NOT NULL,
    customer_id               TEXT,
    PRIMARY KEY (provider, provider_subscription_id)
);

CREATE TABLE subscription_transitions (
    customer_id      TEXT        NOT NULL,
    transition_id    UUID        NOT NULL,
    subscription_id  UUID        NOT NULL,
    occurred_at      TIMESTAMPTZ NOT NULL,
    cause            TEXT        NOT NULL CONSTRAINT subscription_transitions_cause_check
                     CHECK (cause IN ('webhook', 'operator', 'job')),
    event_id         TEXT,
    from_status      TEXT,
    to_status        TEXT        NOT NULL,
    from_tier        TEXT,
    to_tier          TEXT        NOT NULL,
    from_version     INTEGER,
    to_version       INTEGER     NOT NULL,
    unit_amount      BIGINT,
    currency         TEXT,
    PRIMARY KEY (customer_id, transition_id),
    FOREIGN KEY (customer_id, subscription_id) REFERENCES subscriptions (customer_id, subscription_id)
);
CREATE INDEX subscription_transitions_subscription_idx ON subscription_transitions (customer_id, subscription_id);

-- The counters. Each always equals the sum of its ledger rows.
CREATE TABLE usage_metrics (
    customer_id    TEXT        NOT NULL REFERENCES customers (customer_id),
    metric_name    TEXT        NOT NULL,
    period_start   TIMESTAMPTZ NOT NULL,
    -- NULL: a gauge (allocated feature), which never resets.
    period_end     TIMESTAMPTZ,
    value          BIGINT      NOT NULL CONSTRAINT usage_metrics_value_check CHECK (value >= 0),
    -- The highest warning level announced in this period: each is announced once.
    warning_level  SMALLINT    NOT NULL CONSTRAINT usage_metrics_warning_level_check CHECK (warning_level IN (0, 80, 90, 100)),
    updated_at     TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (customer_id, metric_name, period_start)
);

-- The ledger: append-only. A key is remembered with its outcome as long as its row is kept.
CREATE TABLE usage_events (
    customer_id      TEXT        NOT NULL REFERENCES customers (customer_id),
    event_id         UUID        NOT NULL,
    metric_name      TEXT        NOT NULL,
    period_start     TIMESTAMPTZ NOT NULL,
    operation        TEXT        NOT NULL CONSTRAINT usage_events_operation_check
                     CHECK (operation IN ('consume', 'record', 'release', 'set')),
    quantity         BIGINT      NOT NULL,
    -- CloudEvents' `source`; empty for everything else. Source and id together are the key.
    source           TEXT        NOT NULL DEFAULT '',
    idempotency_key  TEXT,
    -- SHA-256 of the request after defaults: another payload under the same key is refused.
    fingerprint      BYTEA,
    properties       JSONB,
    outcome          JSONB,
    occurred_at      TIMESTAMPTZ NOT NULL,
    recorded_at      TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (customer_id, event_id),
    CONSTRAINT usage_events_idempotency_key UNIQUE (customer_id, operation, source, idempotency_key)
);
CREATE INDEX usage_events_period_idx ON usage_events (customer_id, metric_name, occurred_at);

CREATE TABLE overrides (
    customer_id  TEXT        NOT NULL REFERENCES customers (customer_id),
    feature      TEXT        NOT NULL,
    limit_value  BIGINT      CONSTRAINT overrides_limit_check CHECK (limit_value >= 0),
    add_value    BIGINT      CONSTRAINT overrides_add_check CHECK (add_value >= 0),
    enabled      BOOLEAN,
    cap          BOOLEAN     NOT NULL,
    expires_at   TIMESTAMPTZ,
    reason       TEXT        NOT NULL,
    created_by   TEXT        NOT NULL,
    created_at   TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (customer_id, feature)
);

-- That somebody was turned away, once per customer, feature and hour: drives upgrade prompts.
CREATE TABLE denials (
    customer_id  TEXT        NOT NULL,
    feature      TEXT        NOT NULL,
    hour         TIMESTAMPTZ NOT NULL,
    reason       TEXT        NOT NULL,
    PRIMARY KEY (customer_id, feature, hour)
);

-- Attempts to sell. At most one per customer and provider is under way: two tabs cannot make two subscriptions.
CREATE TABLE checkout_sessions (
    customer_id   TEXT        NOT NULL REFERENCES customers (customer_id),
    attempt_id    UUID        NOT NULL,
    provider      TEXT        NOT NULL,
    plan_tier     TEXT        NOT NULL,
    plan_version  INTEGER     NOT NULL,
    state         TEXT        NOT NULL CONSTRAINT checkout_sessions_state_check
                  CHECK (state IN ('creating', 'open', 'complete', 'expired', 'failed')),
    session_id    TEXT,
    checkout_url  TEXT,
    success_url   TEXT        NOT NULL,
    cancel_url    TEXT        NOT NULL,
    expires_at    TIMESTAMPTZ,
    created_at    TIMESTAMPTZ NOT NULL,
    updated_at    TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (customer_id, attempt_id),
    FOREIGN KEY (plan_tier, plan_version) REFERENCES plan_versions (tier, version)
);
CREATE UNIQUE INDEX checkout_sessions_under_way_key ON checkout_sessions (customer_id, provider)
    WHERE state IN ('creating', 'open');
CREATE INDEX checkout_sessions_session_idx ON checkout_sessions (provider, session_id);
CREATE INDEX checkout_sessions_plan_idx ON checkout_sessions (plan_tier, plan_version);

-- The inbox: what a provider sent, raw, before it is acknowledged.
CREATE TABLE webhooks (
    provider         TEXT        NOT NULL,
    event_id         TEXT        NOT NULL,
    type             TEXT        NOT NULL,
    -- The provider's id of what the event is about; NULL: nothing that is followed here.
    subject          TEXT,
    livemode         BOOLEAN     NOT NULL,
    status           TEXT        NOT NULL CONSTRAINT webhooks_status_check
                     CHECK (status IN ('queued', 'processed', 'parked', 'ignored', 'failed')),
    error            TEXT,
    attempts         INTEGER     NOT NULL,
    body             BYTEA       NOT NULL,
    received_at      TIMESTAMPTZ NOT NULL,
    next_attempt_at  TIMESTAMPTZ NOT NULL,
    -- A worker is at it until then, and no other worker at any event of the same subject.
    claimed_until    TIMESTAMPTZ,
    processed_at     TIMESTAMPTZ,
    PRIMARY KEY (provider, event_id)
);
CREATE INDEX webhooks_due_idx ON webhooks (next_attempt_at) WHERE status IN ('queued', 'parked');
CREATE INDEX webhooks_subject_idx ON webhooks (provider, subject) WHERE status IN ('queued', 'parked');
CREATE INDEX webhooks_failed_idx ON webhooks (received_at) WHERE status = 'failed';

CREATE TABLE api_keys (
    id             TEXT        PRIMARY KEY,
    name           TEXT        NOT NULL,
    secret_sha256  BYTEA       NOT NULL,
    scopes         TEXT[]      NOT NULL,
    created_at     TIMESTAMPTZ NOT NULL,
    expires_at     TIMESTAMPTZ,
    revoked_at     TIMESTAMPTZ
);

-- Who did what: one row for each operator's write.
CREATE TABLE audit_log (
    id           UUID        PRIMARY KEY,
    occurred_at  TIMESTAMPTZ NOT NULL,
    actor        TEXT        NOT NULL,
    action       TEXT        NOT NULL,
    customer_id  TEXT,
    target       TEXT        NOT NULL,
    details      JSONB       NOT NULL
);
