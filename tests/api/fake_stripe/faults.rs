//! What can go wrong on purpose.

use std::collections::VecDeque;
use std::time::Duration;

/// The endpoints that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// `POST /v1/customers`
    CreateCustomer,
    /// `GET /v1/customers/{id}`
    Customer,
    /// `GET /v1/prices/{id}`
    Price,
    /// `POST /v1/checkout/sessions`
    CreateSession,
    /// `GET /v1/checkout/sessions/{id}`
    Session,
    /// `POST /v1/checkout/sessions/{id}/expire`
    ExpireSession,
    /// `GET /v1/subscriptions/{id}`
    Subscription,
    /// `DELETE /v1/customers/{id}`
    DeleteCustomer,
    /// `POST /v1/billing_portal/sessions`
    CreatePortalSession,
    /// `GET /v1/subscriptions`
    Subscriptions,
    /// `POST /v1/subscriptions/{id}`
    UpdateSubscription,
    /// `DELETE /v1/subscriptions/{id}`
    CancelSubscription,
    /// `POST /v1/subscriptions/{id}/resume`
    ResumeSubscription,
    /// `POST /v1/subscription_schedules`
    CreateSchedule,
    /// `GET /v1/subscription_schedules/{id}`
    Schedule,
    /// `POST /v1/subscription_schedules/{id}`
    UpdateSchedule,
    /// `POST /v1/subscription_schedules/{id}/release`
    ReleaseSchedule,
    /// `POST /v1/billing/meter_events`
    CreateMeterEvent,
    /// `POST /v1/billing/meter_event_adjustments`
    AdjustMeterEvent,
    /// `GET /v1/billing/meters`
    Meters,
    /// `GET /v1/billing/meters/{id}`
    Meter,
    /// `GET /v1/billing/meters/{id}/event_summaries`
    MeterSummaries,
    /// `POST /v1/refunds`
    CreateRefund,
    /// `GET /v1/refunds`
    Refunds,
    /// `GET /v1/refunds/{id}`
    Refund,
    /// `GET /v1/charges`
    Charges,
    /// `GET /v1/charges/{id}`
    Charge,
    /// `GET /v1/disputes`
    Disputes,
    /// `GET /v1/disputes/{id}`
    Dispute,
    /// `GET /v1/invoices`
    Invoices,
    /// `GET /v1/invoices/{id}`
    Invoice,
    /// `GET /v1/invoice_payments`
    InvoicePayments,
    /// `GET /v1/payment_intents/{id}`
    PaymentIntent,
    /// `GET /v1/events`
    Events,
    /// `GET /v1/events/{id}`
    Event,
    /// `GET /v2/core/events/{id}`
    ThinEvent,
}

/// A way to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The work is done, then the connection dies without a byte of answer.
    DropAfterEffect,
    /// The work is done, the answer comes this much later.
    StallAfterEffect(Duration),
    /// None: this one request goes through, and the fault after it comes second.
    Pass,
    /// The connection dies before anything is done.
    DropBeforeEffect,
    /// Nothing is done; answered with this status and these headers.
    Status {
        /// HTTP status.
        status: u16,
        /// `Retry-After`, in seconds.
        retry_after: Option<u64>,
        /// `Stripe-Should-Retry`.
        should_retry: Option<bool>,
    },
    /// Nothing is done; some box in between answers 200 with a page.
    Garbage,
}

impl Fault {
    /// Another request is using the same idempotency key or object.
    pub(crate) const CONFLICT: Self = Self::status(409);
    /// Stripe is broken.
    pub(crate) const SERVER_ERROR: Self = Self::status(500);

    /// Too many requests; come back after so many seconds.
    pub(crate) const fn rate_limited(retry_after: u64) -> Self {
        Self::Status {
            status: 429,
            retry_after: Some(retry_after),
            should_retry: None,
        }
    }

    /// A bare status.
    pub(crate) const fn status(status: u16) -> Self {
        Self::Status {
            status,
            retry_after: None,
            should_retry: None,
        }
    }
}

/// The faults that are still to come.
#[derive(Debug, Default)]
pub(crate) struct Faults(VecDeque<(Endpoint, Fault)>);

impl Faults {
    pub(crate) fn add(&mut self, endpoint: Endpoint, fault: Fault, times: usize) {
        self.0.extend(std::iter::repeat_n((endpoint, fault), times));
    }

    pub(crate) fn take(&mut self, endpoint: Endpoint) -> Option<Fault> {
        let position = self.0.iter().position(|(at, _)| *at == endpoint)?;
        self.0.remove(position).map(|(_, fault)| fault)
    }
}
