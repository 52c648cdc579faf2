//! A customer who moves from Razorpay to Stripe keeps what was counted, and is never entitled twice.

use chrono::TimeDelta;
use plangate::providers::{CheckoutRequest, NewCustomer};
use plangate::store::clock::Clock as _;
use serde_json::{Value, json};

use crate::provider_contract::{RazorpaySide, Side, StripeSide};
use crate::support::app::{PLAN_PRO, TestApp};
use crate::support::steps::{assert_counters_equal_ledger, consume, count, usage_of};

const RUNS: &str = "attribution_runs";

async fn both() -> TestApp {
    TestApp::builder()
        .with_stripe()
        .with_razorpay()
        .start()
        .await
}

/// Opens a checkout of `acme`. Returns the session.
async fn checkout<S: Side>(app: &TestApp, tier: &str) -> String {
    let order = json!({"customer_id": "acme", "plan_tier": tier, "provider": S::NAME.as_str()});
    let checkout = app.post("/billing/create-checkout").json(order);
    let checkout = checkout.send().await.expect(201);
    checkout["session_id"].as_str().unwrap().to_owned()
}

async fn buy<S: Side>(app: &TestApp, tier: &str) -> String {
    let session = checkout::<S>(app, tier).await;
    let (subscription, events) = S::pay(app, &session);
    S::send(app, &events).await;
    settle(app).await;
    subscription
}

/// The jobs do what is due, and both providers tell what that caused, until nothing is left.
async fn settle(app: &TestApp) {
    for _ in 0..5 {
        app.do_the_work().await;
        let (stripe, razorpay) = (StripeSide::news(app), RazorpaySide::news(app));
        if stripe.is_empty() && razorpay.is_empty() {
            return;
        }
        StripeSide::send(app, &stripe).await;
        RazorpaySide::send(app, &razorpay).await;
    }
    panic!("there is always news");
}

async fn decision(app: &TestApp) -> Value {
    let check = json!({"customer_id": "acme", "feature": RUNS, "consistency": "strong"});
    let check = app.post("/entitlements/check").json(check);
    check.send().await.ok()
}

fn paying(app: &TestApp) -> i64 {
    count(
        app,
        "SELECT count(*) FROM subscriptions WHERE status IN ('active', 'trialing', 'past_due')",
    )
}

#[actix_web::test]
async fn who_moves_keeps_what_was_counted_and_pays_one_provider() {
    let app = both().await;
    buy::<RazorpaySide>(&app, "pro").await;
    consume(&app, "acme", RUNS, 3000).await;
    consume(&app, "acme", "models", 3).await;

    // As long as one provider is paid, the other one sells nothing.
    let order = json!({"customer_id": "acme", "plan_tier": "pro", "provider": "stripe"});
    let again = app.post("/billing/create-checkout").json(order);
    again.send().await.problem(409, "already-subscribed");

    // The way to move: end here, with what is paid, and buy there.
    let cancel = json!({"customer_id": "acme"});
    app.post("/billing/cancel").json(cancel).send().await.ok();
    app.advance(TimeDelta::days(31) - TimeDelta::hours(1));
    settle(&app).await;
    app.advance(TimeDelta::hours(1));
    let subscription = app.razorpay().subscriptions()[0]["id"].clone();
    let events = RazorpaySide::end_period(&app, subscription.as_str().unwrap());
    RazorpaySide::send(&app, &events).await;
    settle(&app).await;
    assert_eq!(decision(&app).await["plan"]["source"], "grace");
    buy::<StripeSide>(&app, "pro").await;

    let now = decision(&app).await;
    assert_eq!(now["plan"]["source"], "subscription", "{now}");
    assert_eq!((&now["limit"], &now["used"]), (&json!(5000), &json!(0)));
    assert_eq!(now["grace"], Value::Null);
    assert_eq!(paying(&app), 1);
    let models = usage_of(&app, "acme", "models").await;
    assert_eq!(models["used"], 3, "what exists is not forgotten");
    let history = "/usage/history?customer_id=acme&feature=attribution_runs&granularity=month&from=2026-01-01T00:00:00Z&to=2026-03-01T00:00:00Z";
    let history = app.get(history).send().await.ok();
    assert!(history.to_string().contains("3000"), "{history}");
    assert_counters_equal_ledger(&app);
    let shown = app.get("/billing/subscription?customer_id=acme");
    assert_eq!(shown.send().await.ok()["provider"], "stripe");
    let told = count(
        &app,
        "SELECT count(DISTINCT provider) FROM subscription_transitions t \
                            JOIN subscriptions s USING (customer_id, subscription_id)",
    );
    assert_eq!(told, 2, "the story of both is kept");
}

