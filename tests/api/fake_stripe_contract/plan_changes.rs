//! Changes of a subscription's items and flags.

use serde_json::{Value, json};

use super::{get, item, kinds, post, sold};
use crate::fake_stripe::{FakePrice, FakeStripe};

fn prices(stripe: &FakeStripe, subscription: &str) -> Vec<(String, Option<i64>)> {
    let subscription = stripe.subscription(subscription);
    let items = subscription["items"]["data"].as_array().unwrap();
    let sold = |item: &Value| {
        let price = item["price"]["id"].as_str().unwrap().to_owned();
        (price, item["quantity"].as_i64())
    };
    items.iter().map(sold).collect()
}

#[tokio::test]
async fn items_are_replaced_added_and_deleted() {
    let (stripe, _, id) = sold().await;
    let path = format!("/v1/subscriptions/{id}");
    let flat = item(&stripe, &id);
    let params = [
        ("items[0][id]", flat.as_str()),
        ("items[0][price]", "price_more"),
        ("items[1][price]", "price_over"),
        ("proration_behavior", "always_invoice"),
    ];
    post(&stripe, &path, &params, None).await.id();
    let more = ("price_more".to_owned(), Some(1));
    assert_eq!(
        prices(&stripe, &id),
        [more.clone(), ("price_over".to_owned(), None)]
    );
    let events = stripe.take_events();
    assert_eq!(
        kinds(&events),
        ["invoice.paid", "customer.subscription.updated"]
    );
    assert_eq!(
        stripe.charges()[1]["amount"],
        5000,
        "the whole period is left"
    );
    assert_eq!(
        events[1]["data"]["previous_attributes"]["items"]["data"][0]["price"]["id"],
        "price_flat"
    );

    let over = stripe.subscription(&id)["items"]["data"][1]["id"].clone();
    let params = [
        ("items[0][id]", over.as_str().unwrap()),
        ("items[0][deleted]", "true"),
    ];
    post(&stripe, &path, &params, None).await.id();
    assert_eq!(prices(&stripe, &id), [more]);
    stripe.take_events();

    // Nothing changes, so nothing is told.
    let same = [
        ("items[0][id]", flat.as_str()),
        ("items[0][price]", "price_more"),
    ];
    post(&stripe, &path, &same, None).await.id();
    assert!(stripe.take_events().is_empty());
}

#[tokio::test]
async fn items_that_cannot_be_are_refused() {
    let (stripe, _, id) = sold().await;
    stripe.add_price(FakePrice {
        active: false,
        ..FakePrice::monthly("price_old", 100)
    });
    let path = format!("/v1/subscriptions/{id}");
    let flat = item(&stripe, &id);
    let cases: [(&[(&str, &str)], &str); 9] = [
        (&[("items[0][price]", "price_no")], "items[0][price]"),
        (&[("items[0][price]", "price_old")], "items[0][price]"),
        (&[("items[0][quantity]", "1")], "items[0][price]"),
        (&[("items[0][price]", "price_flat")], "items"),
        (&[("items[0][id]", "si_no")], "items[0][id]"),
        (
            &[
                ("items[0][price]", "price_over"),
                ("items[0][quantity]", "1"),
            ],
            "items[0][quantity]",
        ),
        (
            &[("items[0][id]", &flat), ("items[0][deleted]", "true")],
            "items",
        ),
        (
            &[("items[0][id]", &flat), ("items[0][amount]", "1")],
            "items[0][amount]",
        ),
        (&[("proration_behavior", "sometimes")], "proration_behavior"),
    ];
    for (params, param) in cases {
        let refused = post(&stripe, &path, params, None).await;
        assert_eq!((refused.status, refused.error().2), (400, param));
    }
    let unknown = post(&stripe, "/v1/subscriptions/sub_no", &[], None).await;
    assert_eq!(unknown.error(), (404, "resource_missing", "id"));
    assert_eq!(prices(&stripe, &id).len(), 1);
    assert!(stripe.take_events().is_empty());
}

#[tokio::test]
async fn a_declined_change_waits_for_its_payment() {
    let (stripe, _, id) = sold().await;
    stripe.decline_payments(true);
    let path = format!("/v1/subscriptions/{id}");
    let flat = item(&stripe, &id);
    let change = [
        ("items[0][id]", flat.as_str()),
        ("items[0][price]", "price_more"),
        ("proration_behavior", "always_invoice"),
        ("payment_behavior", "pending_if_incomplete"),
    ];
    for extra in [
        ("metadata[plan_tier]", "scale"),
        ("cancel_at_period_end", "false"),
    ] {
        let mut params = change.to_vec();
        params.push(extra);
        let refused = post(&stripe, &path, &params, None).await;
        assert_eq!(refused.status, 400, "{extra:?}");
    }
    let waiting = post(&stripe, &path, &change, None).await.body;
    let pending = &waiting["pending_update"];
    assert_eq!(
        pending["subscription_items"][0]["price"]["id"],
        "price_more"
    );
    assert!(pending["expires_at"].is_i64());
    assert_eq!(prices(&stripe, &id)[0].0, "price_flat");
    assert_eq!(
        kinds(&stripe.take_events()),
        ["invoice.payment_failed", "customer.subscription.updated"]
    );

    let events = stripe.pay_pending_update(&id);
    assert_eq!(
        kinds(&events),
        [
            "customer.subscription.pending_update_applied",
            "customer.subscription.updated",
            "invoice.paid"
        ]
    );
    assert_eq!(prices(&stripe, &id)[0].0, "price_more");
    assert_eq!(stripe.charges().len(), 2);

    // Back to the cheaper one costs nothing, so nothing can be declined; up again is.
    let mut back = change;
    back[1].1 = "price_flat";
    post(&stripe, &path, &back, None).await.id();
    assert_eq!(prices(&stripe, &id)[0].0, "price_flat");
    post(&stripe, &path, &change, None).await.id();
    let events = stripe.expire_pending_update(&id);
    assert_eq!(
        kinds(&events)[0],
        "customer.subscription.pending_update_expired"
    );
    assert_eq!(stripe.subscription(&id)["pending_update"], Value::Null);
    let mut strict = change;
    strict[3].1 = "error_if_incomplete";
    let refused = post(&stripe, &path, &strict, None).await;
    assert_eq!(refused.error().0, 402);
    let mut lenient = change;
    lenient[3].1 = "allow_incomplete";
    let changed = post(&stripe, &path, &lenient, None).await.body;
    assert_eq!(changed["status"], "past_due");
}

