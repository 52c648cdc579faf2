//! The stories, each with the one record that every provider must come to.

use chrono::{Months, TimeDelta};
use plangate::domain::provider_event::ProviderStatus;
use plangate::domain::subscription::SubscriptionStatus;
use plangate::store::clock::Clock as _;
use serde_json::json;

use super::{Side, Story};
use crate::support::steps::{assert_counters_equal_ledger, consume, count};

const ACTIVE: &str = "pro by subscription; pro active";

/// A checkout names the customer and the plan, and so does the subscription that it leads to. Nothing is in force before it is paid.
pub(super) async fn bind<S: Side>() {
    let mut story = Story::<S>::begin().await;
    story.note("at first").await;
    let session = story.checkout("pro").await;
    assert_eq!(story.checkout("pro").await, session, "another tab");
    story.note("with a checkout").await;
    let (subscription, events) = S::pay(&story.app, &session);
    story.subscription = subscription;
    let shown = story.shown().await;
    assert_eq!(shown.customer_id.as_deref(), Some("acme"));
    let sold_as = shown.sold_as.unwrap();
    assert_eq!((sold_as.tier.as_str(), sold_as.version), ("pro", 1));
    assert_eq!(shown.price_ids.len(), 1);
    assert!(shown.provider_customer_id.is_some());
    story.hear(events).await;
    story.note("once paid").await;
    story.assert(&[
        "at first: free by default; no subscription",
        "with a checkout: free by default; no subscription",
        &format!("once paid: {ACTIVE}"),
    ]);
}

/// What is paid is in force for a month, and is not sold again.
pub(super) async fn activate<S: Side>() {
    let mut story = Story::<S>::on("pro").await;
    let now = story.app.clock.now();
    let shown = story.shown().await;
    assert_eq!(
        shown.status,
        ProviderStatus::Known(SubscriptionStatus::Active)
    );
    assert!(shown.was_paid);
    assert_eq!(shown.anchor, Some(now));
    assert_eq!(shown.current_period_start, Some(now));
    let month = now.checked_add_months(Months::new(1));
    assert_eq!(shown.current_period_end, month);
    story.note("once paid").await;
    let order = |tier: &str| json!({"plan_tier": tier, "provider": S::NAME.as_str()});
    let again = story.ask("create-checkout", order("pro")).await;
    again.problem(409, "already-subscribed");
    let other = story.ask("create-checkout", order("scale")).await;
    other.problem(409, "use-change-plan");
    story.assert(&[&format!("once paid: {ACTIVE}")]);
}

/// A new period is paid, and its quota begins by the clock.
pub(super) async fn renew<S: Side>() {
    let mut story = Story::<S>::on("pro").await;
    consume(&story.app, "acme", "attribution_runs", 7).await;
    let first = story.shown().await;
    story.app.advance(TimeDelta::days(31));
    assert_eq!(story.used().await, 0, "before anybody told of the renewal");
    let events = S::end_period(&story.app, &story.subscription);
    story.hear(events).await;
    story.note("renewed").await;
    let second = story.shown().await;
    assert_eq!(second.current_period_start, first.current_period_end);
    assert_eq!(second.anchor, first.anchor);
    assert_eq!(story.used().await, 0);
    assert_counters_equal_ledger(&story.app);
    story.assert(&[&format!("renewed: {ACTIVE}")]);
}

/// A renewal that is not paid leaves the plan for the days of grace, and not longer.
pub(super) async fn fail<S: Side>() {
    let mut story = Story::<S>::on("pro").await;
    story.app.advance(TimeDelta::days(31));
    let events = S::fail(&story.app, &story.subscription);
    story.hear(events).await;
    story.note("unpaid").await;
    let order = json!({"plan_tier": "pro", "provider": S::NAME.as_str()});
    let again = story.ask("create-checkout", order).await;
    again.problem(409, "payment-due");
    story
        .app
        .advance(TimeDelta::days(7) - TimeDelta::seconds(1));
    story.note("a second before the grace ends").await;
    story.app.advance(TimeDelta::seconds(1));
    story.note("a second later").await;
    story.assert(&[
        "unpaid: pro by subscription, grace of pro; pro past_due",
        "a second before the grace ends: pro by subscription, grace of pro; pro past_due",
        "a second later: free by default; pro past_due",
    ]);
}

/// When no further try is made the default tier is in force; the grace goes on, and no later status gives another one.
pub(super) async fn give_up<S: Side>() {
    let mut story = Story::<S>::on("pro").await;
    story.app.advance(TimeDelta::days(31));
    let events = S::fail(&story.app, &story.subscription);
    story.hear(events).await;
    story.app.advance(TimeDelta::days(5));
    let events = S::give_up(&story.app, &story.subscription);
    story.hear(events).await;
    story.note("given up").await;
    story.app.advance(TimeDelta::days(2));
    story.note("seven days after the failure").await;
    let events = S::end(&story.app, &story.subscription);
    story.hear(events).await;
    story.note("ended").await;
    story.assert(&[
        "given up: free by grace, grace of pro; pro unpaid",
        "seven days after the failure: free by default; pro unpaid",
        "ended: free by default; pro canceled",
    ]);
}

