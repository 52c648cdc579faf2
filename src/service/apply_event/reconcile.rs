//! Are the stored subscriptions what the provider says of them, and where one is not, make it so.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use serde_json::json;

use super::NotApplied;
use super::meaning::{keep_intention, owner, plan_of, report};
use super::refresh::{Errand, refresh};
use super::successors::OwnSession;
use crate::domain::plans::Plans;
use crate::domain::provider_event::{ProviderName, ProviderStatus, ProviderSubscription};
use crate::domain::subscription::{PlanRef, Subscription, SubscriptionStatus};
use crate::providers::ProviderError;
use crate::service::context::{Context, Storefront};
use crate::service::subscriptions::first_seen;
use crate::store::audit::{self, AuditRow};
use crate::store::clock::deciding_time;
use crate::store::intended_ends;
use crate::store::pool::{self, StoreError};
use crate::store::subscriptions::{self, Lease};

/// What a subscription is, here or at its provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Where it stands, as the side says it.
    pub status: String,
    /// The plan; `None`: its price is of no plan that was ever sold.
    pub plan: Option<PlanRef>,
    /// Start of the billing period.
    pub current_period_start: Option<DateTime<Utc>>,
    /// End of the billing period.
    pub current_period_end: Option<DateTime<Utc>>,
    /// Ends with the period.
    pub cancel_at_period_end: bool,
    /// When paid access is known to end.
    pub access_ends_at: Option<DateTime<Utc>>,
    /// End of the trial.
    pub trial_end: Option<DateTime<Utc>>,
}

/// A subscription that is not what its provider says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionDrift {
    /// Whose.
    pub customer_id: String,
    /// The provider's id.
    pub provider_subscription_id: String,
    /// Here; `None`: not known here.
    pub stored: Option<Shown>,
    /// There; `None`: not known there.
    pub at_provider: Option<Shown>,
    /// It was made what the provider says.
    pub repaired: bool,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubscriptionReconciliation {
    /// How many subscriptions were compared.
    pub checked: u64,
    /// Those that differ.
    pub drifts: Vec<SubscriptionDrift>,
}

