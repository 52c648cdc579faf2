//! The tables, as the migrations make them.

diesel::table! {
    api_keys (id) {
        id -> Text,
        name -> Text,
        secret_sha256 -> Bytea,
        scopes -> Array<Text>,
        created_at -> Timestamptz,
        expires_at -> Nullable<Timestamptz>,
        revoked_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    audit_log (id) {
        id -> Uuid,
        occurred_at -> Timestamptz,
        actor -> Text,
        action -> Text,
        customer_id -> Nullable<Text>,
        target -> Text,
        details -> Jsonb,
    }
}

diesel::table! {
    charges (customer_id, provider, charge_id) {
        customer_id -> Text,
        provider -> Text,
        charge_id -> Text,
        provider_subscription_id -> Nullable<Text>,
        amount -> BigInt,
        amount_refunded -> BigInt,
        currency -> Text,
        dispute -> Nullable<Text>,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    checkout_sessions (customer_id, attempt_id) {
        customer_id -> Text,
        attempt_id -> Uuid,
        provider -> Text,
        plan_tier -> Text,
        plan_version -> Integer,
        state -> Text,
        session_id -> Nullable<Text>,
        checkout_url -> Nullable<Text>,
        success_url -> Text,
        cancel_url -> Text,
        trial_days -> Nullable<Integer>,
        replaces -> Nullable<Text>,
        starts_at -> Nullable<Timestamptz>,
        claimed_until -> Nullable<Timestamptz>,
        expires_at -> Nullable<Timestamptz>,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    customers (customer_id) {
        customer_id -> Text,
        email -> Nullable<Text>,
        name -> Nullable<Text>,
        country -> Nullable<Text>,
        currency -> Nullable<Text>,
        metadata -> Jsonb,
        period_anchor -> Nullable<Timestamptz>,
        period_anchored_at -> Nullable<Timestamptz>,
        period_settled_at -> Nullable<Timestamptz>,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    denials (customer_id, feature, hour) {
        customer_id -> Text,
        feature -> Text,
        hour -> Timestamptz,
        reason -> Text,
    }
}

diesel::table! {
    ledger (customer_id, event_id) {
        customer_id -> Text,
        event_id -> Uuid,
        metric_name -> Text,
        period_start -> Timestamptz,
        operation -> Text,
        quantity -> BigInt,
        source -> Text,
        idempotency_key -> Nullable<Text>,
        fingerprint -> Nullable<Bytea>,
        properties -> Nullable<Jsonb>,
        outcome -> Nullable<Jsonb>,
        occurred_at -> Timestamptz,
        recorded_at -> Timestamptz,
    }
}

diesel::table! {
    overrides (customer_id, feature) {
        customer_id -> Text,
        feature -> Text,
        limit_value -> Nullable<BigInt>,
        add_value -> Nullable<BigInt>,
        enabled -> Nullable<Bool>,
        cap -> Bool,
        expires_at -> Nullable<Timestamptz>,
        reason -> Text,
        created_by -> Text,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    overage_invoices (customer_id, invoice_id) {
        customer_id -> Text,
        invoice_id -> Uuid,
        provider -> Text,
        state -> Text,
        amount -> BigInt,
        currency -> Text,
        description -> Text,
        reference -> Text,
        provider_link_id -> Nullable<Text>,
        url -> Nullable<Text>,
        payment_id -> Nullable<Text>,
        attempts -> Integer,
        error -> Nullable<Text>,
        next_attempt_at -> Timestamptz,
        claimed_until -> Nullable<Timestamptz>,
        created_at -> Timestamptz,
        asked_at -> Nullable<Timestamptz>,
        paid_at -> Nullable<Timestamptz>,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    plan_prices (provider, price_id, tier, version) {
        provider -> Text,
        price_id -> Text,
        tier -> Text,
        version -> Integer,
        role -> Text,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    plan_versions (tier, version) {
        tier -> Text,
        version -> Integer,
        content_sha256 -> Bytea,
        content -> Jsonb,
        position -> Integer,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    provider_customers (customer_id, provider) {
        customer_id -> Text,
        provider -> Text,
        provider_customer_id -> Nullable<Text>,
        generation -> Integer,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    reservations (customer_id, reservation_id) {
        customer_id -> Text,
        reservation_id -> Uuid,
        metric_name -> Text,
        period_start -> Timestamptz,
        period_end -> Nullable<Timestamptz>,
        state -> Text,
        quantity -> BigInt,
        committed_quantity -> Nullable<BigInt>,
        idempotency_key -> Nullable<Text>,
        fingerprint -> Nullable<Bytea>,
        outcome -> Nullable<Jsonb>,
        settlement -> Nullable<Jsonb>,
        event_id -> Nullable<Uuid>,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
        settled_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    subscription_endings (customer_id, subscription_id) {
        customer_id -> Text,
        subscription_id -> Uuid,
        provider -> Text,
        provider_subscription_id -> Text,
        reason -> Text,
        refund -> Bool,
        refund_since -> Nullable<Timestamptz>,
        state -> Text,
        attempts -> Integer,
        error -> Nullable<Text>,
        next_attempt_at -> Timestamptz,
        claimed_until -> Nullable<Timestamptz>,
        created_at -> Timestamptz,
        done_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    subscription_leases (provider, provider_subscription_id) {
        provider -> Text,
        provider_subscription_id -> Text,
        fence -> BigInt,
        customer_id -> Nullable<Text>,
        provider_customer_id -> Nullable<Text>,
        changing_until -> Nullable<Timestamptz>,
        end_sent_at -> Nullable<Timestamptz>,
        end_retry_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    subscription_transitions (customer_id, transition_id) {
        customer_id -> Text,
        transition_id -> Uuid,
        subscription_id -> Uuid,
        occurred_at -> Timestamptz,
        cause -> Text,
        event_id -> Nullable<Text>,
        from_status -> Nullable<Text>,
        to_status -> Text,
        from_tier -> Nullable<Text>,
        to_tier -> Text,
        from_version -> Nullable<Integer>,
        to_version -> Integer,
        unit_amount -> Nullable<BigInt>,
        currency -> Nullable<Text>,
    }
}

diesel::table! {
    subscriptions (customer_id, subscription_id) {
        customer_id -> Text,
        subscription_id -> Uuid,
        provider -> Text,
        provider_subscription_id -> Text,
        status -> Text,
        plan_tier -> Text,
        plan_version -> Integer,
        unit_amount -> Nullable<BigInt>,
        currency -> Nullable<Text>,
        anchor -> Timestamptz,
        current_period_start -> Nullable<Timestamptz>,
        current_period_end -> Nullable<Timestamptz>,
        cancel_at_period_end -> Bool,
        access_ends_at -> Nullable<Timestamptz>,
        ended_at -> Nullable<Timestamptz>,
        trial_end -> Nullable<Timestamptz>,
        planned_tier -> Nullable<Text>,
        planned_version -> Nullable<Integer>,
        planned_at -> Nullable<Timestamptz>,
        grace_tier -> Nullable<Text>,
        grace_version -> Nullable<Integer>,
        grace_ends_at -> Nullable<Timestamptz>,
        lapsed -> Bool,
        fence -> BigInt,
        started_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    usage_events (customer_id, event_id) {
        customer_id -> Text,
        event_id -> Uuid,
        metric_name -> Text,
        period_start -> Timestamptz,
        operation -> Text,
        quantity -> BigInt,
        source -> Text,
        idempotency_key -> Nullable<Text>,
        fingerprint -> Nullable<Bytea>,
        properties -> Nullable<Jsonb>,
        outcome -> Nullable<Jsonb>,
        occurred_at -> Timestamptz,
        recorded_at -> Timestamptz,
    }
}

diesel::table! {
    usage_reports (customer_id, report_id) {
        customer_id -> Text,
        report_id -> Uuid,
        provider -> Text,
        metric_name -> Text,
        period_start -> Timestamptz,
        period_end -> Nullable<Timestamptz>,
        state -> Text,
        quantity -> BigInt,
        used_at -> Timestamptz,
        provider_customer_id -> Nullable<Text>,
        told_at -> Nullable<Timestamptz>,
        told_since -> Nullable<Timestamptz>,
        first_tried_at -> Nullable<Timestamptz>,
        sent_at -> Nullable<Timestamptz>,
        is_final -> Bool,
        attempts -> Integer,
        error -> Nullable<Text>,
        next_attempt_at -> Timestamptz,
        claimed_until -> Nullable<Timestamptz>,
        invoice_id -> Nullable<Uuid>,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    usage_metrics (customer_id, period_start, metric_name) {
        customer_id -> Text,
        metric_name -> Text,
        period_start -> Timestamptz,
        period_end -> Nullable<Timestamptz>,
        value -> BigInt,
        warning_level -> SmallInt,
        updated_at -> Timestamptz,
        held -> BigInt,
        held_until -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    webhooks (provider, event_id) {
        provider -> Text,
        event_id -> Text,
        #[sql_name = "type"]
        event_type -> Text,
        subject -> Nullable<Text>,
        refetch_only -> Bool,
        livemode -> Bool,
        status -> Text,
        error -> Nullable<Text>,
        attempts -> Integer,
        body -> Bytea,
        received_at -> Timestamptz,
        next_attempt_at -> Timestamptz,
        claimed_until -> Nullable<Timestamptz>,
        processed_at -> Nullable<Timestamptz>,
    }
}

diesel::allow_tables_to_appear_in_same_query!(subscription_leases, subscriptions);
