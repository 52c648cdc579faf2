//! Customers with several subscriptions, whose reports come in any order and make no sense: the usage period holds all the same.

use chrono::TimeDelta;
use proptest::prelude::*;

use super::*;
use crate::domain::fixtures::{GRACE_DAYS, day, hour, plans, report, subscription};
use crate::domain::subscription::Report;

const TIERS: [&str; 3] = ["free", "pro", "scale"];

#[derive(Debug, Clone)]
struct Step {
    hours: i64,
    which: usize,
    status: SubscriptionStatus,
    tier: &'static str,
    cancel_in: Option<i64>,
    new_anchor: bool,
    end_with_grace: bool,
}

fn step() -> impl Strategy<Value = Step> {
    use SubscriptionStatus as S;
    let status = prop_oneof![
        4 => Just(S::Active), 3 => Just(S::PastDue), 1 => Just(S::Canceled), 1 => proptest::sample::select(S::ALL.to_vec()),
    ];
    (
        prop_oneof![0i64..36, 0i64..300],
        0usize..3,
        status,
        proptest::sample::select(TIERS.to_vec()),
        proptest::option::weighted(0.3, 0i64..400),
        proptest::bool::weighted(0.15),
        proptest::bool::weighted(0.85),
    )
        .prop_map(
            |(hours, which, status, tier, cancel_in, new_anchor, end_with_grace)| Step {
                hours,
                which,
                status,
                tier,
                cancel_in,
                new_anchor,
                end_with_grace,
            },
        )
}

/// What the database keeps of one customer.
struct Customer {
    subscriptions: Vec<Subscription>,
    remembered: Anchoring,
    now: DateTime<Utc>,
}

impl Customer {
    fn new() -> Self {
        let seen = |(index, provider)| Subscription {
            id: uuid::Uuid::from_u128(index),
            provider,
            anchor: hour(i64::try_from(index).unwrap()),
            current_period_end: None,
            ..subscription(SubscriptionStatus::Incomplete, "pro")
        };
        let providers = [
            ProviderName::Stripe,
            ProviderName::Stripe,
            ProviderName::Manual,
        ];
        Self {
            subscriptions: (1u128..).zip(providers).map(seen).collect(),
            remembered: Anchoring::default(),
            now: day(3),
        }
    }

    fn standing(&self, now: DateTime<Utc>) -> Standing {
        Standing::at(now, &self.subscriptions, self.remembered, &plans()).unwrap()
    }

    /// As the transaction that applies a report does it.
    fn report(&mut self, step: &Step) {
        let (now, plans) = (self.now, plans());
        let base = self.subscriptions[step.which].clone();
        let report = Report {
            anchor: if step.new_anchor { now } else { base.anchor },
            current_period_start: None,
            current_period_end: None,
            cancel_at: step.cancel_in.map(|hours| now + TimeDelta::hours(hours)),
            paid_until: step.cancel_in.map(|hours| now + TimeDelta::hours(hours)),
            ended_at: step.status.is_terminal().then_some(now),
            end_with_grace: step.end_with_grace,
            ..report(step.status, step.tier)
        };
        let lowers = plans.lowers(&base.plan, &report.plan);
        let Some(change) = base.apply(report, lowers, now, GRACE_DAYS) else {
            return;
        };
        let before = self.standing(now).anchoring;
        for (index, other) in self.subscriptions.iter_mut().enumerate() {
            if index == step.which {
                *other = change.after.clone();
            } else if let Some(superseded) = other
                .superseded(now, GRACE_DAYS)
                .filter(|_| change.newly_active)
            {
                *other = superseded;
            }
        }
        self.remembered = Anchoring {
            settled: Some(now),
            ..before
        };
        let after = self.standing(now).anchoring;
        if after.anchor != before.anchor {
            self.remembered = Anchoring {
                since: Some(now),
                ..after
            };
        }
    }
}

fn grace(standing: &Standing) -> Option<(&str, DateTime<Utc>)> {
    standing
        .grace
        .as_ref()
        .map(|grace| (grace.plan.plan.tier.as_str(), grace.ends_at))
}

fn rank(tier: &str) -> Option<usize> {
    TIERS.iter().position(|known| *known == tier)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_usage_period_holds_whatever_is_reported(steps in proptest::collection::vec(step(), 1..16)) {
        let mut customer = Customer::new();
        let mut previous = customer.standing(customer.now);
        for step in steps {
            // The clock alone: read now and then until the next report comes.
            let next = customer.now + TimeDelta::hours(step.hours);
            while customer.now < next {
                customer.now = (customer.now + TimeDelta::hours(19)).min(next);
                let standing = customer.standing(customer.now);
                let (then, now) = (previous.anchoring, standing.anchoring);
                if (then.anchor, then.since) != (now.anchor, now.since) {
                    let since = now.since.unwrap();
                    prop_assert!(then.since < now.since && since <= customer.now);
                    let until_then = customer.standing(since - TimeDelta::nanoseconds(1));
                    prop_assert_ne!(until_then.anchoring.anchor, now.anchor, "no new anchor, but a new instant");
                    let goes_on = grace(&previous).is_some() && grace(&previous) == grace(&standing);
                    prop_assert!(then.anchor.is_none() || !goes_on, "a new anchor in a grace");
                }
                check(&standing, &previous, &customer)?;
                previous = standing;
            }
            customer.report(&step);
            let standing = customer.standing(customer.now);
            let kept = grace(&previous).is_some() && grace(&previous) == grace(&standing);
            if kept && previous.anchoring.anchor.is_some() {
                let (then, now) = (previous.anchoring, standing.anchoring);
                prop_assert_eq!((then.anchor, then.since), (now.anchor, now.since), "a second quota in a grace");
            }
            check(&standing, &previous, &customer)?;
            previous = standing;
        }
    }
}

fn check(
    standing: &Standing,
    previous: &Standing,
    customer: &Customer,
) -> Result<(), TestCaseError> {
    let now = customer.now;
    prop_assert!(standing.period.contains(now));
    prop_assert!(
        previous.period.start <= standing.period.start,
        "periods go forwards"
    );
    prop_assert!(
        standing
            .grace
            .as_ref()
            .is_none_or(|grace| now < grace.ends_at && grace.ends_at <= now + TimeDelta::days(7))
    );
    let best = customer
        .subscriptions
        .iter()
        .filter(|s| s.access(now) == Access::Live)
        .map(|s| rank(&s.plan.tier))
        .max();
    match (best, standing.source) {
        (Some(best), PlanSource::Subscription) => {
            prop_assert_eq!(rank(&standing.plan.plan.tier), best);
        }
        (None, PlanSource::Grace) => {
            prop_assert!(standing.plan.plan.tier == "free" && standing.grace.is_some());
        }
        (None, PlanSource::Default) => {
            prop_assert!(standing.plan.plan.tier == "free" && standing.grace.is_none());
        }
        other => prop_assert!(false, "{other:?}"),
    }
    Ok(())
}
