//! Which request is for which endpoint, and who serves it.

use serde_json::Value;

use super::faults::Endpoint;
use super::params::{Params, Refusal};
use super::state::{Recorded, State};

/// The endpoint and the id in the path, empty where it has none.
pub(crate) fn route<'a>(method: &str, path: &'a str) -> Option<(Endpoint, &'a str)> {
    if let Some(id) = path.strip_prefix("/v2/core/events/") {
        return (method == "GET").then_some((Endpoint::ThinEvent, id));
    }
    let segments: Vec<_> = path.strip_prefix("/v1/")?.split('/').collect();
    match method {
        "GET" => route_read(&segments),
        "POST" => route_write(&segments),
        "DELETE" => match segments.as_slice() {
            ["customers", id] => Some((Endpoint::DeleteCustomer, id)),
            ["subscriptions", id] => Some((Endpoint::CancelSubscription, id)),
            _ => None,
        },
        _ => None,
    }
}

fn route_read<'a>(segments: &[&'a str]) -> Option<(Endpoint, &'a str)> {
    Some(match segments {
        ["customers", id] => (Endpoint::Customer, id),
        ["prices", id] => (Endpoint::Price, id),
        ["checkout", "sessions", id] => (Endpoint::Session, id),
        ["subscriptions"] => (Endpoint::Subscriptions, ""),
        ["subscriptions", id] => (Endpoint::Subscription, id),
        ["subscription_schedules", id] => (Endpoint::Schedule, id),
        ["billing", "meters"] => (Endpoint::Meters, ""),
        ["billing", "meters", id] => (Endpoint::Meter, id),
        ["billing", "meters", id, "event_summaries"] => (Endpoint::MeterSummaries, id),
        ["refunds"] => (Endpoint::Refunds, ""),
        ["refunds", id] => (Endpoint::Refund, id),
        ["charges"] => (Endpoint::Charges, ""),
        ["charges", id] => (Endpoint::Charge, id),
        ["disputes"] => (Endpoint::Disputes, ""),
        ["disputes", id] => (Endpoint::Dispute, id),
        ["invoices"] => (Endpoint::Invoices, ""),
        ["invoices", id] => (Endpoint::Invoice, id),
        ["invoice_payments"] => (Endpoint::InvoicePayments, ""),
        ["payment_intents", id] => (Endpoint::PaymentIntent, id),
        ["events"] => (Endpoint::Events, ""),
        ["events", id] => (Endpoint::Event, id),
        _ => return None,
    })
}

fn route_write<'a>(segments: &[&'a str]) -> Option<(Endpoint, &'a str)> {
    Some(match segments {
        ["customers"] => (Endpoint::CreateCustomer, ""),
        ["checkout", "sessions"] => (Endpoint::CreateSession, ""),
        ["checkout", "sessions", id, "expire"] => (Endpoint::ExpireSession, id),
        ["billing_portal", "sessions"] => (Endpoint::CreatePortalSession, ""),
        ["subscriptions", id] => (Endpoint::UpdateSubscription, id),
        ["subscriptions", id, "resume"] => (Endpoint::ResumeSubscription, id),
        ["subscription_schedules"] => (Endpoint::CreateSchedule, ""),
        ["subscription_schedules", id] => (Endpoint::UpdateSchedule, id),
        ["subscription_schedules", id, "release"] => (Endpoint::ReleaseSchedule, id),
        ["billing", "meter_events"] => (Endpoint::CreateMeterEvent, ""),
        ["billing", "meter_event_adjustments"] => (Endpoint::AdjustMeterEvent, ""),
        ["refunds"] => (Endpoint::CreateRefund, ""),
        _ => return None,
    })
}

/// Serves an authenticated request. The flag tells a replayed answer.
pub(crate) fn serve_one(request: &Recorded, state: &mut State) -> Result<(Value, bool), Refusal> {
    let Some((endpoint, id)) = route(&request.method, &request.path) else {
        let message = format!(
            "Unrecognized request URL ({}: {}).",
            request.method, request.path
        );
        return Err(Refusal::new(
            404,
            "invalid_request_error",
            None,
            None,
            message,
        ));
    };
    if request.method == "POST" {
        state.once(request, |state, params| {
            write(state, endpoint, id, request, params)
        })
    } else {
        state.plainly(request, |state, params| {
            serve_plainly(state, endpoint, id, &request.path, params)
        })
    }
}

