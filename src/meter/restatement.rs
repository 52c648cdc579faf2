//! Restatements: changes of what is counted by whoever owns the truth. They are carried out whatever the rule.

use serde_json::json;

use super::account::{Account, Effect};
use super::command::{Adjust, Command, MeterError, Needs, Release, SetAllocated, Settled, kind_of};
use crate::domain::catalogue::FeatureKind;
use crate::domain::decision::Ask;
use crate::domain::ids::{CustomerId, IdempotencyKey};
use crate::domain::plans::Plans;
use crate::domain::usage::Balance;
use crate::store::audit::AuditRow;
use crate::store::ledger::{KeyUse, Operation};

/// What all restatements have.
struct Restatement<'a> {
    feature: &'a str,
    kind: FeatureKind,
    operation: Operation,
    key: Option<&'a IdempotencyKey>,
    fingerprint: Vec<u8>,
    requested: i64,
    properties: Option<serde_json::Value>,
}

impl Restatement<'_> {
    /// Carries it out; `change` tells from what is counted what then is.
    fn settle(
        self,
        account: &mut Account<'_>,
        change: impl FnOnce(i64) -> Result<i64, MeterError>,
    ) -> Result<Settled, MeterError> {
        let before = account.snapshot.balance(self.feature, self.kind);
        let after = Balance {
            used: change(before.used)?,
            ..before
        };
        // The reason says where it leaves the customer.
        let nothing_more = Ask {
            quantity: 0,
            value: None,
        };
        let case = account
            .snapshot
            .case(self.feature, self.kind, account.enforcement);
        let reason = case.judge(nothing_more, after);
        let ask = Ask {
            quantity: self.requested,
            value: None,
        };
        let effect = Effect {
            operation: self.operation,
            quantity: after.used.saturating_sub(before.used),
            key: self.key,
            fingerprint: self.key.map(|_| self.fingerprint),
            properties: self.properties,
            reason,
            before,
            after,
        };
        let span = account.span(self.kind);
        Ok(Settled {
            decision: account.settle(self.feature, self.kind, span, ask, effect)?,
            replayed: false,
        })
    }
}

fn needs_key<'a>(
    needs: &mut Needs<'a>,
    customer: &'a CustomerId,
    operation: Operation,
    key: Option<&'a IdempotencyKey>,
) {
    needs.keys.extend(key.map(|key| KeyUse {
        customer: customer.as_str(),
        operation,
        source: "",
        key: key.as_str(),
    }));
}

/// Kinds of which units are given back and stated.
fn allocated(plans: &Plans, feature: &str) -> Result<FeatureKind, MeterError> {
    kind_of(plans, feature, &[FeatureKind::Allocated], "an allocated")
}

/// Kinds that are counted.
pub(super) fn counted(plans: &Plans, feature: &str) -> Result<FeatureKind, MeterError> {
    let fitting = [FeatureKind::Metered, FeatureKind::Allocated];
    kind_of(plans, feature, &fitting, "a metered or allocated")
}

/// What is left of `used` after taking `quantity` away.
fn less(used: i64, quantity: i64) -> Result<i64, MeterError> {
    used.checked_sub(quantity)
        .filter(|left| *left >= 0)
        .ok_or(MeterError::BelowZero { used })
}

impl Command for Release {
    type Answer = Settled;

    fn customer(&self) -> &CustomerId {
        &self.customer
    }

    fn needs<'a>(&'a self, needs: &mut Needs<'a>) {
        needs_key(needs, &self.customer, Operation::Release, self.key.as_ref());
    }

    fn precheck(&self, plans: &Plans) -> Result<(), MeterError> {
        allocated(plans, &self.feature).map(|_| ())
    }

    fn judge(&self, account: &mut Account<'_>) -> Result<Settled, MeterError> {
        let key = self.key.as_ref();
        if let Some(settled) = account.replay(Operation::Release, key, || self.fingerprint())? {
            return Ok(settled);
        }
        let restatement = Restatement {
            feature: &self.feature,
            kind: allocated(&account.snapshot.plans, &self.feature)?,
            operation: Operation::Release,
            key,
            fingerprint: self.fingerprint(),
            requested: self.quantity,
            properties: None,
        };
        restatement.settle(account, |used| less(used, self.quantity))
    }
}

impl Command for SetAllocated {
    type Answer = Settled;

    fn customer(&self) -> &CustomerId {
        &self.customer
    }

    fn needs<'a>(&'a self, needs: &mut Needs<'a>) {
        needs_key(needs, &self.customer, Operation::Set, self.key.as_ref());
    }

    fn precheck(&self, plans: &Plans) -> Result<(), MeterError> {
        allocated(plans, &self.feature).map(|_| ())
    }

    fn judge(&self, account: &mut Account<'_>) -> Result<Settled, MeterError> {
        let key = self.key.as_ref();
        if let Some(settled) = account.replay(Operation::Set, key, || self.fingerprint())? {
            return Ok(settled);
        }
        let restatement = Restatement {
            feature: &self.feature,
            kind: allocated(&account.snapshot.plans, &self.feature)?,
            operation: Operation::Set,
            key,
            fingerprint: self.fingerprint(),
            requested: self.value,
            properties: None,
        };
        restatement.settle(account, |_| Ok(self.value))
    }
}

impl Command for Adjust {
    type Answer = Settled;

    fn customer(&self) -> &CustomerId {
        &self.customer
    }

    fn needs<'a>(&'a self, needs: &mut Needs<'a>) {
        needs_key(needs, &self.customer, Operation::Adjust, Some(&self.key));
    }

    fn precheck(&self, plans: &Plans) -> Result<(), MeterError> {
        counted(plans, &self.feature).map(|_| ())
    }

    fn judge(&self, account: &mut Account<'_>) -> Result<Settled, MeterError> {
        let key = Some(&self.key);
        if let Some(settled) = account.replay(Operation::Adjust, key, || self.fingerprint())? {
            return Ok(settled);
        }
        let restatement = Restatement {
            feature: &self.feature,
            kind: counted(&account.snapshot.plans, &self.feature)?,
            operation: Operation::Adjust,
            key,
            fingerprint: self.fingerprint(),
            requested: self.delta,
            properties: Some(json!({"reason": self.reason})),
        };
        let settled = restatement.settle(account, |used| {
            let adjusted = used
                .checked_add(self.delta)
                .ok_or(MeterError::Uncountable)?;
            if adjusted < 0 {
                return Err(MeterError::BelowZero { used });
            }
            Ok(adjusted)
        })?;
        let details = json!({"delta": self.delta, "reason": self.reason, "event_id": settled.decision.event_id});
        account.changes.audits.push(AuditRow::new(
            self.actor.clone(),
            "usage.adjust",
            Some(self.customer.as_str()),
            self.feature.clone(),
            details,
            account.now(),
        ));
        Ok(settled)
    }
}