/// Why not everything was compared. What was repaired until then stays so.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The provider did not tell. Its words are for operators.
    #[error("the payment provider failed or did not answer in time")]
    ProviderFailed(#[from] ProviderError),
    /// The database did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Compares every subscription that a provider has, and every one that is open here, and with `repair` fetches and writes each that
/// differs as a webhook would, with a row in the audit log that names `actor`.
pub async fn reconcile_subscriptions(
    context: &Context,
    actor: &str,
    repair: bool,
) -> Result<SubscriptionReconciliation, ReconcileError> {
    let mut found = SubscriptionReconciliation::default();
    for storefront in &context.storefronts {
        let provider = storefront.provider.name();
        let mut unseen = open_here(context, provider).await?;
        let mut page = None;
        loop {
            let listed = storefront.provider.subscriptions(page.as_deref()).await?;
            for fetched in &listed.items {
                unseen.remove(&fetched.id);
            }
            let side = Side::of(storefront);
            let suspects = suspects(context, side, listed.items, &mut found.checked).await?;
            for id in suspects {
                look_closer(context, storefront, actor, repair, id, &mut found).await?;
            }
            page = listed.next;
            if page.is_none() {
                break;
            }
        }
        for id in unseen.into_keys() {
            found.checked += 1;
            look_closer(context, storefront, actor, repair, id, &mut found).await?;
        }
    }
    Ok(found)
}

/// Every subscription that has not ended here, with its customer.
pub async fn open_here(
    context: &Context,
    provider: ProviderName,
) -> Result<HashMap<String, String>, StoreError> {
    pool::run(&context.pool, move |conn| {
        let open = subscriptions::open_at(conn, provider)?;
        Ok(open.into_iter().collect())
    })
    .await
}

/// The ids of those that seem to differ. A webhook may be on its way, so each is looked at once more.
async fn suspects(
    context: &Context,
    side: Side,
    listed: Vec<ProviderSubscription>,
    checked: &mut u64,
) -> Result<Vec<String>, StoreError> {
    let rules = context.meter.rules().clone();
    let (suspects, compared) = pool::run(&context.pool, move |conn| {
        let now = deciding_time(conn, rules.clock.as_ref())?;
        let plans = rules.book.refresh(conn)?;
        let (mut suspects, mut compared) = (Vec::new(), 0);
        for fetched in listed {
            let Some((_, drift)) = compare(conn, side, &plans, &fetched, now)? else {
                continue;
            };
            compared += 1;
            if drift.is_some() {
                suspects.push(fetched.id);
            }
        }
        Ok::<_, StoreError>((suspects, compared))
    })
    .await?;
    *checked += compared;
    Ok(suspects)
}

/// Fetches one that seems to differ by itself, compares it again, and repairs it where that is asked for.
async fn look_closer(
    context: &Context,
    storefront: &Storefront,
    actor: &str,
    repair: bool,
    id: String,
    found: &mut SubscriptionReconciliation,
) -> Result<(), ReconcileError> {
    let (provider, side) = (storefront.provider.name(), Side::of(storefront));
    let fetched = match storefront.provider.fetch_subscription(&id).await {
        Ok(fetched) => Some(fetched),
        Err(ProviderError::NotFound) => None,
        // One that this version cannot read must not hide the others.
        Err(error @ (ProviderError::Unreadable { .. } | ProviderError::Rejected { .. })) => {
            tracing::error!(%provider, subscription = id, %error, "a subscription could not be compared");
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let rules = context.meter.rules().clone();
    let drift = {
        let id = id.clone();
        pool::run(&context.pool, move |conn| {
            let now = deciding_time(conn, rules.clock.as_ref())?;
            let plans = rules.book.refresh(conn)?;
            let Some(fetched) = fetched else {
                return missing(conn, provider, &id);
            };
            let compared = compare(conn, side, &plans, &fetched, now)?;
            Ok::<_, StoreError>(compared.and_then(|(customer_id, drift)| {
                let (stored, there) = drift?;
                Some(SubscriptionDrift {
                    customer_id,
                    provider_subscription_id: id,
                    stored,
                    at_provider: Some(there),
                    repaired: false,
                })
            }))
        })
        .await?
    };
    let Some(mut drift) = drift else {
        return Ok(());
    };
    // What the provider does not know cannot be fetched: a person must say what became of it.
    if repair && drift.at_provider.is_some() {
        drift.repaired = match refresh(context, storefront, &id, Errand::unasked()).await {
            Ok(_) => true,
            Err(NotApplied::Store(error)) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%provider, subscription = id, %error, "a subscription that differs was not repaired");
                false
            }
        };
        if drift.repaired {
            note(context, actor.to_owned(), &drift).await?;
        }
    }
    found.drifts.push(drift);
    Ok(())
}

/// One that the provider does not know.
fn missing(
    conn: &mut PgConnection,
    provider: ProviderName,
    id: &str,
) -> Result<Option<SubscriptionDrift>, StoreError> {
    let Some(customer_id) = subscriptions::owner(conn, provider, id)? else {
        return Ok(None);
    };
    let stored = subscriptions::of_customer(conn, &customer_id)?
        .into_iter()
        .find(|s| s.provider == provider && s.provider_subscription_id == id);
    Ok(stored.map(|stored| SubscriptionDrift {
        customer_id,
        provider_subscription_id: id.to_owned(),
        stored: Some(Shown::of(&stored)),
        at_provider: None,
        repaired: false,
    }))
}

async fn note(
    context: &Context,
    actor: String,
    drift: &SubscriptionDrift,
) -> Result<(), StoreError> {
    let status = |side: &Option<Shown>| side.as_ref().map(|shown| shown.status.clone());
    let details = json!({"stored": status(&drift.stored), "provider": status(&drift.at_provider)});
    let (customer, id) = (
        drift.customer_id.clone(),
        drift.provider_subscription_id.clone(),
    );
    let clock = Arc::clone(context.clock());
    pool::run(&context.pool, move |conn| {
        let now = deciding_time(conn, clock.as_ref())?;
        let action = "subscription.reconcile";
        let row = AuditRow::new(actor, action, Some(&customer), id, details, now);
        audit::append(conn, &row).map_err(StoreError::from)
    })
    .await
}

/// The provider's side of a comparison.
#[derive(Clone, Copy)]
struct Side {
    provider: ProviderName,
    /// Whether it shows what is to become of a subscription; else that is no difference.
    shows_intentions: bool,
}

impl Side {
    fn of(storefront: &Storefront) -> Self {
        Self {
            provider: storefront.provider.name(),
            shows_intentions: storefront.provider.capabilities().shows_intentions,
        }
    }
}

/// What differs of a subscription: what is stored, and what the provider says. `None` at first: it is nobody's here.
type Compared = Option<(String, Option<(Option<Shown>, Shown)>)>;

fn compare(
    conn: &mut PgConnection,
    side: Side,
    plans: &Plans,
    fetched: &ProviderSubscription,
    now: DateTime<Utc>,
) -> Result<Compared, StoreError> {
    let Side {
        provider,
        shows_intentions,
    } = side;
    let lease = Lease {
        fence: 0,
        customer: subscriptions::owner(conn, provider, &fetched.id)?,
    };
    let customer = match owner(conn, provider, &lease, fetched, None) {
        Ok(owner) => owner.customer,
        Err(NotApplied::Store(error)) => return Err(error),
        Err(_) => return Ok(None),
    };
    let stored = subscriptions::of_customer(conn, &customer)?
        .into_iter()
        .find(|s| s.provider == provider && s.provider_subscription_id == fetched.id);
    let plan = match plan_of(conn, provider, plans, fetched, stored.as_ref()) {
        Ok(plan) => Some(plan),
        Err(NotApplied::Store(error)) => return Err(error),
        Err(_) => None,
    };
    let at_provider = |plan: Option<PlanRef>, access_ends_at| Shown {
        status: match &fetched.status {
            ProviderStatus::Known(status) => status.as_str().to_owned(),
            ProviderStatus::Unknown(word) => word.clone(),
        },
        plan,
        current_period_start: fetched.current_period_start,
        current_period_end: fetched.current_period_end,
        cancel_at_period_end: fetched.cancel_at_period_end,
        access_ends_at,
        trial_end: fetched.trial_end,
    };
    let (status, plan) = match (&fetched.status, plan) {
        (ProviderStatus::Known(status), Some(plan)) => (*status, plan),
        // What cannot be understood cannot be equal.
        (_, plan) => {
            let there = at_provider(plan, fetched.cancel_at);
            return Ok(Some((
                customer,
                Some((stored.as_ref().map(Shown::of), there)),
            )));
        }
    };
    let session = OwnSession::find(conn, provider, &customer, fetched, status)?;
    let is_page = session.is_some() && status == SubscriptionStatus::Incomplete;
    if stored.is_none() && (status.is_terminal() || is_page) {
        // It came and went before anybody here knew of it, or is a page that nobody has paid yet: nothing depends on it.
        return Ok(Some((customer, None)));
    }
    let status = session.as_ref().map_or(status, OwnSession::status);
    let mut report = report(fetched, status, plan, stored.as_ref(), now);
    if let Some(session) = &session {
        session.amend(&mut report);
    }
    if !shows_intentions {
        let end_sent = intended_ends::told(conn, provider, &fetched.id)?
            .sent_at
            .is_some();
        keep_intention(&mut report, stored.as_ref(), end_sent, now);
    }
    let base = stored.clone().unwrap_or_else(|| {
        let started = fetched.started_at.unwrap_or(now);
        first_seen(provider, &fetched.id, &report, started)
    });
    let Some(change) = base.apply(report, false, now, plans.grace_days) else {
        // What has ended here stays ended.
        return Ok(Some((customer, None)));
    };
    let there = Shown::of(&change.after);
    let here = stored.as_ref().map(Shown::of);
    let differs = here.as_ref() != Some(&there);
    Ok(Some((customer, differs.then_some((here, there)))))
}

impl Shown {
    fn of(subscription: &Subscription) -> Self {
        Self {
            status: subscription.status.as_str().to_owned(),
            plan: Some(subscription.plan.clone()),
            current_period_start: subscription.current_period_start,
            current_period_end: subscription.current_period_end,
            cancel_at_period_end: subscription.cancel_at_period_end,
            access_ends_at: subscription.access_ends_at,
            trial_end: subscription.trial_end,
        }
    }
}
