//! Stripe's objects in the shape of the pinned API version.

use chrono::{DateTime, Days, Months, Utc};
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
    pub(crate) lines: Vec<(String, Option<i64>)>,
    pub(crate) metadata: Value,
    pub(crate) subscription_metadata: Value,
    pub(crate) trial_days: Option<i64>,
    pub(crate) promotion_codes: Option<bool>,
    pub(crate) client_reference_id: Option<String>,
    pub(crate) success_url: String,
    pub(crate) cancel_url: Option<String>,
}

pub(crate) fn session(id: &str, params: &SessionParams, now: DateTime<Utc>) -> Value {
    json!({
        "id": id, "object": "checkout.session", "allow_promotion_codes": params.promotion_codes, "amount_subtotal": null, "amount_total": null,
        "automatic_tax": {"enabled": false, "liability": null, "status": null},
        "cancel_url": params.cancel_url, "client_reference_id": params.client_reference_id,
        "created": now.timestamp(), "currency": "usd", "custom_fields": [],
        "custom_text": {"after_submit": null, "shipping_address": null, "submit": null, "terms_of_service_acceptance": null},
        "customer": params.customer, "customer_email": null,
        "expires_at": now.timestamp() + 86_400, "invoice": null, "livemode": false, "locale": null,
        "metadata": params.metadata, "mode": "subscription", "payment_intent": null,
        "payment_method_types": ["card"], "payment_status": "unpaid", "shipping_options": [], "status": "open", "subscription": null,
        "success_url": params.success_url, "ui_mode": "hosted_page",
        "url": format!("https://checkout.stripe.test/c/pay/{id}"),
    })
}

/// One item of a subscription.
pub(crate) fn item(
    id: &str,
    subscription: &str,
    price: &Value,
    quantity: Option<i64>,
    (start, end): (i64, i64),
    created: i64,
) -> Value {
    let mut item = json!({
        "id": id, "object": "subscription_item", "billing_thresholds": null, "created": created,
        "current_period_start": start, "current_period_end": end, "discounts": [], "metadata": {},
        "plan": plan(price), "price": price, "subscription": subscription, "tax_rates": [],
    });
    if let Some(quantity) = quantity {
        item["quantity"] = json!(quantity);
    }
    item
}

/// A price as it was named before there were prices. Stripe still shows both.
pub(crate) fn plan(price: &Value) -> Value {
    let recurring = &price["recurring"];
    json!({
        "id": price["id"], "object": "plan", "active": price["active"], "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"], "billing_scheme": price["billing_scheme"],
        "created": price["created"], "currency": price["currency"], "interval": recurring["interval"],
        "interval_count": recurring["interval_count"], "livemode": false, "metadata": {}, "meter": recurring["meter"],
        "nickname": null, "product": price["product"], "tiers_mode": null, "transform_usage": null,
        "trial_period_days": null, "usage_type": recurring["usage_type"],
    })
}

/// What invoices of something are going to say.
pub(crate) fn invoice_settings() -> Value {
    json!({
        "account_tax_ids": null, "custom_fields": null, "description": null, "footer": null, "issuer": {"type": "self"},
    })
}

