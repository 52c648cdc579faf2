//! The table of events and their effects, row by row: each event alone, told in the shape of today and in that of before 2025-03-31.
//!
//! What is proven elsewhere: types that are not in the table (`delivery`), a checkout that binds (`order`), the end of what was refunded
//! (`endings::refunds`), deleted customers (`endings::customers`).

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{deliver, kept, plan, standing};
use crate::support::app::{PRICE_SCALE, TestApp};
use crate::support::steps::{consume, count, pay, subscribe, subscription_id, usage_of};

/// The kinds of object that an event bears.
#[derive(Clone, Copy, PartialEq)]
enum Bears {
    Subscription,
    Invoice,
}

/// An event, what Stripe has before and when it is sent, and what the customer has then.
struct Row {
    kind: &'static str,
    before: fn(&mut Value),
    change: fn(&mut Value),
    plan: Value,
    grace_ends: Option<&'static str>,
}

fn rows() -> Vec<Row> {
    let row = |kind, before, change, plan, grace_ends| Row {
        kind,
        before,
        change,
        plan,
        grace_ends,
    };
    let same: fn(&mut Value) = |_| {};
    let active: fn(&mut Value) = |s| s["status"] = json!("active");
    let past_due: fn(&mut Value) = |s| s["status"] = json!("past_due");
    let paused: fn(&mut Value) = |s| s["status"] = json!("paused");
    let scale: fn(&mut Value) = |s| s["items"]["data"][0]["price"]["id"] = json!(PRICE_SCALE);
    let canceled: fn(&mut Value) = |s| {
        s["status"] = json!("canceled");
        s["ended_at"] = json!(1_768_176_000 + 3600);
    };
    let on_pro = || plan("pro", "active", "subscription");
    let in_dunning = || plan("pro", "past_due", "subscription");
    let on_scale = || plan("scale", "active", "subscription");
    // An hour after the 12th: the payment fails, or the subscription ends, now.
    let in_a_week = Some("2026-01-19T01:00:00Z");
    vec![
        row("customer.subscription.created", same, same, on_pro(), None),
        row(
            "customer.subscription.updated",
            same,
            scale,
            on_scale(),
            None,
        ),
        row(
            "customer.subscription.paused",
            same,
            paused,
            plan("free", "paused", "default"),
            None,
        ),
        row(
            "customer.subscription.resumed",
            paused,
            active,
            on_pro(),
            None,
        ),
        row(
            "customer.subscription.pending_update_applied",
            same,
            scale,
            on_scale(),
            None,
        ),
        row(
            "customer.subscription.pending_update_expired",
            same,
            same,
            on_pro(),
            None,
        ),
        row(
            "customer.subscription.trial_will_end",
            same,
            |s| s["status"] = json!("trialing"),
            plan("pro", "trialing", "subscription"),
            None,
        ),
        row(
            "customer.subscription.deleted",
            same,
            canceled,
            plan("free", "canceled", "grace"),
            in_a_week,
        ),
        row("invoice.paid", past_due, active, on_pro(), None),
        row(
            "invoice.payment_succeeded",
            past_due,
            active,
            on_pro(),
            None,
        ),
        row(
            "invoice.payment_failed",
            same,
            past_due,
            in_dunning(),
            in_a_week,
        ),
        row(
            "invoice.payment_action_required",
            same,
            past_due,
            in_dunning(),
            in_a_week,
        ),
        row("invoice.created", same, scale, on_scale(), None),
    ]
}

fn event(app: &TestApp, kind: &str, id: &str, bears: Bears) -> Value {
    let object = match bears {
        Bears::Subscription => app.stripe().subscription(id),
        Bears::Invoice => {
            let invoices = app.stripe().invoices();
            let of =
                |invoice: &&Value| invoice["parent"]["subscription_details"]["subscription"] == id;
            invoices.iter().rev().find(of).unwrap().clone()
        }
    };
    app.stripe().event(kind, &object)
}

