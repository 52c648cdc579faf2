//! A subscription's whole life, as the fake lives it.

use chrono::{DateTime, TimeDelta, Utc};
use plangate::domain::provider_event::{Hint, ProviderStatus, ProviderSubscription};
use plangate::domain::subscription::SubscriptionStatus;
use plangate::providers::stripe::Stripe;
use plangate::providers::{
    ChangeWhen, CheckoutRequest, DisputeState, FinalInvoice, PaidFor, PlanChange, PortalRequest,
    Provider, RefundShare, Reported, Retracted, UsageReport,
};
use serde_json::{Value, json};

use super::{acme, scale, start, stock, verify};
use crate::fake_stripe::FakeStripe;

pub(super) fn noon() -> DateTime<Utc> {
    "2026-01-10T12:00:00Z".parse().unwrap()
}

/// A customer who subscribed at noon, with the events that this caused left behind.
pub(super) struct Subscribed {
    pub(super) fake: FakeStripe,
    pub(super) stripe: Stripe,
    pub(super) id: String,
    pub(super) customer: String,
}

impl Subscribed {
    pub(super) async fn to_scale() -> Self {
        Self::by(scale).await
    }

    pub(super) async fn to_pro() -> Self {
        Self::by(|customer| CheckoutRequest {
            base_price_id: "price_pro".to_owned(),
            overage_price_id: None,
            plan_tier: "pro".to_owned(),
            plan_version: 1,
            ..scale(customer)
        })
        .await
    }

    async fn by(request: impl Fn(&str) -> CheckoutRequest) -> Self {
        let (fake, stripe) = start();
        fake.set_now(noon());
        // Prices, too, are as old as the clock says.
        stock(&fake);
        let customer = stripe.create_customer(&acme()).await.unwrap();
        let session = stripe.create_checkout(&request(&customer)).await.unwrap();
        fake.complete_checkout(&session.id);
        let paid = stripe.checkout_session(&session.id).await.unwrap();
        let id = paid.provider_subscription_id.unwrap();
        fake.take_events();
        Self {
            fake,
            stripe,
            id,
            customer,
        }
    }

    pub(super) async fn now(&self) -> ProviderSubscription {
        self.stripe.fetch_subscription(&self.id).await.unwrap()
    }

    pub(super) fn to(&self, tier: &str, when: ChangeWhen) -> PlanChange {
        PlanChange {
            provider_subscription_id: self.id.clone(),
            replaced_price_ids: ["price_pro", "price_scale", "price_overage"]
                .map(str::to_owned)
                .to_vec(),
            base_price_id: format!("price_{tier}"),
            overage_price_id: (tier == "scale").then(|| "price_overage".to_owned()),
            customer_id: "acme".to_owned(),
            plan_tier: tier.to_owned(),
            plan_version: 5,
            when,
        }
    }

    pub(super) fn usage(&self, identifier: &str, quantity: i64) -> UsageReport {
        UsageReport {
            provider_customer_id: self.customer.clone(),
            quantity,
            identifier: identifier.to_owned(),
            at: noon(),
        }
    }

    fn hints(&self, events: &[Value]) -> Vec<Hint> {
        events
            .iter()
            .map(|event| verify(&self.stripe, &self.fake.sign(event, noon()), noon()).unwrap())
            .collect()
    }
}

