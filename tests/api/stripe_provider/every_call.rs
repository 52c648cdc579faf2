//! Whatever fault meets any request of any call: the call succeeds, and has its effect once.

use std::time::Duration;

use plangate::providers::stripe::Stripe;
use plangate::providers::transport::{RetryPolicy, Timeouts};
use plangate::providers::{
    ChangeWhen, FinalInvoice, PortalRequest, Provider, ProviderError, RefundShare,
};
use serde_json::json;

use super::brisk;
use super::life::{Subscribed, noon};
use crate::fake_stripe::{Endpoint, Fault};

/// Every call that changes something, and those that read in several steps.
#[derive(Debug, Clone, Copy)]
enum Act {
    UpgradeNow,
    DowngradeNow,
    DowngradeWithPeriod,
    ReplacePlan,
    DropPlan,
    EndWithPeriod,
    EndNow,
    TakeEndBack,
    Unpause,
    Refund,
    TellUsage,
    TakeUsageBack,
    VisitPortal,
    ReadCharge,
    ReadUsage,
    ReadHistory,
}

const ACTS: [Act; 16] = [
    Act::UpgradeNow,
    Act::DowngradeNow,
    Act::DowngradeWithPeriod,
    Act::ReplacePlan,
    Act::DropPlan,
    Act::EndWithPeriod,
    Act::EndNow,
    Act::TakeEndBack,
    Act::Unpause,
    Act::Refund,
    Act::TellUsage,
    Act::TakeUsageBack,
    Act::VisitPortal,
    Act::ReadCharge,
    Act::ReadUsage,
    Act::ReadHistory,
];

impl Act {
    /// What the call finds.
    async fn prepared(self) -> Subscribed {
        let it = match self {
            Self::UpgradeNow => Subscribed::to_pro().await,
            _ => Subscribed::to_scale().await,
        };
        match self {
            Self::ReplacePlan | Self::DropPlan | Self::EndWithPeriod => {
                let planned = it.to("pro", ChangeWhen::PeriodEnd);
                it.stripe.change_plan(&planned).await.unwrap();
            }
            Self::UpgradeNow | Self::DowngradeWithPeriod | Self::TakeEndBack => {
                it.stripe.cancel_at_period_end(&it.id).await.unwrap();
            }
            Self::Unpause => {
                it.fake.pause_collection(&it.id, true);
                it.fake
                    .update_subscription(&it.id, |s| s["status"] = json!("paused"));
            }
            Self::EndNow | Self::TakeUsageBack | Self::ReadUsage => {
                let report = it.usage("run-1", 7);
                it.stripe.report_usage(&report).await.unwrap();
            }
            Self::ReadCharge => {
                let charge = it.fake.charge_of(&it.id);
                it.fake.refund_charge(&charge, Some(5));
                it.fake.open_dispute(&charge);
            }
            _ => {}
        }
        it
    }

    /// The call; what it answered, in words.
    async fn run(self, it: &Subscribed, stripe: &Stripe) -> Result<String, ProviderError> {
        let id = it.id.as_str();
        let change = |tier, when| it.to(tier, when);
        let said = match self {
            Self::UpgradeNow => {
                let change = change("scale", ChangeWhen::Now);
                format!("{:?}", stripe.change_plan(&change).await?)
            }
            Self::DowngradeNow => {
                let change = change("pro", ChangeWhen::Now);
                format!("{:?}", stripe.change_plan(&change).await?)
            }
            Self::DowngradeWithPeriod => {
                let change = change("pro", ChangeWhen::PeriodEnd);
                format!("{:?}", stripe.change_plan(&change).await?)
            }
            Self::ReplacePlan => {
                let mut change = change("pro", ChangeWhen::PeriodEnd);
                change.plan_version += 1;
                format!("{:?}", stripe.change_plan(&change).await?)
            }
            Self::DropPlan => format!("{:?}", stripe.drop_planned_change(id).await?),
            Self::EndWithPeriod => format!("{:?}", stripe.cancel_at_period_end(id).await?),
            Self::EndNow => {
                format!("{:?}", stripe.cancel_now(id, FinalInvoice::Drawn).await?)
            }
            Self::TakeEndBack | Self::Unpause => format!("{:?}", stripe.resume(id).await?),
            Self::Refund => {
                let gone_back = stripe
                    .refund_latest_payment(id, RefundShare::Whole, "refund:1")
                    .await?;
                format!("{gone_back}")
            }
            Self::TellUsage => {
                format!("{:?}", stripe.report_usage(&it.usage("run-1", 7)).await?)
            }
            Self::TakeUsageBack => format!("{:?}", stripe.retract_usage("run-1").await?),
            Self::VisitPortal => {
                let request = PortalRequest {
                    provider_customer_id: it.customer.clone(),
                    return_url: "https://app.example/account".to_owned(),
                };
                stripe.open_portal(&request).await?
            }
            Self::ReadCharge => {
                format!("{:?}", stripe.charge(&it.fake.charge_of(id), b"").await?)
            }
            Self::ReadUsage => {
                let day = chrono::TimeDelta::days(1);
                let counted = stripe.usage_counted(&it.customer, noon(), noon() + day);
                format!("{:?}", counted.await?)
            }
            Self::ReadHistory => {
                let events = stripe.events(noon(), None).await?.items.len();
                format!("{events} {:?}", stripe.subscriptions(None).await?)
            }
        };
        Ok(said)
    }

