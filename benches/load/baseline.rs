//! The baseline: what Plangate would be without its group commit. Each request is a transaction of its own, by the
//! statements of production, over a pool of connections.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use actix_web::{App, HttpResponse, HttpServer, post, web};
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use serde::Deserialize;

use plangate::domain::catalogue::Catalogue;
use plangate::domain::ids::{CustomerId, IdempotencyKey};
use plangate::domain::policy::{Enforcement, UnknownCustomers};
use plangate::meter::{Consume, Rules, consume_alone};
use plangate::service::plans;
use plangate::store::clock::{Clock, SystemClock};
use plangate::store::plan_book::PlanBook;

use crate::Outcome;

/// As in production.
const BLOCKING_THREADS: usize = 64;

#[derive(Debug, Deserialize)]
struct Request {
    customer_id: CustomerId,
    feature: String,
    quantity: i64,
    idempotency_key: IdempotencyKey,
}

type Connections = Pool<ConnectionManager<PgConnection>>;

#[post("/entitlements/consume")]
async fn consume(
    pool: web::Data<Connections>,
    rules: web::Data<Rules>,
    request: web::Json<Request>,
) -> HttpResponse {
    let Request {
        customer_id,
        feature,
        quantity,
        idempotency_key,
    } = request.into_inner();
    let command = Consume {
        customer: customer_id,
        feature,
        quantity,
        value: None,
        key: Some(idempotency_key),
        properties: None,
    };
    let settled = web::block(move || -> Outcome<_> {
        let mut conn = pool.get()?;
        Ok(consume_alone(&mut conn, &rules, command)?)
    })
    .await;
    match settled {
        Ok(Ok(settled)) => HttpResponse::Ok().json(settled.decision),
        Ok(Err(error)) => HttpResponse::ServiceUnavailable().body(error.to_string()),
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}

/// Serves until the process is told to end.
pub(crate) fn serve(port: u16, pool: u32, catalogue: &Path) -> Outcome<()> {
    let url = std::env::var("DATABASE_URL")?;
    let rules = web::Data::new(rules(&url, catalogue)?);
    let pool = Pool::builder()
        .max_size(pool)
        .test_on_check_out(false)
        .build(ConnectionManager::<PgConnection>::new(url))?;
    let pool = web::Data::new(pool);
    actix_web::rt::System::new().block_on(async move {
        HttpServer::new(move || {
            App::new()
                .app_data(pool.clone())
                .app_data(rules.clone())
                .service(consume)
        })
        .workers(std::thread::available_parallelism().map_or(2, usize::from))
        .worker_max_blocking_threads(BLOCKING_THREADS)
        .bind((Ipv4Addr::LOCALHOST, port))?
        .run()
        .await
    })?;
    Ok(())
}

fn rules(url: &str, catalogue: &Path) -> Outcome<Rules> {
    let clock = Arc::new(SystemClock);
    let catalogue = Catalogue::parse(&std::fs::read_to_string(catalogue)?)
        .map_err(|faults| format!("the catalogue has faults: {:?}", faults.0))?;
    let mut conn = PgConnection::establish(url)?;
    let plans = plans::register(&mut conn, &catalogue, None, &[], clock.now())?;
    Ok(Rules {
        book: Arc::new(PlanBook::new(plans)),
        clock,
        enforcement: Enforcement::Enforce,
        unknown_customers: UnknownCustomers::Create,
    })
}
