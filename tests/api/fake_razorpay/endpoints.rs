//! Which request is for which endpoint, and who serves it.

use serde_json::Value;

use super::faults::Endpoint;
use super::params::{Params, Refusal};
use super::state::{Recorded, State};

/// The endpoint and the id in the path, empty where it has none.
pub(crate) fn route<'a>(method: &str, path: &'a str) -> Option<(Endpoint, &'a str)> {
    let path = path.strip_prefix("/v1/")?;
    let segments: Vec<_> = path.trim_end_matches('/').split('/').collect();
    Some(match (method, segments.as_slice()) {
        ("POST", ["customers"]) => (Endpoint::CreateCustomer, ""),
        ("GET", ["plans", id]) => (Endpoint::Plan, id),
        ("POST", ["subscriptions"]) => (Endpoint::CreateSubscription, ""),
        ("GET", ["subscriptions"]) => (Endpoint::Subscriptions, ""),
        ("GET", ["subscriptions", id]) => (Endpoint::Subscription, id),
        ("POST", ["subscriptions", id, "cancel"]) => (Endpoint::CancelSubscription, id),
        ("POST", ["subscriptions", id, "pause"]) => (Endpoint::PauseSubscription, id),
        ("POST", ["subscriptions", id, "resume"]) => (Endpoint::ResumeSubscription, id),
        ("GET", ["invoices"]) => (Endpoint::Invoices, ""),
        ("GET", ["invoices", id]) => (Endpoint::Invoice, id),
        ("GET", ["payments", id]) => (Endpoint::Payment, id),
        ("POST", ["payments", id, "refund"]) => (Endpoint::CreateRefund, id),
        ("GET", ["payments", id, "refunds"]) => (Endpoint::Refunds, id),
        ("GET", ["disputes"]) => (Endpoint::Disputes, ""),
        ("GET", ["disputes", id]) => (Endpoint::Dispute, id),
        ("POST", ["payment_links"]) => (Endpoint::CreatePaymentLink, ""),
        ("GET", ["payment_links"]) => (Endpoint::PaymentLinks, ""),
        ("GET", ["payment_links", id]) => (Endpoint::PaymentLink, id),
        _ => return None,
    })
}

pub(crate) fn serve_one(request: &Recorded, state: &mut State) -> Result<Value, Refusal> {
    let Some((endpoint, id)) = route(&request.method, &request.path) else {
        return Err(Refusal::new(
            404,
            "BAD_REQUEST_ERROR",
            "The requested URL was not found on the server.",
        ));
    };
    let params = if request.method == "GET" {
        Params::of_query(&request.query)
    } else {
        Params::of_query(&request.query).finish()?;
        Params::of_body(&request.body)?
    };
    match endpoint {
        Endpoint::CreateCustomer => state.create_customer(params),
        Endpoint::Plan => alone(params, || find(state.plans.get(id))),
        Endpoint::CreateSubscription => state.create_subscription(params),
        Endpoint::Subscriptions => state.list_subscriptions(params),
        Endpoint::Subscription => alone(params, || find(state.subscriptions.get(id))),
        Endpoint::CancelSubscription => state.cancel_subscription(id, params),
        Endpoint::PauseSubscription => state.pause_subscription(id, params),
        Endpoint::ResumeSubscription => state.resume_subscription(id, params),
        Endpoint::Invoices => state.list_invoices(params),
        Endpoint::Invoice => alone(params, || find(state.invoices.get(id))),
        Endpoint::Payment => alone(params, || {
            find(state.payments.get(id)).map(|payment| state.shown(&payment))
        }),
        Endpoint::CreateRefund => state.create_refund(id, request, params),
        Endpoint::Refunds => state.list_refunds(id, params),
        Endpoint::Disputes => state.list_disputes(params),
        Endpoint::Dispute => alone(params, || find(state.disputes.get(id))),
        Endpoint::CreatePaymentLink => state.create_link(params),
        Endpoint::PaymentLinks => state.list_links(params),
        Endpoint::PaymentLink => alone(params, || find(state.links.get(id))),
    }
}

/// Reads what has no parameters.
fn alone(params: Params, read: impl FnOnce() -> Result<Value, Refusal>) -> Result<Value, Refusal> {
    params.finish()?;
    read()
}

fn find(found: Option<&Value>) -> Result<Value, Refusal> {
    found.cloned().ok_or_else(Refusal::unknown_id)
}
