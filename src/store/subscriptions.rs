//! Subscriptions, their leases (fencing numbers) and the append-only record of their transitions.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use uuid::Uuid;

use super::schema::{subscription_leases, subscription_transitions, subscriptions};
use super::unreadable;
use crate::domain::provider_event::ProviderName;
use crate::domain::subscription::{
    Grace, PlanRef, PlannedChange, Subscription, SubscriptionStatus,
};

#[derive(Queryable, Selectable, Insertable, AsChangeset, serde::Deserialize)]
#[diesel(table_name = subscriptions, check_for_backend(diesel::pg::Pg), treat_none_as_null = true)]
struct SubscriptionRow {
    customer_id: String,
    subscription_id: Uuid,
    provider: String,
    provider_subscription_id: String,
    status: String,
    plan_tier: String,
    plan_version: i32,
    unit_amount: Option<i64>,
    currency: Option<String>,
    anchor: DateTime<Utc>,
    current_period_start: Option<DateTime<Utc>>,
    current_period_end: Option<DateTime<Utc>>,
    cancel_at_period_end: bool,
    access_ends_at: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
    trial_end: Option<DateTime<Utc>>,
    planned_tier: Option<String>,
    planned_version: Option<i32>,
    planned_at: Option<DateTime<Utc>>,
    grace_tier: Option<String>,
    grace_version: Option<i32>,
    grace_ends_at: Option<DateTime<Utc>>,
    lapsed: bool,
    fence: i64,
    started_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl SubscriptionRow {
    fn of(customer: &str, subscription: &Subscription, fence: i64, now: DateTime<Utc>) -> Self {
        let s = subscription.clone();
        Self {
            customer_id: customer.to_owned(),
            subscription_id: s.id,
            provider: s.provider.as_str().to_owned(),
            provider_subscription_id: s.provider_subscription_id,
            status: s.status.as_str().to_owned(),
            plan_tier: s.plan.tier,
            plan_version: s.plan.version,
            unit_amount: s.unit_amount,
            currency: s.currency,
            anchor: s.anchor,
            current_period_start: s.current_period_start,
            current_period_end: s.current_period_end,
            cancel_at_period_end: s.cancel_at_period_end,
            access_ends_at: s.access_ends_at,
            ended_at: s.ended_at,
            trial_end: s.trial_end,
            planned_tier: s.planned.as_ref().map(|planned| planned.plan.tier.clone()),
            planned_version: s.planned.as_ref().map(|planned| planned.plan.version),
            planned_at: s.planned.as_ref().map(|planned| planned.at),
            grace_tier: s.grace.as_ref().map(|grace| grace.plan.tier.clone()),
            grace_version: s.grace.as_ref().map(|grace| grace.plan.version),
            grace_ends_at: s.grace.as_ref().map(|grace| grace.ends_at),
            lapsed: s.lapsed,
            fence,
            started_at: s.started_at,
            updated_at: now,
        }
    }

    fn into_domain(self) -> QueryResult<Subscription> {
        let grace = match (self.grace_tier, self.grace_version, self.grace_ends_at) {
            (Some(tier), Some(version), Some(ends_at)) => Some(Grace {
                plan: PlanRef { tier, version },
                ends_at,
            }),
            _ => None,
        };
        let planned = match (self.planned_tier, self.planned_version, self.planned_at) {
            (Some(tier), Some(version), Some(at)) => Some(PlannedChange {
                plan: PlanRef { tier, version },
                at,
            }),
            _ => None,
        };
        Ok(Subscription {
            id: self.subscription_id,
            provider: self.provider.parse().map_err(unreadable)?,
            provider_subscription_id: self.provider_subscription_id,
            status: SubscriptionStatus::parse(&self.status)
                .ok_or_else(|| unreadable(format!("subscription status {:?}", self.status)))?,
            plan: PlanRef {
                tier: self.plan_tier,
                version: self.plan_version,
            },
            unit_amount: self.unit_amount,
            currency: self.currency,
            anchor: self.anchor,
            current_period_start: self.current_period_start,
            current_period_end: self.current_period_end,
            cancel_at_period_end: self.cancel_at_period_end,
            access_ends_at: self.access_ends_at,
            ended_at: self.ended_at,
            trial_end: self.trial_end,
            planned,
            grace,
            lapsed: self.lapsed,
            started_at: self.started_at,
        })
    }
}

/// All subscriptions a customer ever had, oldest first.
pub fn of_customer(conn: &mut PgConnection, customer: &str) -> QueryResult<Vec<Subscription>> {
    subscriptions::table
        .filter(subscriptions::customer_id.eq(customer))
        .order((subscriptions::started_at, subscriptions::subscription_id))
        .select(SubscriptionRow::as_select())
        .load(conn)?
        .into_iter()
        .map(SubscriptionRow::into_domain)
        .collect()
}

/// Reads a subscription's row as JSON.
pub(super) fn of_json(row: &str) -> QueryResult<Subscription> {
    let row: SubscriptionRow = serde_json::from_str(row).map_err(unreadable)?;
    row.into_domain()
}

/// Writes a subscription as it now is.
pub fn save(
    conn: &mut PgConnection,
    customer: &str,
    subscription: &Subscription,
    fence: i64,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    let row = SubscriptionRow::of(customer, subscription, fence, now);
    diesel::insert_into(subscriptions::table)
        .values(&row)
        .on_conflict((subscriptions::customer_id, subscriptions::subscription_id))
        .do_update()
        .set(&row)
        .execute(conn)?;
    Ok(())
}

/// The provider's ids of live subscriptions whose period ended before `ended_before` and that were not looked at since
/// `seen_before`, longest unseen first.
pub fn overdue(
    conn: &mut PgConnection,
    provider: ProviderName,
    ended_before: DateTime<Utc>,
    seen_before: DateTime<Utc>,
    limit: i64,
) -> QueryResult<Vec<String>> {
    let live = [
        SubscriptionStatus::Trialing,
        SubscriptionStatus::Active,
        SubscriptionStatus::PastDue,
    ];
    subscriptions::table
        .filter(subscriptions::provider.eq(provider.as_str()))
        .filter(subscriptions::status.eq_any(live.map(SubscriptionStatus::as_str)))
        .filter(subscriptions::current_period_end.lt(ended_before))
        .filter(subscriptions::updated_at.lt(seen_before))
        .order(subscriptions::updated_at)
        .limit(limit)
        .select(subscriptions::provider_subscription_id)
        .load(conn)
}

/// The provider's ids of subscriptions whose first payment is still to come and that were not looked at since `seen_before`, longest
/// unseen first.
pub fn awaiting_payment(
    conn: &mut PgConnection,
    provider: ProviderName,
    seen_before: DateTime<Utc>,
    limit: i64,
) -> QueryResult<Vec<String>> {
    subscriptions::table
        .filter(subscriptions::provider.eq(provider.as_str()))
        .filter(subscriptions::status.eq(SubscriptionStatus::Incomplete.as_str()))
        .filter(subscriptions::updated_at.lt(seen_before))
        .order(subscriptions::updated_at)
        .limit(limit)
        .select(subscriptions::provider_subscription_id)
        .load(conn)
}

/// The provider's ids of all subscriptions that have not ended here, each with its customer.
pub fn open_at(
    conn: &mut PgConnection,
    provider: ProviderName,
) -> QueryResult<Vec<(String, String)>> {
    let ended = SubscriptionStatus::ALL
        .into_iter()
        .filter(|status| status.is_terminal())
        .map(SubscriptionStatus::as_str);
    subscriptions::table
        .filter(subscriptions::provider.eq(provider.as_str()))
        .filter(subscriptions::status.ne_all(ended))
        .select((
            subscriptions::provider_subscription_id,
            subscriptions::customer_id,
        ))
        .load(conn)
}

/// Remembers that a subscription was looked at in vain, so that the next round begins with others.
pub fn mark_seen(
    conn: &mut PgConnection,
    provider: ProviderName,
    id: &str,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::update(
        subscriptions::table
            .filter(subscriptions::provider.eq(provider.as_str()))
            .filter(subscriptions::provider_subscription_id.eq(id)),
    )
    .set(subscriptions::updated_at.eq(now))
    .execute(conn)?;
    Ok(())
}

/// Why a subscription changed.
#[derive(Debug, Clone, Copy)]
pub enum Cause<'a> {
    /// A provider's event.
    Webhook(&'a str),
    /// An operator.
    Operator,
    /// A look of our own, because nothing was heard.
    Job,
    /// Somebody changed it through the API.
    Request,
}

/// Records what changed. `before` is `None` for a subscription that is new here.
pub fn record_transition(
    conn: &mut PgConnection,
    customer: &str,
    before: Option<&Subscription>,
    after: &Subscription,
    cause: Cause<'_>,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    let (cause, event_id) = match cause {
        Cause::Webhook(event) => ("webhook", Some(event)),
        Cause::Operator => ("operator", None),
        Cause::Job => ("job", None),
        Cause::Request => ("request", None),
    };
    diesel::insert_into(subscription_transitions::table)
        .values((
            subscription_transitions::customer_id.eq(customer),
            subscription_transitions::transition_id.eq(Uuid::now_v7()),
            subscription_transitions::subscription_id.eq(after.id),
            subscription_transitions::occurred_at.eq(now),
            subscription_transitions::cause.eq(cause),
            subscription_transitions::event_id.eq(event_id),
            subscription_transitions::from_status.eq(before.map(|before| before.status.as_str())),
            subscription_transitions::to_status.eq(after.status.as_str()),
            subscription_transitions::from_tier.eq(before.map(|before| before.plan.tier.clone())),
            subscription_transitions::to_tier.eq(&after.plan.tier),
            subscription_transitions::from_version.eq(before.map(|before| before.plan.version)),
            subscription_transitions::to_version.eq(after.plan.version),
            subscription_transitions::unit_amount.eq(after.unit_amount),
            subscription_transitions::currency.eq(&after.currency),
        ))
        .execute(conn)?;
    Ok(())
}

