//! Changes of a subscription that the API is asked for.

use serde_json::{Value, json};

use super::lists::{Created, Paging, newest_first};
use super::objects::{is_over, items, next_period_end, period, set_items, text};
use super::params::{MetadataChange, Params, Refusal};
use super::payments::flat_lines;
use super::state::State;

const STATUSES: [&str; 10] = [
    "active",
    "all",
    "canceled",
    "ended",
    "incomplete",
    "incomplete_expired",
    "past_due",
    "paused",
    "trialing",
    "unpaid",
];
const PRORATION: [&str; 3] = ["always_invoice", "create_prorations", "none"];
const PAYMENT: [&str; 4] = [
    "allow_incomplete",
    "default_incomplete",
    "error_if_incomplete",
    "pending_if_incomplete",
];

/// How long a change waits for its payment.
const PENDING_FOR: i64 = 23 * 3_600;

/// What an update asks for, as far as its parameters alone tell.
struct Update {
    proration: String,
    payment: String,
    cancel_at_period_end: Option<bool>,
    cancel_at: CancelAt,
    pause: Option<Value>,
    metadata: Option<MetadataChange>,
}

/// What an update does to the instant of the end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CancelAt {
    Kept,
    Cleared,
    Set(i64),
}

impl State {
    pub(crate) fn list_subscriptions(
        &self,
        url: &str,
        mut params: Params,
    ) -> Result<Value, Refusal> {
        let paging = Paging::read(&mut params)?;
        let created = Created::read(&mut params)?;
        let status = params.choice("status", &STATUSES)?;
        let customer = params.optional("customer");
        let price = params.optional("price");
        params.finish()?;
        if let Some(customer) = &customer
            && !self.customers.contains_key(customer)
        {
            return Err(Refusal::missing(400, "customer", "customer", customer));
        }
        let objects = newest_first(&self.subscriptions);
        paging.page(url, "subscription", &objects, |subscription| {
            let stands = match status.as_deref() {
                None => subscription["status"] != "canceled",
                Some("all") => true,
                Some("ended") => is_over(subscription),
                Some(word) => subscription["status"] == word,
            };
            let sold = |id: &str| items(subscription).iter().any(|i| i["price"]["id"] == id);
            stands
                && created.holds(subscription)
                && customer
                    .as_ref()
                    .is_none_or(|id| subscription["customer"] == *id)
                && price.as_deref().is_none_or(sold)
        })
    }

    pub(crate) fn change_subscription(
        &mut self,
        id: &str,
        mut params: Params,
    ) -> Result<Value, Refusal> {
        let before = self
            .subscriptions
            .get(id)
            .cloned()
            .ok_or_else(|| Refusal::missing(404, "id", "subscription", id))?;
        let update = self.read_update(&before, &mut params)?;
        let changed = self.changed_items(&before, &mut params)?;
        params.finish()?;
        allowed(&before, &update, changed.is_some())?;

        let mut after = before.clone();
        if let Some(change) = &update.metadata {
            change.apply(&mut after["metadata"]);
        }
        if let Some(pause) = &update.pause {
            after["pause_collection"] = pause.clone();
        }
        self.change_ending(&mut after, &update);
        match changed.filter(|changed| changed.as_slice() != items(&before)) {
            None => self.store_changed(&before, &after),
            Some(changed) => self.change_items(&before, after, changed, &update)?,
        }
        Ok(self.subscriptions[id].clone())
    }