    /// Prepares, lets the fault happen once at that request, calls. Returns what was said and what there is afterwards, and
    /// which requests were made.
    async fn played(self, fault: Option<(Endpoint, Fault)>, slow: bool) -> (String, Vec<Endpoint>) {
        let it = self.prepared().await;
        let asked_before = it.fake.requests().len();
        if let Some((endpoint, fault)) = fault {
            it.fake.fail(endpoint, fault, 1);
        }
        let said = if slow {
            let timeouts = Timeouts {
                total: Duration::from_millis(500),
                ..Timeouts::default()
            };
            let patient = RetryPolicy {
                attempts: 20,
                ..brisk()
            };
            self.run(&it, &it.fake.provider(timeouts, patient)).await
        } else {
            self.run(&it, &it.stripe).await
        };
        let said = said.unwrap_or_else(|error| panic!("{self:?} {fault:?}: {error}"));
        let requests = it.fake.requests().split_off(asked_before);
        let asked = requests.iter().filter_map(|r| r.endpoint).collect();
        let told: Vec<_> = it
            .fake
            .meter_events()
            .into_iter()
            .map(|event| (event.counts(), event.identifier, event.value))
            .collect();
        let left = format!(
            "{said}\n{:?}\n{:#}\n{:#?}\n{:#?}\n{:?}",
            it.now().await,
            it.fake.subscription(&it.id),
            it.fake.refunds(),
            it.fake.invoices(),
            told,
        );
        // Ids differ in what the fake puts into all of its own.
        let run = &it.id["sub_".len()..it.id.len() - 5];
        (left.replace(run, ""), asked)
    }
}

/// All of it differs too long to be read: shows the first line that does.
fn assert_same(left: &str, undisturbed: &str, what: &str) {
    for (line, expected) in left.lines().zip(undisturbed.lines()) {
        assert_eq!(line, expected, "{what}");
    }
    assert_eq!(left.lines().count(), undisturbed.lines().count(), "{what}");
}

#[tokio::test]
async fn every_call_survives_every_fault_at_every_request() {
    let faults = [
        Fault::DropAfterEffect,
        Fault::DropBeforeEffect,
        Fault::CONFLICT,
        Fault::SERVER_ERROR,
        Fault::rate_limited(0),
    ];
    let mut played = 0;
    for act in ACTS {
        let (undisturbed, asked) = act.played(None, false).await;
        assert!(!asked.is_empty());
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for endpoint in asked {
            if !endpoints.contains(&endpoint) {
                endpoints.push(endpoint);
            }
        }
        for endpoint in endpoints {
            for fault in faults {
                let (left, _) = act.played(Some((endpoint, fault)), false).await;
                assert_same(
                    &left,
                    &undisturbed,
                    &format!("{act:?} {endpoint:?} {fault:?}"),
                );
                played += 1;
            }
        }
    }
    assert!(played > 150, "{played}");
}

#[tokio::test]
async fn an_answer_that_comes_too_late_has_its_effect_once() {
    let late = Fault::StallAfterEffect(Duration::from_secs(1));
    for (act, endpoint) in [
        (Act::UpgradeNow, Endpoint::UpdateSubscription),
        (Act::DowngradeWithPeriod, Endpoint::CreateSchedule),
        (Act::DowngradeWithPeriod, Endpoint::UpdateSchedule),
        (Act::DropPlan, Endpoint::ReleaseSchedule),
        (Act::EndNow, Endpoint::CancelSubscription),
        (Act::Unpause, Endpoint::ResumeSubscription),
        (Act::Refund, Endpoint::CreateRefund),
        (Act::TellUsage, Endpoint::CreateMeterEvent),
        (Act::TakeUsageBack, Endpoint::AdjustMeterEvent),
    ] {
        let (undisturbed, _) = act.played(None, false).await;
        let (left, asked) = act.played(Some((endpoint, late)), true).await;
        assert_same(&left, &undisturbed, &format!("{act:?} {endpoint:?}"));
        let tries = asked.iter().filter(|at| **at == endpoint).count();
        assert!(tries >= 2, "{act:?} {endpoint:?}: nothing was late");
    }
}

/// A process that died between two requests of a change: whoever repeats it finishes it.
#[tokio::test]
async fn a_change_that_was_cut_off_is_finished_by_repeating_it() {
    for act in [
        Act::UpgradeNow,
        Act::DowngradeNow,
        Act::DowngradeWithPeriod,
        Act::ReplacePlan,
        Act::EndWithPeriod,
        Act::TakeEndBack,
        Act::Unpause,
    ] {
        let (_, asked) = act.played(None, false).await;
        let whole = act.prepared().await;
        act.run(&whole, &whole.stripe).await.unwrap();
        for endpoint in asked {
            let it = act.prepared().await;
            it.fake.fail(endpoint, Fault::status(400), 1);
            // Refused for good at one point: all that came before it has been done.
            drop(act.run(&it, &it.stripe).await);
            act.run(&it, &it.stripe).await.unwrap();
            let (cut, uncut) = (it.now().await, whole.now().await);
            let meaning = |s: &plangate::domain::provider_event::ProviderSubscription| {
                let mut prices = s.price_ids.clone();
                prices.sort();
                let planned = s.planned.clone();
                (
                    prices,
                    planned,
                    s.status.clone(),
                    s.cancel_at_period_end,
                    s.sold_as.clone(),
                )
            };
            assert_eq!(meaning(&cut), meaning(&uncut), "{act:?} {endpoint:?}");
            assert_eq!(
                it.fake.invoices().len(),
                whole.fake.invoices().len(),
                "{act:?} {endpoint:?}"
            );
        }
    }
}