#[actix_web::test]
async fn what_bears_a_subscription_makes_it_what_stripe_has() {
    for old_shape in [false, true] {
        let app = TestApp::with_stripe().await;
        app.advance(TimeDelta::hours(1));
        for row in rows() {
            let kind = row.kind;
            let bears = if kind.starts_with("invoice.") {
                Bears::Invoice
            } else {
                Bears::Subscription
            };
            let customer = kind.replace('.', "-");
            let id = subscribe(&app, &customer, "pro").await;
            super::change(&app, &id, row.before).await;
            let was = standing(&app, &customer).await;
            consume(&app, &customer, "models", 1).await;
            // Untold, it is not known; told in the other mode, it is none of ours.
            app.stripe().update_subscription(&id, row.change);
            let event = event(&app, kind, &id, bears);
            let event = if old_shape {
                app.stripe().in_old_shape(&event)
            } else {
                event
            };
            let mut other_mode = event.clone();
            other_mode["id"] = json!(format!("{}_live", event["id"].as_str().unwrap()));
            other_mode["livemode"] = json!(true);
            assert_eq!(
                deliver(&app, &other_mode).await["status"],
                "ignored",
                "{kind}"
            );
            app.apply_webhooks().await;
            assert_eq!(standing(&app, &customer).await, was, "{kind}");

            assert_eq!(deliver(&app, &event).await["status"], "queued", "{kind}");
            app.apply_webhooks().await;
            let (now, grace) = standing(&app, &customer).await;
            assert_eq!(now, row.plan, "{kind}");
            assert_eq!(grace["ends_at"], json!(row.grace_ends), "{kind}");
            assert_eq!(kept(&app, &event).status, "processed", "{kind}");
            // Told once more, it changes nothing.
            assert_eq!(deliver(&app, &event).await["status"], "duplicate", "{kind}");
            app.apply_webhooks().await;
            assert_eq!(standing(&app, &customer).await, (now, grace), "{kind}");
        }
        let unsettled =
            "SELECT count(*) FROM webhooks WHERE status NOT IN ('processed', 'ignored')";
        assert_eq!(count(&app, unsettled), 0);
    }
}

#[actix_web::test]
async fn usage_begins_anew_with_the_period_and_not_with_an_invoice() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "pro").await;
    consume(&app, "acme", "attribution_runs", 40).await;
    let used = async || usage_of(&app, "acme", "attribution_runs").await["used"].clone();
    for kind in ["invoice.created", "invoice.paid"] {
        deliver(&app, &event(&app, kind, &id, Bears::Invoice)).await;
        app.apply_webhooks().await;
        assert_eq!(used().await, 40, "{kind}");
    }
    app.advance(TimeDelta::days(31));
    assert_eq!(used().await, 0, "by the clock, before any word of it");
    consume(&app, "acme", "attribution_runs", 2).await;
    app.deliver(&app.stripe().renew_subscription(&id)).await;
    app.apply_webhooks().await;
    assert_eq!(used().await, 2);
    let shown = app
        .get("/billing/subscription?customer_id=acme")
        .send()
        .await
        .ok();
    assert_eq!(shown["current_period_start"], "2026-02-12T00:00:00Z");
}

