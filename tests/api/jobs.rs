//! The jobs, running beside the service.

use std::time::{Duration, Instant};

use plangate::jobs::Jobs;
use serde_json::{Value, json};

use crate::support::app::TestApp;

async fn buy_pro(app: &TestApp) -> Vec<Value> {
    let order = json!({"customer_id": "acme", "plan_tier": "pro"});
    let checkout = app
        .post("/billing/create-checkout")
        .json(order)
        .send()
        .await
        .expect(201);
    app.stripe()
        .complete_checkout(checkout["session_id"].as_str().unwrap())
}

#[tokio::test]
async fn what_arrives_is_applied_at_once() {
    let app = TestApp::with_stripe().await;
    let events = buy_pro(&app).await;
    let jobs = Jobs::start(app.context(), None);
    // One alone: of several about one subscription the overtaken ones are tried again later, by a clock that stands still.
    app.deliver(events.last()).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let inbox = app.get("/readyz?verbose").send().await.ok()["checks"]["inbox"].clone();
        if inbox["unprocessed"] == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "{inbox}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    jobs.stop().await;
    let subscription = app
        .get("/billing/subscription?customer_id=acme")
        .send()
        .await
        .ok();
    assert_eq!(
        (&subscription["status"], &subscription["plan_tier"]),
        (&json!("active"), &json!("pro"))
    );
}

#[tokio::test]
async fn jobs_that_were_stopped_apply_nothing_more() {
    let app = TestApp::with_stripe().await;
    let events = buy_pro(&app).await;
    Jobs::start(app.context(), None).stop().await;
    app.deliver(&events).await;
    app.get("/billing/subscription?customer_id=acme")
        .send()
        .await
        .problem(404, "not-found");
    app.apply_webhooks().await;
    app.get("/billing/subscription?customer_id=acme")
        .send()
        .await
        .ok();
}
