//! The ceiling: the same web server, the same request, an answer of the same size, and nothing in between.

use std::net::Ipv4Addr;

use actix_web::{App, HttpResponse, HttpServer, post, web};
use serde::{Deserialize, Serialize};

use crate::Outcome;

/// What a check asks.
#[derive(Debug, Deserialize)]
struct Request {
    customer_id: String,
    feature: String,
    quantity: i64,
}

/// About as many fields as a decision has; `padding` makes the body as long.
#[derive(Debug, Serialize)]
struct Response<'a> {
    allowed: bool,
    reason: &'static str,
    customer_id: &'a str,
    feature: &'a str,
    quantity: i64,
    used: i64,
    held: i64,
    limit: i64,
    hard_limit: i64,
    remaining: i64,
    padding: &'a str,
}

impl<'a> Response<'a> {
    fn to(request: &'a Request, padding: &'a str) -> Self {
        Self {
            allowed: true,
            reason: "within_limit",
            customer_id: &request.customer_id,
            feature: &request.feature,
            quantity: request.quantity,
            used: 0,
            held: 0,
            limit: 1_000_000_000_000,
            hard_limit: 1_100_000_000_000,
            remaining: 1_000_000_000_000,
            padding,
        }
    }
}

struct Padding(String);

#[post("/entitlements/check")]
async fn answer(padding: web::Data<Padding>, request: web::Json<Request>) -> HttpResponse {
    HttpResponse::Ok().json(Response::to(&request, &padding.0))
}

/// Serves until the process is told to end. `bytes` is the size of each answer's body.
pub(crate) fn serve(port: u16, bytes: usize) -> Outcome<()> {
    let padding = web::Data::new(padding(bytes)?);
    actix_web::rt::System::new().block_on(async move {
        HttpServer::new(move || App::new().app_data(padding.clone()).service(answer))
            .workers(std::thread::available_parallelism().map_or(2, usize::from))
            .bind((Ipv4Addr::LOCALHOST, port))?
            .run()
            .await
    })?;
    Ok(())
}

fn padding(bytes: usize) -> Outcome<Padding> {
    let request = Request {
        customer_id: "c0000001".to_owned(),
        feature: "attribution_runs".to_owned(),
        quantity: 1,
    };
    let empty = serde_json::to_vec(&Response::to(&request, ""))?.len();
    Ok(Padding("x".repeat(bytes.saturating_sub(empty))))
}
