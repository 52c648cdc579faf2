//! Deliveries of events.

use std::sync::{Arc, Mutex};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use chrono::Utc;
use serde_json::{Value, json};

use crate::fake_stripe::FakeStripe;

#[tokio::test]
async fn events_are_delivered_in_the_order_given_and_as_often() {
    let stripe = FakeStripe::start();
    let (url, received) = listener();
    let first = stripe.event("product.created", &json!({"id": "prod_1"}));
    let second = stripe.event("product.updated", &json!({"id": "prod_1"}));
    let answers = stripe
        .deliver(&url, [&second, &first, &second], Utc::now())
        .await;
    assert_eq!(answers, vec![(200, "got it".to_owned()); 3]);
    let received = received.lock().unwrap();
    let ids: Vec<_> = received
        .iter()
        .map(|(_, body)| body["id"].clone())
        .collect();
    assert_eq!(
        ids,
        [
            second["id"].clone(),
            first["id"].clone(),
            second["id"].clone()
        ]
    );
    assert!(
        received
            .iter()
            .all(|(signature, _)| signature.starts_with("t="))
    );
}

type Received = Arc<Mutex<Vec<(String, Value)>>>;

/// A place to deliver to that keeps what it gets. It lives as long as the test process.
pub(super) fn listener() -> (String, Received) {
    let received = Received::default();
    let (started, starting) = std::sync::mpsc::channel();
    let kept = web::Data::from(Arc::clone(&received));
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let server = HttpServer::new(move || {
                App::new()
                    .app_data(kept.clone())
                    .default_service(web::to(keep))
            })
            .workers(1)
            .disable_signals()
            .bind(("127.0.0.1", 0))
            .unwrap();
            started.send(server.addrs()[0]).unwrap();
            server.run().await.unwrap();
        });
    });
    (
        format!("http://{}/webhook", starting.recv().unwrap()),
        received,
    )
}

async fn keep(
    http: HttpRequest,
    body: web::Bytes,
    received: web::Data<Mutex<Vec<(String, Value)>>>,
) -> HttpResponse {
    let signature = http
        .headers()
        .get("stripe-signature")
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    received
        .lock()
        .unwrap()
        .push((signature, serde_json::from_slice(&body).unwrap()));
    HttpResponse::Ok().body("got it")
}
