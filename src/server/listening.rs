//! The HTTP server around an application.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::{Condition, from_fn};
use actix_web::{App, HttpServer, web};
use utoipa_actix_web::AppExt;

use super::{Application, StartError};
use crate::http::auth::identify;
use crate::http::cors::cors;
use crate::http::fallback::{KnownRoutes, fallback};
use crate::http::request_id::track;
use crate::http::{self, openapi};

/// A client that takes longer than this to send a request's head is no client.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// Longer than load balancers keep an idle connection (60 s usually), so that they never send into one that closes.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// Threads of one worker that wait for the database. More than the pool's connections, so that a request that gets none in
/// time is told so while others still work; each may cost a stack, so not without bound.
const BLOCKING_THREADS: usize = 64;

/// How to serve.
#[derive(Debug, Clone, Copy)]
pub struct ServeOptions {
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// Threads that take requests.
    pub workers: usize,
    /// How long requests under way may take once the server is told to stop.
    pub shutdown_timeout: Duration,
}

/// A server that listens. It answers while [`Listening::server`] is awaited.
pub struct Listening {
    /// Where, with the port that was taken.
    pub addresses: Vec<SocketAddr>,
    /// Ends when it was stopped.
    pub server: Server,
    /// Stops it.
    pub handle: ServerHandle,
}

impl Application {
    /// Binds the address. Must be called within a Tokio or Actix runtime.
    pub fn listen(&self, options: ServeOptions) -> Result<Listening, StartError> {
        let refused = |source| StartError::Bind {
            address: options.address,
            source,
        };
        let context = web::Data::new(self.context.clone());
        let keys = web::Data::from(Arc::clone(&self.keys));
        let tokens = web::Data::from(Arc::clone(&self.tokens));
        let authenticator = web::Data::from(Arc::clone(&self.authenticator));
        let metrics = web::Data::new(self.metrics.clone());
        let readiness = web::Data::from(Arc::clone(&self.readiness));
        let document = web::Data::new(self.document.clone());
        let routes = web::Data::new(KnownRoutes::new(self.routes.iter().cloned()));
        let origins = self.cors_origins.clone();
        let server = HttpServer::new(move || {
            App::new()
                .into_utoipa_app()
                .openapi(openapi::base())
                .app_data(context.clone())
                .app_data(keys.clone())
                .app_data(tokens.clone())
                .app_data(authenticator.clone())
                .app_data(metrics.clone())
                .app_data(readiness.clone())
                .app_data(document.clone())
                .app_data(routes.clone())
                .configure(http::configure)
                .default_service(web::to(fallback))
                .into_app()
                .wrap(from_fn(identify))
                .wrap(Condition::new(!origins.is_empty(), cors(&origins)))
                .wrap(from_fn(track))
        })
        .workers(options.workers)
        .worker_max_blocking_threads(BLOCKING_THREADS)
        .client_request_timeout(HEAD_PATIENCE)
        .keep_alive(KEEP_ALIVE)
        .shutdown_timeout(options.shutdown_timeout.as_secs())
        // The binary shuts down in an order of its own.
        .disable_signals()
        .bind(options.address)
        .map_err(refused)?;
        let addresses = server.addrs();
        let server = server.run();
        Ok(Listening {
            addresses,
            handle: server.handle(),
            server,
        })
    }
}
