//! A stateful Razorpay on loopback: the endpoints that the provider uses, as strict about parameters as the real one, with
//! faults to switch on. Test support only.
//!
//! ```ignore
//! let razorpay = FakeRazorpay::start();
//! razorpay.add_plan(FakePlan::monthly("plan_pro", 399_900));
//! // … the service under test creates a subscription …
//! let events = razorpay.pay_checkout(&subscription);
//! let delivery = razorpay.sign(&events[0]);
//! ```

mod acts;
mod cycles;
mod disputes;
mod endpoints;
mod events;
mod faults;
mod links;
mod lists;
mod params;
mod payments;
mod periods;
mod routes;
mod state;
mod subscriptions;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, mpsc};

use actix_web::dev::ServerHandle;
use chrono::{DateTime, Utc};
use plangate::providers::razorpay::{Razorpay, RazorpaySettings};
use plangate::providers::transport::{RetryPolicy, Timeouts, Transport};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

pub(crate) use events::{Delivery, FakeEvent, Quirk, sign};
pub(crate) use faults::{Endpoint, Fault};
pub(crate) use state::{FakePlan, Recorded};
use state::{State, text};

/// The only key that is let in.
pub(crate) const KEY_ID: &str = "rzp_test_fake";
/// Its secret, which also signs what browsers are handed.
pub(crate) const KEY_SECRET: &str = "the-key-secret-of-the-fake";
/// What deliveries are signed with.
pub(crate) const WEBHOOK_SECRET: &str = "the-webhook-secret-of-the-fake";

/// A running fake. It stops when it is dropped.
pub(crate) struct FakeRazorpay {
    state: Arc<Mutex<State>>,
    handle: ServerHandle,
    base: Url,
    webhook_secret: SecretString,
}

impl FakeRazorpay {
    /// Starts a fake of its own on a free port. It runs on a thread of its own, so any runtime may use it.
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(State::new()));
        let (started, starting) = mpsc::channel();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let (address, server) =
                    routes::serve(shared).expect("the fake Razorpay binds a free port");
                started
                    .send((address, server.handle()))
                    .expect("the test waits for its fake");
                server.await.expect("the fake Razorpay serves");
            });
        });
        let (address, handle) = starting.recv().expect("the fake Razorpay starts");
        let base = Url::parse(&format!("http://{address}")).expect("an address makes a base");
        Self {
            state,
            handle,
            base,
            webhook_secret: SecretString::from(WEBHOOK_SECRET),
        }
    }

    /// What belongs into `RAZORPAY_API_BASE`.
    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    /// Settings that reach this fake.
    pub(crate) fn settings(&self) -> RazorpaySettings {
        RazorpaySettings {
            key_id: KEY_ID.to_owned(),
            key_secret: SecretString::from(KEY_SECRET),
            webhook_secrets: vec![self.webhook_secret.clone()],
            api_base: self.base.clone(),
        }
    }

    /// The real provider, pointed at this fake.
    pub(crate) fn provider(&self, timeouts: Timeouts, retry: RetryPolicy) -> Razorpay {
        let transport = Transport::new(timeouts, retry).expect("the transport builds");
        Razorpay::new(self.settings(), transport).expect("the settings are sound")
    }

    /// Sets the fake's clock, which stays where it is put. What was open too long by then expires. It begins at the start's time.
    pub(crate) fn set_now(&self, now: DateTime<Utc>) {
        self.state().set_now(now);
    }

    /// Makes a plan that can be sold, or puts it into the place of one with its id.
    pub(crate) fn add_plan(&self, plan: FakePlan) {
        self.state().add_plan(plan);
    }

    /// From now on the endpoint fails this way, `times` times; faults that were set before come first.
    pub(crate) fn fail(&self, endpoint: Endpoint, fault: Fault, times: usize) {
        self.state().faults.add(endpoint, fault, times);
    }

    /// From now on every payment is declined, or none.
    pub(crate) fn decline_payments(&self, declined: bool) {
        self.state().declining = declined;
    }

    /// Cycles that are reckoned from now on end at midnight in India, as the real ones do, or to the second after a month.
    pub(crate) fn end_cycles_at_midnight(&self, midnight: bool) {
        self.state().whole_days = midnight;
    }

    /// From now on bodies have these quirks and no others.
    pub(crate) fn have_quirks(&self, quirks: impl IntoIterator<Item = Quirk>) {
        self.state().quirks = quirks.into_iter().collect();
    }

    /// Every request that arrived, also refused and faulty ones, in order.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.state().requests.clone()
    }

    /// The requests that arrived at one endpoint.
    pub(crate) fn requests_to(&self, endpoint: Endpoint) -> Vec<Recorded> {
        self.requests()
            .into_iter()
            .filter(|r| r.endpoint == Some(endpoint))
            .collect()
    }

    /// The customers that exist, oldest first.
    pub(crate) fn customers(&self) -> Vec<Value> {
        all(&self.state().customers)
    }

    /// The subscriptions that exist, oldest first.
    pub(crate) fn subscriptions(&self) -> Vec<Value> {
        all(&self.state().subscriptions)
    }

    /// The payments that exist, oldest first.
    pub(crate) fn payments(&self) -> Vec<Value> {
        all(&self.state().payments)
    }

    /// The refunds that exist, oldest first.
    pub(crate) fn refunds(&self) -> Vec<Value> {
        all(&self.state().refunds)
    }

    /// The payment links that exist, oldest first.
    pub(crate) fn links(&self) -> Vec<Value> {
        all(&self.state().links)
    }

    /// One subscription as it is now.
    pub(crate) fn subscription(&self, id: &str) -> Value {
        self.state().subscription_mut(id).clone()
    }

    /// Whether the subscription is to end with its cycle, which the API does not show.
    pub(crate) fn ends_with_its_cycle(&self, id: &str) -> bool {
        self.state().ending.contains(id)
    }

    /// The id of the subscription's latest payment.
    pub(crate) fn payment_of(&self, subscription: &str) -> String {
        let state = self.state();
        let mut paid = state.invoices.values().rev();
        let invoice = paid.find(|invoice| invoice["subscription_id"] == subscription);
        text(invoice.expect("something was paid"), "payment_id")
    }

    /// Any event about any objects, each under its name, at the fake's clock.
    pub(crate) fn event(&self, kind: &str, objects: &[(&str, &Value)]) -> FakeEvent {
        self.state().event(kind, objects)
    }

    /// The body and the headers of one delivery.
    pub(crate) fn sign(&self, event: &FakeEvent) -> Delivery {
        let body = event.body.to_string();
        Delivery {
            signature: sign(&body, self.webhook_secret.expose_secret()),
            event_id: event.id.clone(),
            body,
        }
    }

    /// Delivers the events one after another to `url`, in the given order; repeat one to deliver it twice. Returns the
    /// statuses and bodies of the answers.
    pub(crate) async fn deliver<'a>(
        &self,
        url: &str,
        events: impl IntoIterator<Item = &'a FakeEvent>,
    ) -> Vec<(u16, String)> {
        let client = reqwest::Client::new();
        let mut answers = Vec::new();
        for event in events {
            answers.push(self.sign(event).send(&client, url).await);
        }
        answers
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics inside the fake")
    }
}

impl Drop for FakeRazorpay {
    fn drop(&mut self) {
        // The command is given at once; nothing here can wait for its end, and nothing needs to.
        drop(self.handle.stop(false));
    }
}

fn all(things: &BTreeMap<String, Value>) -> Vec<Value> {
    things.values().cloned().collect()
}