    fn read_update(&self, before: &Value, params: &mut Params) -> Result<Update, Refusal> {
        let proration = params.choice("proration_behavior", &PRORATION)?;
        let payment = params.choice("payment_behavior", &PAYMENT)?;
        let update = Update {
            proration: proration.unwrap_or_else(|| "create_prorations".to_owned()),
            payment: payment.unwrap_or_else(|| "allow_incomplete".to_owned()),
            cancel_at_period_end: params.boolean("cancel_at_period_end")?,
            cancel_at: match params.optional("cancel_at").as_deref() {
                None => CancelAt::Kept,
                Some("") => CancelAt::Cleared,
                Some("min_period_end" | "max_period_end") => CancelAt::Set(period(before).1),
                Some(text) => CancelAt::Set(text.parse().map_err(|_| {
                    let message = format!("Invalid integer: {text}");
                    Refusal::invalid(Some("parameter_invalid_integer"), "cancel_at", message)
                })?),
            },
            pause: read_pause(params)?,
            metadata: params.metadata()?,
        };
        if update.cancel_at != CancelAt::Kept && update.cancel_at_period_end.is_some() {
            return Err(Refusal::invalid(
                None,
                "cancel_at",
                "You may only specify one of these parameters: cancel_at, cancel_at_period_end.",
            ));
        }
        if let CancelAt::Set(at) = update.cancel_at
            && at < self.now.timestamp()
        {
            return Err(Refusal::invalid(
                None,
                "cancel_at",
                "The cancel_at timestamp must be in the future.",
            ));
        }
        Ok(update)
    }

    /// The flag and the instant are one thing at Stripe: the flag also shows as the instant of the period's end.
    fn change_ending(&self, after: &mut Value, update: &Update) {
        let (flag, at) = match (update.cancel_at_period_end, update.cancel_at) {
            (Some(true), _) => (true, Some(period(after).1)),
            // An instant that was chosen is not taken back with the flag.
            (Some(false), _) if after["cancel_at_period_end"] == false => return,
            (Some(false), _) | (None, CancelAt::Cleared) => (false, None),
            (None, CancelAt::Set(at)) => (false, Some(at)),
            (None, CancelAt::Kept) => return,
        };
        let unchanged = after["cancel_at_period_end"] == flag && after["cancel_at"] == json!(at);
        if unchanged {
            return;
        }
        after["cancel_at_period_end"] = json!(flag);
        after["cancel_at"] = json!(at);
        after["canceled_at"] = json!(at.map(|_| self.now.timestamp()));
        after["cancellation_details"]["reason"] = json!(at.map(|_| "cancellation_requested"));
    }

    fn change_items(
        &mut self,
        before: &Value,
        mut after: Value,
        mut changed: Vec<Value>,
        update: &Update,
    ) -> Result<(), Refusal> {
        let id = text(before, "id");
        let lines = if restarts(before, &mut changed, self.now.timestamp()) {
            after["billing_cycle_anchor"] = json!(self.now.timestamp());
            let mut fresh = after.clone();
            set_items(&mut fresh, changed.clone());
            flat_lines(&fresh)
        } else if update.proration == "always_invoice" {
            self.proration_lines(before, &changed)
        } else {
            Vec::new()
        };
        let due: i64 = lines
            .iter()
            .filter_map(|line| line["amount"].as_i64())
            .sum();
        let declined = due > 0 && (self.declining || update.payment == "default_incomplete");
        if declined && update.payment == "error_if_incomplete" {
            return Err(Refusal::new(
                402,
                "card_error",
                Some("card_declined"),
                None,
                "Your card was declined.",
            ));
        }
        self.drop_pending_update(&mut after);
        let invoice = if lines.is_empty() {
            None
        } else {
            let drawn = self.draw_invoice(&id, "subscription_update", lines);
            after["latest_invoice"] = json!(drawn);
            Some(if declined {
                ("invoice.payment_failed", self.decline_invoice(&drawn))
            } else {
                ("invoice.paid", self.pay_invoice(&drawn))
            })
        };
        if declined && update.payment == "pending_if_incomplete" {
            after["pending_update"] = json!({
                "billing_cycle_anchor": null, "expires_at": self.now.timestamp() + PENDING_FOR,
                "subscription_items": changed, "trial_end": null, "trial_from_plan": null,
            });
        } else {
            set_items(&mut after, changed);
            if declined {
                after["status"] = json!("past_due");
            }
        }
        if let Some((kind, invoice)) = invoice {
            self.tell(kind, &invoice);
        }
        self.store_changed(before, &after);
        self.note_in_schedule(&after);
        Ok(())
    }

    /// Another change takes the place of one that waits for its payment.
    fn drop_pending_update(&mut self, subscription: &mut Value) {
        if !subscription["pending_update"].is_null() {
            self.void_invoice(&text(subscription, "latest_invoice"));
            subscription["pending_update"] = Value::Null;
        }
    }

