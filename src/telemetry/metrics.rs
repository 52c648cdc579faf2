//! Figures for Prometheus.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds in seconds. Dense around one millisecond, where a decision should be answered.
const DURATION_BUCKETS: [f64; 17] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0,
    7.5, 10.0,
];

type Histograms = Family<HttpLabels, Histogram, fn() -> Histogram>;

/// Every figure of the process. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    http_requests: Family<HttpLabels, Counter>,
    http_durations: Histograms,
    decisions: Family<DecisionLabels, Counter>,
    webhooks: Family<WebhookLabels, Counter>,
    bad_signatures: Family<ProviderLabels, Counter>,
    inbox_unprocessed: Gauge,
    inbox_oldest_seconds: Gauge,
    inbox_failed: Gauge,
    usage_reports_pending: Gauge,
    usage_reports_oldest_seconds: Gauge,
    usage_reports_doubtful: Gauge,
    overage_invoices_due: Gauge,
    overage_invoices_oldest_seconds: Gauge,
    endings_due: Gauge,
    endings_oldest_seconds: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HttpLabels {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    operation: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WebhookLabels {
    provider: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProviderLabels {
    provider: &'static str,
}

impl Metrics {
    /// A fresh set, all at zero.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let http_requests = Family::default();
        let http_durations: Histograms =
            Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS));
        let decisions = Family::default();
        let webhooks = Family::default();
        let bad_signatures = Family::default();
        let inbox_unprocessed = Gauge::default();
        let inbox_oldest_seconds = Gauge::default();
        let inbox_failed = Gauge::default();
        let usage_reports_pending = Gauge::default();
        let usage_reports_oldest_seconds = Gauge::default();
        let usage_reports_doubtful = Gauge::default();
        let overage_invoices_due = Gauge::default();
        let overage_invoices_oldest_seconds = Gauge::default();
        let endings_due = Gauge::default();
        let endings_oldest_seconds = Gauge::default();
        // The encoder appends `_total` to counters.
        registry.register("http_requests", "Requests answered", http_requests.clone());
        registry.register(
            "http_request_duration_seconds",
            "Time from a request's head to its answer's head",
            http_durations.clone(),
        );
        registry.register("plangate_decisions", "Decisions made", decisions.clone());
        registry.register("plangate_webhooks", "Webhooks accepted", webhooks.clone());
        registry.register(
            "plangate_webhook_signature_failures",
            "Webhooks refused for a bad or missing signature",
            bad_signatures.clone(),
        );
        registry.register(
            "plangate_inbox_unprocessed",
            "Webhook events stored and not yet applied",
            inbox_unprocessed.clone(),
        );
        registry.register(
            "plangate_inbox_oldest_seconds",
            "Age of the oldest event not yet applied, 0 when there is none",
            inbox_oldest_seconds.clone(),
        );
        registry.register(
            "plangate_inbox_failed",
            "Webhook events given up, which a person must look at",
            inbox_failed.clone(),
        );
        registry.register(
            "plangate_usage_reports_pending",
            "Reports of overage that the provider has not been told yet",
            usage_reports_pending.clone(),
        );
        registry.register(
            "plangate_usage_reports_oldest_seconds",
            "Age of the oldest report not told yet, 0 when there is none",
            usage_reports_oldest_seconds.clone(),
        );
        registry.register(
            "plangate_usage_reports_doubtful",
            "Reports of overage that the provider refused or may not have, which a person must look at",
            usage_reports_doubtful.clone(),
        );
        registry.register(
            "plangate_overage_invoices_due",
            "Invoices of overage that wait for their payment links",
            overage_invoices_due.clone(),
        );
        registry.register(
            "plangate_overage_invoices_oldest_seconds",
            "Age of the oldest invoice without its payment link, 0 when there is none",
            overage_invoices_oldest_seconds.clone(),
        );
        registry.register(
            "plangate_endings_due",
            "Subscriptions that are to be ended at their provider",
            endings_due.clone(),
        );
        registry.register(
            "plangate_endings_oldest_seconds",
            "Age of the oldest end that is due, 0 when there is none",
            endings_oldest_seconds.clone(),
        );
        Self {
            inner: Arc::new(Inner {
                registry,
                http_requests,
                http_durations,
                decisions,
                webhooks,
                bad_signatures,
                inbox_unprocessed,
                inbox_oldest_seconds,
                inbox_failed,
                usage_reports_pending,
                usage_reports_oldest_seconds,
                usage_reports_doubtful,
                overage_invoices_due,
                overage_invoices_oldest_seconds,
                endings_due,
                endings_oldest_seconds,
            }),
        }
    }

    /// Counts one answered request. `route` must be a template, never a path: each new value costs memory for ever.
    pub fn http_request(&self, method: &str, route: &str, status: u16, took: Duration) {
        let labels = HttpLabels {
            method: known_method(method),
            route: route.to_owned(),
            status,
        };
        self.inner.http_requests.get_or_create(&labels).inc();
        self.inner
            .http_durations
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
    }

    /// Counts one decision by what was asked (`consume`, `check`, …) and the rule that fired.
    pub fn decision(&self, operation: &'static str, reason: &'static str) {
        self.inner
            .decisions
            .get_or_create(&DecisionLabels { operation, reason })
            .inc();
    }

    /// Counts one webhook with a good signature by what became of it (`queued`, `duplicate`, `ignored`).
    pub fn webhook(&self, provider: &'static str, status: &'static str) {
        self.inner
            .webhooks
            .get_or_create(&WebhookLabels { provider, status })
            .inc();
    }

    /// Counts one webhook that was refused for its signature.
    pub fn webhook_signature_failure(&self, provider: &'static str) {
        self.inner
            .bad_signatures
            .get_or_create(&ProviderLabels { provider })
            .inc();
    }

    /// Sets how many events wait in the inbox, how old the oldest of them is, and how many were given up.
    pub fn inbox(&self, unprocessed: i64, oldest_seconds: i64, failed: i64) {
        self.inner.inbox_unprocessed.set(unprocessed);
        self.inner.inbox_oldest_seconds.set(oldest_seconds);
        self.inner.inbox_failed.set(failed);
    }

    /// Sets how many reports of overage wait to be told, how old the oldest of them is, and how many need a person.
    pub fn usage_reports(&self, pending: i64, oldest_seconds: i64, doubtful: i64) {
        self.inner.usage_reports_pending.set(pending);
        self.inner.usage_reports_oldest_seconds.set(oldest_seconds);
        self.inner.usage_reports_doubtful.set(doubtful);
    }

    /// Sets how many invoices of overage wait for their payment links, and since when the oldest of them does.
    pub fn overage_invoices(&self, due: i64, oldest_seconds: i64) {
        self.inner.overage_invoices_due.set(due);
        self.inner
            .overage_invoices_oldest_seconds
            .set(oldest_seconds);
    }

    /// Sets how many subscriptions are to be ended at their provider, and since when the oldest of them is.
    pub fn endings(&self, due: i64, oldest_seconds: i64) {
        self.inner.endings_due.set(due);
        self.inner.endings_oldest_seconds.set(oldest_seconds);
    }

    /// All figures in the `OpenMetrics` text format.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.inner.registry)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Clients can invent methods; labels must stay few.
