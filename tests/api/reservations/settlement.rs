//! What a commit records and frees, and what forbids it.

use serde_json::{Value, json};

use super::{RUNS, commit, commit_part, hold, outcome, release, settle, shown, used_and_held};
use crate::support::app::TestApp;
use crate::support::steps::{assert_counters_equal_ledger, count};

#[actix_web::test]
async fn a_commit_of_less_frees_the_rest() {
    let app = TestApp::start().await;
    let id = hold(&app, 10, 300).await;
    let kept = hold(&app, 20, 300).await;
    let part = commit_part(&app, &id, 3).await.ok();
    assert_eq!(outcome(&part), ("committed", Some(3)));
    assert_eq!(part["quantity"], 10);
    assert_eq!(part["decision"]["requested"], 3);
    assert_eq!(
        (&part["decision"]["used"], &part["decision"]["held"]),
        (&json!(3), &json!(20))
    );
    assert_eq!(used_and_held(&app, RUNS).await, (3, 20));

    let nothing = commit_part(&app, &kept, 0).await.ok();
    assert_eq!(outcome(&nothing), ("committed", Some(0)));
    assert_eq!(nothing["decision"]["event_id"], Value::Null);
    assert_eq!(
        (&nothing["decision"]["used"], &nothing["decision"]["held"]),
        (&json!(3), &json!(0))
    );
    assert_eq!(used_and_held(&app, RUNS).await, (3, 0));
    assert_eq!(count(&app, "SELECT count(*) FROM usage_events"), 1);
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn a_commit_of_more_than_is_held_is_refused_and_changes_nothing() {
    let app = TestApp::start().await;
    let id = hold(&app, 10, 300).await;
    for quantity in [
        json!(11),
        json!(i64::MAX),
        json!(9_223_372_036_854_775_808_u64),
        json!(-1),
        json!(1.5),
        json!("1"),
    ] {
        let body = json!({"customer_id": "acme", "quantity": quantity});
        let problem = settle(&app, &id, "commit", body)
            .await
            .problem(422, "validation-failed");
        assert_eq!(problem["errors"][0]["pointer"], "/quantity", "{quantity}");
    }
    assert_eq!(shown(&app, &id).await["state"], "held");
    assert_eq!(used_and_held(&app, RUNS).await, (0, 10));
    assert_eq!(
        outcome(&commit_part(&app, &id, 10).await.ok()),
        ("committed", Some(10))
    );
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn what_is_settled_in_one_way_cannot_be_settled_in_another() {
    let app = TestApp::start().await;
    let (taken, given) = (hold(&app, 10, 300).await, hold(&app, 10, 300).await);
    let committed = commit_part(&app, &taken, 4).await.ok();
    let released = release(&app, &given).await.ok();
    for days in [0, 1, 400] {
        app.advance(chrono::TimeDelta::days(days));
        release(&app, &taken).await.problem(409, "conflict");
        commit(&app, &taken).await.problem(409, "conflict");
        commit_part(&app, &taken, 5).await.problem(409, "conflict");
        commit_part(&app, &taken, 0).await.problem(409, "conflict");
        commit(&app, &given).await.problem(409, "conflict");
        commit_part(&app, &given, 0).await.problem(409, "conflict");
    }
    for (id, settled) in [(&taken, &committed), (&given, &released)] {
        let now = shown(&app, id).await;
        assert_eq!(outcome(&now), outcome(settled));
        assert_eq!(now["settled_at"], settled["settled_at"]);
    }
    assert_eq!(count(&app, "SELECT sum(value) FROM usage_metrics"), 4);
    assert_counters_equal_ledger(&app);
}
