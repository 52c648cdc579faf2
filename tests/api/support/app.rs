//! The service as production wires it, on a database and a clock of the test's own.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use plangate::config::Config;
use plangate::domain::api_key::Scope;
use plangate::http::operations::Readiness;
use plangate::server::{Application, ServeOptions};
use plangate::service::api_keys::ApiKeys;
use plangate::service::apply_event::{apply_next, end_next};
use plangate::service::billing::send_ends;
use plangate::service::context::Context;
use plangate::service::overage_invoices::bill_next;
use plangate::service::usage_reports::tell_due;
use plangate::store::clock::Clock;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::client::Call;
use super::cluster::{TestDatabase, fresh_database};
use crate::fake_razorpay::{self, FakeEvent, FakePlan, FakeRazorpay};
use crate::fake_stripe::{self, FakePrice, FakeStripe};

/// The operator's key of every test application.
pub(crate) const ADMIN_KEY: &str = "the-admin-key-of-the-tests-0123456789";
/// The price ids under which [`TestApp::with_stripe`] sells.
pub(crate) const PRICE_PRO: &str = "price_pro";
pub(crate) const PRICE_SCALE: &str = "price_scale";
pub(crate) const PRICE_SCALE_OVERAGE: &str = "price_scale_overage";
/// The plan ids under which [`TestApp::with_razorpay`] sells.
pub(crate) const PLAN_PRO: &str = "plan_pro";
pub(crate) const PLAN_SCALE: &str = "plan_scale";

/// A clock that stands still until it is told otherwise; its word is last in the database's decisions too.
#[derive(Debug, Clone)]
pub(crate) struct TestClock(Arc<Mutex<DateTime<Utc>>>);

impl TestClock {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(
            "2026-01-12T00:00:00Z".parse().unwrap(),
        )))
    }

    pub(crate) fn set(&self, now: DateTime<Utc>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

impl Clock for TestClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide(&self, _database: DateTime<Utc>) -> DateTime<Utc> {
        self.now()
    }
}

/// What a test wants different. Variables go through the production parsing.
pub(crate) struct TestAppBuilder {
    variables: HashMap<String, String>,
    stripe: Option<FakeStripe>,
    razorpay: Option<FakeRazorpay>,
    may_leave_events: bool,
}

impl TestAppBuilder {
    /// Sets an environment variable of the application.
    pub(crate) fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.insert(name.to_owned(), value.into());
        self
    }

    /// The test leaves webhooks in the inbox on purpose.
    pub(crate) fn may_leave_events(mut self) -> Self {
        self.may_leave_events = true;
        self
    }

    /// Sells pro and scale through a fake Stripe of this test.
    pub(crate) fn with_stripe(mut self) -> Self {
        let fake = FakeStripe::start();
        fake.add_price(FakePrice::monthly(PRICE_PRO, 4900));
        fake.add_price(FakePrice::monthly(PRICE_SCALE, 19_900));
        fake.add_price(FakePrice::metered(PRICE_SCALE_OVERAGE, 1));
        let base = fake.base().origin().ascii_serialization();
        self.stripe = Some(fake);
        self.set("STRIPE_API_BASE", base)
            .set("STRIPE_SECRET_KEY", fake_stripe::SECRET_KEY)
            .set("STRIPE_PUBLISHABLE_KEY", "pk_test_fake")
            .set("STRIPE_WEBHOOK_SECRET", fake_stripe::WEBHOOK_SECRET)
            .set("STRIPE_METER_EVENT_NAME", fake_stripe::METER_EVENT_NAME)
            .set("STRIPE_PRICE_ID_PRO", PRICE_PRO)
            .set("STRIPE_PRICE_ID_SCALE", PRICE_SCALE)
            .set("STRIPE_PRICE_ID_SCALE_OVERAGE", PRICE_SCALE_OVERAGE)
            .with_return_urls()
    }

    /// Sells pro and scale through a fake Razorpay of this test, in rupees; alone or beside Stripe.
    pub(crate) fn with_razorpay(mut self) -> Self {
        let fake = FakeRazorpay::start();
        fake.add_plan(FakePlan::monthly(PLAN_PRO, 399_900));
        fake.add_plan(FakePlan::monthly(PLAN_SCALE, 1_599_900));
        let base = fake.base().origin().ascii_serialization();
        self.razorpay = Some(fake);
        self.set("RAZORPAY_API_BASE", base)
            .set("RAZORPAY_KEY_ID", fake_razorpay::KEY_ID)
            .set("RAZORPAY_KEY_SECRET", fake_razorpay::KEY_SECRET)
            .set("RAZORPAY_WEBHOOK_SECRET", fake_razorpay::WEBHOOK_SECRET)
            .set("RAZORPAY_PLAN_ID_PRO", PLAN_PRO)
            .set("RAZORPAY_PLAN_ID_SCALE", PLAN_SCALE)
            .with_return_urls()
    }

    fn with_return_urls(self) -> Self {
        self.set("PLANGATE_RETURN_ORIGINS", "https://app.example.com")
            .set("PLANGATE_SUCCESS_URL", "https://app.example.com/paid")
            .set("PLANGATE_CANCEL_URL", "https://app.example.com/plans")
    }

    /// Builds the application and serves it.
    pub(crate) async fn start(mut self) -> TestApp {
        let database = fresh_database();
        self.variables
            .insert("DATABASE_URL".to_owned(), database.url.clone());
        let variables = self.variables;
        let config = Config::load(|name| variables.get(name).cloned()).unwrap();
        let clock = TestClock::new();
        if let Some(stripe) = &self.stripe {
            stripe.set_now(clock.now());
        }
        if let Some(razorpay) = &self.razorpay {
            razorpay.set_now(clock.now());
        }
        let url = SecretString::from(database.url.clone());
        let served = serve(config, url, clock.clone()).await;
        TestApp {
            base: format!("http://{}", served.address),
            served: Some(served),
            // The server closes what is idle for five seconds; a request must not meet that.
            client: reqwest::Client::builder()
                .pool_idle_timeout(Duration::from_secs(2))
                .build()
                .unwrap(),
            clock,
            stripe: self.stripe,
            razorpay: self.razorpay,
            database,
            may_leave_events: self.may_leave_events,
        }
    }
}

