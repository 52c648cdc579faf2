use proptest::prelude::*;

use super::*;
use crate::domain::catalogue::{Grant, Overage, OveragePrice};
use crate::domain::fixtures::{at, billed, day, hour, metered, plan, plans_of, subscription};

fn inr(price: &str) -> Grant {
    let price = OveragePrice {
        currency: Currency::INR,
        unit_amount_decimal: UnitAmount::parse(price).unwrap(),
    };
    Grant::Metered {
        limit: Some(10),
        hard_limit_percent: None,
        overage: Some(Overage {
            max_quantity: None,
            prices: vec![price],
        }),
    }
}

fn shop() -> Plans {
    plans_of(
        vec![
            plan("free", &[("runs", metered(Some(1), 100))]),
            plan("team", &[("runs", inr("50"))]),
            plan("scale", &[("runs", inr("82.5"))]),
            plan("abroad", &[("runs", billed(10, None))]),
        ],
        None,
    )
}

fn on(tier: &str, started_at: DateTime<Utc>) -> Subscription {
    Subscription {
        started_at,
        anchor: started_at,
        ..subscription(SubscriptionStatus::Active, tier)
    }
}

fn ended(of: Subscription, ended_at: DateTime<Utc>) -> Subscription {
    Subscription {
        status: SubscriptionStatus::Canceled,
        ended_at: Some(ended_at),
        current_period_end: Some(ended_at),
        ..of
    }
}

fn month(start: DateTime<Utc>) -> Period {
    Period::containing(start, Some(start), None)
}

/// The tier by whose price a period is billed, among these subscriptions in any order.
fn billed_by(subscriptions: &[Subscription], period: Period) -> Result<String, Unbillable> {
    let plans = shop();
    let of = |subscriptions: &[Subscription]| {
        tariff(subscriptions, &plans, "runs", period, Currency::INR)
            .map(|tariff| tariff.plan.tier.clone())
    };
    let mut reversed = subscriptions.to_vec();
    reversed.reverse();
    assert_eq!(of(subscriptions), of(&reversed));
    of(subscriptions)
}

#[test]
fn a_period_is_billed_by_the_plan_under_which_it_began() {
    let old = ended(on("team", day(0)), day(40));
    let new = on("scale", day(40));
    let all = [old, new];
    let tier = |start| billed_by(&all, month(start)).unwrap();
    assert_eq!(tier(day(0)), "team");
    // The change closed this one in its middle.
    assert_eq!(tier(day(31)), "team");
    assert_eq!(tier(day(40)), "scale");
    assert_eq!(tier(at("2026-03-10T00:00:00Z")), "scale");
}

#[test]
fn what_was_ordered_and_never_paid_bills_nothing() {
    let waiting = Subscription {
        status: SubscriptionStatus::Incomplete,
        ..on("scale", day(1))
    };
    let all = [on("team", day(0)), waiting];
    assert_eq!(billed_by(&all, month(day(31))).unwrap(), "team");
}

#[test]
fn a_successor_that_was_ordered_early_bills_from_its_first_period_on() {
    let successor = Subscription {
        anchor: day(31),
        ..on("scale", day(12))
    };
    let all = [ended(on("team", day(0)), day(31)), successor];
    assert_eq!(billed_by(&all, month(day(0))).unwrap(), "team");
    assert_eq!(billed_by(&all, month(day(31))).unwrap(), "scale");
}

#[test]
fn a_plan_that_was_cancelled_bills_while_its_paid_time_lasts() {
    let cancelled = Subscription {
        current_period_end: Some(day(365)),
        ..ended(on("team", day(0)), day(3))
    };
    let later = on("scale", day(400));
    let all = [cancelled, later];
    assert_eq!(billed_by(&all, month(day(59))).unwrap(), "team");
}

#[test]
fn a_step_of_its_own_tells_a_subscription_from_one_that_was_ordered_within_it() {
    // The link of the new one was opened before the old one's second month began, and paid after.
    let new = Subscription {
        anchor: day(35),
        ..on("scale", day(30))
    };
    let all = [ended(on("team", day(0)), day(35)), new];
    assert_eq!(billed_by(&all, month(day(31))).unwrap(), "team");
    assert_eq!(billed_by(&all, month(day(35))).unwrap(), "scale");
}

#[test]
fn a_plan_without_a_price_in_the_currency_is_named() {
    let error = billed_by(&[on("abroad", day(0))], month(day(0))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "version 1 of plan abroad has no overage price in inr"
    );
    let none = billed_by(&[on("free", day(0))], month(day(0)));
    assert_eq!(none, Err(Unbillable::NoPlan));
}

#[test]
fn only_the_sum_is_rounded_and_never_up() {
    let price = |text: &str| UnitAmount::parse(text).unwrap();
    let total = |terms: &[(i64, &str)]| sum(terms.iter().map(|(n, p)| (*n, price(p))));
    assert_eq!(total(&[(1, "0.5"), (1, "0.5")]), Ok(1));
    assert_eq!(total(&[(3, "82.5"), (-1, "0.9")]), Ok(246));
    assert_eq!(total(&[(-1, "0.1")]), Ok(-1));
    assert_eq!(total(&[]), Ok(0));
    let most = price("999999999999.999999999999");
    assert_eq!(sum([(i64::MAX, most)]), Err(AmountOverflow));
}

fn line(feature: &str, quantity: i64, start: &str, end: &str) -> Line {
    Line {
        feature: feature.to_owned(),
        plan: "Scale".to_owned(),
        quantity,
        period: Period {
            start: at(start),
            end: at(end),
        },
    }
}

#[test]
fn the_description_names_plan_units_and_periods() {
    let (january, february) = ("2026-01-12T00:00:00Z", "2026-02-12T00:00:00Z");
    let march = "2026-03-12T00:00:00Z";
    let lines = [
        line("Attribution runs", 1200, january, february),
        line("Attribution runs", -30, february, march),
        line("Exports", 1_234_567, january, february),
    ];
    assert_eq!(
        description(&lines[..1]),
        "Attribution runs above the Scale plan's limit: 1 200 in 2026-01-12 – 2026-02-12"
    );
    assert_eq!(
        description(&lines),
        "Attribution runs above the Scale plan's limit: 1 200 in 2026-01-12 – 2026-02-12, -30 in 2026-02-12 – 2026-03-12; \
         Exports above the Scale plan's limit: 1 234 567 in 2026-01-12 – 2026-02-12"
    );
}

proptest! {
    #[test]
    fn a_description_is_never_longer_than_providers_take(
        names in proptest::collection::vec("[a-zé ]{1,80}", 1..200),
    ) {
        let lines: Vec<Line> = names
            .iter()
            .map(|name| line(name, 1, "2026-01-12T00:00:00Z", "2026-02-12T00:00:00Z"))
            .collect();
        let text = description(&lines);
        prop_assert!(text.chars().count() <= 2048);
        prop_assert!(text.starts_with(&names[0]));
    }

    #[test]
    fn some_subscription_that_was_paid_for_bills_every_period(
        starts in proptest::collection::vec(0_i64..2000, 1..5),
        begun in 0_i64..2000,
    ) {
        let all: Vec<Subscription> = starts.iter().map(|start| on("team", hour(*start))).collect();
        prop_assert_eq!(billed_by(&all, month(hour(begun))).unwrap(), "team");
    }
}
