//! The part of the file that says what makes buying a tier easier: a trial, and promotion codes.

use super::Price;
use super::reader::{Cursor, Faults};

/// The longest trial that Stripe gives.
const MOST_TRIAL_DAYS: i64 = 730;

/// The days of the trial. `prices` are the tier's, where they could be read.
pub(super) fn read_trial_days(
    value: &Cursor<'_>,
    prices: Option<&[Price]>,
    faults: &mut Faults,
) -> Option<u32> {
    let days = value.integer(1, MOST_TRIAL_DAYS, faults)?;
    if costs_nothing(prices) {
        value.fault(
            faults,
            "a tier that costs nothing has no trial; give it a price",
        );
        return None;
    }
    u32::try_from(days).ok()
}

/// Whether promotion codes are taken.
pub(super) fn read_promotion_codes(
    value: &Cursor<'_>,
    prices: Option<&[Price]>,
    faults: &mut Faults,
) -> Option<bool> {
    let taken = value.boolean(faults)?;
    if taken && costs_nothing(prices) {
        value.fault(
            faults,
            "a tier that costs nothing takes no promotion codes; give it a price",
        );
        return None;
    }
    Some(taken)
}

/// Prices that could not be read have left a fault of their own.
fn costs_nothing(prices: Option<&[Price]>) -> bool {
    prices.is_some_and(|prices| prices.iter().all(|price| price.unit_amount == 0))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::domain::catalogue::Catalogue;

    /// What becomes of a tier of this price with these members besides.
    fn read(unit_amount: i64, members: &Value) -> Result<(Option<u32>, bool), String> {
        let mut tier = json!({
            "tier": "team", "name": "Team", "description": "To go on.", "limits": {},
            "prices": [{"currency": "eur", "unit_amount": unit_amount, "interval": "month"}],
        });
        for (name, value) in members.as_object().unwrap() {
            tier[name] = value.clone();
        }
        let file = json!({"default_tier": "team", "features": [], "tiers": [tier]});
        let catalogue = Catalogue::parse(&file.to_string()).map_err(|faults| faults.to_string())?;
        let plan = catalogue.plan("team").unwrap();
        Ok((plan.trial_days, plan.promotion_codes))
    }

    #[test]
    fn a_paid_tier_may_have_a_trial_and_take_promotion_codes() {
        assert_eq!(read(900, &json!({})), Ok((None, false)));
        let both = json!({"trial_days": 14, "promotion_codes": true});
        assert_eq!(read(900, &both), Ok((Some(14), true)));
        let none = json!({"trial_days": null, "promotion_codes": false});
        assert_eq!(read(900, &none), Ok((None, false)));
        assert_eq!(
            read(900, &json!({"trial_days": 730})),
            Ok((Some(730), false))
        );
        for bad in [
            json!(0),
            json!(731),
            json!(-1),
            json!("14"),
            json!(1.5),
            json!(true),
        ] {
            let fault = read(900, &json!({"trial_days": bad})).unwrap_err();
            assert!(fault.contains("/tiers/0/trial_days"), "{fault}");
        }
        let fault = read(900, &json!({"promotion_codes": "yes"})).unwrap_err();
        assert!(fault.contains("/tiers/0/promotion_codes"), "{fault}");
    }

    #[test]
    fn what_costs_nothing_has_neither() {
        for members in [json!({"trial_days": 14}), json!({"promotion_codes": true})] {
            let fault = read(0, &members).unwrap_err();
            assert!(fault.contains("costs nothing"), "{fault}");
        }
        assert!(read(0, &json!({"promotion_codes": false})).is_ok());
    }

    #[test]
    fn plans_that_have_neither_keep_their_content() {
        for plan in Catalogue::embedded().unwrap().tiers {
            let stored = serde_json::to_value(plan.as_ref()).unwrap();
            for member in ["trial_days", "promotion_codes"] {
                assert_eq!(stored.get(member), None, "{}", plan.tier);
            }
        }
    }
}
