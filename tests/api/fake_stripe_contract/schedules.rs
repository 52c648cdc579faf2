//! Subscription schedules.

use serde_json::{Value, json};

use super::{Answer, delete, get, kinds, post, ready, session_params, sold};
use crate::fake_stripe::{FakePrice, FakeStripe};

async fn create(stripe: &FakeStripe, subscription: &str) -> Answer {
    let params = [("from_subscription", subscription)];
    post(stripe, "/v1/subscription_schedules", &params, None).await
}

/// The parameters of a schedule that goes on to the other price for one month.
fn plan(schedule: &Value) -> Vec<(&'static str, String)> {
    let current = &schedule["current_phase"];
    [
        ("phases[0][items][0][price]", json!("price_flat")),
        ("phases[0][items][0][quantity]", json!(1)),
        ("phases[0][start_date]", current["start_date"].clone()),
        ("phases[0][end_date]", current["end_date"].clone()),
        ("phases[1][items][0][price]", json!("price_more")),
        ("phases[1][items][1][price]", json!("price_over")),
        ("phases[1][duration][interval]", json!("month")),
        ("phases[1][duration][interval_count]", json!(1)),
        ("phases[1][proration_behavior]", json!("none")),
        ("phases[1][metadata][plan_tier]", json!("more")),
        ("end_behavior", json!("release")),
    ]
    .map(|(name, value)| {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        (name, text)
    })
    .to_vec()
}

async fn update(stripe: &FakeStripe, id: &str, params: &[(&str, String)]) -> Answer {
    let params: Vec<_> = params.iter().map(|(n, v)| (*n, v.as_str())).collect();
    post(
        stripe,
        &format!("/v1/subscription_schedules/{id}"),
        &params,
        None,
    )
    .await
}

#[tokio::test]
async fn a_schedule_takes_the_subscription_to_its_next_phase_and_lets_go() {
    let (stripe, _, id) = sold().await;
    let schedule = create(&stripe, &id).await;
    let schedule_id = schedule.id();
    assert_eq!(
        schedule.body["phases"][0]["items"][0]["price"],
        "price_flat"
    );
    let planned = update(&stripe, &schedule_id, &plan(&schedule.body)).await;
    assert_eq!(planned.id(), schedule_id);
    assert_eq!(
        kinds(&stripe.take_events()),
        [
            "subscription_schedule.created",
            "customer.subscription.updated",
            "subscription_schedule.updated"
        ]
    );
    let path = format!("/v1/subscriptions/{id}");
    let shown = get(&stripe, &path).await.body;
    assert_eq!(shown["schedule"], json!(schedule_id));
    let shown = get(&stripe, &format!("{path}?expand[0]=schedule"))
        .await
        .body;
    assert_eq!(shown["schedule"], planned.body);
    let list = "/v1/subscriptions?expand[]=data.schedule";
    let listed = get(&stripe, list).await.body;
    assert_eq!(listed["data"][0]["schedule"], planned.body);

    // How it ends is the schedule's business now.
    for params in [("cancel_at_period_end", "true"), ("cancel_at", "")] {
        let refused = post(&stripe, &path, &[params], None).await;
        assert_eq!(refused.status, 400);
        let words = refused.body["error"]["message"].as_str().unwrap();
        assert!(words.contains("managed by the subscription schedule"));
    }

    let events = stripe.end_period(&id);
    assert_eq!(
        kinds(&events),
        [
            "subscription_schedule.updated",
            "invoice.created",
            "customer.subscription.updated",
            "invoice.paid"
        ]
    );
    let now = stripe.subscription(&id);
    assert_eq!(now["items"]["data"][0]["price"]["id"], "price_more");
    assert_eq!(now["items"]["data"][1].get("quantity"), None);
    assert_eq!(now["metadata"]["plan_tier"], "more");
    assert_eq!(now["metadata"]["customer_id"], "acme");
    assert_eq!(now["schedule"], json!(schedule_id), "the phase runs");
    assert_eq!(
        now["items"]["data"][0]["current_period_end"],
        planned.body["phases"][1]["end_date"]
    );
    assert_eq!(stripe.charges()[1]["amount"], 9900);

    let events = stripe.end_period(&id);
    assert_eq!(kinds(&events)[0], "subscription_schedule.released");
    let now = stripe.subscription(&id);
    assert_eq!(
        (&now["schedule"], &now["status"]),
        (&Value::Null, &json!("active"))
    );
}