#[actix_web::test]
async fn a_checkout_at_one_provider_closes_the_one_at_the_other() {
    let app = both().await;
    let rupees = checkout::<RazorpaySide>(&app, "pro").await;
    let dollars = checkout::<StripeSide>(&app, "scale").await;
    let status = |id: &str| app.razorpay().subscription(id)["status"].clone();
    assert_eq!(status(&rupees), "cancelled");
    let again = checkout::<RazorpaySide>(&app, "pro").await;
    assert_ne!(again, rupees);
    let sessions = app.stripe().sessions();
    let closed = sessions.iter().find(|session| session["id"] == *dollars);
    assert_eq!(closed.unwrap()["status"], "expired");
    assert_eq!(status(&again), "created");
}

/// Opens a checkout behind the service's back, as a call that began at the same time would have.
async fn another_checkout<S: Side>(app: &TestApp, tier: &str, price: &str) -> String {
    let provider = &app.context().storefront(S::NAME).unwrap().provider;
    let payer = NewCustomer {
        customer_id: "acme".to_owned(),
        email: None,
        name: None,
        idempotency_key: "another customer".to_owned(),
    };
    let request = CheckoutRequest {
        provider_customer_id: provider.create_customer(&payer).await.unwrap(),
        base_price_id: price.to_owned(),
        overage_price_id: None,
        customer_id: "acme".to_owned(),
        plan_tier: tier.to_owned(),
        plan_version: 1,
        success_url: "https://app.example.com/paid".to_owned(),
        cancel_url: "https://app.example.com/plans".to_owned(),
        trial_days: None,
        promotion_codes: false,
        starts_at: None,
        begun_at: app.clock.now(),
        idempotency_key: "another tab".to_owned(),
    };
    provider.create_checkout(&request).await.unwrap().id
}

#[actix_web::test]
async fn who_pays_both_providers_at_once_is_given_the_lower_plan_back() {
    let app = both().await;
    let dollars = checkout::<StripeSide>(&app, "scale").await;
    let rupees = another_checkout::<RazorpaySide>(&app, "pro", PLAN_PRO).await;
    let (_, of_razorpay) = RazorpaySide::pay(&app, &rupees);
    let (_, of_stripe) = StripeSide::pay(&app, &dollars);
    RazorpaySide::send(&app, &of_razorpay).await;
    StripeSide::send(&app, &of_stripe).await;
    settle(&app).await;

    let now = decision(&app).await;
    assert_eq!(now["plan"]["tier"], "scale");
    assert_eq!(now["limit"], 25_000, "and not that of both");
    assert_eq!(paying(&app), 1);
    let refunds = app.razorpay().refunds();
    let amounts: Vec<&Value> = refunds.iter().map(|refund| &refund["amount"]).collect();
    assert_eq!(amounts, [399_900], "all of it, once");
    assert_eq!(app.stripe().refunds().len(), 0);
    let duplicates = "SELECT count(*) FROM audit_log WHERE action = 'subscription.duplicate'";
    assert_eq!(count(&app, duplicates), 1);
}

