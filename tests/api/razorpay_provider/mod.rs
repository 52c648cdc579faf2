//! The Razorpay provider on the wire, against the fake.

mod every_call;
mod life;

use std::time::Duration;

use chrono::{DateTime, Utc};
use plangate::providers::razorpay::Razorpay;
use plangate::providers::transport::{RetryPolicy, Timeouts};
use plangate::providers::{CheckoutRequest, NewCustomer, PaymentLinkRequest, Provider as _};

use crate::fake_razorpay::{FakePlan, FakeRazorpay};

/// What a month of the plan costs, in paise.
const PRICE: i64 = 399_900;

fn noon() -> DateTime<Utc> {
    "2026-01-10T12:00:00Z".parse().unwrap()
}

/// Repeats within milliseconds, and waits long for an answer so that a busy machine does not look like a fault.
fn brisk() -> RetryPolicy {
    RetryPolicy {
        attempts: 3,
        base_delay: Duration::from_millis(2),
        max_delay: Duration::from_millis(5),
        budget: Duration::from_secs(15),
    }
}

/// A fake with a plan, at noon.
fn start() -> (FakeRazorpay, Razorpay) {
    let fake = FakeRazorpay::start();
    fake.set_now(noon());
    fake.add_plan(FakePlan::monthly("plan_pro", PRICE));
    let razorpay = fake.provider(Timeouts::default(), brisk());
    (fake, razorpay)
}

/// Somebody whose subscription was paid at noon, and its id.
async fn subscribed() -> (FakeRazorpay, Razorpay, String) {
    let (fake, razorpay) = start();
    let session = razorpay.create_checkout(&pro()).await.unwrap();
    fake.pay_checkout(&session.id);
    fake.take_events();
    (fake, razorpay, session.id)
}

fn acme() -> NewCustomer {
    NewCustomer {
        customer_id: "acme_1".to_owned(),
        email: Some("billing@acme.example".to_owned()),
        name: Some("Acmé".to_owned()),
        idempotency_key: "customer:acme_1:1".to_owned(),
    }
}

fn pro() -> CheckoutRequest {
    CheckoutRequest {
        provider_customer_id: "cust_1".to_owned(),
        base_price_id: "plan_pro".to_owned(),
        overage_price_id: None,
        customer_id: "acme_1".to_owned(),
        plan_tier: "pro".to_owned(),
        plan_version: 2,
        success_url: "https://app.example/ok".to_owned(),
        cancel_url: "https://app.example/no".to_owned(),
        trial_days: None,
        promotion_codes: false,
        starts_at: None,
        begun_at: noon(),
        idempotency_key: "attempt-1".to_owned(),
    }
}

fn usage() -> PaymentLinkRequest {
    PaymentLinkRequest {
        reference: "overage-1".to_owned(),
        amount: 12_300,
        currency: "inr".to_owned(),
        description: "Usage of January".to_owned(),
        customer_id: "acme_1".to_owned(),
        name: Some("Acmé".to_owned()),
        email: Some("billing@acme.example".to_owned()),
        return_url: Some("https://app.example/thanks".to_owned()),
    }
}
