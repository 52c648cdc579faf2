//! The contract of a provider: one story after another, told over HTTP through the production wiring, which every provider passes with the
//! same words. A provider that is new gets a [`Side`] and a line at the end of this file.
//!
//! What a story records is what customers and their backends see: the plan in force, and the subscription behind it. Nothing in it
//! says which provider it was.

mod razorpay;
mod stories;
mod stripe;

pub(crate) use razorpay::RazorpaySide;
pub(crate) use stripe::StripeSide;

use plangate::domain::provider_event::{ProviderName, ProviderSubscription};
use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::support::client::Answer;

/// What happens at a provider, in words that belong to none of them. Everything but `open` and `deliver` returns what the provider has to
/// tell of it.
pub(crate) trait Side {
    /// What it sends.
    type Event: Clone;
    /// Who it is.
    const NAME: ProviderName;

    /// A service that sells through it.
    async fn open() -> TestApp;
    /// The service is told.
    async fn send(app: &TestApp, events: &[Self::Event]);
    /// The service is told, and applies it.
    async fn deliver(app: &TestApp, events: &[Self::Event]) {
        Self::send(app, events).await;
        app.apply_webhooks().await;
    }
    /// What the requests of the service caused.
    fn news(app: &TestApp) -> Vec<Self::Event>;
    /// The customer pays at the checkout's page. The subscription's id comes along.
    fn pay(app: &TestApp, session: &str) -> (String, Vec<Self::Event>);
    /// The period ends: the next one is paid, or it was the last one.
    fn end_period(app: &TestApp, subscription: &str) -> Vec<Self::Event>;
    /// The period ends and the next one is not paid.
    fn fail(app: &TestApp, subscription: &str) -> Vec<Self::Event>;
    /// No further try is made to get what is overdue.
    fn give_up(app: &TestApp, subscription: &str) -> Vec<Self::Event>;
    /// What is overdue is paid.
    fn recover(app: &TestApp, subscription: &str) -> Vec<Self::Event>;
    /// Somebody pauses it in the provider's own pages.
    fn pause(app: &TestApp, subscription: &str) -> Vec<Self::Event>;
    /// Somebody ends it in the provider's own pages, at once.
    fn end(app: &TestApp, subscription: &str) -> Vec<Self::Event>;
    /// All of the latest payment goes back.
    fn refund(app: &TestApp, subscription: &str) -> Vec<Self::Event>;
    /// The payer's bank takes the latest payment back for good.
    fn lose_dispute(app: &TestApp, subscription: &str) -> Vec<Self::Event>;
    /// The customer does what the answer to a change of plan asks for, if anything. The subscription's id from then on comes along.
    fn agree_to_change(app: &TestApp, answer: &Value) -> (String, Vec<Self::Event>);
}

/// A customer of one provider, and what was recorded of them.
struct Story<S: Side> {
    app: TestApp,
    subscription: String,
    /// Everything that the provider told.
    told: Vec<S::Event>,
    record: Vec<String>,
}

impl<S: Side> Story<S> {
    async fn begin() -> Self {
        Self {
            app: S::open().await,
            subscription: String::new(),
            told: Vec::new(),
            record: Vec::new(),
        }
    }

    /// Begins with a customer on the plan.
    async fn on(tier: &str) -> Self {
        let mut story = Self::begin().await;
        story.buy(tier).await;
        story
    }

    /// The customer buys the plan, and the service is told.
    async fn buy(&mut self, tier: &str) {
        let session = self.checkout(tier).await;
        let (subscription, events) = S::pay(&self.app, &session);
        self.subscription = subscription;
        self.hear(events).await;
    }

    /// Opens a checkout. Returns the session.
    async fn checkout(&self, tier: &str) -> String {
        let order = json!({"plan_tier": tier, "provider": S::NAME.as_str()});
        let checkout = self.ask("create-checkout", order).await.expect(201);
        assert_eq!(checkout["provider"], S::NAME.as_str());
        assert!(checkout["checkout_url"].is_string(), "{checkout}");
        checkout["session_id"].as_str().unwrap().to_owned()
    }