#[actix_web::test]
async fn of_equal_plans_the_older_one_stays_whoever_sells_it() {
    let app = both().await;
    let dollars = checkout::<StripeSide>(&app, "pro").await;
    let rupees = another_checkout::<RazorpaySide>(&app, "pro", PLAN_PRO).await;
    let (kept, of_stripe) = StripeSide::pay(&app, &dollars);
    app.advance(TimeDelta::seconds(1));
    let (_, of_razorpay) = RazorpaySide::pay(&app, &rupees);
    // The news of the newer one is quicker.
    RazorpaySide::send(&app, &of_razorpay).await;
    app.apply_webhooks().await;
    StripeSide::send(&app, &of_stripe).await;
    settle(&app).await;

    assert_eq!(paying(&app), 1);
    assert_eq!(app.stripe().subscription(&kept)["status"], "active");
    assert_eq!(app.razorpay().refunds().len(), 1);
    assert_eq!(decision(&app).await["limit"], 5000);
}

#[actix_web::test]
async fn a_frontend_is_led_to_whoever_sells_and_no_address_is_needed_that_nobody_is_sent_to() {
    let unset = [
        "PLANGATE_RETURN_ORIGINS",
        "PLANGATE_SUCCESS_URL",
        "PLANGATE_CANCEL_URL",
    ];
    let app = unset
        .iter()
        .fold(TestApp::builder().with_razorpay(), |app, name| {
            app.set(name, "")
        });
    let app = app.start().await;
    consume(&app, "acme", RUNS, 85).await;
    let shown = app.get("/plan-context?customer_id=acme").send().await.ok();
    let way = &shown["upgrade"]["checkout"];
    assert_eq!(way["body"]["provider"], "razorpay", "{shown}");
    let checkout = app
        .post(way["href"].as_str().unwrap())
        .json(way["body"].clone());
    let session = checkout.send().await.expect(201)["session_id"].clone();
    let (_, events) = RazorpaySide::pay(&app, session.as_str().unwrap());
    RazorpaySide::deliver(&app, &events).await;

    let shown = app.get("/plan-context?customer_id=acme").send().await.ok();
    assert_eq!(shown["manage_billing"], Value::Null);
    let way = &shown["upgrade"]["checkout"];
    let change = app
        .post(way["href"].as_str().unwrap())
        .json(way["body"].clone());
    let change = change.send().await.ok();
    assert!(change["checkout_url"].is_string(), "{change}");
}

#[actix_web::test]
async fn who_owes_is_not_led_to_pages_that_there_are_not() {
    let app = both().await;
    let subscription = buy::<RazorpaySide>(&app, "pro").await;
    app.advance(TimeDelta::days(31));
    RazorpaySide::send(&app, &RazorpaySide::fail(&app, &subscription)).await;
    settle(&app).await;
    let order = json!({"customer_id": "acme", "plan_tier": "scale", "provider": "razorpay"});
    let refused = app
        .post("/billing/create-checkout")
        .json(order)
        .send()
        .await;
    let problem = refused.problem(409, "payment-due");
    assert_eq!(problem.get("portal"), None, "{problem}");
}

#[actix_web::test]
async fn whoever_changes_to_and_fro_has_one_quota() {
    let app = both().await;
    buy::<RazorpaySide>(&app, "scale").await;
    consume(&app, "acme", RUNS, 4000).await;
    for (tier, used) in [("pro", 4000), ("scale", 4000), ("pro", 4000)] {
        app.advance(TimeDelta::hours(1));
        let change = json!({"customer_id": "acme", "plan_tier": tier, "when": "now"});
        let change = app.post("/billing/change-plan").json(change).send().await;
        let (_, events) = RazorpaySide::agree_to_change(&app, &change.ok());
        RazorpaySide::send(&app, &events).await;
        settle(&app).await;
        let now = decision(&app).await;
        assert_eq!(
            (&now["plan"]["tier"], &now["used"]),
            (&json!(tier), &json!(used))
        );
        assert_eq!(paying(&app), 1);
    }
    assert_counters_equal_ledger(&app);
}
