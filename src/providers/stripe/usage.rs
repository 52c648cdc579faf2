//! Usage above a plan's limit, told to a billing meter.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use stripe_billing::BillingMeterEventAdjustmentType;
use stripe_billing::BillingMeterStatus;
use stripe_billing::billing_meter::ListBillingMeter;
use stripe_billing::billing_meter_event::CreateBillingMeterEvent;
use stripe_billing::billing_meter_event_adjustment::{
    CreateBillingMeterEventAdjustment, CreateBillingMeterEventAdjustmentCancel,
};
use stripe_billing::billing_meter_event_summary::ListIdBillingMeterEventSummary;
use uuid::Uuid;

use super::Stripe;
use super::objects::{Meter, MeterErrorReport, Summary};
use super::wire::{PAGE, path_id};
use crate::providers::{ProviderError, RefusedUsage, Reported, Retracted, UsageReport};

/// What summaries are aligned to, in seconds.
const MINUTE: i64 = 60;

/// Divides a report's identifier from the chance that makes its idempotency key a new one.
const KEY_DIVIDER: char = '~';

impl Stripe {
    pub(super) async fn tell_usage(&self, report: &UsageReport) -> Result<Reported, ProviderError> {
        let request = meter_event(self.meter_event_name()?, report);
        // The identifier keeps Stripe from counting twice. The key is new each time, so that a failure which Stripe keeps
        // under a key does not stand in the way of the next try; it begins with the identifier because what Stripe later
        // says of reports that it could not use names "the request's idempotency key".
        let key = format!("{}{KEY_DIVIDER}{}", report.identifier, Uuid::now_v7());
        match self
            .send::<serde::de::IgnoredAny>(&request, Some(&key))
            .await
        {
            Ok(_) => Ok(Reported::Taken),
            Err(refused) if is_known(&refused) => Ok(Reported::Known),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn take_usage_back(
        &self,
        identifier: &str,
    ) -> Result<Retracted, ProviderError> {
        let request = adjustment(self.meter_event_name()?, identifier);
        match self.change::<serde::de::IgnoredAny>(&request).await {
            Ok(_) => Ok(Retracted::Done),
            Err(error) => what_stands(error),
        }
    }

    pub(super) async fn sum_usage(
        &self,
        provider_customer_id: &str,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<i64, ProviderError> {
        let (start, end) = whole_minutes(from, until);
        if end <= start {
            return Ok(0);
        }
        let meter_id = self.meter_id().await?;
        let id = path_id(&meter_id)?;
        let summaries: Vec<Summary> = self
            .list(|after| {
                let request =
                    ListIdBillingMeterEventSummary::new(id, provider_customer_id, end, start)
                        .limit(PAGE);
                match after {
                    Some(after) => request.starting_after(after),
                    None => request,
                }
            })
            .await?;
        summaries
            .iter()
            .try_fold(0_i64, |sum, summary| sum.checked_add(summary.units()?))
            .ok_or_else(|| ProviderError::Unreadable {
                reason: "aggregated_value: not a whole number of units".to_owned(),
            })
    }

    pub(super) async fn unusable_usage(
        &self,
        event_id: &str,
    ) -> Result<Vec<RefusedUsage>, ProviderError> {
        let path = format!("/v2/core/events/{}", path_id(event_id)?);
        let mut refused = self.get::<MeterErrorReport>(&path).await?.refused();
        for report in &mut refused {
            report.identifier = report.identifier.take().map(without_key);
        }
        Ok(refused)
    }

    fn meter_event_name(&self) -> Result<&str, ProviderError> {
        let name = self.settings.meter_event_name.as_deref();
        name.ok_or(ProviderError::Unsupported {
            what: "no meter is configured",
        })
    }

    /// Asked for anew each time: this is rare, and a meter may have been put in another's place.
    async fn meter_id(&self) -> Result<String, ProviderError> {
        let name = self.meter_event_name()?;
        let meters: Vec<Meter> = self
            .list(|after| {
                let request = ListBillingMeter::new()
                    .status(BillingMeterStatus::Active)
                    .limit(PAGE);
                match after {
                    Some(after) => request.starting_after(after),
                    None => request,
                }
            })
            .await?;
        let meter = meters
            .into_iter()
            .find(|meter| meter.event_name == name)
            .ok_or(ProviderError::NotFound)?;
        if meter.sums() {
            Ok(meter.id)
        } else {
            Err(ProviderError::Unreadable {
                reason: format!("the meter of `{name}` does not add up what it is told"),
            })
        }
    }
}

pub(super) fn meter_event(event_name: &str, report: &UsageReport) -> CreateBillingMeterEvent {
    let payload = HashMap::from([
        (
            "stripe_customer_id".to_owned(),
            report.provider_customer_id.clone(),
        ),
        ("value".to_owned(), report.quantity.to_string()),
    ]);
    CreateBillingMeterEvent::new(event_name, payload)
        .identifier(report.identifier.clone())
        .timestamp(report.at.timestamp())
}

fn adjustment(event_name: &str, identifier: &str) -> CreateBillingMeterEventAdjustment {
    let mut cancel = CreateBillingMeterEventAdjustmentCancel::new();
    cancel.identifier = Some(identifier.to_owned());
    CreateBillingMeterEventAdjustment::new(event_name, BillingMeterEventAdjustmentType::Cancel)
        .cancel(cancel)
}

/// Stripe has no documented code for this refusal, only its words.
fn is_known(refused: &ProviderError) -> bool {
    match refused {
        ProviderError::Rejected {
            status: 400,
            code,
            message,
        } => {
            code.as_deref() == Some("duplicate_meter_event")
                || message.contains("already exists with identifier")
        }
        _ => false,
    }
}

/// What a refused retraction says of the report. A meter that does not exist says nothing of it.
fn what_stands(error: ProviderError) -> Result<Retracted, ProviderError> {
    match &error {
        ProviderError::Rejected {
            status: 400,
            message,
            ..
        } => {
            let words = message.to_ascii_lowercase();
            if words.contains("already cancel") || words.contains("already been cancel") {
                Ok(Retracted::Done)
            } else if words.ends_with("[event_name]") {
                Err(error)
            } else {
                Ok(Retracted::TooLate)
            }
        }
        ProviderError::NotFound => Ok(Retracted::TooLate),
        _ => Err(error),
    }
}

/// The whole minutes that hold the time, in Unix seconds.
fn whole_minutes(from: DateTime<Utc>, until: DateTime<Utc>) -> (i64, i64) {
    let floor = |seconds: i64| seconds - seconds.rem_euclid(MINUTE);
    let last = until.timestamp() + i64::from(until.timestamp_subsec_nanos() > 0);
    (floor(from.timestamp()), floor(last + MINUTE - 1))
}

/// The report's identifier, whether Stripe names it or the key that it came under.
fn without_key(identifier: String) -> String {
    match identifier.rsplit_once(KEY_DIVIDER) {
        Some((report, chance)) if Uuid::try_parse(chance).is_ok() => report.to_owned(),
        _ => identifier,
    }
}
