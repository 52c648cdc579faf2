//! Several callers at once, and callers beside the workers of the inbox.

use std::io::Write as _;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::{ask, change, hear, invoiced, prices, stored};
use crate::fake_stripe::{Endpoint, FakePrice, Fault};
use crate::support::app::{PRICE_PRO, PRICE_SCALE, PRICE_SCALE_OVERAGE, TestApp};
use crate::support::steps::{count, subscribe};

/// The default catalogue with a tier above all others, which has no overage.
fn catalogue_with_max() -> NamedTempFile {
    let mut catalogue: Value =
        serde_json::from_str(include_str!("../../../catalogue/default.json")).unwrap();
    let mut max = catalogue["tiers"][1].clone();
    max["tier"] = json!("max");
    max["prices"][0]["unit_amount"] = json!(49_900);
    max["upgrade_to"] = Value::Null;
    catalogue["tiers"].as_array_mut().unwrap().push(max);
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(catalogue.to_string().as_bytes()).unwrap();
    file
}

#[actix_web::test]
async fn two_changes_at_once_never_mix_two_plans() {
    let file = catalogue_with_max();
    let app = TestApp::builder()
        .with_stripe()
        .set("PLANGATE_CATALOGUE", file.path().to_str().unwrap())
        .set("STRIPE_PRICE_ID_MAX", "price_max")
        .start()
        .await;
    app.stripe()
        .add_price(FakePrice::monthly("price_max", 49_900));
    let id = subscribe(&app, "acme", "pro").await;
    // The first one has looked at the items and is about to replace them, when the second one comes. Without turns, that one would
    // look at the same items, and one of both would replace what is not there any more.
    app.stripe()
        .fail(Endpoint::UpdateSubscription, Fault::CONFLICT, 2);
    let second = async {
        while app
            .stripe()
            .requests_to(Endpoint::UpdateSubscription)
            .is_empty()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        change(&app, "max").await
    };
    let (first, second) = futures_util::join!(change(&app, "scale"), second);
    assert_eq!(first.ok()["plan_tier"], "scale");
    assert_eq!(second.ok()["plan_tier"], "max");
    hear(&app).await;
    assert_eq!(prices(&app, &id), ["price_max"]);
    assert_eq!(stored(&app).await["plan_tier"], "max");
}

#[actix_web::test]
async fn of_many_clicks_one_is_charged() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "pro").await;
    app.advance(chrono::TimeDelta::days(10));
    let answers = join_all((0..4).map(|_| change(&app, "scale"))).await;
    let mut upgraded = 0;
    for answer in answers {
        if answer.status == 200 {
            upgraded += 1;
        } else {
            answer.problem(409, "already-subscribed");
        }
    }
    assert_eq!(upgraded, 1);
    assert_eq!(invoiced(&app, "subscription_update").len(), 1);
    assert_eq!(prices(&app, &id), [PRICE_SCALE, PRICE_SCALE_OVERAGE]);
    hear(&app).await;
}

#[actix_web::test]
async fn a_change_and_a_cancellation_at_once_end_in_one_of_both() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "scale").await;
    for _ in 0..3 {
        let (changed, cancelled) =
            futures_util::join!(change(&app, "pro"), ask(&app, "cancel", json!({})));
        assert_eq!(
            (changed.status, cancelled.status),
            (200, 200),
            "{} {}",
            changed.text,
            cancelled.text
        );
        hear(&app).await;
        let shown = stored(&app).await;
        let there = app.stripe().subscription(&id);
        assert_eq!(shown["cancel_at_period_end"], there["cancel_at_period_end"]);
        assert_eq!(
            shown["planned_change"].is_null(),
            there["schedule"].is_null()
        );
        let (ends, changes) = (
            there["cancel_at_period_end"] == true,
            !there["schedule"].is_null(),
        );
        assert!(ends != changes, "{there}");
        if ends {
            ask(&app, "resume", json!({})).await.ok();
        } else {
            change(&app, "scale").await.ok();
        }
    }
    hear(&app).await;
}

#[actix_web::test]
async fn the_workers_of_the_inbox_are_in_nobodys_way() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "pro").await;
    let news: Vec<Value> = (0..12)
        .map(|n| {
            app.stripe().update_subscription(&id, |s| {
                s["metadata"]["note"] = json!(n.to_string());
            })
        })
        .collect();
    let steps = async {
        change(&app, "scale").await.ok();
        ask(&app, "cancel", json!({})).await.ok();
        ask(&app, "resume", json!({})).await.ok()
    };
    let inbox = async {
        for event in &news {
            app.deliver([event]).await;
            app.apply_webhooks().await;
        }
    };
    let (done, ()) = futures_util::join!(steps, inbox);
    assert_eq!(
        (&done["plan_tier"], &done["cancel_at_period_end"]),
        (&json!("scale"), &json!(false))
    );
    // Who was overtaken comes back a moment later.
    app.advance(chrono::TimeDelta::seconds(5));
    hear(&app).await;
    assert_eq!(stored(&app).await, done);
}

#[actix_web::test]
async fn a_turn_that_its_holder_left_behind_ends_by_itself() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "pro").await;
    let left = "UPDATE subscription_leases SET changing_until = '2026-01-12T00:02:00Z'";
    diesel::RunQueryDsl::execute(diesel::sql_query(left), &mut app.connect()).unwrap();
    let busy = ask(&app, "cancel", json!({})).await;
    let busy = busy.problem(409, "conflict");
    assert!(busy["detail"].as_str().unwrap().contains("another call"));
    assert_eq!(
        app.stripe().subscription(&id)["cancel_at_period_end"],
        false
    );

    app.advance(chrono::TimeDelta::minutes(2));
    let done = ask(&app, "cancel", json!({})).await.ok();
    assert_eq!(done["cancel_at_period_end"], true);
    assert_eq!(prices(&app, &id), [PRICE_PRO]);
    let held = "SELECT count(*) FROM subscription_leases WHERE changing_until IS NOT NULL";
    assert_eq!(count(&app, held), 0);
    hear(&app).await;
}
