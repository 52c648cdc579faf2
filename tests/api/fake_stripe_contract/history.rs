//! Events that can be asked for.

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use super::{get, kinds, sold};
use crate::fake_stripe::FakeStripe;

async fn list(stripe: &FakeStripe, query: &str) -> Value {
    let answer = get(stripe, &format!("/v1/events{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

#[tokio::test]
async fn every_event_is_listed_as_it_was_delivered() {
    let (stripe, _, id) = sold().await;
    let begun = Utc::now();
    stripe.set_now(begun + TimeDelta::minutes(1));
    let failed = stripe.fail_payment(&id);
    let all = list(&stripe, "").await;
    assert_eq!(
        kinds(all["data"].as_array().unwrap()),
        [
            "customer.subscription.updated",
            "invoice.payment_failed",
            "checkout.session.completed",
            "invoice.paid",
            "customer.subscription.created"
        ]
    );
    assert_eq!(all["data"][0], failed[1]);
    let one = failed[0]["id"].as_str().unwrap();
    assert_eq!(
        get(&stripe, &format!("/v1/events/{one}")).await.body,
        failed[0]
    );

    let since = failed[0]["created"].to_string();
    for (query, count) in [
        (format!("?created[gte]={since}"), 2),
        (format!("?created[gt]={since}"), 0),
        (format!("?created[lt]={since}"), 3),
        ("?type=invoice.paid".to_owned(), 1),
        ("?type=invoice.*".to_owned(), 2),
        (
            "?types[]=invoice.paid&types[]=checkout.session.completed".to_owned(),
            2,
        ),
        ("?types[0]=invoice.paid".to_owned(), 1),
        (format!("?starting_after={one}"), 3),
        (format!("?ending_before={one}"), 1),
        (format!("?type=invoice.paid&starting_after={one}"), 1),
    ] {
        let page = list(&stripe, &query).await;
        assert_eq!(page["data"].as_array().unwrap().len(), count, "{query}");
    }
    let page = list(&stripe, "?limit=2").await;
    assert_eq!(page["has_more"], true);
    for query in [
        "?type=a&types[]=b",
        "?limit=500",
        "?starting_after=evt_no",
        "?livemode=true",
    ] {
        let refused = get(&stripe, &format!("/v1/events{query}")).await;
        assert_eq!(refused.status, 400, "{query}");
    }
    let many: Vec<_> = (0..21).map(|i| format!("types[]=t{i}")).collect();
    let refused = get(&stripe, &format!("/v1/events?{}", many.join("&"))).await;
    assert_eq!(refused.status, 400);

    stripe.set_now(begun + TimeDelta::days(31));
    assert_eq!(list(&stripe, "").await["data"], json!([]));
}

#[tokio::test]
async fn undelivered_events_can_be_told_apart() {
    let (stripe, _, id) = sold().await;
    let event = stripe.fail_payment(&id).remove(0);
    let (url, _) = super::delivery::listener();
    stripe.deliver(&url, [&event], Utc::now()).await;
    let missed = list(&stripe, "?delivery_success=false").await;
    assert_eq!(missed["data"].as_array().unwrap().len(), 4);
    let arrived = list(&stripe, "?delivery_success=true").await;
    assert_eq!(arrived["data"], json!([event]));
}

#[tokio::test]
async fn events_have_an_older_shape_too() {
    let (stripe, _, id) = sold().await;
    let charge = stripe.charge_of(&id);
    let renewed = stripe.renew_subscription(&id);
    let subscription = stripe.in_old_shape(&renewed[0]);
    assert_eq!(subscription["api_version"], "2024-06-20");
    assert_eq!(subscription["id"], renewed[0]["id"]);
    let new = &renewed[0]["data"]["object"]["items"]["data"][0];
    let old = &subscription["data"]["object"];
    assert_eq!(old["current_period_end"], new["current_period_end"]);
    assert_eq!(old["items"]["data"][0].get("current_period_end"), None);
    let invoice = stripe.in_old_shape(&renewed[1]);
    let old = &invoice["data"]["object"];
    assert_eq!(
        (&old["subscription"], old.get("parent")),
        (&json!(id), None)
    );
    assert_eq!(old["charge"], json!(stripe.charge_of(&id)));
    let refunded = stripe.refund_charge(&charge, None);
    let old = stripe.in_old_shape(&refunded[1]);
    let invoices = stripe.invoices();
    assert_eq!(old["data"]["object"]["invoice"], invoices[0]["id"]);

    let listed = list(&stripe, "?type=invoice.paid&limit=1").await;
    assert_eq!(listed["data"][0], invoice);
}