    async fn ask(&self, operation: &str, mut body: Value) -> Answer {
        body["customer_id"] = json!("acme");
        let path = format!("/billing/{operation}");
        self.app.post(&path).json(body).send().await
    }

    /// The service is told, and applies it; then what that caused.
    async fn hear(&mut self, events: Vec<S::Event>) {
        S::deliver(&self.app, &events).await;
        self.told.extend(events);
        self.settle().await;
    }

    /// The jobs do what is due, and the service is told of what that caused, until nothing is left.
    async fn settle(&mut self) {
        for _ in 0..5 {
            self.app.do_the_work().await;
            let news = S::news(&self.app);
            if news.is_empty() {
                return;
            }
            S::deliver(&self.app, &news).await;
            self.told.extend(news);
        }
        panic!("{} always has news", S::NAME);
    }

    /// Writes down what is seen now.
    async fn note(&mut self, occasion: &str) {
        let seen = self.seen().await;
        self.record.push(format!("{occasion}: {seen}"));
    }

    /// The plan in force, and the subscription behind it.
    async fn seen(&self) -> String {
        let check =
            json!({"customer_id": "acme", "feature": "attribution_runs", "consistency": "strong"});
        let check = self.app.post("/entitlements/check").json(check);
        let decision = check.send().await.ok();
        let plan = &decision["plan"];
        let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let grace = match &decision["grace"] {
            Value::Null => String::new(),
            grace => format!(", grace of {}", word(&grace["tier"])),
        };
        let in_force = format!(
            "{} by {}{grace}",
            word(&plan["tier"]),
            word(&plan["source"])
        );
        let path = "/billing/subscription?customer_id=acme";
        let answer = self.app.get(path).send().await;
        if answer.status == 404 {
            return in_force + "; no subscription";
        }
        let subscription = answer.ok();
        assert_eq!(subscription["provider"], S::NAME.as_str());
        let (tier, status) = (
            word(&subscription["plan_tier"]),
            word(&subscription["status"]),
        );
        // What has ended may show how, or not.
        let ends = subscription["cancel_at_period_end"] == true && status != "canceled";
        let ends = if ends { ", ends with its period" } else { "" };
        format!("{in_force}; {tier} {status}{ends}")
    }

    /// The subscription in the core's words, as the provider's module reads it.
    async fn shown(&self) -> ProviderSubscription {
        let storefront = self.app.context().storefront(S::NAME).unwrap();
        let id = &self.subscription;
        storefront.provider.fetch_subscription(id).await.unwrap()
    }

    async fn used(&self) -> i64 {
        let usage = crate::support::steps::usage_of(&self.app, "acme", "attribution_runs").await;
        usage["used"].as_i64().unwrap()
    }

    #[track_caller]
    fn assert(&self, expected: &[&str]) {
        assert_eq!(self.record, expected, "through {}", S::NAME);
    }
}

/// One test for each story and provider.
macro_rules! contract {
    ($($provider:ident: $side:ty),+; $stories:tt) => {
        $(contract!(@ $provider $side $stories);)+
    };
    (@ $provider:ident $side:ty { $($story:ident),+ $(,)? }) => {
        mod $provider {
            $(
                #[actix_web::test]
                async fn $story() {
                    super::stories::$story::<$side>().await;
                }
            )+
        }
    };
}

contract! {
    through_stripe: super::StripeSide,
    through_razorpay: super::RazorpaySide;
    {
        bind,
        activate,
        renew,
        fail,
        give_up,
        recover,
        pause_and_resume,
        upgrade,
        downgrade,
        cancel_now,
        cancel_at_the_end,
        take_a_cancellation_back,
        end_at_the_provider,
        refund,
        lose_a_dispute,
        duplicate,
        reorder,
    }
}
