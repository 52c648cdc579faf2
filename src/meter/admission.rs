//! Admissions: what is asked for is judged by the rules, and counted or held if it is let through.

use chrono::{DateTime, Utc};

use super::account::{Account, Effect};
use super::command::{Command, Consume, MeterError, Needs, Reserve, Reserved, Settled, bytes_of};
use super::outcome::{self, Subject};
use super::restatement::counted;
use crate::domain::catalogue::FeatureKind;
use crate::domain::decision::{Ask, Decision};
use crate::domain::ids::CustomerId;
use crate::domain::plans::Plans;
use crate::domain::reservation::{Reservation, ReservationId, ReservationState};
use crate::domain::usage::Balance;
use crate::store::ledger::{KeyUse, Operation};
use crate::store::reservations::Stored;

/// Checks that a value is given where, and only where, the feature's kind has one.
pub(super) fn check_value(kind: FeatureKind, value: Option<i64>) -> Result<(), MeterError> {
    match (kind, value) {
        (FeatureKind::Static, None) => Err(MeterError::Value(
            "a static feature needs the value that is asked for",
        )),
        (FeatureKind::Static, Some(_)) | (_, None) => Ok(()),
        (_, Some(_)) => Err(MeterError::Value("only a static feature takes a value")),
    }
}

impl Command for Consume {
    type Answer = Settled;

    fn customer(&self) -> &CustomerId {
        &self.customer
    }

    fn needs<'a>(&'a self, needs: &mut Needs<'a>) {
        needs.keys.extend(self.key.as_ref().map(|key| KeyUse {
            customer: self.customer.as_str(),
            operation: Operation::Consume,
            source: "",
            key: key.as_str(),
        }));
    }

    fn precheck(&self, plans: &Plans) -> Result<(), MeterError> {
        let kind = plans
            .kind(&self.feature)
            .ok_or_else(|| MeterError::UnknownFeature(self.feature.clone()))?;
        check_value(kind, self.value)
    }

    fn bytes(&self) -> usize {
        self.properties.as_ref().map_or(0, bytes_of)
    }

    fn judge(&self, account: &mut Account<'_>) -> Result<Settled, MeterError> {
        let replayed =
            account.replay(Operation::Consume, self.key.as_ref(), || self.fingerprint())?;
        if let Some(settled) = replayed {
            return Ok(settled);
        }
        let kind = account.snapshot.kind(&self.feature)?;
        check_value(kind, self.value)?;
        let ask = Ask {
            quantity: self.quantity,
            value: self.value,
        };
        let before = account.snapshot.balance(&self.feature, kind);
        let case = account
            .snapshot
            .case(&self.feature, kind, account.enforcement);
        let reason = case.judge(ask, before);
        let is_counted = matches!(kind, FeatureKind::Metered | FeatureKind::Allocated);
        let told_only = (!case.admits(reason, ask, before) || !is_counted)
            .then(|| case.decision(ask, reason, before, before, Vec::new()));
        account.deny(&self.feature, reason);
        if let Some(decision) = told_only {
            return Ok(Settled {
                decision,
                replayed: false,
            });
        }
        let effect = Effect {
            operation: Operation::Consume,
            quantity: self.quantity,
            key: self.key.as_ref(),
            fingerprint: self.key.as_ref().map(|_| self.fingerprint()),
            properties: self.properties.clone(),
            reason,
            before,
            after: Balance {
                used: before.used.saturating_add(self.quantity),
                ..before
            },
        };
        let span = account.span(kind);
        Ok(Settled {
            decision: account.settle(&self.feature, kind, span, ask, effect)?,
            replayed: false,
        })
    }
}

impl Command for Reserve {
    type Answer = Reserved;

    fn customer(&self) -> &CustomerId {
        &self.customer
    }

    fn needs<'a>(&'a self, needs: &mut Needs<'a>) {
        let key = self
            .key
            .as_ref()
            .map(|key| (self.customer.as_str(), key.as_str()));
        needs.reservation_keys.extend(key);
    }

    fn precheck(&self, plans: &Plans) -> Result<(), MeterError> {
        counted(plans, &self.feature).map(|_| ())
    }

    fn judge(&self, account: &mut Account<'_>) -> Result<Reserved, MeterError> {
        if let Some(first) = self
            .key
            .as_ref()
            .and_then(|key| account.reservation_of(key))
        {
            return self.replay(first);
        }
        let kind = counted(&account.snapshot.plans, &self.feature)?;
        let ask = Ask {
            quantity: self.quantity,
            value: None,
        };
        let before = account.snapshot.balance(&self.feature, kind);
        let case = account
            .snapshot
            .case(&self.feature, kind, account.enforcement);
        let reason = case.judge(ask, before);
        let admitted = case.admits(reason, ask, before);
        let after = Balance {
            held: if admitted {
                before.held.saturating_add(self.quantity)
            } else {
                before.held
            },
            ..before
        };
        let decision = case.decision(ask, reason, before, after, Vec::new());
        account.deny(&self.feature, reason);
        if !admitted {
            return Ok(Reserved {
                reservation: None,
                decision,
                replayed: false,
            });
        }
        let reservation = self.hold(account, kind, &decision)?;
        Ok(Reserved {
            reservation: Some(reservation),
            decision,
            replayed: false,
        })
    }
}

impl Reserve {
    fn hold(
        &self,
        account: &mut Account<'_>,
        kind: FeatureKind,
        decision: &Decision,
    ) -> Result<Reservation, MeterError> {
        let (now, span) = (account.now(), account.span(kind));
        let reservation = Reservation {
            id: ReservationId(account.next_id()),
            customer_id: self.customer.as_str().to_owned(),
            feature: self.feature.clone(),
            state: ReservationState::Held,
            quantity: self.quantity,
            committed_quantity: None,
            created_at: now,
            expires_at: now
                .checked_add_signed(self.ttl)
                .unwrap_or(DateTime::<Utc>::MAX_UTC),
            settled_at: None,
        };
        let outcome = self
            .key
            .as_ref()
            .map(|_| outcome::remember(decision))
            .transpose()?;
        let stored = Stored {
            reservation: reservation.clone(),
            period_start: span.start,
            period_end: span.end,
            idempotency_key: self.key.as_ref().map(|key| key.as_str().to_owned()),
            fingerprint: self.key.as_ref().map(|_| self.fingerprint()),
            outcome,
            settlement: None,
            event_id: None,
        };
        account.changes.reserved.push(account.reservations.len());
        account.reservations.push(stored);
        account.hold(&self.feature, span, self.quantity, reservation.expires_at);
        Ok(reservation)
    }

    /// The answer of the first time: what became of the reservation since is not told.
    fn replay(&self, first: &Stored) -> Result<Reserved, MeterError> {
        if first.fingerprint.as_deref() != Some(self.fingerprint().as_slice()) {
            return Err(MeterError::KeyReused);
        }
        let reservation = Reservation {
            state: ReservationState::Held,
            committed_quantity: None,
            settled_at: None,
            ..first.reservation.clone()
        };
        let subject = Subject {
            customer: &reservation.customer_id,
            feature: &reservation.feature,
            event: None,
            at: reservation.created_at,
        };
        let decision = outcome::recall(first.outcome.as_deref(), subject)?;
        Ok(Reserved {
            reservation: Some(reservation),
            decision,
            replayed: true,
        })
    }
}
