//! Whose turn it is to change a subscription, and what the subscription is like before and after.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use uuid::Uuid;

use super::{BillingError, subject};
use crate::domain::ids::CustomerId;
use crate::domain::provider_event::ProviderName;
use crate::domain::subscription::Subscription;
use crate::providers::Provider;
use crate::service::apply_event::{Look, NotSeen, Seen, see_now};
use crate::service::checkout::is_mere_session;
use crate::service::context::{Context, Storefront};
use crate::service::usage_reports;
use crate::store::change_turns::{self, Turn};
use crate::store::clock::deciding_time;
use crate::store::pool::{self, StoreError};
use crate::store::{checkout_sessions, subscription_endings, subscriptions};

/// How long a turn lasts from its renewal on; longer than a change at the provider takes with its repetitions.
const TURN: TimeDelta = TimeDelta::minutes(2);
/// How often somebody whose turn it is not asks again, and after which pause: five seconds in all, which a change rarely takes.
const MOST_ASKED: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// A subscription that nobody else changes now.
pub(super) struct Held<'a> {
    pub(super) context: &'a Context,
    pub(super) storefront: &'a Storefront,
    /// Whose it is.
    pub(super) customer: &'a CustomerId,
    /// As it was found when the turn began.
    pub(super) subscription: Subscription,
    turn: Turn,
}

/// Does something to the customer's subscription when it is its turn. Returns the subscription's id.
pub(super) async fn in_turn<'a>(
    context: &'a Context,
    customer: &'a CustomerId,
    work: impl AsyncFnOnce(&mut Held<'a>) -> Result<(), BillingError>,
) -> Result<Uuid, BillingError> {
    let subscription = meant(context, customer).await?;
    let storefront = context
        .storefront(subscription.provider)
        .ok_or(BillingError::ProviderNotConfigured)?;
    let id = subscription.provider_subscription_id.clone();
    let turn = take(context, subscription.provider, &id).await?;
    let mut held = Held {
        context,
        storefront,
        customer,
        subscription,
        turn,
    };
    let done = async {
        held.look_first(&id).await?;
        work(&mut held).await
    }
    .await;
    give_back(context, held.turn.clone()).await;
    done.map(|()| held.subscription.id)
}

impl Held<'_> {
    /// Brings what is stored up to date: on what is decided next, money may depend.
    async fn look_first(&mut self, id: &str) -> Result<(), BillingError> {
        match see_now(self.context, self.storefront, id, Look::First).await {
            // What cannot be understood can still be cancelled: then what is stored has to do.
            Ok(_) | Err(NotSeen::Unclear(_)) => {}
            Err(error) => return Err(error.into()),
        }
        self.read_again().await
    }

    /// Reads what is stored of it now.
    pub(super) async fn read_again(&mut self) -> Result<(), BillingError> {
        let found = meant(self.context, self.customer).await?;
        if found.provider_subscription_id != self.subscription.provider_subscription_id {
            // The turn is for another one than the customer means now.
            return Err(BillingError::InProgress);
        }
        self.subscription = found;
        Ok(())
    }

    pub(super) fn provider(&self) -> &dyn Provider {
        self.storefront.provider.as_ref()
    }

    /// Tells the provider of usage that it is to bill before what bills it is gone. Nobody is kept for what cannot be told now: it
    /// stays due, and a person sees to it where it cannot be billed any more.
    pub(super) async fn tell_usage(&self, customer: &CustomerId) -> Result<(), BillingError> {
        let provider = self.subscription.provider;
        if !usage_reports::flush(self.context, customer.as_str(), provider).await? {
            let (customer, subscription) = (
                customer.as_str(),
                &self.subscription.provider_subscription_id,
            );
            tracing::error!(%provider, customer, subscription, "usage was not told before what bills it ended");
        }
        Ok(())
    }

    /// Makes sure that the turn outlasts the change that is about to be asked for.
    pub(super) async fn renew(&mut self) -> Result<(), BillingError> {
        let renewed = renew(self.context, &mut self.turn).await?;
        renewed.then_some(()).ok_or(BillingError::InProgress)
    }

    /// Writes down what came of the change.
    pub(super) async fn look_again(&self) -> Result<Seen, BillingError> {
        self.look(Look::Again).await
    }

    /// Writes down that it has ended.
    pub(super) async fn look_after_the_end(&self) -> Result<Seen, BillingError> {
        self.look(Look::Ended).await
    }

    async fn look(&self, look: Look) -> Result<Seen, BillingError> {
        let id = &self.subscription.provider_subscription_id;
        Ok(see_now(self.context, self.storefront, id, look).await?)
    }
}

/// Has the turn last from now on. `false`: it is somebody else's by now.
pub(super) async fn renew(context: &Context, turn: &mut Turn) -> Result<bool, StoreError> {
    let (held, clock) = (turn.clone(), Arc::clone(context.clock()));
    let renewed = pool::run(&context.pool, move |conn| {
        let now = deciding_time(conn, clock.as_ref())?;
        let until = now + TURN;
        Ok::<_, StoreError>(change_turns::end_at(conn, &held, Some(until))?.then_some(until))
    })
    .await?;
    if let Some(until) = renewed {
        turn.until = until;
    }
    Ok(renewed.is_some())
}

/// Where this fails, the turn ends by itself.
pub(super) async fn give_back(context: &Context, turn: Turn) {
    let id = turn.provider_subscription_id.clone();
    let given = pool::run(&context.pool, move |conn| {
        Ok::<_, StoreError>(change_turns::end_at(conn, &turn, None)?)
    })
    .await;
    if let Err(error) = given {
        tracing::warn!(%error, subscription = id, "the turn to change a subscription was not given back");
    }
}

/// The subscription that the customer means, as it is stored.
async fn meant(context: &Context, customer: &CustomerId) -> Result<Subscription, BillingError> {
    let customer = customer.clone();
    let book = Arc::clone(&context.meter.rules().book);
    pool::run(&context.pool, move |conn| {
        let customer = customer.as_str();
        let mut subscriptions = subscriptions::of_customer(conn, customer)?;
        let sessions = checkout_sessions::not_gone_through(conn, customer)?;
        let replaced = subscription_endings::replaced(conn, customer)?;
        subscriptions.retain(|s| {
            let is_ending = replaced.contains(&s.id) && s.status.is_open();
            !is_ending && !is_mere_session(s, &sessions)
        });
        subject::of(subscriptions, &book.plans())
    })
    .await
}

async fn take(context: &Context, provider: ProviderName, id: &str) -> Result<Turn, BillingError> {
    for _ in 0..MOST_ASKED {
        if let Some(turn) = try_take(context, provider, id).await? {
            return Ok(turn);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(BillingError::InProgress)
}

/// Takes the turn to change a subscription, unless somebody else has it.
pub(super) async fn try_take(
    context: &Context,
    provider: ProviderName,
    id: &str,
) -> Result<Option<Turn>, StoreError> {
    let (id, clock) = (id.to_owned(), Arc::clone(context.clock()));
    pool::run(&context.pool, move |conn| {
        let now = deciding_time(conn, clock.as_ref())?;
        let turn = Turn {
            provider,
            provider_subscription_id: id,
            until: now + TURN,
        };
        Ok::<_, StoreError>(change_turns::take(conn, &turn, now)?.then_some(turn))
    })
    .await
}
