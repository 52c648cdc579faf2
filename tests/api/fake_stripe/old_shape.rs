//! Events as API versions before 2025-03-31 rendered them.

use serde_json::{Value, json};

use super::objects::{items_mut, period};
use super::state::State;

const OLD_VERSION: &str = "2024-06-20";

/// The same event, as an account of the old version gets it.
pub(crate) fn render(event: &Value, state: &State) -> Value {
    let mut event = event.clone();
    event["api_version"] = json!(OLD_VERSION);
    let object = &mut event["data"]["object"];
    match object["object"].as_str() {
        Some("subscription") => age_subscription(object),
        Some("invoice") => age_invoice(object, state),
        Some("charge") => {
            let invoice = state
                .invoice_of(object)
                .map(|invoice| invoice["id"].clone());
            object["invoice"] = json!(invoice);
        }
        _ => {}
    }
    event
}

/// The period was the subscription's, not its items'.
fn age_subscription(subscription: &mut Value) {
    let (start, end) = period(subscription);
    subscription["current_period_start"] = json!(start);
    subscription["current_period_end"] = json!(end);
    remove(subscription, "billing_mode");
    for item in items_mut(subscription) {
        remove(item, "current_period_start");
        remove(item, "current_period_end");
    }
}

/// The subscription, the intent and the charge were named on the invoice itself.
fn age_invoice(invoice: &mut Value, state: &State) {
    invoice["subscription"] = invoice["parent"]["subscription_details"]["subscription"].clone();
    invoice["paid"] = json!(invoice["status"] == "paid");
    let paying = state
        .invoice_payments
        .values()
        .find(|payment| payment["invoice"] == invoice["id"]);
    let intent = paying.map_or(Value::Null, |payment| {
        payment["payment"]["payment_intent"].clone()
    });
    let charge = intent
        .as_str()
        .and_then(|id| state.payment_intents.get(id))
        .map_or(Value::Null, |intent| intent["latest_charge"].clone());
    invoice["payment_intent"] = intent;
    invoice["charge"] = charge;
    remove(invoice, "parent");
    for line in invoice["lines"]["data"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        let details = line["parent"]["subscription_item_details"].clone();
        line["subscription"] = details["subscription"].clone();
        line["subscription_item"] = details["subscription_item"].clone();
        line["proration"] = details["proration"].clone();
        remove(line, "parent");
        remove(line, "pricing");
    }
}

fn remove(object: &mut Value, name: &str) {
    if let Some(fields) = object.as_object_mut() {
        fields.remove(name);
    }
}
