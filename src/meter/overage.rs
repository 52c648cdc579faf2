//! What the provider is owed for a change of a counter. It is written with the batch, in the transaction that counts.
//!
//! The rule is [`domain::overage`](crate::domain::overage)'s: the limit in force now decides, also about usage that is recorded
//! late. Nothing is owed where no provider bills: under an operator's grant, on the default tier, during a grace, and for a
//! period that was over before the subscription began. Corrections made there give nothing back either.

use chrono::{DateTime, Utc};

use super::account::{Account, Span};
use super::snapshot::Snapshot;
use crate::domain::catalogue::FeatureKind;
use crate::domain::overage::{GATHERS, Owed};
use crate::domain::provider_event::ProviderName;
use crate::domain::standing::PlanSource;
use crate::domain::usage::overage;
use crate::store::usage_reports::Accrual;

/// What is owed to whom for one counter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Debt {
    provider: ProviderName,
    end: Option<DateTime<Utc>>,
    owed: Owed,
}

impl Account<'_> {
    /// Notes what a change of a counter from `before` to `after` owes.
    pub(super) fn owe(&mut self, feature: &str, span: Span, before: i64, after: i64) {
        let Some(provider) = biller(&self.snapshot, span) else {
            return;
        };
        let case = self
            .snapshot
            .case(feature, FeatureKind::Metered, self.enforcement);
        let terms = case.terms();
        if terms.overage.is_none() {
            return;
        }
        let change = overage(after, terms.limit).saturating_sub(overage(before, terms.limit));
        if change == 0 {
            return;
        }
        let debts = &mut self.changes.debts;
        let debt = debts
            .entry((feature.to_owned(), span.start))
            .or_insert(Debt {
                provider,
                end: span.end,
                owed: Owed::default(),
            });
        debt.owed = debt.owed.and(change);
    }

    /// What is to be written of it, in the order of the counters.
    pub(super) fn accruals(&self) -> impl Iterator<Item = Accrual<'_>> {
        let debts = self.changes.debts.iter();
        debts.map(|((feature, start), debt)| Accrual {
            customer: &self.snapshot.customer_id,
            provider: debt.provider,
            metric: feature,
            period_start: *start,
            period_end: debt.end,
            owed: debt.owed,
            used_at: self.snapshot.now,
            due_at: self.snapshot.now + GATHERS,
        })
    }
}

/// The provider that bills what is used above a limit in the span.
fn biller(snapshot: &Snapshot, span: Span) -> Option<ProviderName> {
    let standing = &snapshot.standing;
    if standing.source != PlanSource::Subscription || span.end.is_none() {
        return None;
    }
    let subscription = snapshot.subscriptions.get(standing.subscription?)?;
    let billed = span.start == standing.period.start || subscription.started_at <= span.start;
    Some(subscription.provider).filter(|provider| billed && *provider != ProviderName::Manual)
}
