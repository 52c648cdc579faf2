//! Subscription schedules: what a subscription is going to be, phase by phase.

use serde_json::{Value, json};

use super::items::{quantity_for, refuse_twins};
use super::objects::{self, is_over, items, next_period_end, period, set_items, text};
use super::params::{Params, Refusal, merge_metadata};
use super::state::State;

const PRORATION: [&str; 3] = ["always_invoice", "create_prorations", "none"];

impl State {
    pub(crate) fn create_schedule(&mut self, mut params: Params) -> Result<Value, Refusal> {
        let from = params.required("from_subscription")?;
        for other in [
            "phases",
            "metadata",
            "end_behavior",
            "customer",
            "start_date",
        ] {
            if params.has(other) {
                let message = format!("You cannot set `{other}` if `from_subscription` is set.");
                return Err(Refusal::invalid(None, other, message));
            }
        }
        params.finish()?;
        let before = self
            .subscriptions
            .get(&from)
            .cloned()
            .ok_or_else(|| Refusal::missing(400, "from_subscription", "subscription", &from))?;
        let refuse = |message: String| Err(Refusal::invalid(None, "from_subscription", message));
        if is_over(&before) {
            return refuse(format!(
                "You cannot create a subscription schedule from a subscription that is {}.",
                text(&before, "status")
            ));
        }
        if let Some(schedule) = before["schedule"].as_str() {
            return refuse(format!(
                "You cannot migrate a subscription that is already attached to a schedule: `{schedule}`."
            ));
        }
        let id = self.new_id("sub_sched");
        let (start, end) = period(&before);
        let ends = before["cancel_at"].as_i64();
        let end = ends.unwrap_or(end);
        let schedule = json!({
            "id": id, "object": "subscription_schedule", "application": null,
            "billing_mode": before["billing_mode"], "canceled_at": null, "completed_at": null,
            "created": self.now.timestamp(), "current_phase": {"start_date": start, "end_date": end},
            "customer": before["customer"], "customer_account": null,
            "default_settings": {"billing_cycle_anchor": "automatic", "collection_method": "charge_automatically"},
            "end_behavior": if ends.is_some() { "cancel" } else { "release" }, "livemode": false, "metadata": {},
            "phases": [phase(&phase_items(&before), start, end, "create_prorations", &json!({}))],
            "released_at": null, "released_subscription": null, "status": "active", "subscription": from,
            "test_clock": null,
        });
        self.schedules.insert(id.clone(), schedule.clone());
        let mut after = before.clone();
        after["schedule"] = json!(id);
        self.tell("subscription_schedule.created", &schedule);
        self.store_changed(&before, &after);
        Ok(schedule)
    }

    pub(crate) fn update_schedule(
        &mut self,
        id: &str,
        mut params: Params,
    ) -> Result<Value, Refusal> {
        let before = self.live_schedule(id, "update")?;
        let end_behavior =
            params.choice("end_behavior", &["cancel", "none", "release", "renew"])?;
        params.choice("proration_behavior", &PRORATION)?;
        let metadata = params.metadata()?;
        let phases = self.read_phases(&before, &mut params)?;
        params.finish()?;
        let mut after = before.clone();
        if let Some(word) = end_behavior {
            after["end_behavior"] = json!(word);
        }
        if let Some(change) = metadata {
            change.apply(&mut after["metadata"]);
        }
        if let Some(phases) = phases {
            let current = &phases[0];
            after["current_phase"] =
                json!({"start_date": current["start_date"], "end_date": current["end_date"]});
            after["phases"] = json!(phases);
        }
        self.schedules.insert(id.to_owned(), after.clone());
        self.tell_changed("subscription_schedule.updated", &before, &after);
        // The phase that runs is what the subscription is.
        let running = &after["phases"][0];
        if running != &before["phases"][0] {
            let subscription = self.subscriptions[&text(&after, "subscription")].clone();
            let mut changed = subscription.clone();
            self.enter(&mut changed, running);
            self.store_changed(&subscription, &changed);
        }
        Ok(after)
    }

    pub(crate) fn release_schedule(
        &mut self,
        id: &str,
        mut params: Params,
    ) -> Result<Value, Refusal> {
        params.boolean("preserve_cancel_date")?;
        params.finish()?;
        self.live_schedule(id, "release")?;
        self.release(id);
        Ok(self.schedules[id].clone())
    }

