//! Stripe's objects in the shape of the pinned API version.

use chrono::{DateTime, Months, Utc};
use serde_json::{Value, json};

/// A price to be seeded.
#[derive(Debug, Clone)]
pub(crate) struct FakePrice {
    pub(crate) id: String,
    pub(crate) unit_amount: i64,
    pub(crate) currency: String,
    pub(crate) interval: String,
    pub(crate) metered: bool,
    pub(crate) active: bool,
}

impl FakePrice {
    /// A flat monthly price in US cents.
    pub(crate) fn monthly(id: &str, unit_amount: i64) -> Self {
        Self {
            id: id.to_owned(),
            unit_amount,
            currency: "usd".to_owned(),
            interval: "month".to_owned(),
            metered: false,
            active: true,
        }
    }

    /// A price per reported unit in US cents, billed monthly.
    pub(crate) fn metered(id: &str, unit_amount: i64) -> Self {
        Self {
            metered: true,
            ..Self::monthly(id, unit_amount)
        }
    }

    pub(crate) fn render(&self, now: DateTime<Utc>) -> Value {
        json!({
            "id": self.id, "object": "price", "active": self.active, "billing_scheme": "per_unit",
            "created": now.timestamp(), "currency": self.currency, "custom_unit_amount": null, "livemode": false,
            "lookup_key": null, "metadata": {}, "nickname": null, "product": format!("prod_{}", self.id),
            "recurring": {
                "interval": self.interval, "interval_count": 1,
                "meter": self.metered.then_some("mtr_fake"),
                "trial_period_days": null,
                "usage_type": if self.metered { "metered" } else { "licensed" },
            },
            "tax_behavior": "unspecified", "tiers_mode": null, "transform_quantity": null, "type": "recurring",
            "unit_amount": self.unit_amount, "unit_amount_decimal": self.unit_amount.to_string(),
        })
    }
}

pub(crate) fn customer(
    id: &str,
    email: Option<&str>,
    name: Option<&str>,
    metadata: &Value,
    now: DateTime<Utc>,
) -> Value {
    json!({
        "id": id, "object": "customer", "address": null, "balance": 0, "created": now.timestamp(), "currency": null,
        "default_source": null, "delinquent": false, "description": null, "discount": null, "email": email,
        "invoice_prefix": "FAKE0001", "livemode": false, "metadata": metadata, "name": name, "phone": null,
        "preferred_locales": [], "shipping": null, "tax_exempt": "none", "test_clock": null,
    })
}

/// What a session was made of, beside what Stripe shows of it.
#[derive(Debug, Clone)]
pub(crate) struct SessionParams {
    pub(crate) customer: String,
    pub(crate) lines: Vec<(String, Option<u64>)>,
    pub(crate) metadata: Value,
    pub(crate) subscription_metadata: Value,
    pub(crate) client_reference_id: Option<String>,
    pub(crate) success_url: String,
    pub(crate) cancel_url: Option<String>,
}

pub(crate) fn session(id: &str, params: &SessionParams, now: DateTime<Utc>) -> Value {
    json!({
        "id": id, "object": "checkout.session", "amount_subtotal": null, "amount_total": null,
        "automatic_tax": {"enabled": false, "liability": null, "status": null},
        "cancel_url": params.cancel_url, "client_reference_id": params.client_reference_id,
        "created": now.timestamp(), "currency": "usd", "customer": params.customer, "customer_email": null,
        "expires_at": now.timestamp() + 86_400, "invoice": null, "livemode": false, "locale": null,
        "metadata": params.metadata, "mode": "subscription", "payment_intent": null,
        "payment_method_types": ["card"], "payment_status": "unpaid", "status": "open", "subscription": null,
        "success_url": params.success_url, "ui_mode": "hosted_page",
        "url": format!("https://checkout.stripe.test/c/pay/{id}"),
    })
}

/// An active subscription that begins now.
pub(crate) fn subscription(
    id: &str,
    params: &SessionParams,
    prices: &[Value],
    item_ids: &[String],
    now: DateTime<Utc>,
) -> Value {
    let start = now.timestamp();
    let end = (now + Months::new(1)).timestamp();
    let items: Vec<_> = prices
        .iter()
        .zip(item_ids)
        .zip(&params.lines)
        .map(|((price, item_id), (_, quantity))| {
            let mut item = json!({
                "id": item_id, "object": "subscription_item", "billing_thresholds": null, "created": start,
                "current_period_start": start, "current_period_end": end, "discounts": [], "metadata": {},
                "price": price, "subscription": id, "tax_rates": [],
            });
            if let Some(quantity) = quantity {
                item["quantity"] = json!(quantity);
            }
            item
        })
        .collect();
    json!({
        "id": id, "object": "subscription", "automatic_tax": {"enabled": false}, "billing_cycle_anchor": start,
        "billing_mode": {"type": "flexible"}, "cancel_at": null, "cancel_at_period_end": false, "canceled_at": null,
        "cancellation_details": {"comment": null, "feedback": null, "reason": null},
        "collection_method": "charge_automatically", "created": start, "currency": "usd", "customer": params.customer,
        "days_until_due": null, "default_payment_method": null, "description": null, "discounts": [], "ended_at": null,
        "items": {"object": "list", "data": items, "has_more": false, "total_count": items.len(),
                  "url": format!("/v1/subscription_items?subscription={id}")},
        "latest_invoice": null, "livemode": false, "metadata": params.subscription_metadata,
        "next_pending_invoice_item_invoice": null, "pause_collection": null, "pending_update": null, "schedule": null,
        "start_date": start, "status": "active", "test_clock": null, "trial_end": null, "trial_start": null,
    })
}

/// A paid invoice of the subscription.
pub(crate) fn invoice(subscription: &Value, now: DateTime<Utc>) -> Value {
    let id = subscription["id"].as_str().unwrap_or_default();
    json!({
        "id": format!("in_{id}_{}", now.timestamp()), "object": "invoice", "created": now.timestamp(),
        "currency": subscription["currency"], "customer": subscription["customer"], "livemode": false, "metadata": {},
        "parent": {
            "quote_details": null, "type": "subscription_details",
            "subscription_details": {"metadata": subscription["metadata"], "subscription": id},
        },
        "status": "paid",
    })
}

/// Each item's next period begins where the last one ended.
pub(crate) fn advance_periods(subscription: &mut Value) {
    for item in subscription["items"]["data"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        let start = item["current_period_end"].as_i64().unwrap_or_default();
        let begins = DateTime::from_timestamp(start, 0).unwrap_or_default();
        item["current_period_start"] = json!(start);
        item["current_period_end"] = json!((begins + Months::new(1)).timestamp());
    }
}
