//! What can go wrong on purpose.

use std::collections::VecDeque;
use std::time::Duration;

/// The endpoints that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// `POST /v1/customers`
    CreateCustomer,
    /// `GET /v1/plans/{id}`
    Plan,
    /// `POST /v1/subscriptions`
    CreateSubscription,
    /// `GET /v1/subscriptions`
    Subscriptions,
    /// `GET /v1/subscriptions/{id}`
    Subscription,
    /// `POST /v1/subscriptions/{id}/cancel`
    CancelSubscription,
    /// `POST /v1/subscriptions/{id}/pause`
    PauseSubscription,
    /// `POST /v1/subscriptions/{id}/resume`
    ResumeSubscription,
    /// `GET /v1/invoices`
    Invoices,
    /// `GET /v1/invoices/{id}`
    Invoice,
    /// `GET /v1/payments/{id}`
    Payment,
    /// `POST /v1/payments/{id}/refund`
    CreateRefund,
    /// `GET /v1/payments/{id}/refunds`
    Refunds,
    /// `GET /v1/disputes`
    Disputes,
    /// `GET /v1/disputes/{id}`
    Dispute,
    /// `POST /v1/payment_links`
    CreatePaymentLink,
    /// `GET /v1/payment_links`
    PaymentLinks,
    /// `GET /v1/payment_links/{id}`
    PaymentLink,
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
    /// Nothing is done; answered with this status.
    Status {
        /// HTTP status.
        status: u16,
        /// `Retry-After`, in seconds.
        retry_after: Option<u64>,
    },
    /// Nothing is done; refused for the reason given, with 400.
    Refuse(&'static str),
    /// Nothing is done; some box in between answers 200 with a page.
    Garbage,
}

impl Fault {
    /// Razorpay is broken.
    pub(crate) const SERVER_ERROR: Self = Self::status(500);

    /// Too many requests; come back after so many seconds.
    pub(crate) const fn rate_limited(retry_after: u64) -> Self {
        Self::Status {
            status: 429,
            retry_after: Some(retry_after),
        }
    }

    /// A bare status.
    pub(crate) const fn status(status: u16) -> Self {
        Self::Status {
            status,
            retry_after: None,
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