    /// The subscription goes on as it is, without a plan.
    pub(crate) fn release(&mut self, id: &str) {
        let schedule = self.schedules.get_mut(id).expect("it is attached");
        let subscription = schedule["subscription"].take();
        schedule["status"] = json!("released");
        schedule["released_at"] = json!(self.now.timestamp());
        schedule["current_phase"] = Value::Null;
        schedule["released_subscription"] = subscription.clone();
        let schedule = schedule.clone();
        let before = self.subscriptions[subscription.as_str().unwrap_or_default()].clone();
        let mut after = before.clone();
        after["schedule"] = Value::Null;
        self.tell("subscription_schedule.released", &schedule);
        self.store_changed(&before, &after);
    }

    /// The subscription becomes what the phase says.
    pub(crate) fn enter(&mut self, subscription: &mut Value, phase: &Value) {
        let mut entered = Vec::new();
        for wanted in phase["items"].as_array().into_iter().flatten() {
            let kept = items(subscription)
                .iter()
                .find(|item| item["price"]["id"] == wanted["price"])
                .cloned();
            let mut item = kept.unwrap_or_else(|| {
                objects::item(
                    &self.new_id("si"),
                    &text(subscription, "id"),
                    &self.prices[&text(wanted, "price")].clone(),
                    None,
                    period(subscription),
                    self.now.timestamp(),
                )
            });
            if let Some(quantity) = wanted["quantity"].as_i64() {
                item["quantity"] = json!(quantity);
            }
            entered.push(item);
        }
        set_items(subscription, entered);
        merge_metadata(&mut subscription["metadata"], &phase["metadata"]);
    }

    /// Items that were changed directly are the running phase's, too.
    pub(crate) fn note_in_schedule(&mut self, subscription: &Value) {
        let Some(id) = subscription["schedule"].as_str() else {
            return;
        };
        let schedule = self.schedules.get_mut(id).expect("it is attached");
        let start = schedule["current_phase"]["start_date"].clone();
        let phases = schedule["phases"].as_array_mut().into_iter().flatten();
        for phase in phases.filter(|phase| phase["start_date"] == start) {
            phase["items"] = json!(phase_items(subscription));
        }
    }

    fn live_schedule(&self, id: &str, verb: &str) -> Result<Value, Refusal> {
        let schedule = self
            .schedules
            .get(id)
            .ok_or_else(|| Refusal::missing(404, "schedule", "subscription schedule", id))?;
        if schedule["status"] != "active" {
            let message = format!(
                "You cannot {verb} a subscription schedule that is currently in the `{}` status. It must be in `not_started` or `active`.",
                text(schedule, "status")
            );
            return Err(Refusal::invalid(None, "schedule", message));
        }
        Ok(schedule.clone())
    }

    fn read_phases(
        &self,
        schedule: &Value,
        params: &mut Params,
    ) -> Result<Option<Vec<Value>>, Refusal> {
        let count = params.indices("phases");
        if count == 0 {
            return Ok(None);
        }
        let mut phases: Vec<Value> = Vec::new();
        for i in 0..count {
            let name = |field: &str| format!("phases[{i}][{field}]");
            // What runs already may go on, even if it is not sold any more.
            let kept = if i == 0 {
                &schedule["phases"][0]
            } else {
                &Value::Null
            };
            let items = self.read_phase_items(&format!("phases[{i}][items]"), kept, params)?;
            let given = self.moment(&name("start_date"), params)?;
            let start = match phases.last() {
                None => first_start(schedule, given, &name("start_date"))?,
                Some(previous) => {
                    let expected = previous["end_date"].as_i64().unwrap_or_default();
                    if given.is_some_and(|given| given != expected) {
                        return Err(Refusal::invalid(
                            None,
                            &name("start_date"),
                            "A phase must begin where the phase before it ends.",
                        ));
                    }
                    expected
                }
            };
            let following = format!("phases[{}][start_date]", i + 1);
            let price = self.prices[&text(&items[0], "price")].clone();
            let end = match self.moment(&name("end_date"), params)? {
                Some(end) => {
                    if params.has(&name("duration")) {
                        return Err(Refusal::invalid(
                            None,
                            &name("duration"),
                            "You may only specify one of these parameters: end_date, duration.",
                        ));
                    }
                    end
                }
                None => match read_duration(&name("duration"), params)? {
                    Some(recurring) => {
                        next_period_end(start, start, &json!({"recurring": recurring}))
                    }
                    None if i + 1 == count => next_period_end(start, start, &price),
                    None => self.peek(&following, params)?,
                },
            };
            let proration = params.choice(&name("proration_behavior"), &PRORATION)?;
            let metadata = params.map(&name("metadata"))?;
            params.choice(&name("billing_cycle_anchor"), &["automatic", "phase_start"])?;
            params.choice(&name("collection_method"), &["charge_automatically"])?;
            params.optional(&name("currency"));
            if end <= start || end < self.now.timestamp() {
                return Err(Refusal::invalid(
                    None,
                    &name("end_date"),
                    "The end date of a phase must be after its start date, and not in the past.",
                ));
            }
            let proration = proration.unwrap_or_else(|| "create_prorations".to_owned());
            phases.push(phase(&items, start, end, &proration, &metadata));
        }
        Ok(Some(phases))
    }

