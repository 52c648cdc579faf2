//! One plan: what it costs and what it grants.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::money::{Currency, UnitAmount};

/// The content of one plan version. It is stored as it serializes and never changed, and two versions are the same when
/// their serialized bytes are; a field added later must be left out while it holds its default, or every deployment
/// would see new versions of plans that nobody touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The key that requests and subscriptions name it by.
    pub tier: String,
    /// For people.
    pub name: String,
    /// For people, a sentence.
    pub description: String,
    /// A short label on the price list, such as "Popular".
    pub badge: Option<String>,
    /// What a billing interval costs; at most one price for each currency and interval. None, or nothing but zero: not for sale.
    pub prices: Vec<Price>,
    /// What it grants, in the catalogue's order; a feature that is missing is not in the plan.
    pub features: Vec<Feature>,
    /// The higher tier to propose to a customer who needs more.
    pub upgrade_to: Option<String>,
    /// Days before the first payment is taken, for a customer's first subscription; only where the plan is paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_days: Option<u32>,
    /// Whether who buys it may enter a promotion code of the payment provider's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub promotion_codes: bool,
}

impl Plan {
    /// The feature under this key, unless the plan does not have it.
    pub fn feature(&self, key: &str) -> Option<&Feature> {
        self.features.iter().find(|feature| feature.key == key)
    }

    /// Whether it costs anything, and so needs a price at the payment provider.
    pub fn is_paid(&self) -> bool {
        self.prices.iter().any(|price| price.unit_amount > 0)
    }

    /// Whether some feature is billed above its limit, and so needs a metered price at the payment provider.
    pub fn has_overage(&self) -> bool {
        self.features
            .iter()
            .any(|feature| feature.grant.overage().is_some())
    }
}

/// A price for one billing interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Price {
    /// The currency that it is paid in.
    pub currency: Currency,
    /// Minor units of the currency; not negative.
    pub unit_amount: i64,
    /// How often it is paid.
    pub interval: Interval,
}

/// How often a subscription is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Interval {
    /// Each month.
    Month,
    /// Each year; the quota still comes each month.
    Year,
}

/// One feature of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feature {
    /// The key that requests name it by.
    pub key: String,
    /// For people.
    pub name: String,
    /// How much of it the plan gives.
    #[serde(flatten)]
    pub grant: Grant,
}

/// How much of a feature a plan gives; a limit of `None` is unlimited, one that is given is not negative.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Grant {
    /// Counted anew in each usage period.
    Metered {
        /// Units in a period.
        limit: Option<i64>,
        /// Where the soft zone ends, in percent of the limit, at least 100. `None` exactly when there is overage.
        hard_limit_percent: Option<u32>,
        /// What is billed above the limit.
        overage: Option<Overage>,
    },
    /// How many exist at a time.
    Allocated {
        /// The most that may exist.
        limit: Option<i64>,
    },
    /// The most that one request may ask for.
    Static {
        /// The highest value.
        limit: Option<i64>,
    },
    /// On or off.
    Boolean {
        /// Whether it is on.
        enabled: bool,
    },
}

impl Grant {
    /// The kind of feature that this is a grant of.
    pub fn kind(&self) -> FeatureKind {
        match self {
            Self::Metered { .. } => FeatureKind::Metered,
            Self::Allocated { .. } => FeatureKind::Allocated,
            Self::Static { .. } => FeatureKind::Static,
            Self::Boolean { .. } => FeatureKind::Boolean,
        }
    }

    /// What is billed above the limit, if the feature is.
    pub fn overage(&self) -> Option<&Overage> {
        match self {
            Self::Metered { overage, .. } => overage.as_ref(),
            Self::Allocated { .. } | Self::Static { .. } | Self::Boolean { .. } => None,
        }
    }
}

/// How a feature is counted and limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FeatureKind {
    /// A counter that starts again in each usage period.
    Metered,
    /// A gauge of what exists now; it never resets.
    Allocated,
    /// The most that one request may ask for.
    Static,
    /// On or off.
    Boolean,
}

impl FeatureKind {
    /// The word that files and the API use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metered => "metered",
            Self::Allocated => "allocated",
            Self::Static => "static",
            Self::Boolean => "boolean",
        }
    }
}

/// What is billed above a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overage {
    /// Units above the limit that a period may have, at most; `None` is as many as come.
    pub max_quantity: Option<i64>,
    /// Never empty; the first is the default currency.
    pub prices: Vec<OveragePrice>,
}

impl Overage {
    /// The price in this currency, if there is one.
    pub fn price_in(&self, currency: Currency) -> Option<&OveragePrice> {
        self.prices.iter().find(|price| price.currency == currency)
    }
}

/// What one unit above the limit costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OveragePrice {
    /// The currency that it is paid in.
    pub currency: Currency,
    /// For one unit, in minor units of the currency.
    pub unit_amount_decimal: UnitAmount,
}
