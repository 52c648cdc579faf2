//! Looking at subscriptions, ending them, and taking an end back.

use stripe_billing::subscription::{
    CancelSubscription, ResumeSubscription, ResumeSubscriptionBillingCycleAnchor,
    ResumeSubscriptionBillingCycleAnchorType, RetrieveSubscription, UpdateSubscription,
};
use stripe_billing::subscription_schedule::{
    ReleaseSubscriptionSchedule, RetrieveSubscriptionSchedule,
};
use stripe_client_core::{RequestBuilder, StripeRequest};

use super::Stripe;
use super::objects::{Cancellation, Identified, Reference, Schedule, Subscription};
use super::wire::path_id;
use crate::providers::{FinalInvoice, ProviderError};

impl Stripe {
    /// The subscription with what is planned for it.
    pub(super) async fn look_at_subscription(
        &self,
        id: &str,
    ) -> Result<Subscription, ProviderError> {
        let request = RetrieveSubscription::new(path_id(id)?).expand(["schedule".to_owned()]);
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
        let mut update = Emptying::of(UpdateSubscription::new(path_id(id)?));
        update.stay(found.cancellation());
        if found.is_collection_paused() {
            update.empty("pause_collection");
        }
        if update.says_something {
            self.change::<Identified>(&update).await?;
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

/// A change of a subscription that can also empty fields: Stripe empties what is sent empty, which the generated types
/// have no words for.
pub(super) struct Emptying {
    request: UpdateSubscription,
    emptied: Vec<&'static str>,
    /// Whether there is anything to send.
    pub(super) says_something: bool,
}

impl Emptying {
    /// A change that says nothing yet.
    pub(super) const fn of(request: UpdateSubscription) -> Self {
        Self {
            request,
            emptied: Vec::new(),
            says_something: false,
        }
    }

    /// Says something.
    pub(super) fn with(&mut self, say: impl FnOnce(UpdateSubscription) -> UpdateSubscription) {
        self.request = say(self.request.clone());
        self.says_something = true;
    }

    /// Empties a field.
    pub(super) fn empty(&mut self, field: &'static str) {
        self.emptied.push(field);
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
}

impl StripeRequest for Emptying {
    type Output = ();

    fn build(&self) -> RequestBuilder {
        let mut request = self.request.build();
        let said = request.body.take().filter(|body| !body.is_empty());
        let emptied = self.emptied.iter().map(|field| format!("{field}="));
        let pairs: Vec<String> = said.into_iter().chain(emptied).collect();
        request.body = Some(pairs.join("&"));
        request
    }
}
