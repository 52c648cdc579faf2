//! A stateful Stripe on loopback: the endpoints that the provider uses, as strict about parameters as the real one, with
//! faults to switch on. Test support only.
//!
//! ```ignore
//! let stripe = FakeStripe::start();
//! stripe.add_price(FakePrice::monthly("price_pro", 4900));
//! // … the service under test creates a customer and a session …
//! let events = stripe.complete_checkout(&session_id);
//! let delivery = stripe.sign(&events[0], now);
//! ```

mod acts;
mod checkouts;
mod endings;
mod endpoints;
mod events;
mod expansion;
mod faults;
mod items;
mod lists;
mod meters;
mod objects;
mod old_shape;
mod params;
mod payments;
mod periods;
mod phases;
mod portal;
mod refunds;
mod routes;
mod schedules;
mod state;
mod subscriptions;

use std::sync::{Arc, Mutex, MutexGuard, mpsc};

use actix_web::dev::ServerHandle;
use chrono::{DateTime, Utc};
use plangate::providers::stripe::{Stripe, StripeSettings};
use plangate::providers::transport::{RetryPolicy, Timeouts, Transport};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

pub(crate) use events::{Delivery, sign};
pub(crate) use faults::{Endpoint, Fault};
pub(crate) use meters::MeterEvent;
pub(crate) use objects::FakePrice;
pub(crate) use state::Recorded;
use state::State;

/// The only key that is let in.
pub(crate) const SECRET_KEY: &str = "sk_test_fake";
/// The event name of its meter.
pub(crate) const METER_EVENT_NAME: &str = "attribution_runs";
/// What deliveries are signed with.
pub(crate) const WEBHOOK_SECRET: &str = "whsec_fake";

/// A running fake. It stops when it is dropped.
pub(crate) struct FakeStripe {
    state: Arc<Mutex<State>>,
    handle: ServerHandle,
    base: Url,
    webhook_secret: SecretString,
}

impl FakeStripe {
    /// Starts a fake of its own on a free port. It runs on a thread of its own, so any runtime may use it.
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(State::new()));
        let (started, starting) = mpsc::channel();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let (address, server) =
                    routes::serve(shared).expect("the fake Stripe binds a free port");
                started
                    .send((address, server.handle()))
                    .expect("the test waits for its fake");
                server.await.expect("the fake Stripe serves");
            });
        });
        let (address, handle) = starting.recv().expect("the fake Stripe starts");
        let base = Url::parse(&format!("http://{address}")).expect("an address makes a base");
        Self {
            state,
            handle,
            base,
            webhook_secret: SecretString::from(WEBHOOK_SECRET),
        }
    }

    /// What belongs into `STRIPE_API_BASE`.
    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    /// Settings that reach this fake.
    pub(crate) fn settings(&self) -> StripeSettings {
        StripeSettings {
            secret_key: SecretString::from(SECRET_KEY),
            publishable_key: Some("pk_test_fake".to_owned()),
            webhook_secrets: vec![self.webhook_secret.clone()],
            api_base: self.base.clone(),
            meter_event_name: Some(METER_EVENT_NAME.to_owned()),
        }
    }

    /// The real provider, pointed at this fake.
    pub(crate) fn provider(&self, timeouts: Timeouts, retry: RetryPolicy) -> Stripe {
        let transport = Transport::new(timeouts, retry).expect("the transport builds");
        Stripe::new(self.settings(), transport).expect("the settings are sound")
    }

    /// Sets the fake's clock, which stays where it is put. It begins at the start's time.
    pub(crate) fn set_now(&self, now: DateTime<Utc>) {
        self.state().now = now;
    }

    /// Makes a price that can be sold.
    pub(crate) fn add_price(&self, price: FakePrice) {
        self.state().add_price(price);
    }

    /// From now on the endpoint fails this way, `times` times; faults that were set before come first.
    pub(crate) fn fail(&self, endpoint: Endpoint, fault: Fault, times: usize) {
        self.state().faults.add(endpoint, fault, times);
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

    /// The customers that exist.
    pub(crate) fn customers(&self) -> Vec<Value> {
        self.state().customers.values().cloned().collect()
    }

    /// The checkout sessions that exist.
    pub(crate) fn sessions(&self) -> Vec<Value> {
        self.state().sessions.values().cloned().collect()
    }

    /// One subscription as it is now.
    pub(crate) fn subscription(&self, id: &str) -> Value {
        self.state()
            .subscriptions
            .get(id)
            .unwrap_or_else(|| panic!("no subscription {id}"))
            .clone()
    }

    /// Any event about any object, at the fake's clock.
    pub(crate) fn event(&self, kind: &str, object: &Value) -> Value {
        self.state().event(kind, object)
    }

    /// The body and the signature header of one delivery, signed at `now`.
    pub(crate) fn sign(&self, event: &Value, now: DateTime<Utc>) -> Delivery {
        events::sign(event.to_string(), self.webhook_secret.expose_secret(), now)
    }

    /// Delivers the events one after another to `url`, in the given order; repeat one to deliver it twice. Returns the
    /// statuses and bodies of the answers.
    pub(crate) async fn deliver<'a>(
        &self,
        url: &str,
        events: impl IntoIterator<Item = &'a Value>,
        now: DateTime<Utc>,
    ) -> Vec<(u16, String)> {
        let client = reqwest::Client::new();
        let mut answers = Vec::new();
        for event in events {
            let answer = self.sign(event, now).send(&client, url).await;
            if answer.0 < 300 {
                self.state().events.note_delivered(event);
            }
            answers.push(answer);
        }
        answers
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics inside the fake")
    }
}

impl Drop for FakeStripe {
    fn drop(&mut self) {
        // The command is given at once; nothing here can wait for its end, and nothing needs to.
        drop(self.handle.stop(false));
    }
}