#[tokio::test]
async fn schedules_refuse_what_cannot_be_planned() {
    let (stripe, _, id) = sold().await;
    stripe.add_price(FakePrice {
        active: false,
        ..FakePrice::monthly("price_old", 100)
    });
    let path = "/v1/subscription_schedules";
    let refused = post(&stripe, path, &[], None).await;
    assert_eq!(refused.error().1, "parameter_missing");
    assert_eq!(
        create(&stripe, "sub_no").await.error().1,
        "resource_missing"
    );
    let both = [("from_subscription", id.as_str()), ("metadata[a]", "1")];
    assert_eq!(post(&stripe, path, &both, None).await.error().2, "metadata");

    let schedule = create(&stripe, &id).await;
    let schedule_id = schedule.id();
    assert_eq!(create(&stripe, &id).await.status, 400, "it has one");
    let good = plan(&schedule.body);
    let replaced = |name: &str, value: &str| {
        let mut params = good.clone();
        params.iter_mut().find(|p| p.0 == name).unwrap().1 = value.to_owned();
        params
    };
    for (name, value) in [
        ("phases[0][start_date]", "5"),
        ("phases[0][end_date]", "1"),
        ("phases[1][items][0][price]", "price_no"),
        ("phases[1][items][0][price]", "price_old"),
        ("phases[1][duration][interval]", "moon"),
        ("phases[1][proration_behavior]", "maybe"),
        ("end_behavior", "explode"),
    ] {
        let refused = update(&stripe, &schedule_id, &replaced(name, value)).await;
        assert_eq!((refused.status, refused.error().2), (400, name), "{value}");
    }
    let missing = |name: &str| {
        let mut params = good.clone();
        params.retain(|p| p.0 != name);
        params
    };
    for name in ["phases[0][start_date]", "phases[1][items][0][price]"] {
        let refused = update(&stripe, &schedule_id, &missing(name)).await;
        assert_eq!(refused.status, 400, "{name}");
    }
    for extra in [
        ("phases[1][iterations]", "1"),
        ("phases[1][end_date]", "4000000000"),
        ("phases[1][items][1][quantity]", "1"),
        ("phases[1][items][2][price]", "price_more"),
    ] {
        let mut params = good.clone();
        params.push((extra.0, extra.1.to_owned()));
        let refused = update(&stripe, &schedule_id, &params).await;
        assert_eq!(refused.status, 400, "{extra:?}");
    }
    let unchanged = get(&stripe, &format!("{path}/{schedule_id}")).await.body;
    assert_eq!(unchanged, schedule.body);
}

#[tokio::test]
async fn a_released_schedule_is_done() {
    let (stripe, _, id) = sold().await;
    let schedule = create(&stripe, &id).await.id();
    stripe.take_events();
    let path = format!("/v1/subscription_schedules/{schedule}/release");
    let released = post(&stripe, &path, &[], None).await.body;
    assert_eq!(
        (&released["status"], &released["released_subscription"]),
        (&json!("released"), &json!(id))
    );
    assert_eq!(
        kinds(&stripe.take_events()),
        [
            "subscription_schedule.released",
            "customer.subscription.updated"
        ]
    );
    assert_eq!(stripe.subscription(&id)["schedule"], Value::Null);
    assert_eq!(post(&stripe, &path, &[], None).await.status, 400);
    let unknown = "/v1/subscription_schedules/sub_sched_no/release";
    assert_eq!(post(&stripe, unknown, &[], None).await.status, 404);

    // One that is attached ends with its subscription.
    let schedule = create(&stripe, &id).await.id();
    delete(&stripe, &format!("/v1/subscriptions/{id}")).await;
    let path = format!("/v1/subscription_schedules/{schedule}");
    assert_eq!(get(&stripe, &path).await.body["status"], "canceled");
    assert_eq!(create(&stripe, &id).await.status, 400);
}

#[tokio::test]
async fn a_trial_goes_on_only_if_the_phase_says_so() {
    let (stripe, customer) = ready().await;
    stripe.add_price(FakePrice::monthly("price_more", 9900));
    let mut params = session_params(&customer)[..9].to_vec();
    params.push(("subscription_data[trial_period_days]", "14"));
    let session = post(&stripe, "/v1/checkout/sessions", &params, None).await;
    let events = stripe.complete_checkout(&session.id());
    let id = events[0]["data"]["object"]["id"].as_str().unwrap();
    let schedule = create(&stripe, id).await;
    let trial_end = stripe.subscription(id)["trial_end"].to_string();
    assert_eq!(
        schedule.body["phases"][0]["trial_end"].to_string(),
        trial_end
    );
    let mut params = plan(&schedule.body);
    params.push(("phases[0][trial_end]", trial_end));
    update(&stripe, &schedule.id(), &params).await.id();
    assert_eq!(stripe.subscription(id)["status"], "trialing");
    params.pop();
    update(&stripe, &schedule.id(), &params).await.id();
    assert_eq!(stripe.subscription(id)["status"], "active");
}