/// A running service.
pub(crate) struct TestApp {
    /// `http://127.0.0.1:<port>`.
    pub(crate) base: String,
    /// Of the service alone; [`TestApp::advance`] moves the fakes' too.
    pub(crate) clock: TestClock,
    pub(crate) database: TestDatabase,
    client: reqwest::Client,
    stripe: Option<FakeStripe>,
    razorpay: Option<FakeRazorpay>,
    may_leave_events: bool,
    /// `None` once it was stopped.
    served: Option<Served>,
}

impl TestApp {
    /// An application with the default catalogue and nothing else configured.
    pub(crate) async fn start() -> Self {
        Self::builder().start().await
    }

    /// An application that sells through a fake Stripe.
    pub(crate) async fn with_stripe() -> Self {
        Self::builder().with_stripe().start().await
    }

    /// An application that sells through a fake Razorpay.
    pub(crate) async fn with_razorpay() -> Self {
        Self::builder().with_razorpay().start().await
    }

    pub(crate) fn builder() -> TestAppBuilder {
        let builder = TestAppBuilder {
            variables: HashMap::new(),
            stripe: None,
            razorpay: None,
            may_leave_events: false,
        };
        builder
            .set("PLANGATE_ADMIN_KEY", ADMIN_KEY)
            .set(
                "PLANGATE_TOKEN_SECRET",
                "the-token-secret-of-the-tests-0123456789",
            )
            .set("PLANGATE_DATABASE_POOL_SIZE", "4")
    }

    pub(crate) fn get(&self, path: &str) -> Call {
        self.call(reqwest::Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> Call {
        self.call(reqwest::Method::POST, path)
    }

    pub(crate) fn put(&self, path: &str) -> Call {
        self.call(reqwest::Method::PUT, path)
    }

    pub(crate) fn delete(&self, path: &str) -> Call {
        self.call(reqwest::Method::DELETE, path)
    }

    /// Any method; the call bears the admin key until it is given another.
    pub(crate) fn call(&self, method: reqwest::Method, path: &str) -> Call {
        Call::new(self.client.request(method, format!("{}{path}", self.base))).key(ADMIN_KEY)
    }

    /// A new API key with these scopes.
    pub(crate) async fn key(&self, scopes: &[Scope]) -> String {
        let created = self
            .served()
            .keys
            .create(
                "test".to_owned(),
                "of a test".to_owned(),
                scopes.to_vec(),
                None,
                self.clock.now(),
            )
            .await;
        created.unwrap().key.expose_secret().to_owned()
    }

    /// The fake Stripe of [`TestApp::with_stripe`].
    pub(crate) fn stripe(&self) -> &FakeStripe {
        self.stripe.as_ref().expect("the application has a Stripe")
    }

    /// The fake Razorpay of [`TestApp::with_razorpay`].
    pub(crate) fn razorpay(&self) -> &FakeRazorpay {
        let razorpay = self.razorpay.as_ref();
        razorpay.expect("the application has a Razorpay")
    }

    /// Delivers Razorpay's events one after another; each must be accepted. Returns the answers' bodies.
    pub(crate) async fn deliver_razorpay<'a>(
        &self,
        events: impl IntoIterator<Item = &'a FakeEvent>,
    ) -> Vec<Value> {
        let url = format!("{}/webhook/razorpay", self.base);
        accepted(self.razorpay().deliver(&url, events).await)
    }

    /// Delivers events, signed at the test's time, one after another; each must be accepted. Returns the answers' bodies.
    pub(crate) async fn deliver<'a>(
        &self,
        events: impl IntoIterator<Item = &'a Value>,
    ) -> Vec<Value> {
        let url = format!("{}/webhook/stripe", self.base);
        accepted(self.stripe().deliver(&url, events, self.clock.now()).await)
    }

