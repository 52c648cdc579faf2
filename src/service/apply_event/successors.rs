//! A subscription that is its own checkout session, and one that takes another one's place because its provider cannot change a plan.
//!
//! Nothing happens to the old one before the new one is paid. Then the old one is noted as replaced in the same transaction, with the part of
//! its period that is given back, and is ended at once. A new one that is agreed to and begins with the next period is no subscription yet:
//! the old one is to end with its period, and shows what follows.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use serde_json::json;

use super::NotApplied;
use super::refresh::{Errand, refresh};
use super::second_subscriptions::{OURSELVES, Written};
use crate::domain::duplicates::is_live_at_provider;
use crate::domain::payment::{EndingReason, Refund};
use crate::domain::plans::Plans;
use crate::domain::provider_event::{ProviderName, ProviderSubscription};
use crate::domain::subscription::{
    PlanRef, PlannedChange, Report, Subscription, SubscriptionStatus,
};
use crate::service::context::{Context, Storefront};
use crate::service::intentions::{Intention, intend};
use crate::service::subscriptions::Occasion;
use crate::store::audit::{self, AuditRow};
use crate::store::checkout_sessions::{self, Attempt, Ending};
use crate::store::pool;
use crate::store::{customers, intended_ends, subscription_endings, subscriptions};

/// A fetched subscription that is the session of a checkout.
pub(super) struct OwnSession {
    attempt: Attempt,
    /// The subscription whose place it takes, as it is stored.
    replaced: Option<Subscription>,
    provider_says: SubscriptionStatus,
    was_paid: bool,
    /// When its first period began.
    began: Option<DateTime<Utc>>,
    /// Something was paid for it, or it had a trial, as far as it was known here before.
    was_good: bool,
}

impl OwnSession {
    /// `None`: a checkout made it, or nobody here sold it.
    pub(super) fn find(
        conn: &mut PgConnection,
        provider: ProviderName,
        customer: &str,
        fetched: &ProviderSubscription,
        status: SubscriptionStatus,
    ) -> QueryResult<Option<Self>> {
        let attempt = checkout_sessions::attempt_of_session(conn, provider, &fetched.id)?;
        let Some(attempt) = attempt.filter(|attempt| attempt.customer_id == customer) else {
            return Ok(None);
        };
        let (mut replaced, mut stored) = (None, None);
        let all = subscriptions::of_customer(conn, customer)?.into_iter();
        for subscription in all.filter(|subscription| subscription.provider == provider) {
            let id = &subscription.provider_subscription_id;
            if *id == fetched.id {
                stored = Some(subscription);
            } else if attempt.replaces.as_ref() == Some(id) {
                replaced = Some(subscription);
            }
        }
        Ok(Some(Self {
            was_good: stored.is_some_and(|stored| !is_unpaid(stored.status)),
            attempt,
            replaced,
            provider_says: status,
            was_paid: fetched.was_paid,
            began: fetched.started_at,
        }))
    }

    /// What its provider's word means here.
    pub(super) fn status(&self) -> SubscriptionStatus {
        use SubscriptionStatus as S;
        match self.provider_says {
            // What is promised for later gives nothing before: the old one does.
            S::Trialing if self.attempt.replaces.is_some() => S::Incomplete,
            // What fails is its first payment: nothing was paid, and nothing was promised.
            S::PastDue | S::Unpaid if !self.was_paid && !self.was_good => S::Incomplete,
            // A page that was closed was no subscription.
            S::Canceled if !self.was_paid && !self.was_good => S::IncompleteExpired,
            other => other,
        }
    }

    /// What is promised for later is no trial; and what takes another one's place in the middle of a period is a change of plan, which
    /// begins no new quota.
    pub(super) fn amend(&self, report: &mut Report) {
        if let (Some(replaced), None) = (&self.replaced, self.attempt.starts_at) {
            report.anchor = replaced.anchor;
        }
        if report.status != self.provider_says {
            report.trial_end = None;
        }
    }

