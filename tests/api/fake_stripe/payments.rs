//! Invoices, and the payments of them.

use serde_json::{Value, json};

use super::objects::{instant, is_metered, items, period, text};
use super::state::State;

/// What a period of the flat items costs, paid in advance. Nothing during a trial.
pub(crate) fn flat_lines(subscription: &Value) -> Vec<Value> {
    let trialing = subscription["status"] == "trialing";
    let flat = items(subscription)
        .iter()
        .filter(|item| !is_metered(&item["price"]));
    flat.map(|item| {
        let amount = if trialing { 0 } else { cost(item) };
        let (start, end) = (&item["current_period_start"], &item["current_period_end"]);
        line(item, amount, &item["quantity"], (start, end), false)
    })
    .collect()
}

/// What an item costs in a whole period.
pub(crate) fn cost(item: &Value) -> i64 {
    item["price"]["unit_amount"].as_i64().unwrap_or_default()
        * item["quantity"].as_i64().unwrap_or_default()
}

pub(crate) fn line(
    item: &Value,
    amount: i64,
    quantity: &Value,
    (start, end): (&Value, &Value),
    proration: bool,
) -> Value {
    let price = &item["price"];
    json!({
        "object": "line_item", "amount": amount, "currency": price["currency"], "description": null,
        "discount_amounts": [], "discountable": !proration, "discounts": [], "livemode": false, "metadata": {},
        "parent": {
            "invoice_item_details": null, "type": "subscription_item_details",
            "subscription_item_details": {
                "invoice_item": null, "proration": proration, "proration_details": null,
                "subscription": item["subscription"], "subscription_item": item["id"],
            },
        },
        "period": {"start": start, "end": end}, "pretax_credit_amounts": [],
        "pricing": {
            "price_details": {"price": price["id"], "product": price["product"]},
            "type": "price_details", "unit_amount_decimal": price["unit_amount_decimal"],
        },
        "quantity": quantity, "subtotal": amount, "taxes": [],
    })
}

impl State {
    /// What was told to the meter in the period that the metered items are in, paid afterwards.
    pub(crate) fn usage_lines(&self, subscription: &Value) -> Vec<Value> {
        let metered = items(subscription)
            .iter()
            .filter(|item| is_metered(&item["price"]));
        metered
            .map(|item| {
                let (start, end) = (&item["current_period_start"], &item["current_period_end"]);
                let moment = |at: &Value| instant(at.as_i64().unwrap_or_default());
                let customer = text(subscription, "customer");
                let used = self.meter.counted(&customer, moment(start), moment(end));
                let unit = item["price"]["unit_amount"].as_i64().unwrap_or_default();
                line(item, used * unit, &json!(used), (start, end), false)
            })
            .collect()
    }

    /// Draws an invoice up and leaves it a draft. Returns its id.
    pub(crate) fn draw_invoice(&mut self, id: &str, reason: &str, mut lines: Vec<Value>) -> String {
        let invoice = self.new_id("in");
        for line in &mut lines {
            line["id"] = json!(self.new_id("il"));
            line["invoice"] = json!(invoice);
        }
        let total: i64 = lines
            .iter()
            .filter_map(|line| line["amount"].as_i64())
            .sum();
        let subscription = &self.subscriptions[id];
        let (start, end) = period(subscription);
        let object = json!({
            "id": invoice, "object": "invoice", "amount_due": total.max(0), "amount_overpaid": 0, "amount_paid": 0,
            "amount_remaining": total.max(0), "amount_shipping": 0, "attempt_count": 0, "attempted": false, "auto_advance": true,
            "automatic_tax": {"enabled": false, "liability": null, "status": null}, "billing_reason": reason,
            "collection_method": "charge_automatically", "created": self.now.timestamp(),
            "currency": subscription["currency"], "customer": subscription["customer"],
            "default_tax_rates": [], "discounts": [], "issuer": {"type": "self"},
            "lines": {"object": "list", "data": lines, "has_more": false, "total_count": lines.len(),
                      "url": format!("/v1/invoices/{invoice}/lines")},
            "livemode": false, "metadata": {}, "next_payment_attempt": null,
            "parent": {
                "quote_details": null, "type": "subscription_details",
                "subscription_details": {"metadata": subscription["metadata"], "subscription": id},
            },
            "payment_settings": {"default_mandate": null, "payment_method_options": null, "payment_method_types": null},
            "period_end": end, "period_start": start, "post_payment_credit_notes_amount": 0,
            "pre_payment_credit_notes_amount": 0, "starting_balance": 0, "status": "draft",
            "status_transitions": {"finalized_at": null, "marked_uncollectible_at": null, "paid_at": null, "voided_at": null},
            "subtotal": total, "total": total,
        });
        self.invoices.insert(invoice.clone(), object);
        let subscription = self.subscriptions.get_mut(id).expect("it was found above");
        subscription["latest_invoice"] = json!(invoice);
        invoice
    }

