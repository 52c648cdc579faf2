//! Whether a customer may buy a plan, given the subscriptions that providers already bill.

use chrono::{DateTime, Utc};

use super::CheckoutError;
use crate::domain::provider_event::ProviderName;
use crate::domain::subscription::{Access, Subscription, SubscriptionStatus};

/// Refuses what would lead to a second subscription. What an operator granted stands in nobody's way: it is how a customer is
/// served until the first payment.
pub(super) fn may_buy(
    subscriptions: &[Subscription],
    tier: &str,
    now: DateTime<Utc>,
) -> Result<(), CheckoutError> {
    use SubscriptionStatus as S;
    let (mut same, mut other, mut due) = (false, false, false);
    for subscription in subscriptions
        .iter()
        .filter(|subscription| subscription.provider != ProviderName::Manual)
    {
        match subscription.status {
            S::Trialing | S::Active => {
                // One whose known end has passed is over, although the provider's word of it is still to come.
                let live = subscription.access(now) == Access::Live;
                same |= live && subscription.plan.tier == tier;
                other |= live && subscription.plan.tier != tier;
            }
            S::PastDue | S::Unpaid | S::Incomplete | S::Paused => due = true,
            S::Canceled | S::IncompleteExpired | S::Expired => {}
        }
    }
    if same {
        Err(CheckoutError::AlreadySubscribed)
    } else if other {
        Err(CheckoutError::UseChangePlan)
    } else if due {
        Err(CheckoutError::PaymentDue)
    } else {
        Ok(())
    }
}

/// Whether a trial may be given: to somebody new, and once. What an operator granted was not bought.
pub(super) fn may_try(subscriptions: &[Subscription]) -> bool {
    subscriptions
        .iter()
        .all(|subscription| subscription.provider == ProviderName::Manual)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use uuid::Uuid;

    use super::*;
    use crate::domain::subscription::PlanRef;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn on(tier: &str, status: SubscriptionStatus) -> Subscription {
        Subscription {
            id: Uuid::nil(),
            provider: ProviderName::Stripe,
            provider_subscription_id: "sub_1".to_owned(),
            status,
            plan: PlanRef {
                tier: tier.to_owned(),
                version: 1,
            },
            unit_amount: None,
            currency: None,
            anchor: now(),
            current_period_start: None,
            current_period_end: None,
            cancel_at_period_end: false,
            access_ends_at: None,
            ended_at: None,
            trial_end: None,
            planned: None,
            grace: None,
            lapsed: false,
            started_at: now(),
        }
    }

    fn verdict(subscriptions: &[Subscription]) -> &'static str {
        match may_buy(subscriptions, "pro", now()) {
            Ok(()) => "may",
            Err(CheckoutError::AlreadySubscribed) => "already-subscribed",
            Err(CheckoutError::UseChangePlan) => "use-change-plan",
            Err(CheckoutError::PaymentDue) => "payment-due",
            Err(_) => "else",
        }
    }

    #[test]
    fn each_status_has_its_answer() {
        use SubscriptionStatus as S;
        assert_eq!(verdict(&[]), "may");
        for status in S::ALL {
            let (same, other) = match status {
                S::Trialing | S::Active => ("already-subscribed", "use-change-plan"),
                S::PastDue | S::Unpaid | S::Incomplete | S::Paused => {
                    ("payment-due", "payment-due")
                }
                S::Canceled | S::IncompleteExpired | S::Expired => ("may", "may"),
            };
            assert_eq!(verdict(&[on("pro", status)]), same, "{status:?}");
            assert_eq!(verdict(&[on("scale", status)]), other, "{status:?}");
            let granted = Subscription {
                provider: ProviderName::Manual,
                ..on("pro", status)
            };
            assert_eq!(verdict(&[granted]), "may", "{status:?}");
        }
    }

    #[test]
    fn a_trial_is_for_who_never_bought() {
        assert!(may_try(&[]));
        for status in SubscriptionStatus::ALL {
            let bought = on("pro", status);
            let granted = Subscription {
                provider: ProviderName::Manual,
                ..bought.clone()
            };
            assert!(may_try(std::slice::from_ref(&granted)), "{status:?}");
            assert!(!may_try(&[granted, bought]), "{status:?}");
        }
    }

    #[test]
    fn a_cancelled_one_counts_until_it_ends() {
        let ending = |end: DateTime<Utc>| Subscription {
            cancel_at_period_end: true,
            access_ends_at: Some(end),
            ..on("pro", SubscriptionStatus::Active)
        };
        assert_eq!(
            verdict(&[ending(now() + TimeDelta::seconds(1))]),
            "already-subscribed"
        );
        assert_eq!(verdict(&[ending(now())]), "may");
        // One that the provider has ended cannot be renewed, however long it still serves.
        let over = Subscription {
            status: SubscriptionStatus::Canceled,
            ..ending(now() + TimeDelta::days(9))
        };
        assert_eq!(over.access(now()), Access::Live);
        assert_eq!(verdict(&[over]), "may");
    }

    #[test]
    fn of_several_the_live_one_speaks() {
        use SubscriptionStatus as S;
        let both = [on("scale", S::Unpaid), on("pro", S::Active)];
        assert_eq!(verdict(&both), "already-subscribed");
        let both = [on("scale", S::Active), on("pro", S::PastDue)];
        assert_eq!(verdict(&both), "use-change-plan");
    }
}