/// A lease on a provider's subscription: whoever holds the highest number may write what was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The fencing number.
    pub fence: i64,
    /// Whose subscription it is, where that is known already.
    pub customer: Option<String>,
}

/// Takes the lease: every earlier holder's number is void from now on.
pub fn lease(conn: &mut PgConnection, provider: ProviderName, id: &str) -> QueryResult<Lease> {
    let (fence, customer) = diesel::insert_into(subscription_leases::table)
        .values((
            subscription_leases::provider.eq(provider.as_str()),
            subscription_leases::provider_subscription_id.eq(id),
            subscription_leases::fence.eq(1),
        ))
        .on_conflict((
            subscription_leases::provider,
            subscription_leases::provider_subscription_id,
        ))
        .do_update()
        .set(subscription_leases::fence.eq(subscription_leases::fence + 1))
        .returning((subscription_leases::fence, subscription_leases::customer_id))
        .get_result(conn)?;
    Ok(Lease { fence, customer })
}

/// Whether the lease still holds; keeps others from taking it until the transaction ends.
pub fn holds(
    conn: &mut PgConnection,
    provider: ProviderName,
    id: &str,
    fence: i64,
) -> QueryResult<bool> {
    Ok(hold(conn, provider, id)? == Some(fence))
}

/// Keeps others from taking the lease until the transaction ends, and tells the number that holds; `None`: nobody ever took it. Whoever
/// needs the customer's lock, too, comes here first, as everyone does.
pub fn hold(conn: &mut PgConnection, provider: ProviderName, id: &str) -> QueryResult<Option<i64>> {
    subscription_leases::table
        .find((provider.as_str(), id))
        .select(subscription_leases::fence)
        .for_update()
        .first(conn)
        .optional()
}