fn known_method(method: &str) -> &'static str {
    ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("OTHER")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_carry_the_documented_names() {
        let metrics = Metrics::new();
        metrics.http_request("GET", "/plans/{tier}", 200, Duration::from_micros(700));
        metrics.http_request("BREW", "unmatched", 404, Duration::from_mins(1));
        metrics.decision("consume", "within_limit");
        metrics.webhook("stripe", "queued");
        metrics.webhook_signature_failure("stripe");
        metrics.clone().inbox(3, 41, 2);
        metrics.usage_reports(4, 17, 1);
        metrics.overage_invoices(5, 23);
        metrics.endings(2, 9);
        let text = metrics.encode().unwrap();
        for line in [
            r#"http_requests_total{method="GET",route="/plans/{tier}",status="200"} 1"#,
            r#"http_requests_total{method="OTHER",route="unmatched",status="404"} 1"#,
            r#"http_request_duration_seconds_bucket{le="0.0005",method="GET",route="/plans/{tier}",status="200"} 0"#,
            r#"http_request_duration_seconds_bucket{le="0.001",method="GET",route="/plans/{tier}",status="200"} 1"#,
            r#"plangate_decisions_total{operation="consume",reason="within_limit"} 1"#,
            r#"plangate_webhooks_total{provider="stripe",status="queued"} 1"#,
            r#"plangate_webhook_signature_failures_total{provider="stripe"} 1"#,
            "plangate_inbox_unprocessed 3",
            "plangate_inbox_oldest_seconds 41",
            "plangate_inbox_failed 2",
            "plangate_usage_reports_pending 4",
            "plangate_usage_reports_oldest_seconds 17",
            "plangate_usage_reports_doubtful 1",
            "plangate_overage_invoices_due 5",
            "plangate_overage_invoices_oldest_seconds 23",
            "plangate_endings_due 2",
            "plangate_endings_oldest_seconds 9",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