    /// The customer pays for a change that waited for it.
    pub(crate) fn pay_pending_update(&mut self, id: &str) {
        let before = self.subscriptions[id].clone();
        let pending = &before["pending_update"]["subscription_items"];
        let items = pending.as_array().expect("a change waits").clone();
        let mut after = before.clone();
        set_items(&mut after, items);
        after["pending_update"] = Value::Null;
        let invoice = self.pay_invoice(&text(&before, "latest_invoice"));
        self.tell("customer.subscription.pending_update_applied", &after);
        self.store_changed(&before, &after);
        self.tell("invoice.paid", &invoice);
    }

    /// Nobody paid for a change in time.
    pub(crate) fn expire_pending_update(&mut self, id: &str) {
        let before = self.subscriptions[id].clone();
        let mut after = before.clone();
        self.drop_pending_update(&mut after);
        self.tell("customer.subscription.pending_update_expired", &after);
        self.store_changed(&before, &after);
    }

    /// Keeps a changed subscription and tells of it.
    pub(crate) fn store_changed(&mut self, before: &Value, after: &Value) {
        self.subscriptions.insert(text(after, "id"), after.clone());
        self.tell_changed("customer.subscription.updated", before, after);
    }
}

/// `pause_collection[…]`; an empty one takes the pause off.
fn read_pause(params: &mut Params) -> Result<Option<Value>, Refusal> {
    if let Some(whole) = params.optional("pause_collection") {
        return if whole.is_empty() {
            Ok(Some(Value::Null))
        } else {
            Err(Refusal::invalid(None, "pause_collection", "Invalid object"))
        };
    }
    if !params.has("pause_collection") {
        return Ok(None);
    }
    let behavior = "pause_collection[behavior]";
    let word = params
        .choice(behavior, &["keep_as_draft", "mark_uncollectible", "void"])?
        .ok_or_else(|| {
            let message = format!("Missing required param: {behavior}.");
            Refusal::invalid(Some("parameter_missing"), behavior, message)
        })?;
    let resumes_at = params.integer("pause_collection[resumes_at]")?;
    Ok(Some(json!({"behavior": word, "resumes_at": resumes_at})))
}

fn allowed(before: &Value, update: &Update, items: bool) -> Result<(), Refusal> {
    let refuse = |param: &str, message: String| Err(Refusal::invalid(None, param, message));
    let ending = update.cancel_at != CancelAt::Kept || update.cancel_at_period_end.is_some();
    if is_over(before) && (items || ending || update.pause.is_some()) {
        return refuse(
            "subscription",
            "A canceled subscription can only update its cancellation_details and metadata."
                .to_owned(),
        );
    }
    if ending && let Some(schedule) = before["schedule"].as_str() {
        let message = format!(
            "The subscription is managed by the subscription schedule `{schedule}`, and updating any cancelation behavior directly is not allowed. Please update the schedule instead."
        );
        return refuse("cancel_at_period_end", message);
    }
    if update.payment == "pending_if_incomplete" {
        let unsupported = [
            ("cancel_at", update.cancel_at != CancelAt::Kept),
            (
                "cancel_at_period_end",
                update.cancel_at_period_end.is_some(),
            ),
            ("metadata", update.metadata.is_some()),
            ("pause_collection", update.pause.is_some()),
        ];
        for (param, given) in unsupported {
            if given {
                let message = format!(
                    "You cannot set `{param}` when `payment_behavior` is `pending_if_incomplete`."
                );
                return refuse(param, message);
            }
        }
    }
    Ok(())
}

/// A flat item of another interval begins a new period for all items now.
fn restarts(before: &Value, changed: &mut [Value], now: i64) -> bool {
    let intervals = |items: &[Value]| -> Vec<Value> {
        let mut words: Vec<_> = items
            .iter()
            .map(|item| item["price"]["recurring"]["interval"].clone())
            .collect();
        words.dedup();
        words
    };
    if intervals(items(before)) == intervals(changed) {
        return false;
    }
    for item in changed {
        item["current_period_start"] = json!(now);
        item["current_period_end"] = json!(next_period_end(now, now, &item["price"]));
    }
    true
}
