//! What the transaction scripts work with.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::domain::money::Currency;
use crate::domain::plans::PlanVersion;
use crate::domain::policy::BillingPolicy;
use crate::domain::provider_event::ProviderName;
use crate::meter::Meter;
pub use crate::providers::SoldUnder;
use crate::providers::{Provider, UsageBilling};
use crate::store::clock::Clock;
use crate::store::plan_book::PlanBook;
use crate::store::pool::Pool;

use super::prices::{KnownPrices, PriceIds, VerifiedPrices};
use super::return_urls::ReturnUrls;

/// A provider that is set up, with the prices it sells our plans under.
#[derive(Clone)]
pub struct Storefront {
    /// The provider.
    pub provider: Arc<dyn Provider>,
    /// Price ids by tier.
    pub prices: BTreeMap<String, SoldUnder>,
}

impl Storefront {
    /// The prices that the provider sells the plan under; `None` where one is missing.
    pub(super) fn price_ids(&self, plan: &PlanVersion) -> Option<PriceIds> {
        PriceIds::of(plan, &self.prices, self.provider.capabilities().usage)
    }
}

/// A provider that bills overage with payment links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkBiller {
    /// Which.
    pub name: ProviderName,
    /// Overage is billed by its price in this.
    pub currency: Currency,
    /// The smallest sum that a link can ask for, in minor units.
    pub least: i64,
}

/// Each wakes one job; what was rung for stands in the database, so a ring that is lost only costs time.
#[derive(Debug, Default)]
pub struct Bells {
    /// An event was put into the inbox.
    pub inbox: Notify,
    /// Usage must be told to a provider at once.
    pub usage: Notify,
    /// A subscription is to be ended at its provider.
    pub endings: Notify,
    /// A subscription is to end with its period, and that is near.
    pub intended_ends: Notify,
}

/// Database, time, plans and providers; made once at the start, cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// The database.
    pub pool: Pool,
    /// Admissions and usage.
    pub meter: Meter,
    /// The providers that are set up.
    pub storefronts: Vec<Storefront>,
    /// What was lately found to cost at the providers what the catalogue says.
    pub verified_prices: VerifiedPrices,
    /// What plans cost where providers set the price.
    pub known_prices: KnownPrices,
    /// Where customers may be sent back to.
    pub return_urls: Arc<ReturnUrls>,
    /// What follows refunds and second subscriptions.
    pub billing_policy: BillingPolicy,
    /// Rung where a job has something to do at once.
    pub bells: Arc<Bells>,
}

impl Context {
    /// The plans.
    pub fn book(&self) -> &PlanBook {
        &self.meter.rules().book
    }

    /// The time.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.meter.rules().clock
    }

    /// Providers that bill overage with payment links, each with the currency and the smallest sum of one.
    pub fn link_billers(&self) -> Vec<LinkBiller> {
        let billers = self.storefronts.iter().filter_map(|storefront| {
            let UsageBilling::PaymentLink { currency, least } =
                storefront.provider.capabilities().usage
            else {
                return None;
            };
            let name = storefront.provider.name();
            Some(LinkBiller {
                name,
                currency,
                least,
            })
        });
        billers.collect()
    }

    /// The providers with pages on which customers settle what is due.
    pub(super) fn providers_with_pages(&self) -> Vec<ProviderName> {
        let storefronts = self.storefronts.iter();
        storefronts
            .filter(|storefront| storefront.provider.capabilities().customer_pages)
            .map(|storefront| storefront.provider.name())
            .collect()
    }

    /// The provider of that name, if it is set up.
    pub fn storefront(&self, name: ProviderName) -> Option<&Storefront> {
        self.storefronts
            .iter()
            .find(|storefront| storefront.provider.name() == name)
    }
}