    /// The invoice is paid, with a charge where something is due. Returns it.
    pub(crate) fn pay_invoice(&mut self, id: &str) -> Value {
        let now = self.now.timestamp();
        let due = self.invoices[id]["amount_due"].as_i64().unwrap_or_default();
        if due > 0 {
            let intent = self.intent_of(id);
            let charge = self.charge(&intent);
            let object = self
                .payment_intents
                .get_mut(&intent)
                .expect("it was just made");
            object["status"] = json!("succeeded");
            object["amount_received"] = json!(due);
            object["latest_charge"] = json!(charge);
            for payment in self.invoice_payments.values_mut() {
                if payment["payment"]["payment_intent"] == *intent {
                    payment["status"] = json!("paid");
                    payment["amount_paid"] = json!(due);
                    payment["status_transitions"]["paid_at"] = json!(now);
                }
            }
        }
        let invoice = self.finalize(id, "paid");
        invoice["amount_paid"] = json!(due);
        invoice["amount_remaining"] = json!(0);
        invoice["status_transitions"]["paid_at"] = json!(now);
        invoice.clone()
    }

    /// The card is declined. Returns the invoice, which stays open.
    pub(crate) fn decline_invoice(&mut self, id: &str) -> Value {
        let intent = self.intent_of(id);
        let object = self
            .payment_intents
            .get_mut(&intent)
            .expect("it was just made");
        object["status"] = json!("requires_payment_method");
        object["last_payment_error"] = json!({"type": "card_error", "code": "card_declined"});
        let now = self.now.timestamp();
        let invoice = self.finalize(id, "open");
        invoice["next_payment_attempt"] = json!(now + 3 * 86_400);
        invoice.clone()
    }

    /// Nobody will pay the invoice any more.
    pub(crate) fn void_invoice(&mut self, id: &str) {
        let now = self.now.timestamp();
        if let Some(invoice) = self.invoices.get_mut(id) {
            invoice["status"] = json!("void");
            invoice["status_transitions"]["voided_at"] = json!(now);
        }
    }

    /// The invoices of the subscription that wait for their payment.
    pub(crate) fn open_invoices(&self, subscription: &str) -> Vec<String> {
        self.invoices
            .values()
            .filter(|invoice| {
                invoice["status"] == "open"
                    && invoice["parent"]["subscription_details"]["subscription"] == subscription
            })
            .map(|invoice| text(invoice, "id"))
            .collect()
    }

    /// The invoice that a charge paid.
    pub(crate) fn invoice_of(&self, charge: &Value) -> Option<&Value> {
        let payment = self
            .invoice_payments
            .values()
            .find(|payment| payment["payment"]["payment_intent"] == charge["payment_intent"])?;
        self.invoices.get(payment["invoice"].as_str()?)
    }

    fn finalize(&mut self, id: &str, status: &str) -> &mut Value {
        let now = self.now.timestamp();
        let invoice = self
            .invoices
            .get_mut(id)
            .unwrap_or_else(|| panic!("no invoice {id}"));
        invoice["status"] = json!(status);
        invoice["attempted"] = json!(true);
        invoice["attempt_count"] = json!(invoice["attempt_count"].as_i64().unwrap_or_default() + 1);
        invoice["next_payment_attempt"] = Value::Null;
        if invoice["status_transitions"]["finalized_at"].is_null() {
            invoice["status_transitions"]["finalized_at"] = json!(now);
        }
        invoice
    }

    /// The intent to pay the invoice. Every try of it shares one.
    fn intent_of(&mut self, invoice: &str) -> String {
        let payment = self
            .invoice_payments
            .values()
            .find(|payment| payment["invoice"] == invoice);
        if let Some(payment) = payment {
            return text(&payment["payment"], "payment_intent");
        }
        let (id, payment) = (self.new_id("pi"), self.new_id("inpay"));
        let now = self.now.timestamp();
        let invoice = &self.invoices[invoice];
        let intent = json!({
            "id": id, "object": "payment_intent", "amount": invoice["amount_due"], "amount_capturable": 0,
            "amount_received": 0, "canceled_at": null, "capture_method": "automatic",
            "confirmation_method": "automatic", "created": now, "currency": invoice["currency"],
            "customer": invoice["customer"], "description": null, "last_payment_error": null, "latest_charge": null,
            "livemode": false, "metadata": {}, "next_action": null, "payment_method_types": ["card"],
            "status": "processing",
        });
        let paying = json!({
            "id": payment, "object": "invoice_payment", "amount_paid": null, "amount_requested": invoice["amount_due"],
            "created": now, "currency": invoice["currency"], "invoice": invoice["id"], "is_default": true,
            "livemode": false, "payment": {"payment_intent": id, "type": "payment_intent"}, "status": "open",
            "status_transitions": {"canceled_at": null, "paid_at": null},
        });
        self.payment_intents.insert(id.clone(), intent);
        self.invoice_payments.insert(payment, paying);
        id
    }

    fn charge(&mut self, intent: &str) -> String {
        let id = self.new_id("ch");
        let intent = &self.payment_intents[intent];
        let charge = json!({
            "id": id, "object": "charge", "amount": intent["amount"], "amount_captured": intent["amount"],
            "amount_refunded": 0, "balance_transaction": null,
            "billing_details": {"address": null, "email": null, "name": null, "phone": null, "tax_id": null},
            "captured": true, "created": self.now.timestamp(),
            "currency": intent["currency"], "customer": intent["customer"], "description": null, "disputed": false,
            "failure_code": null, "failure_message": null, "livemode": false, "metadata": {}, "paid": true,
            "payment_intent": intent["id"], "payment_method": "pm_fake", "refunded": false, "status": "succeeded",
        });
        self.charges.insert(id.clone(), charge);
        id
    }
}
