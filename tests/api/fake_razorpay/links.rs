//! Payment links.

use serde_json::{Value, json};

use super::lists::Part;
use super::params::{Params, Refusal};
use super::payments::{LEAST, Sale};
use super::state::{State, number, text};

/// How far ahead a link must at least expire.
const SHORTEST: i64 = 15 * 60;

impl State {
    pub(crate) fn create_link(&mut self, mut params: Params) -> Result<Value, Refusal> {
        let amount = params.required_within("amount", LEAST, 50_000_000_000)?;
        let currency = params.required_text("currency")?;
        let reference = params.short("reference_id", 40)?.unwrap_or_default();
        let description = params.short("description", 2048)?.unwrap_or_default();
        let mut customer = params.object("customer")?;
        let mut who = json!({});
        for (name, given) in [
            ("name", customer.text("name")?),
            ("email", customer.email("email")?),
            ("contact", customer.short("contact", 15)?),
        ] {
            if let Some(given) = given {
                who[name] = json!(given);
            }
        }
        customer.finish()?;
        let mut notify = params.object("notify")?;
        let sms = notify.flag("sms")?.unwrap_or(false);
        let email = notify.flag("email")?.unwrap_or(false);
        notify.finish()?;
        let reminder = params.flag("reminder_enable")?.unwrap_or(false);
        let partial = params.flag("accept_partial")?.unwrap_or(false);
        let callback = params.address("callback_url")?;
        let by_get = params.word("callback_method", "get")?;
        let expire_by = params.integer("expire_by")?;
        let notes = params.notes()?;
        params.finish()?;
        let now = self.timestamp();
        if currency != currency.to_uppercase() || currency.len() != 3 {
            return Err(Refusal::field("currency", "Currency is not supported"));
        }
        if partial {
            return Err(Refusal::field("accept_partial", "Nobody pays parts here"));
        }
        if callback.is_some() != by_get {
            return Err(Refusal::field(
                "callback_method",
                "callback_url and callback_method must be sent together",
            ));
        }
        if expire_by.is_some_and(|at| at < now + SHORTEST) {
            return Err(Refusal::field(
                "expire_by",
                "expire_by should be at least 15 minutes after current time",
            ));
        }
        for (wanted, name) in [(sms, "contact"), (email, "email")] {
            if wanted && who[name].is_null() {
                let field = format!("customer.{name}");
                let description = format!("customer {name} is required to notify the customer");
                return Err(Refusal::field(&field, description));
            }
        }
        if !reference.is_empty() && self.links.values().any(|l| l["reference_id"] == *reference) {
            return Err(Refusal::field(
                "reference_id",
                format!("payment link with given reference_id: {reference} already exists"),
            ));
        }
        let id = self.new_id("plink");
        let short = &id[6..];
        let link = json!({
            "accept_partial": false, "amount": amount, "amount_paid": 0,
            "callback_method": if by_get { "get" } else { "" },
            "callback_url": callback.unwrap_or_default(), "cancelled_at": 0, "created_at": now,
            "currency": currency, "customer": who, "description": description,
            "expire_by": expire_by.unwrap_or_default(), "expired_at": 0,
            "first_min_partial_amount": 0, "id": id, "notes": notes,
            "notify": {"email": email, "sms": sms, "whatsapp": false}, "payments": null,
            "reference_id": reference, "reminder_enable": reminder, "reminders": [],
            "short_url": format!("https://rzp.io/i/{short}"), "status": "created",
            "updated_at": now, "upi_link": false, "user_id": "", "whatsapp_link": false,
        });
        self.links.insert(id, link.clone());
        Ok(link)
    }

    /// Unlike the other lists, this one is no collection.
    pub(crate) fn list_links(&self, mut params: Params) -> Result<Value, Refusal> {
        let part = Part::read(&mut params)?;
        let reference = params.text("reference_id")?;
        let payment = params.text("payment_id")?;
        params.finish()?;
        let wanted = |link: &Value| {
            let paid = |payment: &String| {
                let mut payments = link["payments"].as_array().into_iter().flatten();
                payments.any(|paid| paid["payment_id"] == **payment)
            };
            reference
                .as_ref()
                .is_none_or(|reference| link["reference_id"] == **reference)
                && payment.as_ref().is_none_or(paid)
        };
        Ok(json!({"payment_links": part.of(self.links.values(), wanted)}))
    }

    pub(crate) fn pay_link(&mut self, id: &str) {
        let link = self.links[id].clone();
        assert_eq!(link["status"], "created", "{id} cannot be paid");
        let mut payment = self.sell(&Sale::of_link(&link));
        payment["notes"] = link["notes"].clone();
        self.payments.insert(text(&payment, "id"), payment.clone());
        let now = self.timestamp();
        let amount = number(&link, "amount");
        let order = json!({
            "id": payment["order_id"], "entity": "order", "amount": amount,
            "amount_paid": amount, "amount_due": 0, "currency": link["currency"],
            "receipt": link["reference_id"], "offer_id": null, "status": "paid", "attempts": 1,
            "notes": link["notes"], "created_at": link["created_at"],
        });
        let link = self.links.get_mut(id).expect("it was there");
        link["status"] = json!("paid");
        link["amount_paid"] = json!(amount);
        link["updated_at"] = json!(now);
        link["order_id"] = payment["order_id"].clone();
        link["payments"] = json!([{
            "amount": amount, "created_at": now, "method": payment["method"],
            "payment_id": payment["id"], "plink_id": id, "status": "captured", "updated_at": now,
        }]);
        let link = link.clone();
        self.tell(
            "payment_link.paid",
            &[
                ("payment_link", &link),
                ("order", &order),
                ("payment", &payment),
            ],
        );
    }

    /// It can no longer be paid: `expired` or `cancelled`.
    pub(crate) fn close_link(&mut self, id: &str, status: &str) {
        let now = self.timestamp();
        let link = self
            .links
            .get_mut(id)
            .unwrap_or_else(|| panic!("no link {id}"));
        assert_eq!(link["status"], "created", "{id} is not open");
        link["status"] = json!(status);
        link[format!("{status}_at")] = json!(now);
        link["updated_at"] = json!(now);
        let link = link.clone();
        let kind = format!("payment_link.{status}");
        self.tell(&kind, &[("payment_link", &link)]);
    }

    /// Nobody paid these in time.
    pub(crate) fn expire_links(&mut self) {
        let now = self.timestamp();
        let late = |link: &&Value| {
            let expire_by = number(link, "expire_by");
            link["status"] == "created" && expire_by > 0 && expire_by <= now
        };
        let late: Vec<_> = self.links.values().filter(late).cloned().collect();
        for link in late {
            self.close_link(&text(&link, "id"), "expired");
        }
    }
}
