//! A provider without pages for customers.

use serde_json::{Value, json};

use super::{ask, buy};
use crate::fake_stripe::Endpoint;
use crate::support::app::TestApp;
use crate::support::steps::subscribe;

async fn manage_billing(app: &TestApp) -> Value {
    let path = "/plan-context?customer_id=acme";
    app.get(path).send().await.ok()["manage_billing"].clone()
}

#[actix_web::test]
async fn who_pays_where_there_are_no_pages_is_told_what_to_do_instead() {
    for stripe_too in [false, true] {
        let builder = TestApp::builder().with_razorpay();
        let builder = if stripe_too {
            builder.with_stripe()
        } else {
            builder
        };
        let app = builder.start().await;
        let nobody = ask(&app, "portal", json!({})).await;
        nobody.problem(409, "no-provider-customer");
        buy(&app, "acme", "pro").await;
        let none = ask(&app, "portal", json!({})).await;
        let none = none.problem(409, "no-portal");
        let detail = none["detail"].as_str().unwrap();
        assert!(detail.contains("cancelled and resumed here"), "{detail}");
        assert_eq!(manage_billing(&app).await, Value::Null);
        // Nor has it any for the invoices of the past.
        ask(&app, "cancel", json!({"when": "now"})).await.ok();
        let none = ask(&app, "portal", json!({})).await;
        none.problem(409, "no-portal");
        assert_eq!(manage_billing(&app).await, Value::Null);
        app.deliver_razorpay(&app.razorpay().take_events()).await;
        app.apply_webhooks().await;
    }
}

#[actix_web::test]
async fn who_moves_between_providers_is_led_to_the_one_that_bills() {
    let app = TestApp::builder()
        .with_stripe()
        .with_razorpay()
        .start()
        .await;
    let link = json!({"method": "POST", "href": "/billing/portal"});
    buy(&app, "acme", "pro").await;
    ask(&app, "cancel", json!({"when": "now"})).await.ok();
    app.deliver_razorpay(&app.razorpay().take_events()).await;
    app.apply_webhooks().await;
    subscribe(&app, "acme", "pro").await;
    ask(&app, "portal", json!({})).await.expect(201);
    assert_eq!(manage_billing(&app).await, link);

    // Once nobody bills, whoever has pages shows the invoices of the past.
    ask(&app, "cancel", json!({"when": "now"})).await.ok();
    app.deliver(&app.stripe().take_events()).await;
    app.apply_webhooks().await;
    ask(&app, "portal", json!({})).await.expect(201);
    assert_eq!(manage_billing(&app).await, link);

    buy(&app, "acme", "pro").await;
    ask(&app, "portal", json!({}))
        .await
        .problem(409, "no-portal");
    assert_eq!(manage_billing(&app).await, Value::Null);
    let visits = app.stripe().requests_to(Endpoint::CreatePortalSession);
    assert_eq!(visits.len(), 2);
}
