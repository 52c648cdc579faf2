//! The HTTP API: extract, ask a service, answer. Every route is registered in [`configure`], which also makes the OpenAPI
//! document, so a route that is served is a route that is documented.

pub mod admin;
pub mod auth;
pub mod billing;
pub mod cors;
pub mod customers;
pub mod decisions;
pub mod entitlements;
pub mod etag;
pub mod extract;
pub mod fallback;
pub mod openapi;
pub mod operations;
pub mod payment_provider;
pub mod plan_context;
pub mod plans;
pub mod problem;
pub mod request_id;
pub mod reservations;
pub mod responses;
pub mod subscription_view;
pub mod usage;
pub mod usage_events;
pub mod webhooks;

use utoipa_actix_web::service_config::ServiceConfig;

/// All routes, in the order in which the documentation shows them.
pub fn configure(config: &mut ServiceConfig) {
    config
        .service(entitlements::check)
        .service(entitlements::check_batch)
        .service(entitlements::list_entitlements)
        .service(entitlements::consume)
        .service(entitlements::release)
        .service(entitlements::set_allocated)
        .service(reservations::reserve)
        .service(reservations::commit_reservation)
        .service(reservations::release_reservation)
        .service(reservations::get_reservation)
        .service(usage::get_usage)
        .service(usage::record_usage)
        .service(usage::usage_history)
        .service(usage::list_usage_events)
        .service(plan_context::get_plan_context)
        .service(plans::list_plans)
        .service(plans::get_plan)
        .service(customers::put_customer)
        .service(customers::get_customer)
        .service(customers::mint_token)
        .service(billing::checkout::create_checkout)
        .service(billing::portal::open_portal)
        .service(billing::subscription::get_subscription)
        .service(billing::changes::change_plan)
        .service(billing::changes::cancel)
        .service(billing::changes::resume)
        .service(billing::verify_payment::verify_payment)
        .service(webhooks::receive_webhook)
        .service(admin::api_keys::create_api_key)
        .service(admin::api_keys::list_api_keys)
        .service(admin::api_keys::revoke_api_key)
        .service(admin::audit::list_audit)
        .service(admin::subscriptions::grant_subscription)
        .service(admin::subscriptions::end_subscription)
        .service(admin::overrides::put_override)
        .service(admin::overrides::get_override)
        .service(admin::overrides::delete_override)
        .service(admin::usage::adjust_usage)
        .service(admin::usage::reconcile_usage)
        .service(admin::reconcile::reconcile_subscriptions)
        .service(admin::webhooks::backfill_webhooks)
        .service(operations::livez)
        .service(operations::readyz)
        .service(operations::metrics)
        .service(openapi::openapi_json)
        .service(openapi::docs)
        .service(openapi::docs_file)
        .service(problem::docs::list_problems)
        .service(problem::docs::get_problem);
}
