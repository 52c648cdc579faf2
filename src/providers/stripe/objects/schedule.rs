//! What a subscription is going to be.

use serde::Deserialize;

use super::{HasId, Identified, Metadata, Reference, instant, null_as_default};
use crate::domain::provider_event::PlannedPrices;

/// `subscription_schedule`.
#[derive(Debug, Deserialize)]
pub(in super::super) struct Schedule {
    /// Its id.
    pub(in super::super) id: String,
    status: Option<String>,
    current_phase: Option<CurrentPhase>,
    /// In their order.
    #[serde(default, deserialize_with = "null_as_default")]
    pub(in super::super) phases: Vec<Phase>,
}

#[derive(Debug, Deserialize)]
struct CurrentPhase {
    start_date: Option<i64>,
}

/// A time for which a schedule says what the subscription is.
#[derive(Debug, Deserialize)]
pub(in super::super) struct Phase {
    /// Unix seconds.
    pub(in super::super) start_date: Option<i64>,
    /// Unix seconds.
    pub(in super::super) end_date: Option<i64>,
    /// Unix seconds.
    pub(in super::super) trial_end: Option<i64>,
    /// What is paid for.
    #[serde(default, deserialize_with = "null_as_default")]
    pub(in super::super) items: Vec<PhaseItem>,
    /// Becomes the subscription's.
    #[serde(default, deserialize_with = "null_as_default")]
    pub(in super::super) metadata: Metadata,
    /// Of all items.
    #[serde(default, deserialize_with = "null_as_default")]
    pub(in super::super) discounts: Vec<PhaseDiscount>,
    /// Of items without rates of their own.
    #[serde(default, deserialize_with = "null_as_default")]
    pub(in super::super) default_tax_rates: Vec<Reference<Identified>>,
}

/// One price of a phase.
#[derive(Debug, Deserialize)]
pub(in super::super) struct PhaseItem {
    price: Option<Reference<Identified>>,
    /// What a price was called before 2020.
    plan: Option<Reference<Identified>>,
    /// Absent for metered prices.
    pub(in super::super) quantity: Option<u64>,
    /// Of this item alone.
    #[serde(default, deserialize_with = "null_as_default")]
    pub(in super::super) discounts: Vec<PhaseDiscount>,
    /// Of this item alone.
    #[serde(default, deserialize_with = "null_as_default")]
    pub(in super::super) tax_rates: Vec<Reference<Identified>>,
}

/// A discount, by whichever of its three names it has.
#[derive(Debug, Deserialize)]
pub(in super::super) struct PhaseDiscount {
    /// One that runs already.
    pub(in super::super) discount: Option<Reference<Identified>>,
    /// What a new one is made of.
    pub(in super::super) coupon: Option<Reference<Identified>>,
    /// What a new one is made of.
    pub(in super::super) promotion_code: Option<Reference<Identified>>,
}

impl PhaseItem {
    /// The price's id.
    pub(in super::super) fn price_id(&self) -> Option<&str> {
        self.price
            .as_ref()
            .or(self.plan.as_ref())
            .map(Reference::id)
    }
}

impl HasId for Schedule {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Schedule {
    /// Whether it still rules its subscription.
    pub(in super::super) fn is_live(&self) -> bool {
        matches!(self.status.as_deref(), Some("active" | "not_started"))
    }

    /// The first phase after the one that runs.
    pub(in super::super) fn planned(&self) -> Option<PlannedPrices> {
        if !self.is_live() {
            return None;
        }
        let runs_since = self.current_phase.as_ref().and_then(|p| p.start_date);
        let (start, phase) = self
            .phases
            .iter()
            .filter_map(|phase| Some((phase.start_date?, phase)))
            .filter(|(start, _)| runs_since.is_none_or(|since| *start > since))
            .min_by_key(|(start, _)| *start)?;
        Some(PlannedPrices {
            price_ids: phase
                .items
                .iter()
                .filter_map(PhaseItem::price_id)
                .map(str::to_owned)
                .collect(),
            sold_as: phase.metadata.sold_as(),
            at: instant(Some(start))?,
        })
    }
}
