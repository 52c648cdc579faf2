//! `expand[]`: ids that are replaced by what they name.

use serde_json::{Value, json};

use super::params::Refusal;
use super::state::State;

const MAX_DEPTH: usize = 4;

impl State {
    /// Any object by its id.
    pub(crate) fn object(&self, id: &str) -> Option<&Value> {
        let kinds = [
            &self.customers,
            &self.prices,
            &self.sessions,
            &self.subscriptions,
            &self.schedules,
            &self.invoices,
            &self.invoice_payments,
            &self.payment_intents,
            &self.charges,
            &self.refunds,
            &self.disputes,
        ];
        kinds.into_iter().find_map(|objects| objects.get(id))
    }

    pub(crate) fn expand(&self, body: &mut Value, paths: &[String]) -> Result<(), Refusal> {
        for (index, path) in paths.iter().enumerate() {
            let segments: Vec<_> = path.split('.').collect();
            if segments.len() > MAX_DEPTH || !self.open(body, &segments) {
                let message = format!("This property cannot be expanded ({path}).");
                return Err(Refusal::invalid(None, &format!("expand[{index}]"), message));
            }
        }
        Ok(())
    }

    /// Whether there was something to be opened at the end of the path; nothing is something, too.
    fn open(&self, value: &mut Value, path: &[&str]) -> bool {
        if let Value::Array(items) = value {
            return items.iter_mut().all(|item| self.open(item, path));
        }
        if let Value::String(id) = value
            && let Some(object) = self.object(id)
        {
            *value = object.clone();
        }
        let Some((first, rest)) = path.split_first() else {
            return value.is_object() || value.is_null();
        };
        if value.is_null() {
            return true;
        }
        if *first == "payments" && value["object"] == "invoice" && value.get("payments").is_none() {
            value["payments"] = self.payments_of(&value["id"]);
        }
        value
            .get_mut(*first)
            .is_some_and(|inner| self.open(inner, rest))
    }

    /// A part of an invoice that is only shown on request.
    fn payments_of(&self, invoice: &Value) -> Value {
        let payments: Vec<_> = self
            .invoice_payments
            .values()
            .rev()
            .filter(|payment| payment["invoice"] == *invoice)
            .collect();
        json!({"object": "list", "data": payments, "has_more": false, "total_count": payments.len(),
               "url": "/v1/invoice_payments"})
    }
}
