//! The whole life of a customer who pays in rupees, over HTTP: signup, buy, use, fail to pay, recover, upgrade, overage, downgrade, cancel, come
//! back, refund. Every event is told twice, newest first.

use chrono::TimeDelta;
use plangate::store::clock::Clock as _;
use serde_json::{Value, json};

use crate::fake_razorpay::FakeEvent;
use crate::provider_contract::{RazorpaySide, Side};
use crate::support::app::TestApp;
use crate::support::client::Answer;
use crate::support::steps::{assert_counters_equal_ledger, consume, count, travel, usage_of};

const RUNS: &str = "attribution_runs";

async fn ask(app: &TestApp, operation: &str, mut body: Value) -> Answer {
    body["customer_id"] = json!("acme");
    let path = format!("/billing/{operation}");
    app.post(&path).json(body).send().await
}

/// Tier, status and source of what is in force.
async fn in_force(app: &TestApp) -> String {
    let check = json!({"customer_id": "acme", "feature": RUNS, "consistency": "strong"});
    let check = app.post("/entitlements/check").json(check);
    let plan = check.send().await.ok()["plan"].clone();
    let word = |name: &str| plan[name].as_str().unwrap().to_owned();
    format!("{} {} {}", word("tier"), word("status"), word("source"))
}

async fn hear(app: &TestApp, events: &[FakeEvent]) {
    let twice: Vec<FakeEvent> = events.iter().rev().chain(events).cloned().collect();
    RazorpaySide::send(app, &twice).await;
    for _ in 0..5 {
        app.do_the_work().await;
        let news = RazorpaySide::news(app);
        if news.is_empty() {
            return;
        }
        RazorpaySide::send(app, &news).await;
    }
    panic!("there is always news");
}

/// Buys the plan. Returns the subscription.
async fn buy(app: &TestApp, tier: &str) -> String {
    let order = json!({"plan_tier": tier, "provider": "razorpay"});
    let checkout = ask(app, "create-checkout", order).await.expect(201);
    let id = checkout["session_id"].as_str().unwrap().to_owned();
    hear(app, &app.razorpay().pay_checkout(&id)).await;
    id
}

/// Follows the link of a change of plan. Returns the new subscription.
async fn follow(app: &TestApp, change: &Value) -> String {
    let (id, events) = RazorpaySide::agree_to_change(app, change);
    hear(app, &events).await;
    id
}

/// The default catalogue with a price for overage in rupees.
fn catalogue() -> tempfile::NamedTempFile {
    let text = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/catalogue/default.json"
    ));
    let mut catalogue: Value = serde_json::from_str(text).unwrap();
    let tiers = catalogue["tiers"].as_array_mut().unwrap();
    let scale = tiers
        .iter_mut()
        .find(|tier| tier["tier"] == "scale")
        .unwrap();
    let prices = &mut scale["limits"][RUNS]["overage"]["prices"];
    let rupees = json!({"currency": "inr", "unit_amount_decimal": "83.5"});
    prices.as_array_mut().unwrap().push(rupees);
    let file = tempfile::NamedTempFile::new().unwrap();
    serde_json::to_writer(file.as_file(), &catalogue).unwrap();
    file
}

