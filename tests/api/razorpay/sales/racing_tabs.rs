//! Several calls at once, at a provider that would do everything twice.

use std::time::Duration;

use serde_json::Value;

use super::{attempts, behind, billed, change, on, order, pay, settle, standing, subscribe};
use crate::fake_razorpay::{Endpoint, Fault};
use crate::support::app::TestApp;
use crate::support::client::Answer;

/// Razorpay takes its time, so that the others come meanwhile.
fn slow_down(app: &TestApp) {
    let slow = Fault::StallAfterEffect(Duration::from_millis(300));
    for endpoint in [Endpoint::CreateCustomer, Endpoint::CreateSubscription] {
        app.razorpay().fail(endpoint, slow, 4);
    }
}

fn pages(answers: Vec<Answer>, wanted: u16) -> Vec<Value> {
    let bodies = answers.into_iter().map(|answer| {
        if answer.status == wanted {
            return Some(answer.body);
        }
        assert!([409, 503].contains(&answer.status), "{answer:?}");
        None
    });
    bodies.flatten().collect()
}

#[actix_web::test]
async fn tabs_for_one_plan_get_one_page() {
    let app = TestApp::with_razorpay().await;
    slow_down(&app);
    let tabs = (0..6).map(|_| order(&app, "pro"));
    let pages = pages(futures_util::future::join_all(tabs).await, 201);
    // Whoever came second has waited.
    assert_eq!(pages.len(), 6);
    assert!(pages.iter().all(|page| *page == pages[0]), "{pages:?}");
    assert_eq!(app.razorpay().subscriptions().len(), 1);
    assert_eq!(app.razorpay().customers().len(), 1);
    assert_eq!(attempts(&app).len(), 1);
}

#[actix_web::test]
async fn of_tabs_for_different_plans_one_can_be_paid() {
    let app = TestApp::with_razorpay().await;
    slow_down(&app);
    let tabs = ["pro", "scale", "pro", "scale"].map(|tier| order(&app, tier));
    pages(futures_util::future::join_all(tabs).await, 201);
    let all = app.razorpay().subscriptions();
    let open: Vec<&Value> = all
        .iter()
        .filter(|one| one["status"] == "created")
        .collect();
    assert_eq!(open.len(), 1, "{all:?}");
    assert_eq!(app.razorpay().customers().len(), 1);
    settle(&app).await;
    let tier = open[0]["notes"]["plan_tier"].as_str().unwrap();
    pay(&app, open[0]["id"].as_str().unwrap()).await;
    assert_eq!(standing(&app).await, on(tier));
    assert_eq!(billed(&app).len(), 1);
}

#[actix_web::test]
async fn changes_asked_for_at_once_have_one_page() {
    let app = TestApp::with_razorpay().await;
    let old = subscribe(&app, "pro").await;
    slow_down(&app);
    let calls = (0..4).map(|_| change(&app, "scale", None));
    let pages = pages(futures_util::future::join_all(calls).await, 200);
    assert!(!pages.is_empty());
    assert!(pages.iter().all(|page| *page == pages[0]), "{pages:?}");
    let new = behind(&app, &pages[0]);
    assert_eq!(app.razorpay().subscriptions().len(), 2);
    assert_eq!(billed(&app), [old]);
    pay(&app, &new).await;
    assert_eq!(billed(&app), [new]);
}
