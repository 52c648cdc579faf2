//! What is said about a subscription, and what that makes of it.

use chrono::{DateTime, Utc};

use super::{Grace, PlanRef, PlannedChange, Subscription, SubscriptionStatus, after_days};

/// What a provider or an operator says about a subscription now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Reported status.
    pub status: SubscriptionStatus,
    /// The plan version that the reported price means.
    pub plan: PlanRef,
    /// Anchor of its billing cycle.
    pub anchor: DateTime<Utc>,
    /// Start of the billing period.
    pub current_period_start: Option<DateTime<Utc>>,
    /// End of the billing period.
    pub current_period_end: Option<DateTime<Utc>>,
    /// Ends with the period.
    pub cancel_at_period_end: bool,
    /// Ends at this date.
    pub cancel_at: Option<DateTime<Utc>>,
    /// Ended at.
    pub ended_at: Option<DateTime<Utc>>,
    /// Until when what was paid for outlasts a cancellation; `None`: it takes the plan at once.
    pub paid_until: Option<DateTime<Utc>>,
    /// Whether something was ever paid for it, as far as its provider shows.
    pub was_paid: bool,
    /// Since when a renewal is not paid, where its provider shows it.
    pub unpaid_since: Option<DateTime<Utc>>,
    /// Trial's end.
    pub trial_end: Option<DateTime<Utc>>,
    /// A change of plan that is planned.
    pub planned: Option<PlannedChange>,
    /// Whether an end reported here is one after which a grace is due (not after a refund, a lost dispute or an operator's end).
    pub end_with_grace: bool,
}

/// What a report does to a stored subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The subscription afterwards.
    pub after: Subscription,
    /// It was not paid for before and is now: graces of the customer's other subscriptions end.
    pub newly_active: bool,
}

impl Subscription {
    /// Says again what is known of it.
    pub fn restated(&self) -> Report {
        Report {
            status: self.status,
            plan: self.plan.clone(),
            anchor: self.anchor,
            current_period_start: self.current_period_start,
            current_period_end: self.current_period_end,
            cancel_at_period_end: self.cancel_at_period_end,
            cancel_at: self.access_ends_at,
            ended_at: self.ended_at,
            paid_until: self.access_ends_at,
            was_paid: true,
            unpaid_since: None,
            trial_end: self.trial_end,
            planned: self.planned.clone(),
            end_with_grace: true,
        }
    }

    /// Applies what was reported; `lowers` says whether the reported plan is of a lower tier than the stored one.
    ///
    /// `now` is when the fact became known and starts a grace, except where the report names an earlier end of paid access.
    /// Returns `None` where the report is stale: a terminal status never regresses.
    pub fn apply(
        &self,
        report: Report,
        lowers: bool,
        now: DateTime<Utc>,
        grace_days: u32,
    ) -> Option<Change> {
        use SubscriptionStatus as S;
        if self.status.is_terminal() && report.status != self.status {
            return None;
        }
        let pays = |status: S| matches!(status, S::Trialing | S::Active);
        // Past due means that an earlier payment succeeded, even where this is the first we hear of it.
        let had_access = report.status == S::PastDue
            || report.was_paid
            || !matches!(self.status, S::Incomplete | S::IncompleteExpired);
        let outlasting = report.paid_until.filter(|end| {
            let ends_in_order =
                report.status == S::Canceled && report.end_with_grace && !self.lapsed;
            ends_in_order && had_access && now < *end
        });
        // Not `access`: an end known in advance is a lapse by the clock, and renewing after it is new activity.
        let was_live = pays(self.status) && self.access_ends_at.is_none_or(|end| now < end);
        let access_ends_at = outlasting
            .or(report.cancel_at)
            .or(if report.cancel_at_period_end {
                report.current_period_end
            } else {
                None
            })
            .or(if report.status == S::Expired {
                report.current_period_end
            } else {
                None
            });
        let is_live = pays(report.status) && access_ends_at.is_none_or(|end| now < end);
        let newly_active = is_live && !was_live;

        // A grace that the clock alone started is a grace that runs, whatever the report says.
        let mut grace = self.grace_at(now, grace_days);
        let mut lapsed = self.lapsed;
        match report.status {
            S::Trialing | S::Active => {
                if newly_active {
                    grace = None;
                    lapsed = false;
                }
                if self.plan.tier != report.plan.tier {
                    // A change that came with the new period began with it, however late it is heard of.
                    let changed_at = report
                        .current_period_start
                        .filter(|start| {
                            *start <= now
                                && self
                                    .current_period_start
                                    .is_some_and(|before| before < *start)
                        })
                        .unwrap_or(now);
                    grace = (lowers && was_live).then(|| Grace {
                        plan: self.plan.clone(),
                        ends_at: after_days(changed_at, grace_days),
                    });
                }
            }
            // No lapse yet: the clock brings it about.
            S::Canceled if outlasting.is_some() => {}
            S::PastDue | S::Unpaid | S::Canceled if !lapsed => {
                let ended = match report.status {
                    S::Canceled => {
                        earliest(report.paid_until.or(report.ended_at), report.unpaid_since)
                    }
                    _ if report.unpaid_since.is_some() => report.unpaid_since,
                    // The payment that fails is the renewal's where a paid period is over: access was paid until then.
                    _ if was_live => self.current_period_end.max(
                        report
                            .current_period_start
                            .filter(|_| self.current_period_end.is_some()),
                    ),
                    _ => None,
                };
                let paid_until =
                    earliest(self.access_ends_at, ended).map_or(now, |end| end.min(now));
                lapsed = true;
                grace = (report.end_with_grace && had_access).then(|| Grace {
                    plan: self.plan.clone(),
                    ends_at: after_days(paid_until, grace_days),
                });
            }
            // A pause starts no grace, and ends none that runs; what follows it has none either.
            S::Paused => lapsed = true,
            S::Canceled | S::Expired if !report.end_with_grace => {
                lapsed = true;
                grace = None;
            }
            _ => {}
        }

        let after = Subscription {
            status: report.status,
            plan: report.plan,
            anchor: report.anchor,
            current_period_start: report.current_period_start,
            current_period_end: report.current_period_end,
            cancel_at_period_end: report.cancel_at_period_end,
            access_ends_at,
            ended_at: report.ended_at,
            trial_end: report.trial_end,
            planned: report.planned,
            grace,
            lapsed,
            ..self.clone()
        };
        Some(Change {
            after,
            newly_active,
        })
    }
}

fn earliest(a: Option<DateTime<Utc>>, b: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