/// What was overdue is paid, and all is as before.
pub(super) async fn recover<S: Side>() {
    let mut story = Story::<S>::on("pro").await;
    story.app.advance(TimeDelta::days(31));
    let events = S::fail(&story.app, &story.subscription);
    story.hear(events).await;
    story.app.advance(TimeDelta::days(3));
    let events = S::recover(&story.app, &story.subscription);
    story.hear(events).await;
    story.note("paid after all").await;
    story.app.advance(TimeDelta::days(5));
    story.note("when the grace would be over").await;
    story.assert(&[
        &format!("paid after all: {ACTIVE}"),
        &format!("when the grace would be over: {ACTIVE}"),
    ]);
}

/// A pause leaves nothing, not even a grace; the customer takes it off.
pub(super) async fn pause_and_resume<S: Side>() {
    let mut story = Story::<S>::on("pro").await;
    let events = S::pause(&story.app, &story.subscription);
    story.hear(events).await;
    story.note("paused").await;
    story.ask("resume", json!({})).await.ok();
    story.settle().await;
    story.note("resumed").await;
    story.assert(&[
        "paused: free by default; pro paused",
        &format!("resumed: {ACTIVE}"),
    ]);
}

/// A higher plan is in force once it is paid; one subscription is left, and nobody was on both.
pub(super) async fn upgrade<S: Side>() {
    let mut story = Story::<S>::on("pro").await;
    consume(&story.app, "acme", "models", 3).await;
    story.app.advance(TimeDelta::days(10));
    let change = json!({"plan_tier": "scale"});
    let answer = story.ask("change-plan", change).await.ok();
    let (subscription, events) = S::agree_to_change(&story.app, &answer);
    story.subscription = subscription;
    story.hear(events).await;
    story.note("changed").await;
    assert_eq!(open_subscriptions(&story), 1);
    let models = crate::support::steps::usage_of(&story.app, "acme", "models").await;
    assert_eq!((&models["used"], &models["limit"]), (&json!(3), &json!(10)));
    story.assert(&["changed: scale by subscription; scale active"]);
}

/// A lower plan comes with the next period; what is paid is not lost.
pub(super) async fn downgrade<S: Side>() {
    let mut story = Story::<S>::on("scale").await;
    story.app.advance(TimeDelta::days(10));
    let answer = story.ask("change-plan", json!({"plan_tier": "pro"})).await;
    let answer = answer.ok();
    let old = story.subscription.clone();
    let (subscription, events) = S::agree_to_change(&story.app, &answer);
    story.hear(events).await;
    let seen = story.app.get("/billing/subscription?customer_id=acme");
    let seen = seen.send().await.ok();
    assert_eq!(seen["plan_tier"], "scale");
    assert_eq!(seen["planned_change"]["plan_tier"], "pro", "{seen}");
    // An hour before the period's end what is kept here is sent.
    story.app.advance(TimeDelta::days(21) - TimeDelta::hours(1));
    story.settle().await;
    story.note("an hour before").await;
    story.app.advance(TimeDelta::hours(1));
    let events = S::end_period(&story.app, &old);
    story.hear(events).await;
    if subscription != old {
        let events = S::end_period(&story.app, &subscription);
        story.hear(events).await;
    }
    story.subscription = subscription;
    let seen = story.seen().await;
    assert!(seen.starts_with("pro by subscription"), "{seen}");
    assert!(seen.ends_with("; pro active"), "{seen}");
    assert_eq!(open_subscriptions(&story), 1);
}

/// An immediate end leaves the days of grace.
pub(super) async fn cancel_now<S: Side>() {
    let mut story = Story::<S>::on("pro").await;
    story.app.advance(TimeDelta::days(3));
    let cancel = json!({"when": "now"});
    story.ask("cancel", cancel).await.ok();
    story.note("answered").await;
    story.settle().await;
    story.note("told").await;
    story.app.advance(TimeDelta::days(7));
    story.note("a week later").await;
    story.buy("pro").await;
    story.note("bought again").await;
    story.assert(&[
        "answered: free by grace, grace of pro; pro canceled",
        "told: free by grace, grace of pro; pro canceled",
        "a week later: free by default; pro canceled",
        &format!("bought again: {ACTIVE}"),
    ]);
}

