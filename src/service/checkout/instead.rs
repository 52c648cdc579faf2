//! A subscription is sold in another one's place, where the provider cannot put that one on another plan.

use std::sync::Arc;

use super::attempts::{Purpose, Returning};
use super::desk::Desk;
use super::{CheckoutError, MOST_ROUNDS, OpenCheckout, Sale};
use crate::domain::ids::CustomerId;
use crate::domain::plans::PlanVersion;
use crate::service::context::{Context, Storefront};
use crate::service::prices::PriceIds;
use crate::store::checkout_sessions;
use crate::store::clock::deciding_time;
use crate::store::pool;
use chrono::{DateTime, Utc};

/// What is to take a subscription's place.
pub(in crate::service) struct Instead<'a> {
    pub(in crate::service) customer: &'a CustomerId,
    /// The subscription, by the provider's id.
    pub(in crate::service) replaces: &'a str,
    pub(in crate::service) plan: &'a Arc<PlanVersion>,
    pub(in crate::service) prices: PriceIds,
    /// When the first period begins; `None`: with the payment.
    pub(in crate::service) starts_at: Option<DateTime<Utc>>,
}

/// Opens a checkout for it, or returns the one that is open for the same. One for something else is closed first. Whoever asks has the
/// turn of the subscription that is replaced.
pub(in crate::service) async fn offer_instead(
    context: &Context,
    storefront: &Storefront,
    instead: Instead<'_>,
) -> Result<OpenCheckout, CheckoutError> {
    let sale = Sale {
        desk: Desk::of(context, storefront, instead.customer.clone()),
        plan: Arc::clone(instead.plan),
        prices: instead.prices,
        purpose: Purpose {
            replaces: Some(instead.replaces.to_owned()),
            starts_at: instead.starts_at,
        },
        returning: Returning::choose(context, storefront, None, None)?,
    };
    sale.carry_out().await
}

/// Closes the checkout that is open to replace the subscription. Returns whether there was one.
pub(in crate::service) async fn withdraw_offer(
    context: &Context,
    storefront: &Storefront,
    customer: &CustomerId,
    replaces: &str,
) -> Result<bool, CheckoutError> {
    let desk = Desk::of(context, storefront, customer.clone());
    let mut any = false;
    for _ in 0..MOST_ROUNDS {
        let (customer, provider) = (customer.clone(), storefront.provider.name());
        let clock = Arc::clone(context.clock());
        let (under_way, now) = pool::run(&context.pool, move |conn| {
            let now = deciding_time(conn, clock.as_ref())?;
            let under_way = checkout_sessions::under_way(conn, customer.as_str(), provider)?;
            Ok::<_, CheckoutError>((under_way, now))
        })
        .await?;
        match under_way {
            Some(attempt) if attempt.replaces.as_deref() == Some(replaces) => {
                desk.close(&attempt, now).await?;
                any = true;
            }
            _ => return Ok(any),
        }
    }
    Err(CheckoutError::InProgress)
}
