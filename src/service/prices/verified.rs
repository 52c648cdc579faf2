//! Nobody is sold the wrong price: what the provider would charge is compared with the catalogue first.

use std::time::Duration;

use moka::sync::Cache;

use super::known::of_theirs;
use super::{PriceIds, word};
use crate::domain::catalogue::{Plan, Price};
use crate::domain::money::UnitAmount;
use crate::domain::plans::PlanVersion;
use crate::domain::provider_event::ProviderName;
use crate::domain::subscription::PlanRef;
use crate::providers::{Provider, ProviderError, ProviderPrice};

/// How long a price that was found right is not asked for again. A price's amount never changes at the provider; what can
/// change is whether it is still sold.
const TRUSTED_FOR: Duration = Duration::from_mins(5);
/// More plans than any catalogue has.
const MOST_PLANS: u64 = 1000;

/// The plans whose prices at the provider were lately found to be those of the catalogue. A clone shares them.
#[derive(Clone, Debug)]
pub struct VerifiedPrices(Cache<(ProviderName, PlanRef, PriceIds), ()>);

impl Default for VerifiedPrices {
    fn default() -> Self {
        Self(
            Cache::builder()
                .max_capacity(MOST_PLANS)
                .time_to_live(TRUSTED_FOR)
                .build(),
        )
    }
}

/// Why a plan cannot be sold at the provider's prices.
#[derive(Debug)]
pub(in crate::service) enum NotVerified {
    /// They are not the catalogue's.
    Mismatch { price_id: String, why: String },
    /// They could not be read.
    Failed(ProviderError),
}

impl VerifiedPrices {
    /// Asks the provider for the plan's prices, unless they were found right lately. Operators are told where they are wrong.
    pub(in crate::service) async fn verify(
        &self,
        provider: &dyn Provider,
        ids: &PriceIds,
        plan: &PlanVersion,
    ) -> Result<(), NotVerified> {
        let verified = self.compare(provider, ids, plan).await;
        if let Err(NotVerified::Mismatch { price_id, why }) = &verified {
            tracing::error!(
                provider = %provider.name(),
                plan_tier = plan.plan.tier,
                price_id,
                why,
                "price mismatch: the plan cannot be sold until the catalogue or the provider's price is corrected"
            );
        }
        verified
    }

    async fn compare(
        &self,
        provider: &dyn Provider,
        ids: &PriceIds,
        plan: &PlanVersion,
    ) -> Result<(), NotVerified> {
        let key = (provider.name(), plan.reference(), ids.clone());
        if self.0.contains_key(&key) {
            return Ok(());
        }
        let base = read(provider, &ids.base).await?;
        let sold =
            sold_as(&base, &plan.plan, provider.capabilities().sets_prices).map_err(|why| {
                NotVerified::Mismatch {
                    price_id: ids.base.clone(),
                    why,
                }
            })?;
        if let Some(id) = &ids.overage {
            let overage = read(provider, id).await?;
            check_overage(&overage, &plan.plan, sold).map_err(|why| NotVerified::Mismatch {
                price_id: id.clone(),
                why,
            })?;
        }
        self.0.insert(key, ());
        Ok(())
    }
}

async fn read(provider: &dyn Provider, id: &str) -> Result<ProviderPrice, NotVerified> {
    provider.price(id).await.map_err(|error| match error {
        ProviderError::NotFound => NotVerified::Mismatch {
            price_id: id.to_owned(),
            why: "the provider has no such price".to_owned(),
        },
        other => NotVerified::Failed(other),
    })
}

/// Which of the plan's prices this is.
fn sold_as(price: &ProviderPrice, plan: &Plan, sets_prices: bool) -> Result<Price, String> {
    if price.metered {
        return Err("it is metered; a plan's own price is flat".to_owned());
    }
    check_sellable(price)?;
    if sets_prices && let Some(theirs) = of_theirs(price, plan) {
        return Ok(theirs);
    }
    plan.prices
        .iter()
        .find(|sold| {
            price.unit_amount == Some(sold.unit_amount)
                && price.currency == sold.currency.as_str()
                && price.interval.as_deref() == Some(word(sold.interval))
        })
        .copied()
        .ok_or_else(|| {
            format!(
                "{:?} {} each {} is no price of the plan",
                price.unit_amount,
                price.currency,
                price.interval.as_deref().unwrap_or("(not recurring)")
            )
        })
}

