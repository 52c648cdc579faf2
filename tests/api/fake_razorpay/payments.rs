//! Payments, their invoices, and money that goes back.

use serde_json::{Value, json};

use super::lists::{Part, collection};
use super::params::{Params, Refusal};
use super::state::{Recorded, State, number, text};

const SHORTEST_KEY: usize = 10;
/// The smallest sum that moves, in paise.
pub(crate) const LEAST: i64 = 100;

/// What somebody pays for.
pub(crate) struct Sale {
    /// The subscription, for a cycle of it.
    subscription: Option<Value>,
    amount: i64,
    currency: String,
    description: String,
    email: Option<String>,
}

impl Sale {
    pub(crate) fn of_cycle(subscription: &Value) -> Self {
        Self {
            subscription: Some(subscription.clone()),
            amount: 0,
            currency: String::new(),
            description: "Recurring Payment via Subscription".to_owned(),
            email: None,
        }
    }

    pub(crate) fn of_link(link: &Value) -> Self {
        Self {
            subscription: None,
            amount: number(link, "amount"),
            currency: text(link, "currency"),
            description: format!("#{}", &text(link, "id")[6..]),
            email: link["customer"]["email"].as_str().map(str::to_owned),
        }
    }
}

impl State {
    /// A payment that went through; for a subscription's cycle with its invoice. Returns the payment.
    pub(crate) fn sell(&mut self, sale: &Sale) -> Value {
        let mut payment = self.payment(sale);
        payment["status"] = json!("captured");
        payment["captured"] = json!(true);
        payment["fee"] = json!(number(&payment, "amount") / 50);
        payment["tax"] = json!(0);
        if let Some(subscription) = &sale.subscription {
            let invoice = self.invoice(subscription, &payment);
            payment["invoice_id"] = invoice["id"].clone();
            self.invoices.insert(text(&invoice, "id"), invoice);
        }
        self.payments.insert(text(&payment, "id"), payment.clone());
        payment
    }

    /// A payment that the bank declined.
    pub(crate) fn failed_payment(&mut self, sale: &Sale) -> Value {
        let mut payment = self.payment(sale);
        payment["status"] = json!("failed");
        payment["error_code"] = json!("BAD_REQUEST_ERROR");
        payment["error_description"] = json!("Your payment was declined by the bank");
        payment["error_source"] = json!("bank");
        payment["error_step"] = json!("payment_authorization");
        payment["error_reason"] = json!("payment_failed");
        self.payments.insert(text(&payment, "id"), payment.clone());
        payment
    }

    fn payment(&mut self, sale: &Sale) -> Value {
        let (amount, currency) = self.price_of(sale);
        let customer = sale.subscription.as_ref().map(|s| s["customer_id"].clone());
        let (id, order) = (self.new_id("pay"), self.new_id("order"));
        json!({
            "id": id, "entity": "payment", "amount": amount, "currency": currency,
            "status": "created", "order_id": order, "invoice_id": null, "international": false,
            "method": "card", "amount_refunded": 0, "refund_status": null, "captured": false,
            "description": sale.description, "card_id": null, "bank": null, "wallet": null,
            "vpa": null, "email": sale.email.as_deref().unwrap_or("payer@example.com"),
            "contact": "+919000090000", "customer_id": customer, "token_id": null, "notes": [],
            "fee": null, "tax": null, "error_code": null, "error_description": null,
            "error_source": null, "error_step": null, "error_reason": null,
            "acquirer_data": {"auth_code": null}, "created_at": self.timestamp(),
        })
    }

    fn price_of(&self, sale: &Sale) -> (i64, String) {
        let Some(subscription) = &sale.subscription else {
            return (sale.amount, sale.currency.clone());
        };
        let item = &self.plans[&text(subscription, "plan_id")]["item"];
        let quantity = number(subscription, "quantity");
        (number(item, "amount") * quantity, text(item, "currency"))
    }

    fn invoice(&mut self, subscription: &Value, payment: &Value) -> Value {
        let now = self.timestamp();
        let (id, line) = (self.new_id("inv"), self.new_id("li"));
        let (amount, currency) = (&payment["amount"], &payment["currency"]);
        let item = &self.plans[&text(subscription, "plan_id")]["item"];
        json!({
            "id": id, "entity": "invoice", "receipt": null, "invoice_number": null,
            "customer_id": subscription["customer_id"],
            "customer_details": {"email": payment["email"], "contact": payment["contact"]},
            "order_id": payment["order_id"], "subscription_id": subscription["id"],
            "line_items": [{
                "id": line, "item_id": null, "name": item["name"], "description": null,
                "amount": item["amount"], "currency": currency, "type": "plan",
                "quantity": subscription["quantity"],
            }],
            "payment_id": payment["id"], "status": "paid", "expire_by": null, "issued_at": now,
            "paid_at": now, "cancelled_at": null, "expired_at": null, "sms_status": null,
            "email_status": null, "date": now, "terms": null, "partial_payment": false,
            "gross_amount": amount, "tax_amount": 0, "amount": amount, "amount_paid": amount,
            "amount_due": 0, "currency": currency, "description": null, "notes": [],
            "comment": null, "short_url": format!("https://rzp.io/i/{}", &id[4..]),
            "view_less": true, "billing_start": subscription["current_start"],
            "billing_end": subscription["current_end"], "type": "invoice",
            "group_taxes_discounts": false, "created_at": now,
        })
    }

