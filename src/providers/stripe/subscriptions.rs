//! Looking at subscriptions, ending them, and taking an end back.

use stripe_billing::subscription::{
    CancelSubscription, ResumeSubscription, ResumeSubscriptionBillingCycleAnchor,
    ResumeSubscriptionBillingCycleAnchorType, RetrieveSubscription, UpdateSubscription,
};
use stripe_billing::subscription_schedule::{
    ReleaseSubscriptionSchedule, RetrieveSubscriptionSchedule,
};

use super::Stripe;
use super::objects::{Cancellation, Identified, Reference, Schedule, Subscription};
use super::wire::{Extended, path_id};
use crate::providers::{FinalInvoice, ProviderError};

/// What is asked for whole instead of by its id.
const EXPANDED: [&str; 2] = ["schedule", "latest_invoice"];

impl Stripe {
    /// The subscription with what is planned for it, and the invoice that tells whether it is paid.
    pub(super) async fn look_at_subscription(
        &self,
        id: &str,
    ) -> Result<Subscription, ProviderError> {
        let request = RetrieveSubscription::new(path_id(id)?).expand(EXPANDED.map(str::to_owned));
        self.send(&request, None).await
    }

    /// Frees the subscription of what is planned for it. While a schedule rules it, Stripe refuses most changes.
    pub(super) async fn release(
        &self,
        schedule: Option<&Reference<Schedule>>,
    ) -> Result<(), ProviderError> {
        let id = match schedule {
            Some(Reference::Object(schedule)) if schedule.is_live() => &schedule.id,
            Some(Reference::Id(id)) => id,
            Some(Reference::Object(_)) | None => return Ok(()),
        };
        let request = ReleaseSubscriptionSchedule::new(path_id(id)?);
        match self.change::<Identified>(&request).await {
            Err(refused @ ProviderError::Rejected { status: 400, .. }) => {
                let request = RetrieveSubscriptionSchedule::new(path_id(id)?);
                let now: Schedule = self.send(&request, None).await?;
                if now.is_live() { Err(refused) } else { Ok(()) }
            }
            outcome => outcome.map(|_| ()),
        }
    }

    pub(super) async fn drop_plan(&self, id: &str) -> Result<(), ProviderError> {
        let found = self.look_at_subscription(id).await?;
        self.release(found.schedule()).await
    }

    pub(super) async fn end_with_period(&self, id: &str) -> Result<(), ProviderError> {
        let found = self.look_at_subscription(id).await?;
        self.release(found.schedule()).await?;
        if found.cancellation() == Some(Cancellation::AtPeriodEnd) {
            return Ok(());
        }
        let request = UpdateSubscription::new(path_id(id)?).cancel_at_period_end(true);
        self.change::<Identified>(&request).await?;
        Ok(())
    }

    pub(super) async fn end_now(
        &self,
        id: &str,
        settle: FinalInvoice,
    ) -> Result<(), ProviderError> {
        let request = CancelSubscription::new(path_id(id)?)
            .invoice_now(settle == FinalInvoice::Drawn)
            .prorate(false);
        match self.send::<Identified>(&request, None).await {
            Err(
                refused @ (ProviderError::NotFound | ProviderError::Rejected { status: 400, .. }),
            ) => {
                if self.look_at_subscription(id).await?.is_over() {
                    Ok(())
                } else {
                    Err(refused)
                }
            }
            outcome => outcome.map(|_| ()),
        }
    }

    pub(super) async fn take_end_back(&self, id: &str) -> Result<(), ProviderError> {
        let found = self.look_at_subscription(id).await?;
        if found.cancellation().is_some() {
            self.release(found.schedule()).await?;
        }
        let mut change = Change::of(path_id(id)?);
        change.stay(found.cancellation());
        if found.is_collection_paused() {
            change.empty("pause_collection");
        }
        if let Some(change) = change.said() {
            self.change::<Identified>(change).await?;
        }
        if found.is_paused() {
            let anchor = ResumeSubscriptionBillingCycleAnchor::new(
                ResumeSubscriptionBillingCycleAnchorType::Unchanged,
            );
            let request = ResumeSubscription::new(path_id(id)?).billing_cycle_anchor(anchor);
            self.change::<Identified>(&request).await?;
        }
        Ok(())
    }
}

/// A change of a subscription that can also empty fields: Stripe empties what is sent empty.
pub(super) struct Change {
    said: Extended<UpdateSubscription>,
    says_something: bool,
}

impl Change {
    /// A change that says nothing yet.
    pub(super) fn of(id: &str) -> Self {
        Self {
            said: Extended {
                request: UpdateSubscription::new(id),
                more: Vec::new(),
            },
            says_something: false,
        }
    }

    /// Says something.
    pub(super) fn with(&mut self, say: impl FnOnce(UpdateSubscription) -> UpdateSubscription) {
        self.said.request = say(self.said.request.clone());
        self.says_something = true;
    }

    /// Empties a field.
    fn empty(&mut self, field: &str) {
        self.said.more.push((field.to_owned(), String::new()));
        self.says_something = true;
    }

    /// Takes an end back that is foreseen. The two ways to foresee one exclude each other in a request.
    pub(super) fn stay(&mut self, cancellation: Option<Cancellation>) {
        match cancellation {
            Some(Cancellation::AtPeriodEnd) => self.with(|r| r.cancel_at_period_end(false)),
            Some(Cancellation::AtInstant) => self.empty("cancel_at"),
            None => {}
        }
    }

    /// What is to be sent, if there is anything.
    pub(super) fn said(&self) -> Option<&Extended<UpdateSubscription>> {
        self.says_something.then_some(&self.said)
    }
}
