//! Prices that a provider sets in a currency which the catalogue does not name. They are asked for and remembered: nobody makes them up.

use std::time::{Duration, Instant};

use moka::sync::Cache;

use super::word;
use crate::domain::catalogue::{Interval, Plan, Price};
use crate::domain::money::Currency;
use crate::domain::plans::PlanVersion;
use crate::domain::provider_event::ProviderName;
use crate::providers::{Provider, ProviderPrice};
use crate::service::context::Context;

/// How long a price that was read is not asked for again. It never changes at the provider; another id comes with a restart.
const FRESH_FOR: Duration = Duration::from_hours(1);
/// How long a provider that did not answer is left alone.
const PAUSE: Duration = Duration::from_secs(30);
/// A price list must not wait longer for a provider.
const PATIENCE: Duration = Duration::from_secs(3);
/// More prices than any catalogue has.
const MOST_PRICES: u64 = 1000;

/// What was last read. A clone shares it.
#[derive(Clone, Debug)]
pub struct KnownPrices(Cache<(ProviderName, String), Known>);

#[derive(Clone, Debug)]
struct Known {
    price: Option<ProviderPrice>,
    fresh_until: Instant,
}

impl Default for KnownPrices {
    fn default() -> Self {
        Self(Cache::new(MOST_PRICES))
    }
}

impl KnownPrices {
    /// What a plan costs: what the catalogue says, and what providers say that set prices of their own. Of a provider that does not
    /// answer, what it said last; nothing where it never did.
    pub async fn of(&self, context: &Context, version: &PlanVersion) -> Vec<Price> {
        let mut prices = version.plan.prices.clone();
        let plans = context.book().plans();
        let is_current = plans
            .of_tier(&version.plan.tier)
            .is_some_and(|current| current.version == version.version);
        // Older versions were sold under ids that the settings no longer name.
        for storefront in context.storefronts.iter().filter(|_| is_current) {
            let provider = storefront.provider.as_ref();
            let sold_under = storefront.prices.get(&version.plan.tier);
            let id = sold_under.and_then(|sold_under| sold_under.base.as_deref());
            let Some(id) = id.filter(|_| provider.capabilities().sets_prices) else {
                continue;
            };
            let known = self.read(provider, id).await;
            prices.extend(known.and_then(|price| of_theirs(&price, &version.plan)));
        }
        prices
    }

    async fn read(&self, provider: &dyn Provider, id: &str) -> Option<ProviderPrice> {
        let key = (provider.name(), id.to_owned());
        let before = self.0.get(&key);
        if let Some(known) = &before
            && Instant::now() < known.fresh_until
        {
            return known.price.clone();
        }
        let price = before.and_then(|known| known.price);
        if price.is_some() {
            // One caller asks again; the others are answered with what is known.
            self.remember(&key, price.clone(), PAUSE);
        }
        match tokio::time::timeout(PATIENCE, provider.price(id)).await {
            Ok(Ok(now)) => {
                self.remember(&key, Some(now.clone()), FRESH_FOR);
                Some(now)
            }
            outcome => {
                let error = outcome
                    .ok()
                    .and_then(Result::err)
                    .map(|error| error.to_string());
                tracing::warn!(provider = %key.0, price_id = id, error, "a price could not be read");
                self.remember(&key, price.clone(), PAUSE);
                price
            }
        }
    }

    fn remember(
        &self,
        key: &(ProviderName, String),
        price: Option<ProviderPrice>,
        fresh_for: Duration,
    ) {
        let fresh_until = Instant::now() + fresh_for;
        self.0.insert(key.clone(), Known { price, fresh_until });
    }
}

/// The plan's price as the provider sets it, in a currency that the catalogue does not name and for an interval that it does.
pub(super) fn of_theirs(price: &ProviderPrice, plan: &Plan) -> Option<Price> {
    let currency = Currency::parse(&price.currency).ok()?;
    let is_named = plan.prices.iter().any(|named| named.currency == currency);
    let interval = [Interval::Month, Interval::Year]
        .into_iter()
        .filter(|interval| plan.prices.iter().any(|named| named.interval == *interval))
        .find(|interval| price.interval.as_deref() == Some(word(*interval)))?;
    let unit_amount = price.unit_amount.filter(|amount| *amount > 0)?;
    let is_each = price.interval_count == Some(1) && price.active && !price.metered;
    (!is_named && is_each).then_some(Price {
        currency,
        unit_amount,
        interval,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalogue::Catalogue;

    fn rupees() -> ProviderPrice {
        ProviderPrice {
            id: "plan_pro".to_owned(),
            unit_amount: Some(399_900),
            unit_amount_decimal: None,
            currency: "inr".to_owned(),
            interval: Some("month".to_owned()),
            interval_count: Some(1),
            metered: false,
            active: true,
        }
    }

    #[test]
    fn a_price_in_a_currency_that_the_catalogue_names_is_not_the_providers_to_set() {
        let catalogue = Catalogue::embedded().unwrap();
        let pro = catalogue.plan("pro").unwrap();
        let price = of_theirs(&rupees(), pro).unwrap();
        assert_eq!(
            (price.currency.as_str(), price.unit_amount),
            ("inr", 399_900)
        );
        let but = |change: fn(&mut ProviderPrice)| {
            let mut price = rupees();
            change(&mut price);
            of_theirs(&price, pro)
        };
        assert_eq!(but(|price| price.currency = "usd".to_owned()), None);
        assert_eq!(but(|price| price.interval = Some("week".to_owned())), None);
        assert_eq!(but(|price| price.interval = Some("year".to_owned())), None);
        assert_eq!(but(|price| price.interval_count = Some(3)), None);
        assert_eq!(but(|price| price.unit_amount = None), None);
        assert_eq!(but(|price| price.active = false), None);
        assert_eq!(but(|price| price.currency = "rupees".to_owned()), None);
    }
}
