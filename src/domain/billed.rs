//! What providers bill a customer for already: whether there is anything left to buy.

use chrono::{DateTime, Utc};

use super::provider_event::ProviderName;
use super::subscription::{Access, Subscription, SubscriptionStatus};

/// The subscriptions that stand in the way of another purchase. What an operator granted is none of them.
#[derive(Debug, Clone, Default)]
pub struct Billed<'a> {
    /// Paid, and serving.
    pub live: Vec<&'a Subscription>,
    /// Something must be settled first: unpaid, or paused.
    pub due: Option<&'a Subscription>,
}

impl<'a> Billed<'a> {
    /// Sorts a customer's subscriptions. `now` decides whether one with a known end still serves.
    pub fn of(
        subscriptions: impl IntoIterator<Item = &'a Subscription>,
        now: DateTime<Utc>,
    ) -> Self {
        use SubscriptionStatus as S;
        let mut billed = Self::default();
        for subscription in subscriptions {
            match subscription.status {
                _ if subscription.provider == ProviderName::Manual => {}
                // One whose known end has passed is over, although the provider's word of it is still to come.
                S::Trialing | S::Active if subscription.access(now) == Access::Live => {
                    billed.live.push(subscription);
                }
                S::PastDue | S::Unpaid | S::Incomplete | S::Paused => {
                    billed.due = Some(subscription);
                }
                S::Trialing | S::Active | S::Canceled | S::IncompleteExpired | S::Expired => {}
            }
        }
        billed
    }
}
