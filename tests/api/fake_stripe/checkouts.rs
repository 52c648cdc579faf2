//! Checkout sessions: what may be sold, and what a completed one makes.

use serde_json::{Value, json};

use super::objects::{self, SessionParams, is_metered};
use super::params::{Params, Refusal};
use super::payments::flat_lines;
use super::state::State;

impl State {
    pub(crate) fn create_session(&mut self, mut params: Params) -> Result<Value, Refusal> {
        let mode = params.required("mode")?;
        let customer = params.required("customer")?;
        let success_url = params.required("success_url")?;
        let cancel_url = params.optional("cancel_url");
        let client_reference_id = params.optional("client_reference_id");
        let metadata = params.map("metadata")?;
        let subscription_metadata = params.map("subscription_data[metadata]")?;
        let trial_days = params.integer("subscription_data[trial_period_days]")?;
        let promotion_codes = params.boolean("allow_promotion_codes")?;
        let lines = self.lines(&mut params)?;
        params.finish()?;
        if mode != "subscription" {
            return Err(Refusal::invalid(
                None,
                "mode",
                "This fake sells subscriptions only",
            ));
        }
        self.live_customer(&customer)?;
        if trial_days.is_some_and(|days| !(1..=730).contains(&days)) {
            return Err(Refusal::invalid(
                None,
                "subscription_data[trial_period_days]",
                "The number of trial period days must be between 1 and 730.",
            ));
        }
        for (name, address) in [
            ("success_url", Some(&success_url)),
            ("cancel_url", cancel_url.as_ref()),
        ] {
            if address.is_some_and(|address| url::Url::parse(address).is_err()) {
                return Err(Refusal::invalid(
                    Some("url_invalid"),
                    name,
                    "Not a valid URL",
                ));
            }
        }
        if client_reference_id
            .as_ref()
            .is_some_and(|id| id.is_empty() || id.chars().count() > 200)
        {
            return Err(Refusal::invalid(
                None,
                "client_reference_id",
                "Invalid string: must be at most 200 characters",
            ));
        }
        let id = self.new_id("cs_test");
        let params = SessionParams {
            customer,
            lines,
            metadata,
            subscription_metadata,
            trial_days,
            promotion_codes,
            client_reference_id,
            success_url,
            cancel_url,
        };
        let session = objects::session(&id, &params, self.now);
        self.sessions.insert(id.clone(), session.clone());
        self.session_params.insert(id, params);
        Ok(session)
    }

    fn lines(&self, params: &mut Params) -> Result<Vec<(String, Option<i64>)>, Refusal> {
        let mut lines = Vec::new();
        for i in 0..params.indices("line_items") {
            let name = format!("line_items[{i}][price]");
            let price_id = params.required(&name)?;
            let price = self.sellable(&name, &price_id)?;
            let name = format!("line_items[{i}][quantity]");
            let quantity = params.integer(&name)?;
            match (is_metered(&price), quantity) {
                (true, Some(_)) => {
                    return Err(Refusal::invalid(
                        None,
                        &name,
                        "You cannot set the quantity of a metered price.",
                    ));
                }
                (false, None | Some(..=0)) => {
                    return Err(Refusal::invalid(
                        Some("parameter_missing"),
                        &name,
                        "Quantity is required.",
                    ));
                }
                _ => lines.push((price_id, quantity)),
            }
        }
        if lines.is_empty() {
            return Err(Refusal::invalid(
                Some("parameter_missing"),
                "line_items",
                "Missing required param: line_items.",
            ));
        }
        Ok(lines)
    }

    pub(crate) fn expire_session(&mut self, id: &str) -> Result<Value, Refusal> {
        let session = self
            .sessions
            .get_mut(id)
            .ok_or_else(|| Refusal::missing(404, "session", "checkout.session", id))?;
        if session["status"] != json!("open") {
            let message = format!(
                "Only Checkout Sessions with a status in [\"open\"] can be expired. This Checkout Session has a status of {}.",
                session["status"]
            );
            return Err(Refusal::new(
                400,
                "invalid_request_error",
                None,
                None,
                message,
            ));
        }
        session["status"] = json!("expired");
        session["url"] = Value::Null;
        let session = session.clone();
        self.tell("checkout.session.expired", &session);
        Ok(session)
    }

    /// The customer goes through with it: a subscription begins, and what is due now is paid.
    pub(crate) fn complete_checkout(&mut self, session_id: &str) {
        let params = self
            .session_params
            .get(session_id)
            .unwrap_or_else(|| panic!("no session {session_id}"))
            .clone();
        assert_eq!(
            self.sessions[session_id]["status"],
            json!("open"),
            "only an open session can be paid"
        );
        let prices: Vec<_> = params
            .lines
            .iter()
            .map(|(price, _)| self.prices[price].clone())
            .collect();
        let item_ids: Vec<_> = prices.iter().map(|_| self.new_id("si")).collect();
        let id = self.new_id("sub");
        let subscription = objects::subscription(&id, &params, &prices, &item_ids, self.now);
        self.subscriptions.insert(id.clone(), subscription.clone());
        let lines = flat_lines(&subscription);
        let drawn = self.draw_invoice(&id, "subscription_create", lines);
        let invoice = self.pay_invoice(&drawn);
        let subscription = self.subscriptions[&id].clone();
        self.tell("customer.subscription.created", &subscription);
        self.tell("invoice.paid", &invoice);

        let session = self
            .sessions
            .get_mut(session_id)
            .expect("it was found above");
        session["status"] = json!("complete");
        session["payment_status"] = json!(if params.trial_days.is_some() {
            "no_payment_required"
        } else {
            "paid"
        });
        session["subscription"] = json!(id);
        session["invoice"] = json!(drawn);
        session["url"] = Value::Null;
        let session = session.clone();
        self.tell("checkout.session.completed", &session);
    }
}
