//! The phases of a schedule, as they are asked for and as they are shown.

use serde_json::{Value, json};

use super::items::{quantity_for, refuse_twins};
use super::objects::{items, next_period_end, text};
use super::params::{Params, Refusal};
use super::schedules::PRORATION;
use super::state::State;

impl State {
    /// `phases[i][…]`; `None`: they are not mentioned.
    pub(crate) fn read_phases(
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
            let trial_end = self.moment(&name("trial_end"), params)?;
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
            let mut read = phase(&items, start, end, &proration, &metadata);
            read["trial_end"] = json!(trial_end);
            phases.push(read);
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

pub(crate) fn phase(
    items: &[Value],
    start: i64,
    end: i64,
    proration: &str,
    metadata: &Value,
) -> Value {
    json!({
        "add_invoice_items": [], "application_fee_percent": null, "billing_cycle_anchor": null,
        "collection_method": null, "currency": "usd", "default_tax_rates": [], "description": null, "discounts": [],
        "end_date": end, "items": items, "metadata": metadata, "proration_behavior": proration, "start_date": start,
        "trial_end": null,
    })
}

pub(crate) fn phase_items(subscription: &Value) -> Vec<Value> {
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
