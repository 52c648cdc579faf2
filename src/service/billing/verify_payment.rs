//! What a provider's scripts hand to a browser after a payment is checked.
//!
//! It proves that something was paid, not what the subscription is now: so it grants nothing, and is only an occasion to look.

use diesel::prelude::*;
use uuid::Uuid;

use super::BillingError;
use crate::domain::ids::CustomerId;
use crate::domain::provider_event::ProviderName;
use crate::service::apply_event::{Look, NotSeen, see_now};
use crate::service::context::Context;
use crate::store::pool;
use crate::store::{checkout_sessions, subscriptions};

/// What the browser was handed.
#[derive(Debug, Clone)]
pub struct PaymentProof {
    /// Who says to have paid.
    pub customer: CustomerId,
    /// Who took the payment.
    pub provider: ProviderName,
    /// The provider's id of the payment.
    pub payment_id: String,
    /// The provider's id of the subscription.
    pub subscription_id: String,
    /// The provider's signature over both.
    pub signature: String,
}

/// Checks the proof, and looks at the subscription as a webhook would. Returns our id of the subscription, where it is known by then.
///
/// # Errors
/// Where the proof is none, or is of a subscription that is not the customer's. A provider that cannot be asked is no error: its webhook
/// is on the way.
pub async fn verify_payment(
    context: &Context,
    proof: PaymentProof,
) -> Result<Option<Uuid>, BillingError> {
    let provider = proof.provider;
    let storefront = context
        .storefront(provider)
        .ok_or(BillingError::ProviderNotConfigured)?;
    let (customer, id) = (proof.customer.clone(), proof.subscription_id.clone());
    let bought = pool::run(&context.pool, move |conn: &mut PgConnection| {
        let known = stored(conn, &customer, provider, &id)?.is_some();
        let customer = customer.as_str();
        Ok::<_, BillingError>(
            known || checkout_sessions::was_opened_for(conn, customer, provider, &id)?,
        )
    })
    .await?;
    if !bought {
        return Err(BillingError::NotBought);
    }
    // The id is ours by now: it was found in the database.
    let vouched = storefront.provider.vouches_for_payment(
        &proof.payment_id,
        &proof.subscription_id,
        &proof.signature,
    );
    match vouched {
        Some(true) => {}
        Some(false) => return Err(BillingError::BadSignature),
        None => return Err(BillingError::ProviderNotConfigured),
    }
    match see_now(context, storefront, &proof.subscription_id, Look::First).await {
        Ok(_) => {}
        Err(NotSeen::Store(error)) => return Err(error.into()),
        Err(error) => {
            let subscription = &proof.subscription_id;
            tracing::warn!(%provider, subscription, %error, "a paid subscription was not looked at: its webhook will tell");
        }
    }
    pool::run(&context.pool, move |conn: &mut PgConnection| {
        stored(conn, &proof.customer, provider, &proof.subscription_id).map_err(BillingError::from)
    })
    .await
}

/// Our id of the customer's subscription.
fn stored(
    conn: &mut PgConnection,
    customer: &CustomerId,
    provider: ProviderName,
    id: &str,
) -> QueryResult<Option<Uuid>> {
    let subscriptions = subscriptions::of_customer(conn, customer.as_str())?;
    let found = subscriptions
        .into_iter()
        .find(|s| s.provider == provider && s.provider_subscription_id == id);
    Ok(found.map(|found| found.id))
}
