//! Two live subscriptions that providers bill are a fault: one stays.

use std::cmp::Reverse;

use chrono::{DateTime, Utc};

use super::plans::Plans;
use super::provider_event::ProviderName;
use super::subscription::{Access, Subscription};

/// The one that stays, and those that are too many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicates<'a> {
    /// Of the highest tier, of those the oldest.
    pub kept: &'a Subscription,
    /// All others.
    pub surplus: Vec<&'a Subscription>,
}

/// Whether it is live and billed: what an operator granted or what ended with its access does not count.
pub fn is_live_at_provider(subscription: &Subscription, now: DateTime<Utc>) -> bool {
    subscription.provider != ProviderName::Manual
        && subscription.status.is_open()
        && subscription.access(now) == Access::Live
}

/// Looks for duplicates among a customer's subscriptions, without those that are being ended already; `None`: there are none. The answer
/// does not depend on the order in which they became known.
pub fn duplicates<'a>(
    subscriptions: impl IntoIterator<Item = &'a Subscription>,
    plans: &Plans,
    now: DateTime<Utc>,
) -> Option<Duplicates<'a>> {
    let mut live: Vec<&Subscription> = subscriptions
        .into_iter()
        .filter(|subscription| is_live_at_provider(subscription, now))
        .collect();
    live.sort_by_key(|s| {
        (
            Reverse(plans.rank(&s.plan)),
            s.started_at,
            &s.provider_subscription_id,
        )
    });
    match live.split_first() {
        Some((kept, surplus)) if !surplus.is_empty() => Some(Duplicates {
            kept,
            surplus: surplus.to_vec(),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fixtures::{day, plans, subscription};
    use crate::domain::subscription::{Grace, SubscriptionStatus as S};

    fn named(id: &str, tier: &str, started: i64) -> Subscription {
        Subscription {
            provider_subscription_id: id.to_owned(),
            started_at: day(started),
            ..subscription(S::Active, tier)
        }
    }

    /// Who stays and who goes, whatever the order they come in.
    fn judged(subscriptions: &[Subscription]) -> Option<(String, Vec<String>)> {
        let names = |found: Option<Duplicates<'_>>| {
            found.map(|found| {
                let id = |s: &Subscription| s.provider_subscription_id.clone();
                (
                    id(found.kept),
                    found.surplus.iter().map(|s| id(s)).collect(),
                )
            })
        };
        let forwards = names(duplicates(subscriptions, &plans(), day(5)));
        let backwards = names(duplicates(subscriptions.iter().rev(), &plans(), day(5)));
        assert_eq!(forwards, backwards);
        forwards
    }

    fn found(kept: &str, surplus: &[&str]) -> (String, Vec<String>) {
        (
            kept.to_owned(),
            surplus.iter().map(|&id| id.to_owned()).collect(),
        )
    }

    #[test]
    fn the_highest_tier_stays_then_the_oldest() {
        let (pro, scale) = (named("a", "pro", 0), named("b", "scale", 1));
        assert_eq!(judged(&[]), None);
        assert_eq!(judged(std::slice::from_ref(&pro)), None);
        assert_eq!(
            judged(&[pro.clone(), scale.clone()]),
            Some(found("b", &["a"]))
        );
        assert_eq!(
            judged(&[pro.clone(), named("c", "pro", 1)]),
            Some(found("a", &["c"]))
        );
        // Two of one second are told apart by their names.
        assert_eq!(
            judged(&[named("c", "pro", 0), pro.clone(), scale]),
            Some(found("b", &["a", "c"]))
        );
    }

    #[test]
    fn only_what_providers_still_bill_and_serve_counts() {
        let pro = named("a", "pro", 0);
        let granted = Subscription {
            provider: ProviderName::Manual,
            ..named("b", "pro", 0)
        };
        let over = Subscription {
            access_ends_at: Some(day(5)),
            ..named("b", "pro", 0)
        };
        let ending = Subscription {
            access_ends_at: Some(day(6)),
            ..named("b", "pro", 0)
        };
        let cancelled_with_time_left = Subscription {
            status: S::Canceled,
            ..ending.clone()
        };
        assert_eq!(cancelled_with_time_left.access(day(5)), Access::Live);
        assert_eq!(judged(&[pro.clone(), cancelled_with_time_left]), None);
        assert_eq!(judged(&[pro.clone(), granted]), None);
        assert_eq!(judged(&[pro.clone(), over]), None);
        assert_eq!(judged(&[pro.clone(), ending]), Some(found("a", &["b"])));
        for status in S::ALL {
            let other = Subscription {
                status,
                grace: (status == S::PastDue).then(|| Grace {
                    plan: pro.plan.clone(),
                    ends_at: day(6),
                }),
                ..named("b", "pro", 1)
            };
            let counts = matches!(status, S::Trialing | S::Active | S::PastDue);
            let expected = counts.then(|| found("a", &["b"]));
            assert_eq!(judged(&[pro.clone(), other]), expected, "{status:?}");
        }
    }
}
