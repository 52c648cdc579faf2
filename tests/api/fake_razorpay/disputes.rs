//! Money that a payer's bank claims back.

use serde_json::{Value, json};

use super::lists::{Part, collection};
use super::params::{Params, Refusal};
use super::state::{State, number, text};

/// How long there is to answer a dispute.
const RESPOND_WITHIN: i64 = 7 * 24 * 60 * 60;

impl State {
    pub(crate) fn list_disputes(&self, mut params: Params) -> Result<Value, Refusal> {
        let part = Part::read(&mut params)?;
        params.finish()?;
        Ok(collection(part.of(self.disputes.values(), |_| true)))
    }

    /// Returns the dispute's id.
    pub(crate) fn open_dispute(&mut self, payment: &str) -> String {
        let payment = self.payments[payment].clone();
        let id = self.new_id("disp");
        let now = self.timestamp();
        let dispute = json!({
            "id": id, "entity": "dispute", "payment_id": payment["id"],
            "amount": number(&payment, "amount"), "currency": payment["currency"],
            "amount_deducted": 0, "gateway_dispute_id": null,
            "reason_code": "goods_or_services_not_received_or_partially_received",
            "reason_description": null, "respond_by": now + RESPOND_WITHIN, "status": "open",
            "phase": "chargeback", "comments": null, "created_at": now,
        });
        self.disputes.insert(id.clone(), dispute.clone());
        self.tell(
            "payment.dispute.created",
            &[("payment", &payment), ("dispute", &dispute)],
        );
        id
    }

    /// `lost`, `won`, `closed`.
    pub(crate) fn close_dispute(&mut self, id: &str, outcome: &str) {
        let dispute = self
            .disputes
            .get_mut(id)
            .unwrap_or_else(|| panic!("no dispute {id}"));
        dispute["status"] = json!(outcome);
        if outcome == "lost" {
            dispute["amount_deducted"] = dispute["amount"].clone();
        }
        let dispute = dispute.clone();
        let payment = self.payments[&text(&dispute, "payment_id")].clone();
        let kind = format!("payment.dispute.{outcome}");
        self.tell(&kind, &[("payment", &payment), ("dispute", &dispute)]);
    }
}
