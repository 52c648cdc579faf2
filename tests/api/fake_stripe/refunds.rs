//! Money that goes back: refunds, and disputes.

use serde_json::{Value, json};

use super::objects::text;
use super::params::{Params, Refusal};
use super::state::State;

const REASONS: [&str; 3] = ["duplicate", "fraudulent", "requested_by_customer"];

impl State {
    pub(crate) fn create_refund(&mut self, mut params: Params) -> Result<Value, Refusal> {
        let charge = params.optional("charge");
        let intent = params.optional("payment_intent");
        let amount = params.integer("amount")?;
        let reason = params.choice("reason", &REASONS)?;
        let metadata = params.map("metadata")?;
        params.finish()?;
        let charge = match (charge, intent) {
            (Some(charge), None) => charge,
            (None, Some(intent)) => {
                let found = self.payment_intents.get(&intent);
                let found = found.ok_or_else(|| {
                    Refusal::missing(400, "payment_intent", "payment_intent", &intent)
                })?;
                found["latest_charge"].as_str().map(str::to_owned).ok_or_else(|| {
                    let message = format!("This PaymentIntent ({intent}) does not have a successful charge to refund.");
                    Refusal::invalid(None, "payment_intent", message)
                })?
            }
            _ => {
                return Err(Refusal::invalid(
                    Some("parameter_missing"),
                    "charge",
                    "One of the following params should be provided for this request: payment_intent or charge.",
                ));
            }
        };
        self.refund(&charge, amount, reason.as_deref(), &metadata)
    }

    /// Gives money back, all that is left without an amount.
    pub(crate) fn refund(
        &mut self,
        charge_id: &str,
        amount: Option<i64>,
        reason: Option<&str>,
        metadata: &Value,
    ) -> Result<Value, Refusal> {
        let charge = self
            .charges
            .get(charge_id)
            .ok_or_else(|| Refusal::missing(400, "charge", "charge", charge_id))?
            .clone();
        let left = number(&charge, "amount") - number(&charge, "amount_refunded");
        let refused =
            |code, message: String| Refusal::new(400, "invalid_request_error", code, None, message);
        if left == 0 {
            return Err(refused(
                Some("charge_already_refunded"),
                format!("Charge {charge_id} has already been refunded."),
            ));
        }
        if self.is_charged_back(charge_id) {
            return Err(refused(
                Some("charge_disputed"),
                format!("Charge {charge_id} has been charged back; cannot issue a refund."),
            ));
        }
        let amount = amount.unwrap_or(left);
        if amount < 1 {
            return Err(Refusal::invalid(
                Some("parameter_invalid_integer"),
                "amount",
                "Invalid positive integer",
            ));
        }
        if amount > left {
            let message = format!(
                "Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"
            );
            return Err(Refusal::invalid(None, "amount", message));
        }
        let id = self.new_id("re");
        let refund = json!({
            "id": id, "object": "refund", "amount": amount, "balance_transaction": null, "charge": charge_id,
            "created": self.now.timestamp(), "currency": charge["currency"], "failure_reason": null,
            "metadata": metadata, "payment_intent": charge["payment_intent"], "reason": reason,
            "receipt_number": null, "source_transfer_reversal": null, "status": "succeeded", "transfer_reversal": null,
        });
        self.refunds.insert(id, refund.clone());
        let charge = self.move_refunded(charge_id, amount);
        self.tell("refund.created", &refund);
        self.tell("charge.refunded", &charge);
        Ok(refund)
    }

    /// The bank sends the money of a refund back.
    pub(crate) fn fail_refund(&mut self, id: &str) {
        let refund = self
            .refunds
            .get_mut(id)
            .unwrap_or_else(|| panic!("no refund {id}"));
        assert_eq!(refund["status"], "succeeded", "a refund fails once");
        refund["status"] = json!("failed");
        refund["failure_reason"] = json!("expired_or_canceled_card");
        let refund = refund.clone();
        self.move_refunded(&text(&refund, "charge"), -number(&refund, "amount"));
        self.tell("refund.failed", &refund);
        self.tell("charge.refund.updated", &refund);
    }

    fn move_refunded(&mut self, charge: &str, by: i64) -> Value {
        let charge = self.charges.get_mut(charge).expect("a refund has a charge");
        let refunded = number(charge, "amount_refunded") + by;
        charge["amount_refunded"] = json!(refunded);
        charge["refunded"] = json!(refunded == number(charge, "amount"));
        charge.clone()
    }

    /// The payer's bank claims the money back. Returns the dispute's id.
    pub(crate) fn open_dispute(&mut self, charge_id: &str) -> String {
        let id = self.new_id("du");
        let charge = self
            .charges
            .get_mut(charge_id)
            .unwrap_or_else(|| panic!("no charge {charge_id}"));
        charge["disputed"] = json!(true);
        let dispute = json!({
            "id": id, "object": "dispute", "amount": charge["amount"], "balance_transactions": [],
            "charge": charge_id, "created": self.now.timestamp(), "currency": charge["currency"],
            "enhanced_eligibility_types": [], "evidence": {"enhanced_evidence": {}},
            "evidence_details": {"due_by": self.now.timestamp() + 7 * 86_400, "enhanced_eligibility": {},
                                 "has_evidence": false, "past_due": false, "submission_count": 0,
                                 "submission_method": "not_submitted"},
            "is_charge_refundable": false, "livemode": false, "metadata": {},
            "payment_intent": charge["payment_intent"], "reason": "fraudulent", "status": "needs_response",
        });
        self.disputes.insert(id.clone(), dispute.clone());
        self.tell("charge.dispute.created", &dispute);
        // The bank takes the money at once and gives it back if the dispute is won.
        self.tell("charge.dispute.funds_withdrawn", &dispute);
        id
    }

    /// The dispute is decided. The charge stays marked as disputed even when it was won.
    pub(crate) fn close_dispute(&mut self, id: &str, status: &str) {
        let dispute = self
            .disputes
            .get_mut(id)
            .unwrap_or_else(|| panic!("no dispute {id}"));
        dispute["status"] = json!(status);
        let dispute = dispute.clone();
        self.tell("charge.dispute.closed", &dispute);
        if status == "won" {
            self.tell("charge.dispute.funds_reinstated", &dispute);
        }
    }

    fn is_charged_back(&self, charge: &str) -> bool {
        self.disputes
            .values()
            .any(|dispute| dispute["charge"] == charge && dispute["status"] != "won")
    }
}

fn number(object: &Value, name: &str) -> i64 {
    object[name].as_i64().unwrap_or_default()
}
