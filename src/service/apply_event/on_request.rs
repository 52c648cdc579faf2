//! A subscription is looked at because somebody changes it and waits for the answer.

use std::time::Duration;

use super::NotApplied;
use super::refresh::{Errand, refresh};
use crate::service::context::{Context, Storefront};
use crate::store::pool::StoreError;

/// Whoever overtakes us looks at what we have just changed, too; they may fail, so we look again. More rounds would be a provider
/// that sends more news than can be read.
const MOST_ROUNDS: u32 = 6;
/// Between two rounds; it grows, so that two callers fall out of step with the workers and with each other.
const PAUSE: Duration = Duration::from_millis(40);

/// When a look is taken: it tells whose doing is what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Before anything was changed.
    First,
    /// After the request had its effect.
    Again,
    /// After the request ended it at once.
    Ended,
}

/// What the provider showed, beside what is stored now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// A change of plan waits for its payment.
    pub change_unpaid: bool,
}

/// Why it is not known how a subscription stands.
#[derive(Debug, thiserror::Error)]
pub enum NotSeen {
    /// The provider cannot be asked now.
    #[error("the payment provider failed or did not answer in time")]
    Away(String),
    /// What the provider shows cannot be applied here, now at least: an unknown price or status, or no such subscription.
    #[error(
        "what the payment provider shows of the subscription is not understood; an operator was told"
    )]
    Unclear(String),
    /// Others looked at it at the same time, again and again.
    #[error("the subscription is being looked at by others")]
    Overtaken,
    /// The database did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes the stored subscription what the provider says it is now.
pub async fn see_now(
    context: &Context,
    storefront: &Storefront,
    provider_subscription_id: &str,
    look: Look,
) -> Result<Seen, NotSeen> {
    for round in 1..=MOST_ROUNDS {
        let errand = match look {
            Look::First => Errand::unasked(),
            Look::Again => Errand::request(),
            Look::Ended => Errand::end(),
        };
        match refresh(context, storefront, provider_subscription_id, errand).await {
            Ok(fetched) => {
                return Ok(Seen {
                    change_unpaid: fetched.change_unpaid,
                });
            }
            Err(NotApplied::Overtaken) => tokio::time::sleep(PAUSE * round).await,
            Err(NotApplied::Away { reason, .. }) => return Err(NotSeen::Away(reason)),
            Err(NotApplied::Store(error)) => return Err(NotSeen::Store(error)),
            Err(
                error @ (NotApplied::Later(_)
                | NotApplied::Unclear(_)
                | NotApplied::Never(_)
                | NotApplied::Missing
                | NotApplied::Unowned),
            ) => {
                let (provider, reason) = (storefront.provider.name(), error.to_string());
                tracing::error!(%provider, subscription = provider_subscription_id, reason, "a subscription that is being changed is not understood");
                return Err(NotSeen::Unclear(reason));
            }
        }
    }
    Err(NotSeen::Overtaken)
}
