//! What may be an item of a subscription, and how its items are changed.

use serde_json::{Value, json};

use super::objects::{self, is_metered, items, period, text};
use super::params::{Params, Refusal};
use super::payments::{cost, line};
use super::state::State;

impl State {
    /// A price that exists and may be sold.
    pub(crate) fn sellable(&self, param: &str, id: &str) -> Result<Value, Refusal> {
        let price = self
            .prices
            .get(id)
            .ok_or_else(|| Refusal::missing(400, param, "price", id))?;
        if price["active"] != json!(true) {
            return Err(Refusal::invalid(
                None,
                param,
                "The price specified is inactive. This field only accepts active prices.",
            ));
        }
        Ok(price.clone())
    }

    /// `items[i][…]` applied to the items of the subscription; `None`: they are not mentioned. Nothing is changed yet.
    pub(crate) fn changed_items(
        &mut self,
        subscription: &Value,
        params: &mut Params,
    ) -> Result<Option<Vec<Value>>, Refusal> {
        let count = params.indices("items");
        if count == 0 {
            return Ok(None);
        }
        let mut changed = items(subscription).to_vec();
        for i in 0..count {
            let name = |field: &str| format!("items[{i}][{field}]");
            let id = params.optional(&name("id"));
            let price = params.optional(&name("price"));
            let quantity = params.integer(&name("quantity"))?;
            let deleted = params.boolean(&name("deleted"))?.unwrap_or(false);
            let metadata = params.metadata_of(&name("metadata"))?;
            let price = match price {
                Some(id) => Some(self.sellable(&name("price"), &id)?),
                None => None,
            };
            let Some(id) = id else {
                let price = price.ok_or_else(|| {
                    let message = "You must specify either an item's id or a price.";
                    Refusal::invalid(Some("parameter_missing"), &name("price"), message)
                })?;
                let quantity = quantity_for(&price, quantity, &name("quantity"))?;
                let mut item = objects::item(
                    &self.new_id("si"),
                    &text(subscription, "id"),
                    &price,
                    quantity,
                    period(subscription),
                    self.now.timestamp(),
                );
                if let Some(change) = metadata {
                    change.apply(&mut item["metadata"]);
                }
                changed.push(item);
                continue;
            };
            let position = changed
                .iter()
                .position(|item| item["id"] == id)
                .ok_or_else(|| Refusal::missing(400, &name("id"), "subscription item", &id))?;
            if deleted {
                if price.is_some() || quantity.is_some() {
                    return Err(Refusal::invalid(
                        None,
                        &name("deleted"),
                        "An item that is deleted cannot be changed, too.",
                    ));
                }
                changed.remove(position);
                continue;
            }
            change_item(&mut changed[position], price, quantity, &name("quantity"))?;
            if let Some(change) = metadata {
                change.apply(&mut changed[position]["metadata"]);
            }
        }
        if changed.is_empty() {
            return Err(Refusal::invalid(
                None,
                "items",
                "A subscription must have at least one active plan. To cancel a subscription, please use the cancel API endpoint.",
            ));
        }
        refuse_twins(
            changed.iter().map(|item| text(&item["price"], "id")),
            "items",
        )?;
        Ok(Some(changed))
    }

    /// What changed flat items cost or save for the rest of the period: the credit of the old, the debit of the new.
    pub(crate) fn proration_lines(&self, before: &Value, after: &[Value]) -> Vec<Value> {
        let now = self.now.timestamp();
        let mut lines = Vec::new();
        if before["status"] == "trialing" {
            return lines;
        }
        let differ = |item: &Value, others: &[Value]| {
            !others.iter().any(|other| {
                other["price"]["id"] == item["price"]["id"] && other["quantity"] == item["quantity"]
            })
        };
        let gone = items(before).iter().filter(|item| differ(item, after));
        let new = after.iter().filter(|item| differ(item, items(before)));
        for (sign, item) in gone.map(|i| (-1, i)).chain(new.map(|i| (1, i))) {
            if is_metered(&item["price"]) {
                continue;
            }
            let number = |name: &str| item[name].as_i64().unwrap_or_default();
            let (start, end) = (number("current_period_start"), number("current_period_end"));
            let whole = (end - start).max(1);
            let rest = (end - now).clamp(0, whole);
            let amount = (cost(item) * rest + whole / 2) / whole;
            let span = (&json!(now), &item["current_period_end"]);
            lines.push(line(item, sign * amount, &item["quantity"], span, true));
        }
        lines
    }
}

fn change_item(
    item: &mut Value,
    price: Option<Value>,
    quantity: Option<i64>,
    param: &str,
) -> Result<(), Refusal> {
    let before = item["quantity"].as_i64();
    if let Some(price) = price {
        item["plan"] = objects::plan(&price);
        item["price"] = price;
    }
    let given = quantity.or(if is_metered(&item["price"]) {
        None
    } else {
        before
    });
    let quantity = quantity_for(&item["price"], given, param)?;
    match quantity {
        Some(quantity) => item["quantity"] = json!(quantity),
        None => {
            if let Some(fields) = item.as_object_mut() {
                fields.remove("quantity");
            }
        }
    }
    Ok(())
}

/// A metered price has no quantity; any other has one, 1 unless told.
pub(crate) fn quantity_for(
    price: &Value,
    given: Option<i64>,
    param: &str,
) -> Result<Option<i64>, Refusal> {
    match (is_metered(price), given) {
        (true, None) => Ok(None),
        (true, Some(_)) => Err(Refusal::invalid(
            None,
            param,
            "You cannot set the quantity of a metered price.",
        )),
        (false, Some(quantity)) if quantity < 0 => Err(Refusal::invalid(
            Some("parameter_invalid_integer"),
            param,
            "This value must be greater than or equal to 0.",
        )),
        (false, given) => Ok(Some(given.unwrap_or(1))),
    }
}

/// No price may be sold twice in one subscription.
pub(crate) fn refuse_twins(
    prices: impl Iterator<Item = String>,
    param: &str,
) -> Result<(), Refusal> {
    let mut seen = Vec::new();
    for price in prices {
        if seen.contains(&price) {
            let message =
                format!("Cannot add multiple subscription items with the same plan: {price}");
            return Err(Refusal::invalid(None, param, message));
        }
        seen.push(price);
    }
    Ok(())
}