    pub(crate) fn list_invoices(&self, mut params: Params) -> Result<Value, Refusal> {
        let part = Part::read(&mut params)?;
        let subscription = params.text("subscription_id")?;
        let payment = params.text("payment_id")?;
        params.finish()?;
        let is = |invoice: &Value, name: &str, wanted: &Option<String>| {
            wanted
                .as_ref()
                .is_none_or(|wanted| invoice[name] == **wanted)
        };
        let wanted = |invoice: &Value| {
            is(invoice, "subscription_id", &subscription) && is(invoice, "payment_id", &payment)
        };
        Ok(collection(part.of(self.invoices.values(), wanted)))
    }

    /// Gives money back, once for each key.
    pub(crate) fn create_refund(
        &mut self,
        payment: &str,
        request: &Recorded,
        params: Params,
    ) -> Result<Value, Refusal> {
        let Some(key) = &request.refund_key else {
            return self.refund(payment, params);
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if key.len() < SHORTEST_KEY || !key.chars().all(allowed) {
            return Err(Refusal::bad_request(
                "The idempotency key must have at least 10 letters, digits, hyphens and underscores",
            ));
        }
        if let Some((of, body, refund)) = self.refund_keys.get(key) {
            if of != payment || *body != request.body {
                return Err(Refusal::bad_request(
                    "Different request with the same idempotency key",
                ));
            }
            return Ok(refund.clone());
        }
        let refund = self.refund(payment, params)?;
        let kept = (payment.to_owned(), request.body.clone(), refund.clone());
        self.refund_keys.insert(key.clone(), kept);
        Ok(refund)
    }

    pub(crate) fn refund(&mut self, id: &str, mut params: Params) -> Result<Value, Refusal> {
        let amount = params.within("amount", LEAST, i64::MAX)?;
        let receipt = params.short("receipt", 40)?;
        params.word("speed", "normal")?;
        let notes = params.notes()?;
        params.finish()?;
        let now = self.timestamp();
        let refund_id = self.new_id("rfnd");
        let payment = self.payments.get_mut(id).ok_or_else(Refusal::unknown_id)?;
        match payment["status"].as_str() {
            Some("captured") => {}
            Some("refunded") => {
                return Err(Refusal::bad_request(
                    "The payment has been fully refunded already",
                ));
            }
            _ => {
                return Err(Refusal::bad_request(
                    "The payment status should be captured for action to be taken",
                ));
            }
        }
        let (whole, gone) = (
            number(payment, "amount"),
            number(payment, "amount_refunded"),
        );
        let amount = amount.unwrap_or(whole - gone);
        if amount > whole - gone {
            return Err(Refusal::field(
                "amount",
                "The total refund amount is greater than the refund payment amount",
            ));
        }
        payment["amount_refunded"] = json!(gone + amount);
        let full = gone + amount == whole;
        payment["refund_status"] = json!(if full { "full" } else { "partial" });
        if full {
            payment["status"] = json!("refunded");
        }
        let payment = payment.clone();
        let refund = json!({
            "id": refund_id, "entity": "refund", "amount": amount,
            "currency": payment["currency"], "payment_id": id, "notes": notes,
            "receipt": receipt, "acquirer_data": {"arn": null}, "created_at": now,
            "batch_id": null, "status": "processed", "speed_processed": "normal",
            "speed_requested": "normal",
        });
        self.refunds.insert(refund_id, refund.clone());
        let told = [("refund", &refund), ("payment", &payment)];
        self.tell("refund.created", &told);
        self.tell("refund.processed", &told);
        Ok(refund)
    }

    pub(crate) fn list_refunds(&self, id: &str, mut params: Params) -> Result<Value, Refusal> {
        let part = Part::read(&mut params)?;
        params.finish()?;
        if !self.payments.contains_key(id) {
            return Err(Refusal::unknown_id());
        }
        let of_payment = |refund: &Value| refund["payment_id"] == *id;
        Ok(collection(part.of(self.refunds.values(), of_payment)))
    }
}