/// A subscription that begins now, active or with its trial.
pub(crate) fn subscription(
    id: &str,
    params: &SessionParams,
    prices: &[Value],
    item_ids: &[String],
    now: DateTime<Utc>,
) -> Value {
    let start = now.timestamp();
    let trial_end = params.trial_days.map(|days| start + days * 86_400);
    let items: Vec<_> = prices
        .iter()
        .zip(item_ids)
        .zip(&params.lines)
        .map(|((price, item_id), (_, quantity))| {
            let end = trial_end.unwrap_or_else(|| next_period_end(start, start, price));
            item(item_id, id, price, *quantity, (start, end), start)
        })
        .collect();
    json!({
        "id": id, "object": "subscription", "automatic_tax": {"enabled": false},
        "billing_cycle_anchor": trial_end.unwrap_or(start),
        "billing_mode": {"type": "flexible"}, "billing_schedules": [], "cancel_at": null, "cancel_at_period_end": false, "canceled_at": null,
        "cancellation_details": {"comment": null, "feedback": null, "reason": null},
        "collection_method": "charge_automatically", "created": start, "currency": "usd", "customer": params.customer,
        "days_until_due": null, "default_payment_method": null, "description": null, "discounts": [], "ended_at": null,
        "invoice_settings": invoice_settings(),
        "items": {"object": "list", "data": items, "has_more": false, "total_count": items.len(),
                  "url": format!("/v1/subscription_items?subscription={id}")},
        "latest_invoice": null, "livemode": false, "metadata": params.subscription_metadata,
        "next_pending_invoice_item_invoice": null, "pause_collection": null, "pending_update": null, "schedule": null,
        "start_date": start, "status": if trial_end.is_some() { "trialing" } else { "active" }, "test_clock": null,
        "trial_end": trial_end, "trial_start": trial_end.map(|_| start),
    })
}

/// When the period that begins at `start` ends. Counted from the anchor: a subscription of the 31st comes back to the 31st.
pub(crate) fn next_period_end(anchor: i64, start: i64, price: &Value) -> i64 {
    let recurring = &price["recurring"];
    let count = recurring["interval_count"].as_u64().unwrap_or(1);
    let count = u32::try_from(count).unwrap_or(1);
    let begins = instant(anchor);
    (0..=u32::from(u16::MAX))
        .map(|n| match recurring["interval"].as_str() {
            Some("day") => begins + Days::new(u64::from(n * count)),
            Some("week") => begins + Days::new(u64::from(7 * n * count)),
            Some("year") => begins + Months::new(12 * n * count),
            _ => begins + Months::new(n * count),
        })
        .map(|end| end.timestamp())
        .find(|end| *end > start)
        .unwrap_or(start)
}

pub(crate) fn instant(timestamp: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(timestamp, 0).unwrap_or_default()
}

/// Each item's next period begins where the last one ended.
pub(crate) fn advance_periods(subscription: &mut Value) {
    let anchor = subscription["billing_cycle_anchor"]
        .as_i64()
        .unwrap_or_default();
    for item in items_mut(subscription) {
        let start = item["current_period_end"].as_i64().unwrap_or_default();
        let end = next_period_end(anchor, start, &item["price"]);
        item["current_period_start"] = json!(start);
        item["current_period_end"] = json!(end);
    }
}

pub(crate) fn items(subscription: &Value) -> &[Value] {
    subscription["items"]["data"]
        .as_array()
        .map_or(&[], Vec::as_slice)
}

pub(crate) fn items_mut(subscription: &mut Value) -> &mut [Value] {
    subscription["items"]["data"]
        .as_array_mut()
        .map_or(&mut [], Vec::as_mut_slice)
}

pub(crate) fn set_items(subscription: &mut Value, items: Vec<Value>) {
    subscription["items"]["total_count"] = json!(items.len());
    subscription["items"]["data"] = Value::Array(items);
}

/// The period of the item that ends first.
pub(crate) fn period(subscription: &Value) -> (i64, i64) {
    let number = |item: &Value, name: &str| item[name].as_i64().unwrap_or_default();
    items(subscription)
        .iter()
        .map(|item| {
            (
                number(item, "current_period_start"),
                number(item, "current_period_end"),
            )
        })
        .min_by_key(|(_, end)| *end)
        .unwrap_or_default()
}

pub(crate) fn is_over(subscription: &Value) -> bool {
    matches!(
        subscription["status"].as_str(),
        Some("canceled" | "incomplete_expired")
    )
}

pub(crate) fn is_metered(price: &Value) -> bool {
    price["recurring"]["usage_type"] == "metered"
}

/// A word of an object; empty where it has none.
pub(crate) fn text(object: &Value, name: &str) -> String {
    object[name].as_str().unwrap_or_default().to_owned()
}