/// What is paid is kept until its end, and left for the days of grace then.
pub(super) async fn cancel_at_the_end<S: Side>() {
    let mut story = Story::<S>::on("pro").await;
    story.app.advance(TimeDelta::days(10));
    story.ask("cancel", json!({})).await.ok();
    story.settle().await;
    story.note("cancelled").await;
    story
        .app
        .advance(TimeDelta::days(21) - TimeDelta::minutes(30));
    story.settle().await;
    story.note("half an hour before the end").await;
    story.app.advance(TimeDelta::minutes(30));
    story.note("at the end, before anybody told").await;
    let events = S::end_period(&story.app, &story.subscription);
    story.hear(events).await;
    let ended = story.shown().await;
    assert_eq!(
        ended.status,
        ProviderStatus::Known(SubscriptionStatus::Canceled)
    );
    story
        .app
        .advance(TimeDelta::days(7) - TimeDelta::seconds(1));
    story.note("in the grace").await;
    story.app.advance(TimeDelta::seconds(1));
    story.note("after it").await;
    story.assert(&[
        &format!("cancelled: {ACTIVE}, ends with its period"),
        &format!("half an hour before the end: {ACTIVE}, ends with its period"),
        "at the end, before anybody told: free by grace, grace of pro; pro active, ends with its period",
        "in the grace: free by grace, grace of pro; pro canceled",
        "after it: free by default; pro canceled",
    ]);
}

/// Who cancelled and thinks better of it goes on.
pub(super) async fn take_a_cancellation_back<S: Side>() {
    let mut story = Story::<S>::on("pro").await;
    story.ask("cancel", json!({})).await.ok();
    story.settle().await;
    story.app.advance(TimeDelta::days(20));
    story.ask("resume", json!({})).await.ok();
    story.settle().await;
    story.note("resumed").await;
    let nothing = story.ask("resume", json!({})).await;
    nothing.problem(409, "conflict");
    story.app.advance(TimeDelta::days(11));
    let events = S::end_period(&story.app, &story.subscription);
    story.hear(events).await;
    story.note("renewed").await;
    story.assert(&[&format!("resumed: {ACTIVE}"), &format!("renewed: {ACTIVE}")]);
}

/// An end that somebody else brought about is an end.
pub(super) async fn end_at_the_provider<S: Side>() {
    let mut story = Story::<S>::on("pro").await;
    let events = S::end(&story.app, &story.subscription);
    story.hear(events).await;
    story.note("ended").await;
    story.assert(&["ended: free by grace, grace of pro; pro canceled"]);
}

/// When all of a payment goes back, what it paid ends, at the provider too, without a grace.
pub(super) async fn refund<S: Side>() {
    let mut story = Story::<S>::on("pro").await;
    let events = S::refund(&story.app, &story.subscription);
    story.hear(events).await;
    story.note("given back").await;
    let ended = story.shown().await;
    assert_eq!(
        ended.status,
        ProviderStatus::Known(SubscriptionStatus::Canceled)
    );
    story.assert(&["given back: free by default; pro canceled"]);
}

/// So it is where the payer's bank takes it back.
pub(super) async fn lose_a_dispute<S: Side>() {
    let mut story = Story::<S>::on("pro").await;
    let events = S::lose_dispute(&story.app, &story.subscription);
    story.hear(events).await;
    story.note("lost").await;
    story.assert(&["lost: free by default; pro canceled"]);
}

/// Everything told three times changes nothing more.
pub(super) async fn duplicate<S: Side>() {
    let mut story = Story::<S>::on("pro").await;
    story.app.advance(TimeDelta::days(31));
    let events = S::end_period(&story.app, &story.subscription);
    story.hear(events).await;
    let facts = |story: &Story<S>| {
        [
            "subscription_transitions",
            "subscriptions",
            "charges",
            "webhooks",
        ]
        .map(|table| count(&story.app, &format!("SELECT count(*) FROM {table}")))
    };
    let before = facts(&story);
    story.note("once").await;
    for _ in 0..2 {
        let told = story.told.clone();
        S::deliver(&story.app, &told).await;
    }
    story.note("three times").await;
    assert_eq!(facts(&story), before);
    story.assert(&[
        &format!("once: {ACTIVE}"),
        &format!("three times: {ACTIVE}"),
    ]);
}

/// A life that is told backwards ends where it ended.
pub(super) async fn reorder<S: Side>() {
    let mut story = Story::<S>::begin().await;
    let session = story.checkout("pro").await;
    let (subscription, mut events) = S::pay(&story.app, &session);
    story.app.advance(TimeDelta::days(31));
    events.extend(S::end_period(&story.app, &subscription));
    story.app.advance(TimeDelta::days(28));
    events.extend(S::fail(&story.app, &subscription));
    events.extend(S::recover(&story.app, &subscription));
    story.subscription = subscription;
    events.reverse();
    story.hear(events).await;
    story.note("backwards").await;
    story.assert(&[&format!("backwards: {ACTIVE}")]);
    assert_eq!(open_subscriptions(&story), 1);
}

fn open_subscriptions<S: Side>(story: &Story<S>) -> i64 {
    let ended = "('canceled', 'incomplete_expired', 'expired')";
    count(
        &story.app,
        &format!("SELECT count(*) FROM subscriptions WHERE status NOT IN {ended}"),
    )
}
