//! The HTTP face: authentication, faults, and Razorpay's way to answer.

use std::any::Any;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use actix_web::dev::{Extensions, Server};
use actix_web::http::{StatusCode, header};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::endpoints::{route, serve_one};
use super::faults::Fault;
use super::params::Refusal;
use super::state::{Recorded, State};
use super::{KEY_ID, KEY_SECRET};

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
        }) => return failure(status, retry_after),
        Some(Fault::Refuse(reason)) => return refused(&Refusal::bad_request(reason)),
        Some(Fault::Pass | Fault::DropAfterEffect | Fault::StallAfterEffect(_)) | None => {}
    }
    let outcome = authenticate(&http)
        .and_then(|()| is_json(&http, &body))
        .and_then(|()| {
            let mut state = state.lock().expect("no test panics inside the fake");
            serve_one(&request, &mut state)
        });
    match fault {
        Some(Fault::DropAfterEffect) => return cut(&http),
        Some(Fault::StallAfterEffect(pause)) => actix_web::rt::time::sleep(pause).await,
        _ => {}
    }
    match outcome {
        Ok(body) => HttpResponse::Ok().json(body),
        Err(refusal) => refused(&refusal),
    }
}

fn record(http: &HttpRequest, body: &[u8]) -> Recorded {
    let text = |name: &str| {
        http.headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let query = url::form_urlencoded::parse(http.query_string().as_bytes());
    let body = if body.is_empty() {
        json!({})
    } else {
        serde_json::from_slice(body).unwrap_or(Value::Null)
    };
    Recorded {
        endpoint: route(http.method().as_str(), http.path()).map(|(endpoint, _)| endpoint),
        method: http.method().to_string(),
        path: http.path().to_owned(),
        query: query.into_owned().collect(),
        body,
        refund_key: text("x-refund-idempotency"),
        user_agent: text("user-agent"),
    }
}

fn authenticate(http: &HttpRequest) -> Result<(), Refusal> {
    let wanted = format!(
        "Basic {}",
        STANDARD.encode(format!("{KEY_ID}:{KEY_SECRET}"))
    );
    let given = http
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    if given == Some(wanted.as_str()) {
        return Ok(());
    }
    let description = match given {
        None => "Please provide your api key for authentication purposes.".to_owned(),
        // Razorpay does not quote it; the whole of it shows whether a client would pass it on.
        Some(given) => format!("Authentication failed: {given}"),
    };
    Err(Refusal::new(401, "BAD_REQUEST_ERROR", description))
}

/// A body that is sent must say that it is JSON.
fn is_json(http: &HttpRequest, body: &[u8]) -> Result<(), Refusal> {
    let kind = http
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if body.is_empty() || kind.starts_with("application/json") {
        return Ok(());
    }
    Err(Refusal::bad_request(
        "The content type must be application/json",
    ))
}

fn failure(status: u16, retry_after: Option<u64>) -> HttpResponse {
    let (code, description) = match status {
        429 => ("BAD_REQUEST_ERROR", "Too many requests"),
        502 | 504 => ("GATEWAY_ERROR", "The gateway request timed out"),
        _ => (
            "SERVER_ERROR",
            "We are facing some trouble completing your request at the moment. Please try again shortly.",
        ),
    };
    let refusal = Refusal::new(status, code, description);
    let mut response = HttpResponse::build(status_code(status));
    if let Some(seconds) = retry_after {
        response.insert_header((header::RETRY_AFTER, seconds));
    }
    response.json(refusal.body)
}

fn refused(refusal: &Refusal) -> HttpResponse {
    HttpResponse::build(status_code(refusal.status)).json(&refusal.body)
}

fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).expect("what is answered has a status")
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