/// Every overage of the plan must cost what this price says, in the currency and interval of the plan's own price.
fn check_overage(price: &ProviderPrice, plan: &Plan, base: Price) -> Result<(), String> {
    if !price.metered {
        return Err("it is flat; an overage price is metered".to_owned());
    }
    check_sellable(price)?;
    if price.currency != base.currency.as_str() {
        return Err(format!(
            "its currency {} is not {}, that of the plan's own price",
            price.currency, base.currency
        ));
    }
    if price.interval.as_deref() != Some(word(base.interval)) {
        return Err("its interval is not that of the plan's own price".to_owned());
    }
    let amount = match (&price.unit_amount_decimal, price.unit_amount) {
        (Some(decimal), _) => UnitAmount::parse(decimal).ok(),
        (None, Some(whole)) => UnitAmount::parse(&whole.to_string()).ok(),
        (None, None) => None,
    };
    let wrong = plan
        .features
        .iter()
        .filter_map(|feature| Some((feature, feature.grant.overage()?)))
        .find(|(_, overage)| {
            let catalogue = overage
                .price_in(base.currency)
                .map(|price| price.unit_amount_decimal);
            catalogue.is_none() || catalogue != amount
        });
    match wrong {
        Some((feature, _)) => Err(format!(
            "{:?} {} a unit is not what the catalogue says of \"{}\"",
            price.unit_amount_decimal, price.currency, feature.key
        )),
        None => Ok(()),
    }
}

fn check_sellable(price: &ProviderPrice) -> Result<(), String> {
    if !price.active {
        Err("it is archived".to_owned())
    } else if price.interval_count != Some(1) {
        Err(format!(
            "it is paid every {:?} intervals, not every one",
            price.interval_count
        ))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::catalogue::Catalogue;

    fn plan(tier: &str) -> Arc<Plan> {
        Catalogue::embedded().unwrap().plan(tier).unwrap().clone()
    }

    fn flat() -> ProviderPrice {
        ProviderPrice {
            id: "price_scale".to_owned(),
            unit_amount: Some(19_900),
            unit_amount_decimal: Some("19900".to_owned()),
            currency: "usd".to_owned(),
            interval: Some("month".to_owned()),
            interval_count: Some(1),
            metered: false,
            active: true,
        }
    }

    fn metered(decimal: &str) -> ProviderPrice {
        ProviderPrice {
            unit_amount: None,
            unit_amount_decimal: Some(decimal.to_owned()),
            metered: true,
            ..flat()
        }
    }

    fn altered(price: ProviderPrice, change: impl FnOnce(&mut ProviderPrice)) -> ProviderPrice {
        let mut price = price;
        change(&mut price);
        price
    }

    #[test]
    fn a_flat_price_must_be_one_of_the_plans() {
        assert!(sold_as(&flat(), &plan("scale"), false).is_ok());
        assert!(
            sold_as(&flat(), &plan("pro"), false).is_err(),
            "that of another plan"
        );
        let wrong = [
            altered(flat(), |price| price.unit_amount = Some(19_901)),
            altered(flat(), |price| price.unit_amount = None),
            altered(flat(), |price| price.currency = "eur".to_owned()),
            altered(flat(), |price| price.interval = Some("year".to_owned())),
            altered(flat(), |price| price.interval = None),
            altered(flat(), |price| price.interval_count = Some(2)),
            altered(flat(), |price| price.interval_count = None),
            altered(flat(), |price| price.active = false),
            altered(flat(), |price| price.metered = true),
        ];
        for price in wrong {
            assert!(sold_as(&price, &plan("scale"), false).is_err(), "{price:?}");
        }
    }

    #[test]
    fn an_overage_price_must_be_the_catalogues() {
        let scale = plan("scale");
        let base = scale.prices[0];
        for right in [
            metered("1"),
            metered("1.000000000000"),
            altered(metered("1"), |price| {
                (price.unit_amount, price.unit_amount_decimal) = (Some(1), None);
            }),
        ] {
            assert_eq!(check_overage(&right, &scale, base), Ok(()), "{right:?}");
        }
        let wrong = [
            metered("2"),
            metered("1.000000000001"),
            metered("nonsense"),
            altered(metered("1"), |price| price.unit_amount_decimal = None),
            altered(metered("1"), |price| price.currency = "eur".to_owned()),
            altered(metered("1"), |price| {
                price.interval = Some("year".to_owned());
            }),
            altered(metered("1"), |price| price.interval_count = Some(3)),
            altered(metered("1"), |price| price.active = false),
            altered(metered("1"), |price| price.metered = false),
        ];
        for price in wrong {
            assert!(check_overage(&price, &scale, base).is_err(), "{price:?}");
        }
        let elsewhere = Price {
            currency: crate::domain::money::Currency::parse("eur").unwrap(),
            ..base
        };
        let euro = altered(metered("1"), |price| price.currency = "eur".to_owned());
        assert!(
            check_overage(&euro, &scale, elsewhere).is_err(),
            "the catalogue names no such price"
        );
    }
}
