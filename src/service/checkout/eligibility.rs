//! Whether a customer may buy a plan, given the subscriptions that providers already bill.

use chrono::{DateTime, Utc};

use super::CheckoutError;
use crate::domain::billed::Billed;
use crate::domain::provider_event::ProviderName;
use crate::domain::subscription::{Subscription, SubscriptionStatus};
use crate::store::subscription_endings::Noted;

/// Refuses what would lead to a second subscription. What an operator granted stands in nobody's way: it is how a customer is
/// served until the first payment.
pub(super) fn may_buy(
    subscriptions: &[Subscription],
    tier: &str,
    with_pages: &[ProviderName],
    now: DateTime<Utc>,
) -> Result<(), CheckoutError> {
    let Billed { live, due } = Billed::of(subscriptions, now);
    if live
        .iter()
        .any(|subscription| subscription.plan.tier == tier)
    {
        Err(CheckoutError::AlreadySubscribed)
    } else if !live.is_empty() {
        Err(CheckoutError::UseChangePlan)
    } else if let Some(subscription) = due {
        let portal = with_pages.contains(&subscription.provider);
        Err(CheckoutError::PaymentDue { portal })
    } else {
        Ok(())
    }
}

/// Whether the subscription is no more than a page on which it could have been bought. `sessions` are those that the customer has not
/// gone through, each with its provider's name.
pub fn is_mere_session(subscription: &Subscription, sessions: &[(String, String)]) -> bool {
    use SubscriptionStatus as S;
    matches!(subscription.status, S::Incomplete | S::IncompleteExpired)
        && sessions.iter().any(|(provider, session)| {
            provider == subscription.provider.as_str()
                && *session == subscription.provider_subscription_id
        })
}

/// Refuses to sell another one in the place of what is not paid, or is being ended, or has been replaced already.
pub(super) fn may_replace(
    subscriptions: &[Subscription],
    ending: &[Noted],
    provider: ProviderName,
    id: &str,
    with_pages: &[ProviderName],
) -> Result<(), CheckoutError> {
    use SubscriptionStatus as S;
    let replaced = subscriptions
        .iter()
        .find(|s| s.provider == provider && s.provider_subscription_id == id);
    match replaced {
        Some(replaced)
            if ending
                .iter()
                .any(|noted| noted.subscription_id == replaced.id) =>
        {
            Err(CheckoutError::InProgress)
        }
        Some(replaced) if replaced.planned.is_some() => Err(CheckoutError::InProgress),
        Some(replaced) if matches!(replaced.status, S::Trialing | S::Active) => Ok(()),
        _ => Err(CheckoutError::PaymentDue {
            portal: with_pages.contains(&provider),
        }),
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
    use crate::domain::payment::{EndingReason, EndingState};
    use crate::domain::subscription::{Access, PlanRef, PlannedChange};

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
        match may_buy(subscriptions, "pro", &[ProviderName::Stripe], now()) {
            Ok(()) => "may",
            Err(CheckoutError::AlreadySubscribed) => "already-subscribed",
            Err(CheckoutError::UseChangePlan) => "use-change-plan",
            Err(CheckoutError::PaymentDue { portal: true }) => "payment-due",
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
    fn a_page_that_nobody_paid_is_no_purchase() {
        let session = |provider: &str| vec![(provider.to_owned(), "sub_1".to_owned())];
        for status in SubscriptionStatus::ALL {
            let page = matches!(
                status,
                SubscriptionStatus::Incomplete | SubscriptionStatus::IncompleteExpired
            );
            let subscription = on("pro", status);
            assert_eq!(
                is_mere_session(&subscription, &session("stripe")),
                page,
                "{status:?}"
            );
            assert!(!is_mere_session(&subscription, &session("razorpay")));
            assert!(!is_mere_session(&subscription, &[]));
        }
    }

    #[test]
    fn only_what_is_paid_and_goes_on_is_replaced() {
        let replace = |subscription: Subscription, ending: &[Noted]| {
            may_replace(&[subscription], ending, ProviderName::Stripe, "sub_1", &[]).is_ok()
        };
        for status in SubscriptionStatus::ALL {
            let pays = matches!(
                status,
                SubscriptionStatus::Trialing | SubscriptionStatus::Active
            );
            assert_eq!(replace(on("pro", status), &[]), pays, "{status:?}");
        }
        let active = on("pro", SubscriptionStatus::Active);
        let noted = Noted {
            subscription_id: active.id,
            reason: EndingReason::Replaced,
            state: EndingState::Due,
            attempts: 0,
        };
        assert!(!replace(active.clone(), &[noted]));
        let planned = Subscription {
            planned: Some(PlannedChange {
                plan: active.plan.clone(),
                at: now(),
            }),
            ..active
        };
        assert!(!replace(planned, &[]));
        assert!(may_replace(&[], &[], ProviderName::Stripe, "sub_1", &[]).is_err());
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