    fn read_phase_items(
        &self,
        name: &str,
        kept: &Value,
        params: &mut Params,
    ) -> Result<Vec<Value>, Refusal> {
        let kept = |id: &str| {
            let mut items = kept["items"].as_array().into_iter().flatten();
            items.any(|item| item["price"] == id)
        };
        let mut read = Vec::new();
        for j in 0..params.indices(name) {
            let field = |field: &str| format!("{name}[{j}][{field}]");
            let id = params.required(&field("price"))?;
            let price = if kept(&id) {
                self.prices[&id].clone()
            } else {
                self.sellable(&field("price"), &id)?
            };
            let quantity = params.integer(&field("quantity"))?;
            let quantity = quantity_for(&price, quantity, &field("quantity"))?;
            let metadata = params.map(&field("metadata"))?;
            read.push(phase_item(&id, &json!(quantity), &metadata));
        }
        if read.is_empty() {
            let message = format!("Missing required param: {name}.");
            return Err(Refusal::invalid(Some("parameter_missing"), name, message));
        }
        refuse_twins(read.iter().map(|item| text(item, "price")), name)?;
        Ok(read)
    }

    /// An instant, or the word `now`.
    fn moment(&self, name: &str, params: &mut Params) -> Result<Option<i64>, Refusal> {
        if params.is(name, "now") {
            params.optional(name);
            return Ok(Some(self.now.timestamp()));
        }
        params.integer(name)
    }

    fn peek(&self, name: &str, params: &mut Params) -> Result<i64, Refusal> {
        let mut copy = params.clone();
        self.moment(name, &mut copy)?.ok_or_else(|| {
            let message = format!("Missing required param: {name}.");
            Refusal::invalid(Some("parameter_missing"), name, message)
        })
    }
}

/// The first phase must be the one that runs.
fn first_start(schedule: &Value, given: Option<i64>, name: &str) -> Result<i64, Refusal> {
    let running = schedule["current_phase"]["start_date"].as_i64();
    match given {
        None => {
            let message = format!("Missing required param: {name}.");
            Err(Refusal::invalid(Some("parameter_missing"), name, message))
        }
        Some(start) if Some(start) == running => Ok(start),
        Some(_) => Err(Refusal::invalid(
            None,
            name,
            "You can not modify the start date of the current phase.",
        )),
    }
}

fn read_duration(name: &str, params: &mut Params) -> Result<Option<Value>, Refusal> {
    if !params.has(name) {
        return Ok(None);
    }
    let unit = format!("{name}[interval]");
    let interval = params.required(&unit)?;
    if !["day", "week", "month", "year"].contains(&interval.as_str()) {
        let message = format!("Invalid {unit}: must be one of day, month, week, or year");
        return Err(Refusal::invalid(None, &unit, message));
    }
    let count = params.integer(&format!("{name}[interval_count]"))?;
    Ok(Some(
        json!({"interval": interval, "interval_count": count.unwrap_or(1)}),
    ))
}

fn phase(items: &[Value], start: i64, end: i64, proration: &str, metadata: &Value) -> Value {
    json!({
        "add_invoice_items": [], "application_fee_percent": null, "billing_cycle_anchor": null,
        "collection_method": null, "currency": "usd", "default_tax_rates": [], "description": null, "discounts": [],
        "end_date": end, "items": items, "metadata": metadata, "proration_behavior": proration, "start_date": start,
        "trial_end": null,
    })
}

fn phase_items(subscription: &Value) -> Vec<Value> {
    items(subscription)
        .iter()
        .map(|item| {
            phase_item(
                &text(&item["price"], "id"),
                &item["quantity"],
                &item["metadata"],
            )
        })
        .collect()
}

fn phase_item(price: &str, quantity: &Value, metadata: &Value) -> Value {
    let mut item = json!({
        "billing_thresholds": null, "discounts": [], "metadata": metadata, "plan": price, "price": price, "tax_rates": [],
    });
    if !quantity.is_null() {
        item["quantity"] = quantity.clone();
    }
    item
}
