//! What is owed for closed periods becomes one link, or waits for the next period.

use chrono::TimeDelta;
use diesel::prelude::*;
use plangate::domain::overage::Owed;
use plangate::domain::provider_event::ProviderName;
use plangate::service::usage_reports::{flush, tell_due};
use plangate::store::clock::Clock as _;
use plangate::store::usage_reports::{Accrual, accrue_all};
use serde_json::json;

use super::{
    CLOSE, CLOSED_FOR, LIMIT, MESSAGES, RUNS, after_close, asked, at_the_limit, bill, close,
    invoices, record, reports, selling_at, subscribe, warnings,
};
use crate::fake_razorpay::Endpoint;
use crate::support::app::TestApp;
use crate::support::steps::{at, consume, travel};

fn report(state: &str, quantity: i64) -> (String, i64, bool) {
    (state.to_owned(), quantity, state == "sent")
}

/// Something takes back what was used in the first period.
fn correct(app: &TestApp, feature: &str, units: i64) {
    let accrual = Accrual {
        customer: "acme",
        provider: ProviderName::Razorpay,
        metric: feature,
        period_start: at("2026-01-12T00:00:00Z"),
        period_end: Some(at(CLOSE)),
        owed: Owed::default().and(-units),
        used_at: app.clock.now(),
        due_at: app.clock.now(),
    };
    accrue_all(&mut app.connect(), &[accrual]).unwrap();
}

#[actix_web::test]
async fn what_a_period_owes_is_asked_for_with_one_link_after_its_end() {
    let app = at_the_limit().await;
    consume(&app, "acme", RUNS, 1200).await;
    consume(&app, "acme", MESSAGES, 3).await;
    travel(&app, CLOSE);
    app.advance(CLOSED_FOR - TimeDelta::seconds(1));
    bill(&app).await;
    assert_eq!(asked(&app), [0; 0]);
    let checks = app.get("/readyz?verbose").send().await.ok()["checks"].clone();
    assert_eq!(checks["usage_reports"]["pending"], 0, "{checks}");

    app.advance(TimeDelta::seconds(1));
    bill(&app).await;
    // 1200 at 82.5 paise, and 3 at 0.75: 99002.25.
    assert_eq!(asked(&app), [99_002]);
    let link = app.razorpay().links()[0].clone();
    assert_eq!(link["currency"], "INR");
    assert_eq!(
        link["description"],
        "Attribution runs above the Scale plan's limit: 1 200 in 2026-01-12 – 2026-02-12; \
         Messages above the Scale plan's limit: 3 in 2026-01-12 – 2026-02-12"
    );
    assert_eq!(
        link["customer"],
        json!({"name": "Acme", "email": "billing@acme.example"})
    );
    assert_eq!(link["notes"]["customer_id"], "acme");
    assert_eq!(link["callback_url"], "https://app.example.com/paid");
    assert_eq!(reports(&app), [report("sent", 1200), report("sent", 3)]);
    let url = link["short_url"].as_str().unwrap();
    assert_eq!(
        warnings(&app).await,
        [format!(
            "INR 990.02 is due for usage above your plan's limit. {url}"
        )]
    );

    // Nothing is asked for again, however often anybody looks.
    for _ in 0..40 {
        app.advance(TimeDelta::days(1));
        bill(&app).await;
    }
    assert_eq!(asked(&app), [99_002]);
    assert_eq!(
        app.razorpay()
            .requests_to(Endpoint::CreatePaymentLink)
            .len(),
        1
    );
}

#[actix_web::test]
async fn less_than_a_rupee_waits_for_the_next_period() {
    let app = at_the_limit().await;
    consume(&app, "acme", MESSAGES, 132).await;
    close(&app).await;
    // 99 paise.
    assert_eq!(asked(&app), [0; 0]);
    assert_eq!(reports(&app), [report("open", 132)]);
    for _ in 0..10 {
        app.advance(TimeDelta::days(1));
        bill(&app).await;
    }
    consume(&app, "acme", MESSAGES, LIMIT + 2).await;
    bill(&app).await;
    assert_eq!(asked(&app), [0; 0]);
    travel(&app, "2026-03-12T00:05:00Z");
    bill(&app).await;
    // 134 at 0.75: 100.5.
    assert_eq!(asked(&app), [100]);
    let link = app.razorpay().links()[0].clone();
    assert_eq!(
        link["description"],
        "Messages above the Scale plan's limit: 132 in 2026-01-12 – 2026-02-12, 2 in 2026-02-12 – 2026-03-12"
    );
    assert_eq!(reports(&app), [report("sent", 132), report("sent", 2)]);
}