#[actix_web::test]
async fn a_customer_lives_through_everything_in_rupees() {
    let file = catalogue();
    let app = TestApp::builder()
        .with_razorpay()
        .set("PLANGATE_CATALOGUE", file.path().to_str().unwrap())
        .start()
        .await;

    // Signup, and the price list in rupees as Razorpay has it.
    let customer = json!({"email": "billing@acme.example", "country": "IN"});
    app.put("/customers/acme")
        .json(customer)
        .send()
        .await
        .expect(201);
    let plan = app.get("/plans/pro").send().await.ok();
    let rupees = json!({"currency": "inr", "unit_amount": 399_900, "interval": "month"});
    assert!(
        plan["prices"].as_array().unwrap().contains(&rupees),
        "{plan}"
    );
    assert_eq!(in_force(&app).await, "free none default");

    // Buy, use.
    let pro = buy(&app, "pro").await;
    assert_eq!(in_force(&app).await, "pro active subscription");
    assert_eq!(app.razorpay().customers().len(), 1);
    consume(&app, "acme", RUNS, 4000).await;
    ask(&app, "portal", json!({}))
        .await
        .problem(409, "no-portal");

    // The renewal is not paid: grace, then the default tier; paid after all.
    travel(&app, "2026-02-12T00:00:00Z");
    hear(&app, &app.razorpay().fail_renewal(&pro)).await;
    assert_eq!(in_force(&app).await, "pro past_due subscription");
    travel(&app, "2026-02-19T00:00:00Z");
    assert_eq!(in_force(&app).await, "free past_due default");
    hear(&app, &app.razorpay().pay_overdue(&pro)).await;
    assert_eq!(in_force(&app).await, "pro active subscription");

    consume(&app, "acme", RUNS, 7).await;
    app.advance(TimeDelta::days(1));

    // Upgrade: nothing changes before the new plan is paid, then the old one ends and its unused part goes back.
    let change = ask(&app, "change-plan", json!({"plan_tier": "scale"}))
        .await
        .ok();
    assert_eq!(change["provider_subscription_id"], json!(pro));
    assert_eq!(in_force(&app).await, "pro active subscription");
    let scale = follow(&app, &change).await;
    assert_eq!(in_force(&app).await, "scale active subscription");
    let used = usage_of(&app, "acme", RUNS).await["used"].clone();
    assert_eq!(used, 7, "a change of plan begins no new quota");
    assert_eq!(app.razorpay().subscription(&pro)["status"], "cancelled");
    let refunds = app.razorpay().refunds();
    assert_eq!(refunds.len(), 1);
    let back = refunds[0]["amount"].as_i64().unwrap();
    assert!((1..399_900).contains(&back), "a part of it: {back}");

    // Overage: asked for with a link when the period has closed.
    let began = app.clock.now();
    consume(&app, "acme", RUNS, 25_005).await;
    app.advance(TimeDelta::days(28));
    hear(&app, &app.razorpay().end_period(&scale)).await;
    app.advance(TimeDelta::hours(1));
    app.do_the_work().await;
    let links = app.razorpay().links();
    assert_eq!(links.len(), 1, "since {began}");
    assert_eq!(links[0]["amount"], 1002, "twelve times 83.5 paise");
    hear(
        &app,
        &app.razorpay().pay_link(links[0]["id"].as_str().unwrap()),
    )
    .await;
    let paid = "SELECT count(*) FROM overage_invoices WHERE state = 'paid'";
    assert_eq!(count(&app, paid), 1);

    // Downgrade with the next period.
    let change = ask(&app, "change-plan", json!({"plan_tier": "pro"}))
        .await
        .ok();
    let next = follow(&app, &change).await;
    assert_eq!(in_force(&app).await, "scale active subscription");
    let shown = app
        .get("/billing/subscription?customer_id=acme")
        .send()
        .await
        .ok();
    assert_eq!(shown["planned_change"]["plan_tier"], "pro", "{shown}");
    let end = shown["current_period_end"]
        .as_str()
        .unwrap()
        .parse::<chrono::DateTime<chrono::Utc>>()
        .unwrap();
    app.advance(end - app.clock.now() - TimeDelta::hours(1));
    hear(&app, &[]).await;
    app.advance(TimeDelta::hours(1));
    hear(&app, &app.razorpay().end_period(&scale)).await;
    hear(&app, &app.razorpay().begin(&next)).await;
    assert_eq!(in_force(&app).await, "pro active subscription");

    // Cancel, think better of it, cancel at once, come back.
    ask(&app, "cancel", json!({})).await.ok();
    ask(&app, "resume", json!({})).await.ok();
    ask(&app, "cancel", json!({"when": "now"})).await.ok();
    hear(&app, &[]).await;
    assert_eq!(in_force(&app).await, "free canceled grace");
    let again = buy(&app, "pro").await;
    assert_eq!(in_force(&app).await, "pro active subscription");

    // All of the payment goes back.
    let payment = app.razorpay().payment_of(&again);
    hear(&app, &app.razorpay().refund_payment(&payment, None)).await;
    assert_eq!(in_force(&app).await, "free canceled default");
    assert_eq!(app.razorpay().subscription(&again)["status"], "cancelled");

    let open = "SELECT count(*) FROM subscriptions WHERE status NOT IN ('canceled', 'incomplete_expired', 'expired')";
    assert_eq!(count(&app, open), 0);
    let unsettled = "SELECT count(*) FROM webhooks WHERE status NOT IN ('processed', 'ignored')";
    assert_eq!(count(&app, unsettled), 0);
    assert_counters_equal_ledger(&app);
}
