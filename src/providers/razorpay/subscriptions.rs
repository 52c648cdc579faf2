//! Looking at subscriptions, and ending them.

use serde_json::json;

use super::Razorpay;
use super::objects::{Identified, Subscription};
use super::wire::is_no;
use crate::providers::ProviderError;
use crate::providers::wire::path_id;

/// When a cancellation takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// At once.
    Now,
    /// With the period that is under way.
    WithPeriod,
}

impl Razorpay {
    pub(super) async fn look_at_subscription(
        &self,
        id: &str,
    ) -> Result<Subscription, ProviderError> {
        self.get(&format!("/subscriptions/{}", path_id(id)?), &[])
            .await
    }

    /// Sent as it is; what has become of it is another question.
    pub(super) async fn cancel(&self, id: &str, ends: Ends) -> Result<(), ProviderError> {
        let path = format!("/subscriptions/{}/cancel", path_id(id)?);
        let at_cycle_end = u8::from(ends == Ends::WithPeriod);
        let body = json!({"cancel_at_cycle_end": at_cycle_end});
        self.post::<Identified>(&path, &body).await?;
        Ok(())
    }

    /// Without a period there is none to end with: Razorpay refuses that before the first payment.
    pub(super) async fn end_with_period(&self, id: &str) -> Result<(), ProviderError> {
        let found = self.look_at_subscription(id).await?;
        let ends = match found.status() {
            "created" | "authenticated" => Ends::Now,
            _ => Ends::WithPeriod,
        };
        self.end(&found, ends).await
    }

    pub(super) async fn end_now(&self, id: &str) -> Result<(), ProviderError> {
        let found = self.look_at_subscription(id).await?;
        self.end(&found, Ends::Now).await
    }

    /// One that has ended stays as it is, also where that happened meanwhile.
    async fn end(&self, found: &Subscription, ends: Ends) -> Result<(), ProviderError> {
        if found.is_over() {
            return Ok(());
        }
        match self.cancel(&found.id, ends).await {
            Err(refused) if is_no(&refused) => {
                if self.look_at_subscription(&found.id).await?.is_over() {
                    Ok(())
                } else {
                    Err(refused)
                }
            }
            outcome => outcome,
        }
    }

    pub(super) async fn take_pause_off(&self, id: &str) -> Result<(), ProviderError> {
        if self.look_at_subscription(id).await?.status() != "paused" {
            return Ok(());
        }
        let path = format!("/subscriptions/{}/resume", path_id(id)?);
        let body = json!({"resume_at": "now"});
        match self.post::<Identified>(&path, &body).await {
            Err(refused) if is_no(&refused) => {
                if self.look_at_subscription(id).await?.status() == "paused" {
                    Err(refused)
                } else {
                    Ok(())
                }
            }
            outcome => outcome.map(|_| ()),
        }
    }
}