#[actix_web::test]
async fn what_was_billed_and_is_taken_back_is_credited_by_the_next_link() {
    let app = at_the_limit().await;
    consume(&app, "acme", RUNS, 100).await;
    close(&app).await;
    assert_eq!(asked(&app), [8250]);
    correct(&app, RUNS, 30);
    consume(&app, "acme", RUNS, LIMIT + 20).await;
    travel(&app, "2026-03-12T00:05:00Z");
    bill(&app).await;
    // Ten are left as a credit.
    assert_eq!(asked(&app), [8250]);
    assert_eq!(
        reports(&app),
        [report("sent", 100), report("open", -30), report("open", 20)]
    );
    // More than all that is owed cannot be given back.
    correct(&app, RUNS, 500);
    consume(&app, "acme", RUNS, LIMIT + 110).await;
    travel(&app, "2026-04-12T00:05:00Z");
    bill(&app).await;
    // 20 + 110 - 100.
    assert_eq!(asked(&app), [8250, 2475]);
    assert_eq!(
        reports(&app),
        [
            report("sent", 100),
            report("sent", -100),
            report("sent", 20),
            report("sent", 110)
        ]
    );
}

#[actix_web::test]
async fn usage_that_comes_late_is_gathered_until_no_more_can_come() {
    let app = at_the_limit().await;
    consume(&app, "acme", RUNS, 2).await;
    close(&app).await;
    assert_eq!(asked(&app), [165]);
    let used = at(CLOSE) - TimeDelta::hours(1);
    for (n, hours) in [1, 30, 71].into_iter().enumerate() {
        travel(&app, &after_close(TimeDelta::hours(hours)).to_rfc3339());
        assert_eq!(
            record(&app, &format!("late-{n}"), 4, used).await,
            "recorded"
        );
        app.advance(TimeDelta::minutes(10));
        bill(&app).await;
        assert_eq!(asked(&app), [165], "{hours}");
    }
    travel(
        &app,
        &after_close(TimeDelta::days(3) + CLOSED_FOR).to_rfc3339(),
    );
    assert_eq!(record(&app, "too-late", 4, used).await, "invalid");
    bill(&app).await;
    assert_eq!(asked(&app), [165, 990]);
}

#[actix_web::test]
async fn late_usage_goes_with_what_closes_before() {
    let app = at_the_limit().await;
    close(&app).await;
    assert_eq!(asked(&app), [0; 0]);
    // Nothing of that period was billed, so nobody is asked twice for it by this.
    let used = at(CLOSE) - TimeDelta::hours(1);
    assert_eq!(record(&app, "late", 4, used).await, "recorded");
    app.advance(TimeDelta::minutes(1));
    bill(&app).await;
    assert_eq!(asked(&app), [330]);
}

#[actix_web::test]
async fn without_a_price_in_rupees_nothing_is_asked_for_and_nothing_is_lost() {
    let app = selling_at(None).await;
    subscribe(&app, "acme", "scale").await;
    consume(&app, "acme", RUNS, LIMIT + 500).await;
    consume(&app, "acme", MESSAGES, LIMIT + 200).await;
    close(&app).await;
    // What has a price is billed: 200 at 0.75.
    assert_eq!(asked(&app), [150]);
    app.advance(TimeDelta::days(3));
    bill(&app).await;
    assert_eq!(asked(&app), [150]);
    assert_eq!(reports(&app), [report("open", 500), report("sent", 200)]);
    let error: Option<String> = plangate::store::schema::usage_reports::table
        .filter(plangate::store::schema::usage_reports::state.eq("open"))
        .select(plangate::store::schema::usage_reports::error)
        .first(&mut app.connect())
        .unwrap();
    assert_eq!(
        error.as_deref(),
        Some("version 1 of plan scale has no overage price in inr")
    );
}

#[actix_web::test]
async fn a_period_is_billed_after_its_subscription_has_ended() {
    let app = selling_at(Some("100")).await;
    let id = subscribe(&app, "acme", "scale").await;
    consume(&app, "acme", RUNS, LIMIT + 5).await;
    // Nobody has to be told before it ends, and no meter ever is.
    let told = flush(app.context(), "acme", ProviderName::Razorpay).await;
    assert!(told.unwrap());
    app.advance(TimeDelta::minutes(1));
    assert_eq!(tell_due(app.context()).await.unwrap(), 0);
    let events = app.razorpay().cancel(&id);
    app.deliver_razorpay(&events).await;
    app.apply_webhooks().await;
    bill(&app).await;
    assert_eq!(asked(&app), [0; 0]);
    close(&app).await;
    assert_eq!(asked(&app), [500]);
}

#[actix_web::test]
async fn operators_see_what_was_invoiced_beside_the_counter() {
    let app = at_the_limit().await;
    consume(&app, "acme", RUNS, 7).await;
    close(&app).await;
    diesel::sql_query(
        "UPDATE usage_metrics SET value = value - 1 WHERE metric_name = 'attribution_runs'",
    )
    .execute(&mut app.connect())
    .unwrap();
    let body = json!({"customer_id": "acme"});
    let found = app
        .post("/admin/reconcile-usage")
        .json(body)
        .send()
        .await
        .ok();
    let drift = &found["drifts"][0];
    assert_eq!(drift["reported_to_provider"], 7, "{found}");
    assert_eq!(drift["provider_total"], json!(null));
    assert_eq!(invoices(&app).len(), 1);
}