#[actix_web::test]
async fn a_checkout_gives_access_by_the_status_of_its_subscription_alone() {
    let app = TestApp::with_stripe().await;
    let order = json!({"customer_id": "acme", "plan_tier": "pro"});
    let buy = async || {
        app.post("/billing/create-checkout")
            .json(order.clone())
            .send()
            .await
    };
    let paid_slowly = async || {
        let session = buy().await.expect(201)["session_id"]
            .as_str()
            .unwrap()
            .to_owned();
        let events = app.stripe().complete_checkout(&session);
        let id = subscription_id(&events);
        app.stripe()
            .update_subscription(&id, |s| s["status"] = json!("incomplete"));
        let mut completed = events
            .into_iter()
            .find(|e| e["type"] == "checkout.session.completed")
            .unwrap();
        completed["data"]["object"]["payment_status"] = json!("unpaid");
        (session, id, completed)
    };

    // A bank transfer that fails: what was bound by it is nothing, and the customer can try again.
    let (session, id, completed) = paid_slowly().await;
    deliver(&app, &completed).await;
    app.apply_webhooks().await;
    assert_eq!(
        standing(&app, "acme").await.0,
        plan("free", "incomplete", "default")
    );
    buy().await.problem(409, "payment-due");
    app.stripe()
        .update_subscription(&id, |s| s["status"] = json!("incomplete_expired"));
    let object = completed["data"]["object"].clone();
    let failed = app
        .stripe()
        .event("checkout.session.async_payment_failed", &object);
    let expired = event(
        &app,
        "customer.subscription.updated",
        &id,
        Bears::Subscription,
    );
    for event in [&failed, &expired] {
        deliver(&app, event).await;
    }
    app.apply_webhooks().await;
    assert_eq!(
        standing(&app, "acme").await,
        (plan("free", "incomplete_expired", "default"), Value::Null)
    );

    // Without the word of its completion, the failure closes the attempt, too.
    let (another, _, completed) = paid_slowly().await;
    assert_ne!(another, session);
    let object = completed["data"]["object"].clone();
    let failed = app
        .stripe()
        .event("checkout.session.async_payment_failed", &object);
    deliver(&app, &failed).await;
    app.apply_webhooks().await;
    let expiring = buy().await.expect(201)["session_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_ne!(expiring, another);
    deliver(&app, &app.stripe().let_checkout_expire(&expiring)).await;
    app.apply_webhooks().await;

    // One that succeeds.
    let (third, id, completed) = paid_slowly().await;
    assert_ne!(third, expiring);
    deliver(&app, &completed).await;
    app.apply_webhooks().await;
    assert_eq!(standing(&app, "acme").await.0["tier"], "free");
    app.stripe()
        .update_subscription(&id, |s| s["status"] = json!("active"));
    let mut object = completed["data"]["object"].clone();
    object["payment_status"] = json!("paid");
    let succeeded = app
        .stripe()
        .event("checkout.session.async_payment_succeeded", &object);
    deliver(&app, &succeeded).await;
    app.apply_webhooks().await;
    assert_eq!(
        standing(&app, "acme").await.0,
        plan("pro", "active", "subscription")
    );
    buy().await.problem(409, "already-subscribed");
}

#[actix_web::test]
async fn what_bears_a_payment_records_it_as_stripe_has_it() {
    for old_shape in [false, true] {
        let app = TestApp::with_stripe().await;
        let stripe = app.stripe();
        let recorded = |charge: &str, what: &str| {
            count(
                &app,
                &format!("SELECT count(*) FROM charges WHERE charge_id = '{charge}' AND {what}"),
            )
        };
        for (nth, kind) in [
            "charge.refunded",
            "refund.created",
            "refund.updated",
            "charge.refund.updated",
            "refund.failed",
            "charge.dispute.created",
            "charge.dispute.updated",
            "charge.dispute.funds_withdrawn",
            "charge.dispute.closed",
            "charge.dispute.funds_reinstated",
        ]
        .into_iter()
        .enumerate()
        {
            let id = subscription_id(&pay(&app, &format!("customer-{nth}"), "pro").await);
            let charge = stripe.charge_of(&id);
            let (made, what) = if kind.starts_with("charge.dispute.") {
                let (dispute, mut made) = stripe.open_dispute(&charge);
                let decided = matches!(
                    kind,
                    "charge.dispute.closed" | "charge.dispute.funds_reinstated"
                );
                if decided {
                    made.extend(stripe.close_dispute(&dispute, "won"));
                }
                let state = if decided { "won" } else { "under_review" };
                (made, format!("dispute = '{state}' AND amount_refunded = 0"))
            } else {
                let mut made = stripe.refund_charge(&charge, Some(1200));
                let failed = kind == "refund.failed";
                if failed {
                    let refund = made
                        .iter()
                        .find(|event| event["type"] == "refund.created")
                        .unwrap();
                    made.extend(
                        stripe.fail_refund(refund["data"]["object"]["id"].as_str().unwrap()),
                    );
                }
                let back = if failed { 0 } else { 1200 };
                (
                    made,
                    format!("amount_refunded = {back} AND amount = 4900 AND dispute IS NULL"),
                )
            };
            // Some are sent in cases that the fake does not have; they bear the same object.
            let bears = |event: &&Value| match kind {
                "charge.refunded" => event["type"] == kind,
                _ if kind.starts_with("charge.dispute.") => {
                    event["data"]["object"]["object"] == "dispute"
                }
                _ => event["data"]["object"]["object"] == "refund",
            };
            let object = made.iter().rev().find(bears).unwrap()["data"]["object"].clone();
            let event = stripe.event(kind, &object);
            let event = if old_shape {
                stripe.in_old_shape(&event)
            } else {
                event
            };
            deliver(&app, &event).await;
            app.apply_webhooks().await;
            assert_eq!(kept(&app, &event).status, "processed", "{kind}");
            assert_eq!(recorded(&charge, &what), 1, "{kind}: {what}");
            assert_eq!(
                recorded(&charge, &format!("provider_subscription_id = '{id}'")),
                1,
                "{kind}"
            );
        }
        assert_eq!(count(&app, "SELECT count(*) FROM subscription_endings"), 0);
    }
}

#[actix_web::test]
async fn thin_events_about_meters_are_understood_and_others_ignored() {
    let app = TestApp::with_stripe().await;
    // What they say of usage that was told is `overage::operators`'.
    for (kind, status, end) in [
        (
            "v1.billing.meter.error_report_triggered",
            "queued",
            "processed",
        ),
        ("v1.billing.meter.no_meter_found", "queued", "processed"),
        ("v2.core.account.updated", "ignored", "ignored"),
    ] {
        let mut event = app.stripe().meter_error(&[], "no_meter");
        event["type"] = json!(kind);
        assert_eq!(deliver(&app, &event).await["status"], status, "{kind}");
        app.apply_webhooks().await;
        assert_eq!(kept(&app, &event).status, end, "{kind}");
    }
}
