//! Orders of the model as commands of the meter, and the meter's answers in the model's words.

use chrono::TimeDelta;
use plangate::domain::decision::Decision;
use plangate::domain::ids::{CustomerId, IdempotencyKey};
use plangate::domain::reservation::ReservationId;
use plangate::meter::{
    Adjust, CommitReservation, Consume, Meter, MeterError, Record, Recorded, Release,
    ReleaseReservation, Reserve, SetAllocated,
};

use super::words::{Order, Said, Told};

/// What the meter said, with what identifies it where it may be said again.
pub(super) struct Answer {
    pub(super) told: Told,
    /// The key, or the reservation's commit, that it is remembered with.
    pub(super) remembered: Option<(String, Decision)>,
    pub(super) reservation: Option<ReservationId>,
}

/// Asks the meter. `id` is the reservation that a commit or a release is about.
pub(super) async fn call(
    meter: &Meter,
    customer: CustomerId,
    order: Order,
    id: ReservationId,
) -> Answer {
    let name = |key: u8| IdempotencyKey::parse(&format!("key-{key}")).unwrap();
    let key_of = |key: Option<u8>| key.map(name);
    match order {
        Order::Consume(feature, quantity, key) => {
            let command = Consume {
                customer,
                feature: feature.key().to_owned(),
                quantity,
                value: None,
                key: key_of(key),
                properties: None,
            };
            let settled = meter.consume(command).await;
            decided(settled.map(|s| (s.decision, s.replayed)), "consume", key)
        }
        Order::Release(feature, quantity, key) => {
            let command = Release {
                customer,
                feature: feature.key().to_owned(),
                quantity,
                key: key_of(key),
            };
            let settled = meter.release(command).await;
            decided(settled.map(|s| (s.decision, s.replayed)), "release", key)
        }
        Order::Set(feature, value, key) => {
            let command = SetAllocated {
                customer,
                feature: feature.key().to_owned(),
                value,
                key: key_of(key),
            };
            let settled = meter.set_allocated(command).await;
            decided(settled.map(|s| (s.decision, s.replayed)), "set", key)
        }
        Order::Adjust(feature, delta, key) => {
            let command = Adjust {
                customer,
                feature: feature.key().to_owned(),
                delta,
                reason: "a test".to_owned(),
                actor: "operator".to_owned(),
                key: name(key),
            };
            let settled = meter.adjust(command).await;
            let settled = settled.map(|s| (s.decision, s.replayed));
            decided(settled, "adjust", Some(key))
        }
        Order::Record(feature, quantity, occurred_at, key) => {
            let event = Record {
                id: name(key),
                source: String::new(),
                customer,
                feature: feature.key().to_owned(),
                quantity,
                occurred_at,
                properties: None,
            };
            let recorded = meter.record(vec![event]).await.unwrap();
            Answer::plain(Told::Recorded(match recorded[0] {
                Recorded::Recorded => "recorded",
                Recorded::Duplicate => "duplicate",
                Recorded::Invalid(_) => "invalid",
            }))
        }
        Order::Reserve(feature, quantity, ttl, key, _) => {
            let command = Reserve {
                customer,
                feature: feature.key().to_owned(),
                quantity,
                ttl: TimeDelta::seconds(ttl),
                key: key_of(key),
            };
            reserve(meter, command, key).await
        }
        Order::Commit(_, quantity) => {
            let command = CommitReservation {
                customer,
                id,
                quantity,
            };
            commit(meter, command).await
        }
        Order::Free(_) => {
            let freed = meter.free(ReleaseReservation { customer, id }).await;
            Answer::plain(match freed {
                Ok(freed) => Told::Freed {
                    replayed: freed.replayed,
                },
                Err(error) => refused(&error),
            })
        }
    }
}

async fn reserve(meter: &Meter, command: Reserve, key: Option<u8>) -> Answer {
    match meter.reserve(command).await {
        Err(error) => Answer::plain(refused(&error)),
        Ok(reserved) => {
            let said = said(&reserved.decision, reserved.replayed);
            let key = key.filter(|_| said.allowed);
            Answer {
                told: Told::Reserved(said, None),
                remembered: key.map(|key| (format!("reserve {key}"), reserved.decision)),
                reservation: reserved.reservation.map(|reservation| reservation.id),
            }
        }
    }
}

async fn commit(meter: &Meter, command: CommitReservation) -> Answer {
    let id = command.id;
    match meter.commit(command).await {
        Err(error) => Answer::plain(refused(&error)),
        Ok(committed) => Answer {
            told: Told::Decided(said(&committed.decision, committed.replayed)),
            remembered: Some((format!("commit {id:?}"), committed.decision)),
            reservation: None,
        },
    }
}

impl Answer {
    fn plain(told: Told) -> Self {
        Self {
            told,
            remembered: None,
            reservation: None,
        }
    }
}

fn decided(
    settled: Result<(Decision, bool), MeterError>,
    operation: &str,
    key: Option<u8>,
) -> Answer {
    match settled {
        Err(error) => Answer::plain(refused(&error)),
        Ok((decision, replayed)) => {
            let recorded = decision.event_id.is_some();
            let key = key.filter(|_| recorded);
            Answer {
                told: Told::Decided(said(&decision, replayed)),
                remembered: key.map(|key| (format!("{operation} {key}"), decision)),
                reservation: None,
            }
        }
    }
}

fn said(decision: &Decision, replayed: bool) -> Said {
    Said {
        allowed: decision.allowed,
        reason: decision.reason,
        used: decision.used,
        held: decision.held,
        replayed,
    }
}

fn refused(error: &MeterError) -> Told {
    Told::Refused(match error {
        MeterError::UnknownFeature(_) => "unknown feature",
        MeterError::WrongKind { .. } => "wrong kind",
        MeterError::KeyReused => "key reused",
        MeterError::BelowZero { .. } => "below zero",
        MeterError::UnknownReservation => "unknown reservation",
        MeterError::ReservationSettled { .. } => "settled",
        MeterError::ReservationExpired(_) => "expired",
        MeterError::CommitAboveHold { .. } => "above the hold",
        other => panic!("{other}"),
    })
}
