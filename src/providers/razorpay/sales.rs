//! Plans, and checkouts: a subscription that waits for its customer's authorization.

use std::cmp::Reverse;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::Razorpay;
use super::objects::{Plan, Subscription};
use super::subscriptions::Ends;
use super::wire::is_no;
use crate::providers::wire::path_id;
use crate::providers::{
    CheckoutRequest, CheckoutSession, CheckoutStatus, ProviderError, RefundShare,
};

/// How long a checkout can be paid.
const OPEN_FOR: TimeDelta = TimeDelta::hours(24);
/// How far Razorpay's clock may be behind ours.
const CLOCKS_APART: TimeDelta = TimeDelta::minutes(1);

impl Razorpay {
    pub(super) async fn look_at_plan(&self, id: &str) -> Result<Plan, ProviderError> {
        self.get(&format!("/plans/{}", path_id(id)?), &[]).await
    }

    /// Where the browser goes afterwards is not asked for: Razorpay's page for a subscription leads nowhere, and the customer closes it.
    /// Nor are promotion codes, for which Razorpay has offers: they are bound to a subscription by whoever makes it.
    pub(super) async fn open_checkout(
        &self,
        request: &CheckoutRequest,
    ) -> Result<CheckoutSession, ProviderError> {
        let made = if let Some(made) = self.made_before(request).await? {
            made
        } else {
            let plan = self.look_at_plan(&request.base_price_id).await?;
            let body = subscription(request, plan.total_count()?);
            self.post("/subscriptions", &body).await?
        };
        // The address also where it was paid meanwhile: what is handed out is what was made.
        let url = made.short_url.clone();
        let session = made.into_session()?;
        Ok(CheckoutSession { url, ..session })
    }

    /// What an earlier try of this checkout has made. Where there are several, the customer's choice stays, or else the oldest; those
    /// that nobody has authorized yet are cancelled, as well as that goes: who pays for one all the same has two subscriptions, which is
    /// noticed elsewhere.
    async fn made_before(
        &self,
        request: &CheckoutRequest,
    ) -> Result<Option<Subscription>, ProviderError> {
        let since = (request.begun_at - CLOCKS_APART).timestamp().to_string();
        let query = [
            ("plan_id", request.base_price_id.as_str()),
            ("from", &since),
        ];
        let mut made: Vec<Subscription> = self.list("/subscriptions", &query).await?;
        made.retain(|made| made.notes.get("attempt") == Some(&request.idempotency_key));
        made.sort_by_key(|made| {
            let chosen = made.status_of_checkout() == Some(CheckoutStatus::Complete);
            (Reverse(chosen), made.created_at, made.id.clone())
        });
        let mut made = made.into_iter();
        let kept = made.next();
        for spare in made.filter(Subscription::is_created) {
            if let Err(error) = self.cancel(&spare.id, Ends::Now).await {
                let subscription = spare.id;
                tracing::warn!(subscription, %error, "a subscription made twice could not be cancelled");
            }
        }
        Ok(kept)
    }

    pub(super) async fn look_at_checkout(
        &self,
        id: &str,
    ) -> Result<CheckoutSession, ProviderError> {
        self.look_at_subscription(id).await?.into_session()
    }

    /// The customer may pay while this is on its way. Where Razorpay then refuses, the subscription stays; where it cancels what was paid
    /// a moment ago, the payment goes back, also when an answer was lost in between: a page that is still open here, and is found cancelled
    /// and paid, was cancelled by us.
    pub(super) async fn close_checkout(&self, id: &str) -> Result<CheckoutSession, ProviderError> {
        let mut found = self.look_at_subscription(id).await?;
        if found.is_created() {
            match self.cancel(id, Ends::Now).await {
                Err(error) if !is_no(&error) => return Err(error),
                _ => {}
            }
            found = self.look_at_subscription(id).await?;
        }
        let paid = found.status() == "cancelled" && found.was_paid();
        let session = found.into_session()?;
        if !paid {
            return Ok(session);
        }
        let key = format!("expire:{id}");
        self.give_latest_payment_back(id, RefundShare::Whole, &key)
            .await?;
        Ok(CheckoutSession {
            status: CheckoutStatus::Expired,
            ..session
        })
    }
}

/// When the first payment is taken, where that is not with the authorization.
fn starts_at(request: &CheckoutRequest) -> Option<DateTime<Utc>> {
    let trial = request.trial_days.filter(|days| *days > 0);
    let trial_ends = trial.map(|days| request.begun_at + TimeDelta::days(i64::from(days)));
    request
        .starts_at
        .or(trial_ends)
        .filter(|starts_at| *starts_at > request.begun_at)
}

/// What is sold. All that the customer is told of it comes from Razorpay.
fn subscription(request: &CheckoutRequest, total_count: i64) -> Value {
    let starts_at = starts_at(request);
    let closes_at = request.begun_at + OPEN_FOR;
    // Nobody can authorize a start that has passed.
    let closes_at = starts_at.map_or(closes_at, |starts_at| closes_at.min(starts_at));
    let mut body = json!({
        "plan_id": request.base_price_id,
        "total_count": total_count,
        "quantity": 1,
        "customer_notify": true,
        "expire_by": closes_at.timestamp(),
        "notes": {
            "customer_id": request.customer_id,
            "plan_tier": request.plan_tier,
            "plan_version": request.plan_version.to_string(),
            "attempt": request.idempotency_key,
        },
    });
    if let (Some(starts_at), Some(fields)) = (starts_at, body.as_object_mut()) {
        fields.insert("start_at".to_owned(), starts_at.timestamp().into());
    }
    body
}

impl Subscription {
    /// `None` where this version does not know the status.
    fn status_of_checkout(&self) -> Option<CheckoutStatus> {
        match self.status() {
            "created" => Some(CheckoutStatus::Open),
            "expired" => Some(CheckoutStatus::Expired),
            "cancelled" if !self.was_paid() => Some(CheckoutStatus::Expired),
            "authenticated" | "active" | "pending" | "halted" | "paused" | "cancelled"
            | "completed" => Some(CheckoutStatus::Complete),
            _ => None,
        }
    }

    /// The checkout that it is.
    fn into_session(self) -> Result<CheckoutSession, ProviderError> {
        let Some(status) = self.status_of_checkout() else {
            return Err(ProviderError::Unreadable {
                reason: format!("a subscription that is {:?}", self.status()),
            });
        };
        let is_open = status == CheckoutStatus::Open;
        Ok(CheckoutSession {
            status,
            url: self.short_url.filter(|_| is_open),
            expires_at: self.expire_by,
            provider_subscription_id: Some(self.id.clone()),
            id: self.id,
        })
    }
}