    /// Ends the checkout as soon as the customer has gone through it, or nobody can any more.
    pub(super) fn end_checkout(
        &self,
        conn: &mut PgConnection,
        now: DateTime<Utc>,
    ) -> QueryResult<()> {
        let ending = match (self.provider_says, self.status()) {
            (SubscriptionStatus::Trialing, _) => Ending::Complete,
            (_, SubscriptionStatus::Incomplete) => return Ok(()),
            (_, SubscriptionStatus::IncompleteExpired) => Ending::Expired,
            _ => Ending::Complete,
        };
        let Attempt {
            customer_id,
            attempt_id,
            ..
        } = &self.attempt;
        checkout_sessions::end(conn, customer_id, *attempt_id, ending, now)
    }

    /// Does to the old one what follows from the new one, in the transaction that wrote that. Returns whether the old one is to be ended.
    pub(super) fn follow(
        &self,
        conn: &mut PgConnection,
        plans: &Plans,
        written: Written<'_>,
        occasion: Occasion<'_>,
    ) -> QueryResult<bool> {
        let Some(replaced) = self
            .replaced
            .as_ref()
            .filter(|replaced| replaced.status.is_open())
        else {
            return Ok(false);
        };
        let was_open = written.before.is_none_or(|before| before.status.is_open());
        if takes_over(self.provider_says, self.was_paid) {
            return self.replace(conn, replaced, written, occasion.now);
        }
        if self.provider_says == SubscriptionStatus::Trialing {
            self.plan(conn, plans, replaced, written.customer, occasion)?;
        } else if was_open && written.after.status.is_terminal() {
            self.give_up_plan(conn, plans, replaced, written.customer, occasion)?;
        }
        Ok(false)
    }

    /// It is paid: the old one ends, and what is left of it is given back.
    fn replace(
        &self,
        conn: &mut PgConnection,
        replaced: &Subscription,
        written: Written<'_>,
        now: DateTime<Utc>,
    ) -> QueryResult<bool> {
        // From when on the new one is paid, however late that is heard of.
        let begins = self
            .attempt
            .starts_at
            .or(self.began)
            .unwrap_or(now)
            .min(now);
        // Of which period is found out when it has ended: it may be renewed before that.
        let refund = if replaced.status == SubscriptionStatus::Active {
            Refund::UnusedSince(begins)
        } else {
            Refund::None
        };
        let reason = EndingReason::Replaced;
        if !subscription_endings::note(conn, written.customer, replaced, reason, refund, now)? {
            return Ok(false);
        }
        let (id, by) = (
            replaced.provider_subscription_id.clone(),
            &written.after.provider_subscription_id,
        );
        tracing::info!(
            customer = written.customer,
            subscription = id,
            by,
            "subscription replaced"
        );
        let details = json!({
            "plan_tier": replaced.plan.tier,
            "by": by,
            "by_plan_tier": written.after.plan.tier,
            "refund_since": (refund != Refund::None).then_some(begins),
        });
        let action = "subscription.replace";
        let customer = Some(written.customer);
        let row = AuditRow::new(OURSELVES.to_owned(), action, customer, id, details, now);
        audit::append(conn, &row)?;
        Ok(true)
    }

    /// It is agreed to: the old one ends with its period, and shows what follows.
    fn plan(
        &self,
        conn: &mut PgConnection,
        plans: &Plans,
        replaced: &Subscription,
        customer: &str,
        occasion: Occasion<'_>,
    ) -> QueryResult<()> {
        let planned = self.planned();
        if is_unpaid(replaced.status)
            || planned.is_none()
            || (replaced.planned == planned && replaced.cancel_at_period_end)
        {
            return Ok(());
        }
        let intention = Intention {
            ends_with_period: true,
            planned,
        };
        keep(conn, plans, replaced, customer, intention, occasion)
    }

    /// It never begins: the old one goes on, where that can still be.
    fn give_up_plan(
        &self,
        conn: &mut PgConnection,
        plans: &Plans,
        replaced: &Subscription,
        customer: &str,
        occasion: Occasion<'_>,
    ) -> QueryResult<()> {
        if replaced.planned.is_none() || replaced.planned != self.planned() {
            return Ok(());
        }
        let id = &replaced.provider_subscription_id;
        let told = intended_ends::told(conn, replaced.provider, id)?;
        let intention = Intention {
            ends_with_period: told.sent_at.is_some(),
            planned: None,
        };
        keep(conn, plans, replaced, customer, intention, occasion)
    }