fn prices(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

const SCALE: [&str; 2] = ["price_overage", "price_scale"];

#[tokio::test]
async fn plans_change_at_once_in_both_directions() {
    let it = Subscribed::to_pro().await;
    it.stripe
        .change_plan(&it.to("scale", ChangeWhen::Now))
        .await
        .unwrap();
    let up = it.now().await;
    assert_eq!(prices(up.price_ids.clone()), SCALE);
    let sold = up.sold_as.unwrap();
    assert_eq!((sold.tier.as_str(), sold.version), ("scale", 5));
    let invoices = it.fake.invoices().len();
    assert_eq!(invoices, 2, "the difference was billed");
    it.stripe
        .change_plan(&it.to("pro", ChangeWhen::Now))
        .await
        .unwrap();
    assert_eq!(it.now().await.price_ids, ["price_pro"]);
}

#[tokio::test]
async fn an_upgrade_waits_for_its_payment() {
    let it = Subscribed::to_pro().await;
    it.fake.decline_payments(true);
    let up = it.to("scale", ChangeWhen::Now);
    for _ in 0..2 {
        it.stripe.change_plan(&up).await.unwrap();
        let waiting = it.now().await;
        assert!(waiting.change_unpaid);
        assert_eq!(waiting.price_ids, ["price_pro"]);
        assert_eq!(it.fake.invoices().len(), 2, "one invoice for one wish");
    }
    let events = it.fake.pay_pending_update(&it.id);
    let about_it = Hint::Subscription {
        provider_subscription_id: it.id.clone(),
    };
    assert!(it.hints(&events).contains(&about_it));
    let paid = it.now().await;
    assert!(!paid.change_unpaid);
    assert_eq!(prices(paid.price_ids), SCALE);
    // The marks follow with the next try.
    it.stripe.change_plan(&up).await.unwrap();
    assert_eq!(it.now().await.sold_as.unwrap().version, 5);
}

#[tokio::test]
async fn a_planned_change_is_shown_kept_and_carried_out() {
    let it = Subscribed::to_scale().await;
    it.stripe.cancel_at_period_end(&it.id).await.unwrap();
    let down = it.to("pro", ChangeWhen::PeriodEnd);
    for _ in 0..2 {
        it.stripe.change_plan(&down).await.unwrap();
        let now = it.now().await;
        assert_eq!(prices(now.price_ids), SCALE);
        assert!(!now.cancel_at_period_end && now.cancel_at.is_none());
        let planned = now.planned.unwrap();
        assert_eq!(planned.price_ids, ["price_pro"]);
        assert_eq!(Some(planned.at), now.current_period_end);
        assert_eq!(planned.sold_as.unwrap().tier, "pro");
    }
    it.fake.end_period(&it.id);
    let then = it.now().await;
    assert_eq!((then.price_ids.len(), then.planned), (1, None));
    assert_eq!(then.sold_as.unwrap().tier, "pro");
    // What has begun no longer stands in the way of another change.
    it.stripe
        .change_plan(&it.to("scale", ChangeWhen::Now))
        .await
        .unwrap();
    assert_eq!(prices(it.now().await.price_ids), SCALE);
}

#[tokio::test]
async fn planned_changes_are_dropped_replaced_and_ended() {
    let it = Subscribed::to_scale().await;
    let down = it.to("pro", ChangeWhen::PeriodEnd);
    it.stripe.change_plan(&down).await.unwrap();
    it.stripe.drop_planned_change(&it.id).await.unwrap();
    assert_eq!(it.now().await.planned, None);
    it.stripe.drop_planned_change(&it.id).await.unwrap();

    it.stripe.change_plan(&down).await.unwrap();
    let mut newer = down.clone();
    newer.plan_version = 6;
    it.stripe.change_plan(&newer).await.unwrap();
    let planned = it.now().await.planned.unwrap();
    assert_eq!(planned.sold_as.unwrap().version, 6);

    it.stripe.cancel_at_period_end(&it.id).await.unwrap();
    let ending = it.now().await;
    assert!(ending.cancel_at_period_end && ending.planned.is_none());

    it.stripe.change_plan(&down).await.unwrap();
    it.stripe
        .cancel_now(&it.id, FinalInvoice::None)
        .await
        .unwrap();
    it.stripe
        .cancel_now(&it.id, FinalInvoice::Drawn)
        .await
        .unwrap();
    assert_eq!(
        it.now().await.status,
        ProviderStatus::Known(SubscriptionStatus::Canceled)
    );
}

#[tokio::test]
async fn ends_and_pauses_are_taken_back() {
    let it = Subscribed::to_scale().await;
    it.stripe.cancel_at_period_end(&it.id).await.unwrap();
    it.fake.pause_collection(&it.id, true);
    let paused = it.now().await;
    assert!(paused.cancel_at_period_end);
    assert_eq!(
        paused.status,
        ProviderStatus::Known(SubscriptionStatus::Paused)
    );
    for _ in 0..2 {
        it.stripe.resume(&it.id).await.unwrap();
        let back = it.now().await;
        assert!(!back.cancel_at_period_end && back.cancel_at.is_none());
        assert_eq!(
            back.status,
            ProviderStatus::Known(SubscriptionStatus::Active)
        );
    }
    let end = (noon() + TimeDelta::days(3)).timestamp();
    it.fake
        .update_subscription(&it.id, |s| s["cancel_at"] = json!(end));
    it.stripe.resume(&it.id).await.unwrap();
    assert_eq!(it.now().await.cancel_at, None);
    it.fake
        .update_subscription(&it.id, |s| s["status"] = json!("paused"));
    it.stripe.resume(&it.id).await.unwrap();
    assert_eq!(
        it.now().await.status,
        ProviderStatus::Known(SubscriptionStatus::Active)
    );
}

#[tokio::test]
async fn the_portal_opens() {
    let it = Subscribed::to_pro().await;
    let request = PortalRequest {
        provider_customer_id: it.customer.clone(),
        return_url: "https://app.example/account".to_owned(),
    };
    let url = it.stripe.open_portal(&request).await.unwrap();
    assert!(url.starts_with("https://"), "{url}");
}

#[tokio::test]
async fn payments_go_back_and_show_it() {
    let it = Subscribed::to_pro().await;
    let charge_id = it.fake.charge_of(&it.id);
    let paid = it.stripe.charge(&charge_id, b"").await.unwrap();
    assert_eq!((paid.amount, paid.amount_refunded), (4900, 0));
    assert_eq!(paid.paid_for, PaidFor::Subscription(it.id.clone()));
    assert_eq!(paid.provider_customer_id, Some(it.customer.clone()));

    let hint = Hint::Charge {
        provider_charge_id: charge_id.clone(),
    };
    let part = it.fake.refund_charge(&charge_id, Some(1000));
    assert!(it.hints(&part).contains(&hint));
    let refund = it.fake.refunds()[0]["id"].as_str().unwrap().to_owned();
    let paid = it.stripe.charge(&charge_id, b"").await.unwrap();
    assert_eq!(paid.amount_refunded, 1000);
    assert!(it.hints(&it.fake.fail_refund(&refund)).contains(&hint));
    let paid = it.stripe.charge(&charge_id, b"").await.unwrap();
    assert_eq!(paid.amount_refunded, 0);

    for key in ["refund:1", "refund:1", "refund:2"] {
        let gone_back = it
            .stripe
            .refund_latest_payment(&it.id, RefundShare::Whole, key)
            .await;
        assert_eq!(gone_back, Ok(true), "{key}");
    }
    let paid = it.stripe.charge(&charge_id, b"").await.unwrap();
    assert_eq!(paid.amount_refunded, 4900);
}

#[tokio::test]
async fn disputes_are_followed_to_their_end() {
    for (word, state) in [("won", DisputeState::Won), ("lost", DisputeState::Lost)] {
        let it = Subscribed::to_pro().await;
        let charge_id = it.fake.charge_of(&it.id);
        let (dispute, opened) = it.fake.open_dispute(&charge_id);
        let disputed = it.stripe.charge(&charge_id, b"").await.unwrap();
        assert_eq!(disputed.dispute, Some(DisputeState::UnderReview));
        let closed = it.fake.close_dispute(&dispute, word);
        let disputed = it.stripe.charge(&charge_id, b"").await.unwrap();
        assert_eq!(disputed.dispute, Some(state));
        let hint = Hint::Charge {
            provider_charge_id: charge_id,
        };
        for events in [opened, closed] {
            assert!(it.hints(&events).contains(&hint));
            let old: Vec<_> = events.iter().map(|e| it.fake.in_old_shape(e)).collect();
            assert!(it.hints(&old).contains(&hint));
        }
    }
}

#[tokio::test]
async fn usage_is_told_counted_taken_back_and_refused() {
    let it = Subscribed::to_scale().await;
    let told = it.stripe.report_usage(&it.usage("run-1", 30)).await;
    assert_eq!(told, Ok(Reported::Taken));
    let told = it.stripe.report_usage(&it.usage("run-1", 30)).await;
    assert_eq!(told, Ok(Reported::Known));
    it.stripe
        .report_usage(&it.usage("run-2", 12))
        .await
        .unwrap();
    let counted = || {
        it.stripe
            .usage_counted(&it.customer, noon(), noon() + TimeDelta::seconds(1))
    };
    assert_eq!(counted().await, Ok(42));
    for _ in 0..2 {
        let back = it.stripe.retract_usage("run-1").await;
        assert_eq!(back, Ok(Retracted::Done));
    }
    assert_eq!(counted().await, Ok(12));
    let thin = it
        .fake
        .meter_error(&["run-2"], "meter_event_customer_not_found");
    assert_eq!(it.hints(std::slice::from_ref(&thin)), [Hint::UsageRefused]);
    let event_id = thin["id"].as_str().unwrap();
    let refused = it.stripe.refused_usage(event_id).await.unwrap();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].identifier.as_deref(), Some("run-2"));
    it.fake.set_now(noon() + TimeDelta::hours(25));
    for unknown_or_old in ["run-2", "run-9"] {
        let back = it.stripe.retract_usage(unknown_or_old).await;
        assert_eq!(back, Ok(Retracted::TooLate), "{unknown_or_old}");
    }
}