    /// Applies every webhook that is due, as the jobs would.
    pub(crate) async fn apply_webhooks(&self) {
        while apply_next(self.context()).await.unwrap() {}
    }

    /// Lets every job do what is due, until none has anything left.
    pub(crate) async fn do_the_work(&self) {
        let context = self.context();
        let token = CancellationToken::new();
        loop {
            self.apply_webhooks().await;
            let ended = end_next(context).await.unwrap();
            let sent = send_ends(context, &token).await.unwrap() > 0;
            let told = tell_due(context).await.unwrap() > 0;
            let billed = bill_next(context).await.unwrap();
            if !(ended || sent || told || billed) {
                return;
            }
        }
    }

    /// Moves the time on, at the provider too.
    pub(crate) fn advance(&self, by: TimeDelta) {
        let now = self.clock.now() + by;
        self.clock.set(now);
        if let Some(stripe) = &self.stripe {
            stripe.set_now(now);
        }
        if let Some(razorpay) = &self.razorpay {
            razorpay.set_now(now);
        }
    }

    /// What the service's own scripts work with.
    pub(crate) fn context(&self) -> &Context {
        &self.served().context
    }

    /// What `/readyz` looks at.
    pub(crate) fn readiness(&self) -> &Readiness {
        &self.served().readiness
    }

    /// A connection of the test's own.
    pub(crate) fn connect(&self) -> PgConnection {
        self.database.connect()
    }

    fn served(&self) -> &Served {
        self.served.as_ref().expect("the application runs")
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        if let Some(served) = self.served.take() {
            served.stop();
        }
        if self.may_leave_events || std::thread::panicking() {
            return;
        }
        let left: i64 = plangate::store::schema::webhooks::table
            .filter(plangate::store::schema::webhooks::status.eq("queued"))
            .count()
            .get_result(&mut self.connect())
            .unwrap();
        assert_eq!(left, 0, "webhooks were left in the inbox");
    }
}

fn accepted(answers: Vec<(u16, String)>) -> Vec<Value> {
    let bodies = answers.into_iter().map(|(status, body)| {
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    });
    bodies.collect()
}

struct Served {
    address: SocketAddr,
    context: Context,
    keys: Arc<ApiKeys>,
    readiness: Arc<Readiness>,
    handle: ServerHandle,
    thread: JoinHandle<()>,
}

impl Served {
    /// Ends the server and waits for its thread, so that no session is left on the test's database.
    fn stop(self) {
        // The command is given at once; the thread ends when it is done.
        drop(self.handle.stop(false));
        let _ = self.thread.join();
    }
}

/// Serves on a thread of its own, so that tests on any runtime can use it.
async fn serve(config: Config, url: SecretString, clock: TestClock) -> Served {
    let (started, starting) = oneshot::channel();
    let thread = std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let application = Application::build(&config, &url, Arc::new(clock))
                .await
                .unwrap();
            let listening = application
                .listen(ServeOptions {
                    address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
                    workers: 1,
                    shutdown_timeout: Duration::from_secs(1),
                })
                .unwrap();
            let parts = (
                listening.addresses[0],
                application.context().clone(),
                Arc::clone(application.keys()),
                Arc::clone(application.readiness()),
                listening.handle,
            );
            assert!(
                started.send(parts).is_ok(),
                "the test waits for its application"
            );
            drop(application);
            listening.server.await.unwrap();
        });
    });
    let Ok((address, context, keys, readiness, handle)) = starting.await else {
        panic!("the application does not start: {:?}", thread.join().err());
    };
    Served {
        address,
        context,
        keys,
        readiness,
        handle,
        thread,
    }
}
