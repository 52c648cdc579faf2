//! What becomes of a reservation: it is committed, or released. Its row remembers which for ever, so each call can be repeated.

use chrono::TimeDelta;

use super::account::{Account, Effect, Span};
use super::command::{
    Command, CommitReservation, Committed, Freed, MeterError, Needs, ReleaseReservation,
};
use super::outcome::{self, Subject};
use crate::domain::catalogue::FeatureKind;
use crate::domain::decision::{Ask, Decision};
use crate::domain::event_id::EventId;
use crate::domain::ids::CustomerId;
use crate::domain::period::Period;
use crate::domain::reservation::{Reservation, ReservationState};
use crate::domain::usage::Balance;
use crate::store::ledger::Operation;
use crate::store::reservations::Stored;

impl Command for CommitReservation {
    type Answer = Committed;

    fn customer(&self) -> &CustomerId {
        &self.customer
    }

    fn needs<'a>(&'a self, needs: &mut Needs<'a>) {
        needs.reservations.push((self.customer.as_str(), self.id));
    }

    fn creates(&self) -> bool {
        false
    }

    fn of_nobody(&self) -> Result<Committed, MeterError> {
        Err(MeterError::UnknownReservation)
    }

    fn judge(&self, account: &mut Account<'_>) -> Result<Committed, MeterError> {
        let (index, stored) = account
            .reservation(self.id)
            .ok_or(MeterError::UnknownReservation)?;
        let reservation = &stored.reservation;
        let quantity = self.quantity.unwrap_or(reservation.quantity);
        match reservation.state {
            ReservationState::Committed if reservation.committed_quantity == Some(quantity) => {
                return replay(stored);
            }
            ReservationState::Committed | ReservationState::Released => {
                return Err(MeterError::ReservationSettled {
                    state: reservation.state,
                });
            }
            ReservationState::Held | ReservationState::Expired => {}
        }
        if quantity > reservation.quantity {
            return Err(MeterError::CommitAboveHold {
                held: reservation.quantity,
            });
        }
        let decision = commit(account, &stored, quantity)?;
        let now = account.now();
        let reservation = Reservation {
            state: ReservationState::Committed,
            committed_quantity: Some(quantity),
            settled_at: Some(now),
            ..stored.reservation
        };
        let event_id = (quantity > 0)
            .then(|| account.changes.entries.last().map(|entry| entry.event_id))
            .flatten();
        let settled = Stored {
            reservation: reservation.clone(),
            settlement: Some(outcome::remember(&decision)?),
            event_id,
            ..stored
        };
        settle(account, index, settled);
        Ok(Committed {
            reservation,
            decision,
            replayed: false,
        })
    }
}

/// Judges and counts. While the reservation holds, its units are the customer's: a limit that was lowered since changes nothing.
/// Later they are asked for again, as long as the period in which they were held takes any.
fn commit(
    account: &mut Account<'_>,
    stored: &Stored,
    quantity: i64,
) -> Result<Decision, MeterError> {
    let Stored { reservation, .. } = stored;
    let feature = reservation.feature.as_str();
    let kind = account.snapshot.kind(feature)?;
    let (span, now) = (span_of(account, stored, kind), account.now());
    let live = now < reservation.expires_at;
    let balance = account.snapshot.balance_at(feature, span.start);
    let before = Balance {
        held: if live {
            balance.held.saturating_sub(reservation.quantity).max(0)
        } else {
            balance.held
        },
        ..balance
    };
    let ask = Ask {
        quantity,
        value: None,
    };
    let case = account.snapshot.case(feature, kind, account.enforcement);
    let reason = case.judge(ask, before);
    if !live && quantity > 0 {
        let days = i64::from(account.snapshot.plans.late_usage_days);
        if span
            .end
            .is_some_and(|end| end + TimeDelta::days(days) <= now)
        {
            return Err(MeterError::ReservationExpired(None));
        }
        if !case.admits(reason, ask, before) {
            let denied = case.decision(ask, reason, before, before, Vec::new());
            account.deny(feature, reason);
            return Err(MeterError::ReservationExpired(Some(Box::new(denied))));
        }
    }
    let after = Balance {
        used: before
            .used
            .checked_add(quantity)
            .ok_or(MeterError::Uncountable)?,
        ..before
    };
    let decision = if quantity == 0 {
        Decision {
            allowed: true,
            period: span.end.map(|end| Period {
                start: span.start,
                end,
            }),
            ..case.decision(ask, reason, before, after, Vec::new())
        }
    } else {
        let effect = Effect {
            operation: Operation::Commit,
            quantity,
            key: None,
            fingerprint: None,
            properties: None,
            reason,
            before,
            after,
        };
        let decision = account.settle(feature, kind, span, ask, effect)?;
        if let Some(entry) = account.changes.entries.last_mut() {
            // It was used when it was held: that is the period it belongs to.
            entry.occurred_at = reservation.created_at;
        }
        decision
    };
    if live {
        account.free(feature, span, reservation.quantity);
    }
    Ok(decision)
}

