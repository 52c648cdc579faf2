//! Who is refused what, and where it says so.

use serde_json::{Value, json};

use super::{ask, change, changes_sent, hear, stored};
use crate::fake_stripe::FakePrice;
use crate::support::app::{PRICE_SCALE, TestApp};
use crate::support::steps::{grant, subscribe};

const OPERATIONS: [&str; 3] = ["change-plan", "cancel", "resume"];

/// A sound body for the operation.
fn sound(operation: &str) -> Value {
    if operation == "change-plan" {
        json!({"plan_tier": "scale"})
    } else {
        json!({})
    }
}

#[actix_web::test]
async fn who_pays_no_provider_has_nothing_to_change() {
    let app = TestApp::with_stripe().await;
    for operation in OPERATIONS {
        let nothing = ask(&app, operation, sound(operation)).await;
        let problem = nothing.problem(404, "not-found");
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("no subscription at a provider")
        );
    }
    grant(&app, "acme", "pro").await;
    for operation in OPERATIONS {
        let granted = ask(&app, operation, sound(operation)).await;
        let problem = granted.problem(409, "conflict");
        assert!(problem["detail"].as_str().unwrap().contains("operator"));
    }
    assert_eq!(app.stripe().requests().len(), 0);
}

#[actix_web::test]
async fn only_what_is_sold_can_be_changed_to() {
    let app = TestApp::with_stripe().await;
    subscribe(&app, "acme", "pro").await;
    change(&app, "gold").await.problem(404, "unknown-plan");
    let free = change(&app, "free").await.problem(422, "validation-failed");
    assert_eq!(free["errors"][0]["pointer"], "/plan_tier");
    assert!(
        free["errors"][0]["detail"]
            .as_str()
            .unwrap()
            .contains("cancels")
    );
    change(&app, "pro").await.problem(409, "already-subscribed");

    app.stripe()
        .add_price(FakePrice::monthly(PRICE_SCALE, 19_901));
    change(&app, "scale").await.problem(502, "price-mismatch");
    assert_eq!(changes_sent(&app), 0);
    assert_eq!(stored(&app).await["plan_tier"], "pro");
}

#[actix_web::test]
async fn each_fault_of_a_body_has_its_place() {
    let app = TestApp::with_stripe().await;
    for (operation, body, pointer) in [
        ("change-plan", json!({}), "/plan_tier"),
        ("change-plan", json!({"plan_tier": "No Tier"}), "/plan_tier"),
        (
            "change-plan",
            json!({"plan_tier": "pro", "when": "tomorrow"}),
            "/when",
        ),
        (
            "change-plan",
            json!({"plan_tier": "pro", "proration": true}),
            "/proration",
        ),
        ("cancel", json!({"when": "later"}), "/when"),
        ("cancel", json!({"when": null}), "/when"),
        ("cancel", json!({"reason": "x"}), "/reason"),
        ("resume", json!({"when": "now"}), "/when"),
        ("portal", json!({"return_url": 1}), "/return_url"),
        ("portal", json!({"flow": "x"}), "/flow"),
    ] {
        let refused = ask(&app, operation, body.clone()).await;
        let refused = refused.problem(422, "validation-failed");
        let place = refused["errors"][0]["pointer"].as_str().unwrap();
        assert_eq!(place, pointer, "{operation} {body}");
    }
    for operation in ["portal", "change-plan", "cancel", "resume"] {
        let path = format!("/billing/{operation}");
        let nameless = app.post(&path).json(sound(operation)).send().await;
        let nameless = nameless.problem(422, "validation-failed");
        assert_eq!(nameless["errors"][0]["pointer"], "/customer_id");
        let mut body = sound(operation);
        body["customer_id"] = json!("acme");
        let keyless = app.post(&path).json(body).header("Idempotency-Key", "");
        keyless.send().await.problem(400, "malformed-request");
    }
    assert_eq!(app.stripe().requests().len(), 0);
}

#[actix_web::test]
async fn a_token_acts_for_its_own_customer_and_only_with_the_permission() {
    let app = TestApp::with_stripe().await;
    subscribe(&app, "acme", "pro").await;
    let token = async |permission: &str| {
        let body = json!({"permissions": [permission]});
        let minted = app.post("/customers/acme/tokens").json(body).send().await;
        minted.expect(201)["token"].as_str().unwrap().to_owned()
    };
    let (reader, payer) = (token("read").await, token("billing").await);
    for (operation, status) in [
        ("change-plan", 200),
        ("cancel", 200),
        ("resume", 200),
        ("portal", 201),
    ] {
        let path = format!("/billing/{operation}");
        let post = |body: Value, key: &str| app.post(&path).json(body).key(key).send();
        let refused = post(sound(operation), &reader).await;
        refused.problem(403, "forbidden");
        let mut of_another = sound(operation);
        of_another["customer_id"] = json!("globex");
        post(of_another, &payer).await.problem(403, "forbidden");
        let call = app
            .post(&path)
            .json(sound(operation))
            .key(&payer)
            .header("Idempotency-Key", "\"once\"");
        call.send().await.expect(status);
    }
    hear(&app).await;
}
