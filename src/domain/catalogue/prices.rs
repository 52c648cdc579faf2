//! The parts of the file that say what things cost.

use super::reader::{Cursor, Faults, Fields, shown};
use super::{Interval, Overage, OveragePrice, Price};
use crate::domain::money::{Currency, UnitAmount};

const MOST_PRICES: usize = 200;
/// Stripe takes no larger amount in any currency.
const MOST_UNIT_AMOUNT: i64 = 999_999_999_999;

pub(super) fn read_prices(list: &Cursor<'_>, faults: &mut Faults) -> Option<Vec<Price>> {
    let mut prices: Vec<Price> = Vec::new();
    for item in list.list(MOST_PRICES, faults)? {
        let Some(fields) = item.fields(&["currency", "unit_amount", "interval"], faults) else {
            continue;
        };
        let currency = read_currency(&fields, faults);
        let unit_amount = fields
            .required("unit_amount", faults)
            .and_then(|value| value.integer(0, MOST_UNIT_AMOUNT, faults));
        let interval = fields
            .required("interval", faults)
            .and_then(|value| read_interval(value, faults));
        let (Some(currency), Some(unit_amount), Some(interval)) = (currency, unit_amount, interval)
        else {
            continue;
        };
        if prices
            .iter()
            .any(|earlier| earlier.currency == currency && earlier.interval == interval)
        {
            item.fault(
                faults,
                format!("there is a second price in {currency} for this interval"),
            );
        } else {
            prices.push(Price {
                currency,
                unit_amount,
                interval,
            });
        }
    }
    Some(prices)
}

fn read_currency(fields: &Fields<'_>, faults: &mut Faults) -> Option<Currency> {
    let value = fields.required("currency", faults)?;
    Currency::parse(value.string(faults)?)
        .map_err(|error| value.fault(faults, shown(&error.to_string())))
        .ok()
}

fn read_interval(value: &Cursor<'_>, faults: &mut Faults) -> Option<Interval> {
    match value.string(faults)? {
        "month" => Some(Interval::Month),
        "year" => Some(Interval::Year),
        other => {
            value.fault(
                faults,
                format!("the interval is month or year, not `{}`", shown(other)),
            );
            None
        }
    }
}

pub(super) fn read_overage(
    value: &Cursor<'_>,
    limit: Option<i64>,
    faults: &mut Faults,
) -> Option<Overage> {
    let fields = value.fields(&["max_quantity", "prices"], faults)?;
    let mut max_quantity = None;
    if let Some(value) = fields.optional("max_quantity") {
        // The cap in force is the sum of both, and it must fit.
        let most = i64::MAX - limit.unwrap_or(0);
        max_quantity = value.integer(1, most, faults);
    }
    let items = fields.required("prices", faults)?.filled_list(
        MOST_PRICES,
        "overage needs a price",
        faults,
    )?;
    let mut prices: Vec<OveragePrice> = Vec::new();
    for item in items {
        let Some(fields) = item.fields(&["currency", "unit_amount_decimal"], faults) else {
            continue;
        };
        let currency = read_currency(&fields, faults);
        let unit_amount_decimal = fields
            .required("unit_amount_decimal", faults)
            .and_then(|value| read_unit_amount(value, faults));
        let (Some(currency), Some(unit_amount_decimal)) = (currency, unit_amount_decimal) else {
            continue;
        };
        if prices.iter().any(|earlier| earlier.currency == currency) {
            item.fault(
                faults,
                format!("there is a second overage price in {currency}"),
            );
        } else {
            prices.push(OveragePrice {
                currency,
                unit_amount_decimal,
            });
        }
    }
    Some(Overage {
        max_quantity,
        prices,
    })
}

fn read_unit_amount(value: &Cursor<'_>, faults: &mut Faults) -> Option<UnitAmount> {
    UnitAmount::parse(value.string(faults)?)
        .map_err(|error| value.fault(faults, error.to_string()))
        .ok()
}
