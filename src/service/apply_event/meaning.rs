//! What a fetched subscription means here: whose it is, which plan its prices are, what it reports.

use chrono::{DateTime, Utc};
use diesel::prelude::*;

use super::NotApplied;
use super::refresh::Purchase;
use crate::domain::ids::CustomerId;
use crate::domain::plans::Plans;
use crate::domain::provider_event::{ProviderName, ProviderSubscription};
use crate::domain::subscription::{
    PlanRef, PlannedChange, Report, Subscription, SubscriptionStatus,
};
use crate::store::subscriptions::Lease;
use crate::store::{checkout_sessions, plan_versions, provider_customers};

/// Whose a subscription is.
pub(super) struct Owner {
    /// Our id.
    pub(super) customer: String,
    /// Whether we ourselves said so, at the session or on the subscription. What a visitor wrote into a payment link may give
    /// somebody a subscription, but must not make the payer that customer's name at the provider. Neither may a subscription
    /// that was bound that way earlier: being bound vouches for nothing.
    pub(super) vouched: bool,
}

/// Whose subscription it is: whoever it was bound to first, else whoever bought it, else whoever is named in what the
/// provider kept for us.
pub(super) fn owner(
    conn: &mut PgConnection,
    provider: ProviderName,
    lease: &Lease,
    fetched: &ProviderSubscription,
    purchase: Option<&Purchase>,
) -> Result<Owner, NotApplied> {
    let our_customer = |name: &str| {
        CustomerId::parse(name)
            .ok()
            .map(|id| id.as_str().to_owned())
    };
    let marked = fetched.customer_id.as_deref().and_then(our_customer);
    let bought = match purchase {
        Some(purchase) => checkout_sessions::of_session(conn, provider, &purchase.session_id)?
            .map(|(customer, _)| customer),
        None => None,
    };
    let visitor =
        || purchase.and_then(|purchase| purchase.customer_id.as_deref().and_then(our_customer));
    let known = lease
        .customer
        .clone()
        .or_else(|| bought.clone())
        .or_else(|| marked.clone())
        .or_else(visitor);
    let customer = match (known, &fetched.provider_customer_id) {
        (Some(customer), _) => Some(customer),
        (None, Some(name)) => provider_customers::customer_of(conn, provider, name)?,
        (None, None) => None,
    };
    let customer = customer.ok_or(NotApplied::Unowned)?;
    let vouched = [&bought, &marked].contains(&&Some(customer.clone()));
    Ok(Owner { customer, vouched })
}

/// Which plan version the reported prices mean. A subscription keeps the version it was sold as long as its price is of that
/// tier; an unknown price is never guessed.
pub(super) fn plan_of(
    conn: &mut PgConnection,
    provider: ProviderName,
    plans: &Plans,
    fetched: &ProviderSubscription,
    stored: Option<&Subscription>,
) -> Result<PlanRef, NotApplied> {
    let (price_ids, sold_as) = (&fetched.price_ids, fetched.sold_as.as_ref());
    plan_sold_under(conn, provider, plans, (price_ids, sold_as), stored)
}

/// Which plan version prices mean that were said to be those of `sold_as`.
fn plan_sold_under(
    conn: &mut PgConnection,
    provider: ProviderName,
    plans: &Plans,
    (price_ids, sold_as): (&[String], Option<&PlanRef>),
    stored: Option<&Subscription>,
) -> Result<PlanRef, NotApplied> {
    let sold = plan_versions::sold_under(conn, provider, price_ids)?;
    let tier = sold.first().map(|(tier, _)| tier.clone()).ok_or_else(|| {
        NotApplied::Unclear(format!(
            "no plan was ever sold under the prices {price_ids:?}"
        ))
    })?;
    if sold.iter().any(|(other, _)| *other != tier) {
        return Err(NotApplied::Unclear(format!(
            "the prices {price_ids:?} are of several plans"
        )));
    }
    let was_sold = |version: i32| sold.iter().any(|(_, candidate)| *candidate == version);
    let pinned = stored
        .filter(|stored| stored.plan.tier == tier)
        .map(|stored| stored.plan.version);
    let version = pinned
        .or_else(|| {
            let sold_as = sold_as.filter(|sold| sold.tier == tier)?;
            Some(sold_as.version).filter(|version| was_sold(*version))
        })
        .or_else(|| {
            plans
                .of_tier(&tier)
                .map(|current| current.version)
                .filter(|version| was_sold(*version))
        })
        .or_else(|| sold.first().map(|(_, version)| *version));
    version
        .map(|version| PlanRef { tier, version })
        .ok_or_else(|| NotApplied::Unclear("the price has no plan version".to_owned()))
}

/// The change of plan that is planned, where what it leads to is known here and is another plan.
pub(super) fn planned(
    conn: &mut PgConnection,
    provider: ProviderName,
    plans: &Plans,
    fetched: &ProviderSubscription,
    current: &PlanRef,
) -> Result<Option<PlannedChange>, NotApplied> {
    let Some(planned) = &fetched.planned else {
        return Ok(None);
    };
    let priced = (planned.price_ids.as_slice(), planned.sold_as.as_ref());
    match plan_sold_under(conn, provider, plans, priced, None) {
        Ok(plan) => Ok((plan.tier != current.tier).then_some(PlannedChange {
            plan,
            at: planned.at,
        })),
        Err(NotApplied::Unclear(reason)) => {
            tracing::warn!(%provider, subscription = fetched.id, reason, "what is planned for a subscription is not known here");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What was fetched, as a report that the subscription's rules take.
pub(super) fn report(
    fetched: &ProviderSubscription,
    status: SubscriptionStatus,
    plan: PlanRef,
    stored: Option<&Subscription>,
    now: DateTime<Utc>,
) -> Report {
    let anchor = fetched
        .anchor
        .or_else(|| stored.map(|stored| stored.anchor))
        .or(fetched.current_period_start)
        .or(fetched.started_at)
        .unwrap_or(now);
    Report {
        status,
        plan,
        anchor,
        current_period_start: fetched.current_period_start,
        current_period_end: fetched.current_period_end,
        cancel_at_period_end: fetched.cancel_at_period_end,
        cancel_at: fetched.cancel_at,
        ended_at: fetched.ended_at,
        paid_until: None,
        was_paid: fetched.was_paid,
        unpaid_since: fetched.unpaid_since,
        trial_end: fetched.trial_end,
        planned: None,
        end_with_grace: true,
    }
}

/// Adds what is known here alone of a subscription whose provider shows no intentions: that it is to end with its period and what is to
/// follow, until either is carried out; and of one that was cancelled, until when what is paid outlasts that. `end_sent`: the provider
/// was told to end it with its period. Returns whether it was renewed although it was to end.
pub(super) fn keep_intention(
    report: &mut Report,
    stored: Option<&Subscription>,
    end_sent: bool,
    now: DateTime<Utc>,
) -> bool {
    let intended_end = stored.and_then(|stored| stored.access_ends_at);
    report.paid_until = intended_end.filter(|_| end_sent).or(report.ended_at);
    let Some(stored) = stored.filter(|_| !report.status.is_terminal()) else {
        return false;
    };
    report.cancel_at_period_end = stored.cancel_at_period_end;
    report.planned = stored
        .planned
        .clone()
        .filter(|planned| now < planned.at && planned.plan.tier != report.plan.tier);
    let ends = stored
        .access_ends_at
        .filter(|_| stored.cancel_at_period_end);
    ends.is_some_and(|end| report.current_period_end.is_some_and(|later| end < later))
}