#[tokio::test]
async fn stripe_remembers_events_and_subscriptions() {
    let it = Subscribed::to_scale().await;
    it.stripe
        .change_plan(&it.to("pro", ChangeWhen::PeriodEnd))
        .await
        .unwrap();
    let all = it.stripe.subscriptions(None).await.unwrap();
    assert_eq!((all.items.len(), &all.next), (1, &None));
    assert_eq!(all.items[0], it.now().await);

    for _ in 0..60 {
        it.fake.renew_subscription(&it.id);
    }
    let since = it.stripe.events_known_since(noon());
    let mut seen = Vec::new();
    let mut page = None;
    loop {
        let found = it.stripe.events(since, page.as_deref()).await.unwrap();
        for past in found.items {
            assert_ne!(past.event.hint, Hint::Ignored);
            assert_eq!(it.stripe.hint(&past.body), Ok(past.event.hint.clone()));
            seen.push(past.event.event_id);
        }
        page = found.next;
        if page.is_none() {
            break;
        }
    }
    assert!(seen.len() > 100, "{} fit on one page", seen.len());
    let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len());
}

#[tokio::test]
async fn a_customer_who_is_deleted_takes_their_subscriptions_along() {
    let it = Subscribed::to_pro().await;
    let hints = it.hints(&it.fake.delete_customer(&it.customer));
    assert!(hints.contains(&Hint::CustomerDeleted {
        provider_customer_id: it.customer.clone()
    }));
    let about_it = Hint::Subscription {
        provider_subscription_id: it.id.clone(),
    };
    assert!(hints.contains(&about_it));
    assert_eq!(
        it.now().await.status,
        ProviderStatus::Known(SubscriptionStatus::Canceled)
    );
}