fn write(
    state: &mut State,
    endpoint: Endpoint,
    id: &str,
    request: &Recorded,
    params: Params,
) -> Result<Value, Refusal> {
    match endpoint {
        Endpoint::CreateCustomer => state.create_customer(params),
        Endpoint::CreateSession => state.create_session(params),
        Endpoint::ExpireSession => {
            params.finish()?;
            state.expire_session(id)
        }
        Endpoint::CreatePortalSession => state.open_portal(params),
        Endpoint::UpdateSubscription => state.change_subscription(id, params),
        Endpoint::ResumeSubscription => state.resume_subscription(id, params),
        Endpoint::CreateSchedule => state.create_schedule(params),
        Endpoint::UpdateSchedule => state.update_schedule(id, params),
        Endpoint::ReleaseSchedule => state.release_schedule(id, params),
        Endpoint::CreateMeterEvent => {
            state.create_meter_event(params, request.idempotency_key.as_deref())
        }
        Endpoint::AdjustMeterEvent => state.adjust_meter_event(params),
        Endpoint::CreateRefund => state.create_refund(params),
        _ => unreachable!("{endpoint:?} is not written to"),
    }
}

fn serve_plainly(
    state: &mut State,
    endpoint: Endpoint,
    id: &str,
    url: &str,
    params: Params,
) -> Result<Value, Refusal> {
    let by_payment = [("charge", "/charge"), ("payment_intent", "/payment_intent")];
    let (what, objects) = match endpoint {
        Endpoint::DeleteCustomer => return state.delete_customer(id, params),
        Endpoint::CancelSubscription => return state.cancel_subscription(id, params),
        Endpoint::Subscriptions => return state.list_subscriptions(url, params),
        Endpoint::Meters => return State::list_meters(url, params),
        Endpoint::Meter => return State::find_meter(id, params),
        Endpoint::MeterSummaries => return state.summarize_meter(url, id, params),
        Endpoint::Events => return state.list_events(url, params),
        Endpoint::Event => {
            params.finish()?;
            return state.find_event(id);
        }
        Endpoint::ThinEvent => {
            params.finish()?;
            return state.find_thin_event(id);
        }
        Endpoint::Refunds => return state.list(url, "refund", &state.refunds, &by_payment, params),
        Endpoint::Disputes => {
            return state.list(url, "dispute", &state.disputes, &by_payment, params);
        }
        Endpoint::Charges => {
            let filters = [
                ("customer", "/customer"),
                ("payment_intent", "/payment_intent"),
            ];
            return state.list(url, "charge", &state.charges, &filters, params);
        }
        Endpoint::Invoices => return state.list_invoices(url, params),
        Endpoint::InvoicePayments => return state.list_invoice_payments(url, params),
        Endpoint::Customer => ("customer", &state.customers),
        Endpoint::Price => ("price", &state.prices),
        Endpoint::Session => ("checkout.session", &state.sessions),
        Endpoint::Subscription => ("subscription", &state.subscriptions),
        Endpoint::Schedule => ("subscription schedule", &state.schedules),
        Endpoint::Refund => ("refund", &state.refunds),
        Endpoint::Charge => ("charge", &state.charges),
        Endpoint::Dispute => ("dispute", &state.disputes),
        Endpoint::Invoice => ("invoice", &state.invoices),
        Endpoint::PaymentIntent => ("payment_intent", &state.payment_intents),
        _ => unreachable!("{endpoint:?} is written to"),
    };
    params.finish()?;
    objects
        .get(id)
        .cloned()
        .ok_or_else(|| Refusal::missing(404, "id", what, id))
}

impl State {
    fn list_invoices(&self, url: &str, params: Params) -> Result<Value, Refusal> {
        let filters = [
            ("customer", "/customer"),
            ("subscription", "/parent/subscription_details/subscription"),
        ];
        let words = ["draft", "open", "paid", "uncollectible", "void"];
        self.list_with_status(url, "invoice", &self.invoices, &filters, &words, params)
    }

    fn list_invoice_payments(&self, url: &str, mut params: Params) -> Result<Value, Refusal> {
        let kind = "payment[type]";
        let given = params.choice(kind, &["payment_intent", "payment_record"])?;
        if given.is_none() && params.has("payment") {
            let message = format!("Missing required param: {kind}.");
            return Err(Refusal::invalid(Some("parameter_missing"), kind, message));
        }
        let filters = [
            ("invoice", "/invoice"),
            ("payment[payment_intent]", "/payment/payment_intent"),
        ];
        let words = ["canceled", "open", "paid"];
        let payments = &self.invoice_payments;
        self.list_with_status(url, "invoice_payment", payments, &filters, &words, params)
    }
}