/// The span in which the reservation settles: a new anchor may have ended its period since.
fn span_of(account: &Account<'_>, stored: &Stored, kind: FeatureKind) -> Span {
    let start = stored.period_start;
    let counter = account
        .snapshot
        .counter(&stored.reservation.feature, start)
        .and_then(|counter| counter.period_end);
    let current = account.snapshot.period_start(kind);
    Span {
        start,
        end: counter.or_else(|| {
            stored.period_end.map(|end| {
                if start < current {
                    end.min(current)
                } else {
                    end
                }
            })
        }),
    }
}

fn replay(stored: Stored) -> Result<Committed, MeterError> {
    let reservation = stored.reservation;
    let subject = Subject {
        customer: &reservation.customer_id,
        feature: &reservation.feature,
        event: stored.event_id.map(|id| EventId(id).to_string()),
        at: reservation.settled_at.unwrap_or(reservation.created_at),
    };
    let decision = outcome::recall(stored.settlement.as_deref(), subject)?;
    Ok(Committed {
        reservation,
        decision,
        replayed: true,
    })
}

fn settle(account: &mut Account<'_>, index: usize, settled: Stored) {
    if let Some(stored) = account.reservations.get_mut(index) {
        *stored = settled;
        account.changes.settled.push(index);
    }
}

impl Command for ReleaseReservation {
    type Answer = Freed;

    fn customer(&self) -> &CustomerId {
        &self.customer
    }

    fn needs<'a>(&'a self, needs: &mut Needs<'a>) {
        needs.reservations.push((self.customer.as_str(), self.id));
    }

    fn creates(&self) -> bool {
        false
    }

    fn of_nobody(&self) -> Result<Freed, MeterError> {
        Err(MeterError::UnknownReservation)
    }

    fn judge(&self, account: &mut Account<'_>) -> Result<Freed, MeterError> {
        let (index, stored) = account
            .reservation(self.id)
            .ok_or(MeterError::UnknownReservation)?;
        match stored.reservation.state {
            ReservationState::Released => {
                return Ok(Freed {
                    reservation: stored.reservation,
                    replayed: true,
                });
            }
            ReservationState::Committed => {
                return Err(MeterError::ReservationSettled {
                    state: ReservationState::Committed,
                });
            }
            ReservationState::Held | ReservationState::Expired => {}
        }
        let now = account.now();
        if now < stored.reservation.expires_at {
            let kind = account.snapshot.kind(&stored.reservation.feature)?;
            let span = span_of(account, &stored, kind);
            account.free(
                &stored.reservation.feature,
                span,
                stored.reservation.quantity,
            );
        }
        let reservation = Reservation {
            state: ReservationState::Released,
            settled_at: Some(now),
            ..stored.reservation
        };
        let freed = Stored {
            reservation: reservation.clone(),
            ..stored
        };
        settle(account, index, freed);
        Ok(Freed {
            reservation,
            replayed: false,
        })
    }
}
