//! The HTTP API: extract, ask a service, answer. Every route is registered in [`configure`], which also makes the OpenAPI
//! document, so a route that is served is a route that is documented.

pub mod auth;
pub mod cors;
pub mod extract;
pub mod fallback;
pub mod problem;
pub mod request_id;
pub mod responses;
pub mod subscription_view;

use utoipa_actix_web::service_config::ServiceConfig;

/// All routes, in the order in which the documentation shows them.
pub fn configure(config: &mut ServiceConfig) {
    config
        .service(problem::docs::list_problems)
        .service(problem::docs::get_problem);
}