    fn planned(&self) -> Option<PlannedChange> {
        let at = self.attempt.starts_at?;
        let plan = PlanRef {
            tier: self.attempt.plan_tier.clone(),
            version: self.attempt.plan_version,
        };
        Some(PlannedChange { plan, at })
    }
}

/// Keeps with the old one what is intended with it.
fn keep(
    conn: &mut PgConnection,
    plans: &Plans,
    replaced: &Subscription,
    customer: &str,
    intention: Intention,
    occasion: Occasion<'_>,
) -> QueryResult<()> {
    // As the new one left it.
    let Some(row) = customers::lock(conn, customer)? else {
        return Ok(());
    };
    let remembered = row.anchoring();
    intend(
        conn, plans, customer, remembered, replaced, intention, occasion,
    )?;
    Ok(())
}

/// Whether nothing was ever paid under that status.
const fn is_unpaid(status: SubscriptionStatus) -> bool {
    matches!(
        status,
        SubscriptionStatus::Incomplete | SubscriptionStatus::IncompleteExpired
    )
}

/// Whether one that stands so has taken the old one's place: it was paid, and goes on.
const fn takes_over(status: SubscriptionStatus, was_paid: bool) -> bool {
    use SubscriptionStatus as S;
    match status {
        S::Active => true,
        S::PastDue | S::Unpaid | S::Paused => was_paid,
        S::Trialing | S::Incomplete | S::IncompleteExpired | S::Canceled | S::Expired => false,
    }
}

/// Brings the old one up to date before the new one takes its place: how much goes back depends on the period that was paid for last.
pub(super) async fn look_at_the_replaced(
    context: &Context,
    storefront: &Storefront,
    fetched: &ProviderSubscription,
    status: SubscriptionStatus,
) -> Result<(), NotApplied> {
    if storefront.provider.capabilities().changes_plans || !takes_over(status, fetched.was_paid) {
        return Ok(());
    }
    let (provider, id, now) = (
        storefront.provider.name(),
        fetched.id.clone(),
        context.clock().now(),
    );
    let replaced = pool::run(&context.pool, move |conn| {
        let attempt = checkout_sessions::attempt_of_session(conn, provider, &id)?;
        let Some((customer, replaced)) =
            attempt.and_then(|attempt| Some((attempt.customer_id, attempt.replaces?)))
        else {
            return Ok(None);
        };
        let ending = subscription_endings::of_customer(conn, &customer, now)?;
        let goes_on = subscriptions::of_customer(conn, &customer)?
            .into_iter()
            .any(|s| {
                s.provider == provider
                    && s.provider_subscription_id == replaced
                    && s.status.is_open()
                    && ending.iter().all(|noted| noted.subscription_id != s.id)
            });
        Ok::<_, NotApplied>(goes_on.then_some(replaced))
    })
    .await?;
    let Some(replaced) = replaced else {
        return Ok(());
    };
    match Box::pin(refresh(context, storefront, &replaced, Errand::unasked())).await {
        Ok(_) => Ok(()),
        Err(error @ (NotApplied::Overtaken | NotApplied::Away { .. } | NotApplied::Store(_))) => {
            Err(error)
        }
        // It must end all the same; then what is stored has to do.
        Err(error) => {
            tracing::warn!(%provider, subscription = replaced, %error, "a subscription that is replaced is not understood");
            Ok(())
        }
    }
}

/// Whether the end of one that was replaced leaves a grace: that of a change to a lower plan does.
pub(super) fn was_lowered(
    conn: &mut PgConnection,
    plans: &Plans,
    customer: &str,
    replaced: &Subscription,
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let all = subscriptions::of_customer(conn, customer)?;
    let mut others = all
        .iter()
        .filter(|s| s.id != replaced.id && is_live_at_provider(s, now));
    Ok(others.all(|other| plans.lowers(&replaced.plan, &other.plan)))
}