#[tokio::test]
async fn the_end_and_the_pause_are_set_and_taken_back() {
    let (stripe, _, id) = sold().await;
    let path = format!("/v1/subscriptions/{id}");
    let end = stripe.subscription(&id)["items"]["data"][0]["current_period_end"].clone();
    let set = async |params: &[(&str, &str)]| post(&stripe, &path, params, None).await.body;
    let flags = |s: &Value| (s["cancel_at_period_end"].clone(), s["cancel_at"].clone());

    let ending = set(&[("cancel_at_period_end", "true")]).await;
    assert_eq!(flags(&ending), (json!(true), end.clone()));
    let going_on = set(&[("cancel_at_period_end", "false")]).await;
    assert_eq!(flags(&going_on), (json!(false), Value::Null));
    let chosen = (end.as_i64().unwrap() - 60).to_string();
    set(&[("cancel_at", &chosen)]).await;
    let kept = set(&[("cancel_at_period_end", "false")]).await;
    assert_eq!(
        kept["cancel_at"].to_string(),
        chosen,
        "the flag was not set"
    );
    let cleared = set(&[("cancel_at", "")]).await;
    assert_eq!(flags(&cleared), (json!(false), Value::Null));

    let paused = set(&[("pause_collection[behavior]", "void")]).await;
    assert_eq!(
        (&paused["pause_collection"]["behavior"], &paused["status"]),
        (&json!("void"), &json!("active"))
    );
    let paused = set(&[("pause_collection", "")]).await;
    assert_eq!(paused["pause_collection"], Value::Null);
    assert_eq!(
        stripe.pause_collection(&id, true)["type"],
        "customer.subscription.updated"
    );

    let marked = set(&[("metadata[a]", "1"), ("metadata[customer_id]", "")]).await;
    assert_eq!(marked["metadata"], json!({"a": "1"}));
    assert_eq!(set(&[("metadata", "")]).await["metadata"], json!({}));
    for params in [
        [("cancel_at", "1"), ("metadata[a]", "1")],
        [
            ("cancel_at", chosen.as_str()),
            ("cancel_at_period_end", "true"),
        ],
        [
            ("pause_collection[behavior]", "never"),
            ("metadata[a]", "1"),
        ],
    ] {
        assert_eq!(post(&stripe, &path, &params, None).await.status, 400);
    }
}

#[tokio::test]
async fn subscriptions_are_listed_newest_first() {
    let (stripe, customer, first) = sold().await;
    let session = post(
        &stripe,
        "/v1/checkout/sessions",
        &super::session_params(&customer),
        None,
    )
    .await;
    let second = stripe.complete_checkout(&session.id())[0]["data"]["object"]["id"].clone();
    stripe.delete_subscription(&first);
    let list = async |query: &str| get(&stripe, &format!("/v1/subscriptions{query}")).await;
    let ids = |body: &Value| -> Vec<Value> {
        let data = body["data"].as_array().unwrap();
        data.iter().map(|s| s["id"].clone()).collect()
    };
    assert_eq!(ids(&list("").await.body), vec![second.clone()]);
    let all = list("?status=all&limit=1").await.body;
    assert_eq!(
        (ids(&all), &all["has_more"]),
        (vec![second.clone()], &json!(true))
    );
    let cursor = second.as_str().unwrap();
    let rest = list(&format!("?status=all&limit=1&starting_after={cursor}")).await;
    assert_eq!(ids(&rest.body), [json!(first)]);
    assert_eq!(rest.body["has_more"], false);
    let newer = list(&format!("?status=all&ending_before={first}")).await;
    assert_eq!(ids(&newer.body), [second]);
    for query in [
        "?limit=0",
        "?limit=101",
        "?status=done",
        "?customer=cus_no",
        "?starting_after=sub_no",
        "?colour=red",
        "?expand[]=data.status",
    ] {
        assert_eq!(list(query).await.status, 400, "{query}");
    }
    let path = format!("/v1/subscriptions/{first}?expand[]=customer&expand[]=schedule");
    let expanded = get(&stripe, &path).await.body;
    assert_eq!(expanded["customer"]["id"], json!(customer));
    assert_eq!(expanded["schedule"], Value::Null);
}