/// Remembers whose subscription it is.
pub fn bind(
    conn: &mut PgConnection,
    provider: ProviderName,
    id: &str,
    customer: &str,
    payer: Option<&str>,
) -> QueryResult<()> {
    diesel::update(subscription_leases::table.find((provider.as_str(), id)))
        .set((
            subscription_leases::customer_id.eq(customer),
            subscription_leases::provider_customer_id.eq(payer),
        ))
        .execute(conn)?;
    Ok(())
}

/// What the provider calls whoever pays the customer's latest open subscription there.
pub fn payer(
    conn: &mut PgConnection,
    customer: &str,
    provider: &str,
) -> QueryResult<Option<String>> {
    let ended = SubscriptionStatus::ALL
        .into_iter()
        .filter(|status| status.is_terminal())
        .map(SubscriptionStatus::as_str);
    let same = subscription_leases::provider
        .eq(subscriptions::provider)
        .and(
            subscription_leases::provider_subscription_id
                .eq(subscriptions::provider_subscription_id),
        );
    let payer: Option<Option<String>> = subscriptions::table
        .inner_join(subscription_leases::table.on(same))
        .filter(subscriptions::customer_id.eq(customer))
        .filter(subscriptions::provider.eq(provider))
        .filter(subscriptions::status.ne_all(ended))
        .order(subscriptions::started_at.desc())
        .select(subscription_leases::provider_customer_id)
        .first(conn)
        .optional()?;
    Ok(payer.flatten())
}

/// Whose subscription it is, where that is known.
pub fn owner(
    conn: &mut PgConnection,
    provider: ProviderName,
    id: &str,
) -> QueryResult<Option<String>> {
    let owner: Option<Option<String>> = subscription_leases::table
        .find((provider.as_str(), id))
        .select(subscription_leases::customer_id)
        .first(conn)
        .optional()?;
    Ok(owner.flatten())
}
