//! The HTTP face: authentication, routing, faults, and Stripe's way to answer.

use std::any::Any;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use actix_web::dev::{Extensions, Server};
use actix_web::http::{StatusCode, header};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::{Value, json};

use super::SECRET_KEY;
use super::endpoints::{route, serve_one};
use super::faults::Fault;
use super::params::{Refusal, decode};
use super::state::{Recorded, State};

type Shared = web::Data<Mutex<State>>;

/// A second handle of the connection, with which a fault can cut it.
struct Line(TcpStream);

pub(crate) fn serve(state: Arc<Mutex<State>>) -> std::io::Result<(SocketAddr, Server)> {
    let state = Shared::from(state);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(state.clone())
            .default_service(web::to(answer))
    })
    .workers(1)
    .disable_signals()
    .on_connect(keep_line)
    .bind(("127.0.0.1", 0))?;
    let address = server.addrs()[0];
    Ok((address, server.run()))
}

fn keep_line(connection: &dyn Any, extensions: &mut Extensions) {
    let Some(stream) = connection.downcast_ref::<actix_web::rt::net::TcpStream>() else {
        return;
    };
    if let Ok(descriptor) = stream.as_fd().try_clone_to_owned() {
        extensions.insert(Line(descriptor.into()));
    }
}

async fn answer(http: HttpRequest, body: web::Bytes, state: Shared) -> HttpResponse {
    let request = record(&http, &body);
    let fault = {
        let mut state = state.lock().expect("no test panics inside the fake");
        state.requests.push(request.clone());
        request
            .endpoint
            .and_then(|endpoint| state.faults.take(endpoint))
    };
    match fault {
        Some(Fault::DropBeforeEffect) => return cut(&http),
        Some(Fault::Garbage) => {
            return HttpResponse::Ok()
                .content_type("text/html")
                .body("<html>Sign in</html>");
        }
        Some(Fault::Status {
            status,
            retry_after,
            should_retry,
        }) => {
            return failure(status, retry_after, should_retry);
        }
        Some(Fault::Pass | Fault::DropAfterEffect | Fault::StallAfterEffect(_)) | None => {}
    }
    let outcome = match authenticate(&http) {
        Ok(()) => serve_one(
            &request,
            &mut state.lock().expect("no test panics inside the fake"),
        ),
        Err(refusal) => Err(refusal),
    };
    match fault {
        Some(Fault::DropAfterEffect) => return cut(&http),
        Some(Fault::StallAfterEffect(pause)) => actix_web::rt::time::sleep(pause).await,
        _ => {}
    }
    match outcome {
        Ok((body, replayed)) => {
            let mut response = HttpResponse::Ok();
            response.insert_header(("request-id", "req_fake"));
            if let Some(key) = &request.idempotency_key {
                response.insert_header(("idempotency-key", key.as_str()));
            }
            if replayed {
                response.insert_header(("idempotent-replayed", "true"));
            }
            response.json(body)
        }
        Err(refusal) => json_with_status(refusal.status, &refusal.body),
    }
}

fn record(http: &HttpRequest, body: &[u8]) -> Recorded {
    let text = |name: &str| {
        http.headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    // A deletion's parameters come either way.
    let mut params = decode(http.query_string().as_bytes());
    if http.method() != "GET" {
        params.extend(decode(body));
    }
    Recorded {
        endpoint: route(http.method().as_str(), http.path()).map(|(endpoint, _)| endpoint),
        method: http.method().to_string(),
        path: http.path().to_owned(),
        params,
        idempotency_key: text("idempotency-key"),
        stripe_version: text("stripe-version"),
        user_agent: text("user-agent"),
    }
}

fn authenticate(http: &HttpRequest) -> Result<(), Refusal> {
    let given = http
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    if given == Some(&format!("Bearer {SECRET_KEY}")) {
        return Ok(());
    }
    let message = match given {
        None => "You did not provide an API key.".to_owned(),
        // Stripe quotes a part of the key; the whole of it shows whether a client would pass it on.
        Some(given) => format!("Invalid API Key provided: {given}"),
    };
    Err(Refusal::new(
        401,
        "invalid_request_error",
        None,
        None,
        message,
    ))
}

fn failure(status: u16, retry_after: Option<u64>, should_retry: Option<bool>) -> HttpResponse {
    let (kind, code) = match status {
        409 => ("idempotency_error", "idempotency_key_in_use"),
        429 => ("invalid_request_error", "rate_limit"),
        _ => ("api_error", "internal"),
    };
    let mut response =
        HttpResponse::build(StatusCode::from_u16(status).expect("a fault has a status"));
    if let Some(seconds) = retry_after {
        response.insert_header((header::RETRY_AFTER, seconds));
    }
    if let Some(word) = should_retry {
        response.insert_header(("stripe-should-retry", word.to_string()));
    }
    response.json(
        json!({"error": {"type": kind, "code": code, "message": "This fault was switched on."}}),
    )
}

fn json_with_status(status: u16, body: &Value) -> HttpResponse {
    HttpResponse::build(StatusCode::from_u16(status).expect("a refusal has a status")).json(body)
}

/// The client sees the connection end; the response never reaches it.
fn cut(http: &HttpRequest) -> HttpResponse {
    let line = http
        .conn_data::<Line>()
        .expect("every connection's line is kept");
    // It may be gone already; then there is nothing left to cut.
    let _ = line.0.shutdown(Shutdown::Both);
    HttpResponse::Ok().finish()
}
