//! Two live subscriptions at providers are a fault: the lower, else the newer one is ended and its payment given back, or an operator is told.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use serde_json::json;

use crate::domain::duplicates::{duplicates, is_live_at_provider};
use crate::domain::payment::{EndingReason, Refund};
use crate::domain::plans::Plans;
use crate::domain::policy::OnDuplicate;
use crate::domain::subscription::Subscription;
use crate::store::audit::{self, AuditRow};
use crate::store::{subscription_endings, subscriptions};

/// Who acts where no person does, in the audit log.
pub(super) const OURSELVES: &str = "plangate";

/// A subscription that was just written.
#[derive(Clone, Copy)]
pub(super) struct Written<'a> {
    pub(super) customer: &'a str,
    pub(super) before: Option<&'a Subscription>,
    pub(super) after: &'a Subscription,
}

/// Looks for a second one in the transaction that wrote the first, which holds the customer's lock. Returns whether one is to be ended.
pub(super) fn look_for(
    conn: &mut PgConnection,
    policy: OnDuplicate,
    plans: &Plans,
    written: Written<'_>,
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let Written {
        customer,
        before,
        after,
    } = written;
    if !is_live_at_provider(after, now) {
        return Ok(false);
    }
    let all = subscriptions::of_customer(conn, customer)?;
    if all.len() < 2 {
        return Ok(false);
    }
    let ending = subscription_endings::of_customer(conn, customer, now)?;
    let lasting = all
        .iter()
        .filter(|s| ending.iter().all(|noted| noted.subscription_id != s.id));
    let Some(found) = duplicates(lasting, plans, now) else {
        return Ok(false);
    };
    // A second one is told of when it comes to be, not whenever something is heard of either.
    let is_news = before.is_none_or(|before| !is_live_at_provider(before, now));
    let mut must_end = false;
    for surplus in found.surplus {
        let action = match policy {
            OnDuplicate::Refund => {
                let reason = EndingReason::Duplicate;
                if !subscription_endings::note(conn, customer, surplus, reason, Refund::Whole, now)?
                {
                    continue;
                }
                must_end = true;
                "refund"
            }
            OnDuplicate::Alert if is_news => "alert",
            OnDuplicate::Alert => continue,
        };
        let id = &surplus.provider_subscription_id;
        let kept = &found.kept.provider_subscription_id;
        let details = json!({"action": action, "plan_tier": surplus.plan.tier, "kept": kept, "kept_plan_tier": found.kept.plan.tier});
        audit::append(
            conn,
            &AuditRow::new(
                OURSELVES.to_owned(),
                "subscription.duplicate",
                Some(customer),
                id.clone(),
                details,
                now,
            ),
        )?;
        tracing::error!(
            customer,
            subscription = id,
            kept,
            action,
            "duplicate subscription"
        );
    }
    Ok(must_end)
}
