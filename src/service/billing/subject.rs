//! Which of a customer's subscriptions is meant.

use std::cmp::Reverse;

use super::BillingError;
use crate::domain::plans::Plans;
use crate::domain::provider_event::ProviderName;
use crate::domain::subscription::{Subscription, SubscriptionStatus};

/// The subscription that a provider bills: of several the one that pays, else one that did; of those the highest, of those the oldest.
/// `subscriptions` come oldest first.
pub(super) fn of(
    subscriptions: Vec<Subscription>,
    plans: &Plans,
) -> Result<Subscription, BillingError> {
    let granted = |subscription: &Subscription| subscription.provider == ProviderName::Manual;
    let any_granted = subscriptions
        .iter()
        .any(|subscription| granted(subscription) && subscription.status.is_open());
    let billed: Vec<Subscription> = subscriptions
        .into_iter()
        .filter(|subscription| !granted(subscription))
        .collect();
    let any_ended = !billed.is_empty();
    let open = billed
        .into_iter()
        .filter(|subscription| subscription.status.is_open());
    // The first of equal ones, which is the oldest.
    open.min_by_key(|subscription| {
        let agreed = subscription.status != SubscriptionStatus::Incomplete;
        Reverse((
            pays(subscription.status),
            agreed,
            plans.rank(&subscription.plan),
        ))
    })
    .ok_or(match (any_granted, any_ended) {
        (true, _) => BillingError::Granted,
        (false, true) => BillingError::Ended,
        (false, false) => BillingError::NoSubscription,
    })
}

/// Whether all that is due has been paid.
pub(super) const fn pays(status: SubscriptionStatus) -> bool {
    matches!(
        status,
        SubscriptionStatus::Trialing | SubscriptionStatus::Active
    )
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;
    use crate::domain::catalogue::Catalogue;
    use crate::domain::plans::PlanVersion;
    use crate::domain::subscription::PlanRef;

    fn plans() -> Plans {
        let current = Catalogue::embedded().unwrap().tiers.into_iter();
        let current = current.map(|plan| PlanVersion {
            version: 1,
            plan: plan.as_ref().clone(),
        });
        Plans::new(
            current.map(std::sync::Arc::new).collect(),
            "free".to_owned(),
            None,
            7,
            3,
        )
    }

    fn on(id: &str, tier: &str, status: SubscriptionStatus) -> Subscription {
        let began = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        Subscription {
            id: Uuid::nil(),
            provider: ProviderName::Stripe,
            provider_subscription_id: id.to_owned(),
            status,
            plan: PlanRef {
                tier: tier.to_owned(),
                version: 1,
            },
            unit_amount: None,
            currency: None,
            anchor: began,
            current_period_start: None,
            current_period_end: None,
            cancel_at_period_end: false,
            access_ends_at: None,
            ended_at: None,
            trial_end: None,
            planned: None,
            grace: None,
            lapsed: false,
            started_at: began,
        }
    }

    fn meant(subscriptions: &[Subscription]) -> String {
        match of(subscriptions.to_vec(), &plans()) {
            Ok(subscription) => subscription.provider_subscription_id,
            Err(BillingError::NoSubscription) => "none".to_owned(),
            Err(BillingError::Granted) => "granted".to_owned(),
            Err(BillingError::Ended) => "ended".to_owned(),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_that_pays_comes_first_then_the_highest_then_the_oldest() {
        use SubscriptionStatus as S;
        for status in [S::PastDue, S::Unpaid, S::Paused, S::Incomplete] {
            assert_eq!(meant(&[on("due", "pro", status)]), "due", "{status:?}");
            let due = on("due", "scale", status);
            for paid in [S::Active, S::Trialing] {
                assert_eq!(meant(&[due.clone(), on("paid", "pro", paid)]), "paid");
            }
        }
        let (old, new) = (on("old", "pro", S::Active), on("new", "pro", S::Active));
        assert_eq!(meant(&[old.clone(), new.clone()]), "old");
        assert_eq!(meant(&[old, on("high", "scale", S::Trialing), new]), "high");
    }

    #[test]
    fn one_that_waits_for_its_first_payment_comes_last() {
        use SubscriptionStatus as S;
        let waiting = on("waiting", "scale", S::Incomplete);
        for status in [S::PastDue, S::Unpaid, S::Paused, S::Active] {
            assert_eq!(meant(&[waiting.clone(), on("old", "pro", status)]), "old");
        }
        assert_eq!(meant(&[waiting]), "waiting");
    }

    #[test]
    fn what_is_over_or_granted_is_told_apart_from_nothing() {
        use SubscriptionStatus as S;
        let granted = |status| Subscription {
            provider: ProviderName::Manual,
            ..on("man_1", "scale", status)
        };
        assert_eq!(meant(&[]), "none");
        assert_eq!(meant(&[granted(S::Canceled)]), "none");
        assert_eq!(meant(&[granted(S::Active)]), "granted");
        assert_eq!(
            meant(&[granted(S::Active), on("sub", "pro", S::Active)]),
            "sub"
        );
        for status in [S::Canceled, S::IncompleteExpired, S::Expired] {
            let over = on("over", "pro", status);
            assert_eq!(meant(std::slice::from_ref(&over)), "ended", "{status:?}");
            assert_eq!(meant(&[over, granted(S::Active)]), "granted");
        }
    }
}
