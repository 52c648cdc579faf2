//! Reservations: what is held, and what became of it. A row is kept for ever, so that every call about it can be repeated.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Nullable, Text, Timestamptz};
use uuid::Uuid;

use super::statement::statement;
use super::unreadable;
use crate::domain::reservation::{Reservation, ReservationId, ReservationState};

/// A reservation as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The reservation; its state is `Held` even after it expired: that is for the reader's clock to say.
    pub reservation: Reservation,
    /// First instant of the period it settles in; the epoch for a gauge.
    pub period_start: DateTime<Utc>,
    /// First instant after that period, as it was when the reservation was made; `None`: a gauge.
    pub period_end: Option<DateTime<Utc>>,
    /// The caller's key.
    pub idempotency_key: Option<String>,
    /// SHA-256 of the request after defaults; given where there is a key.
    pub fingerprint: Option<Vec<u8>>,
    /// JSON of the numbers that were answered to the reservation; given where there is a key.
    pub outcome: Option<String>,
    /// JSON of the numbers that were answered to its commit.
    pub settlement: Option<String>,
    /// The ledger entry of its commit; `None`: nothing was recorded.
    pub event_id: Option<Uuid>,
}

type StoredSql = (
    Text,
    diesel::sql_types::Uuid,
    Text,
    Timestamptz,
    Nullable<Timestamptz>,
    Text,
    BigInt,
    Nullable<BigInt>,
    Nullable<Text>,
    Nullable<Binary>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<diesel::sql_types::Uuid>,
    Timestamptz,
    Timestamptz,
    Nullable<Timestamptz>,
);

type Row = (
    String,
    Uuid,
    String,
    DateTime<Utc>,
    Option<DateTime<Utc>>,
    String,
    i64,
    Option<i64>,
    Option<String>,
    Option<Vec<u8>>,
    Option<String>,
    Option<String>,
    Option<Uuid>,
    DateTime<Utc>,
    DateTime<Utc>,
    Option<DateTime<Utc>>,
);

statement! {
    /// Each one is looked up by itself, so that no plan can prefer to read the table.
    RecallAll<'a> -> StoredSql {
        "SELECT r.customer_id, r.reservation_id, r.metric_name, r.period_start, r.period_end, r.state, r.quantity, \
                r.committed_quantity, r.idempotency_key, r.fingerprint, r.outcome::text, r.settlement::text, r.event_id, \
                r.created_at, r.expires_at, r.settled_at \
         FROM unnest("
        owners: Vec<&'a str> as Array<Text>,
        "::text[], "
        ids: Vec<Uuid> as Array<diesel::sql_types::Uuid>,
        "::uuid[]) AS asked(customer_id, id) \
         CROSS JOIN LATERAL (SELECT * FROM reservations s \
                             WHERE s.customer_id = asked.customer_id AND s.reservation_id = asked.id LIMIT 1) r \
         UNION ALL \
         SELECT r.customer_id, r.reservation_id, r.metric_name, r.period_start, r.period_end, r.state, r.quantity, \
                r.committed_quantity, r.idempotency_key, r.fingerprint, r.outcome::text, r.settlement::text, r.event_id, \
                r.created_at, r.expires_at, r.settled_at \
         FROM unnest("
        callers: Vec<&'a str> as Array<Text>,
        "::text[], "
        keys: Vec<&'a str> as Array<Text>,
        "::text[]) AS asked(customer_id, key) \
         CROSS JOIN LATERAL (SELECT * FROM reservations s \
                             WHERE s.customer_id = asked.customer_id AND s.idempotency_key = asked.key LIMIT 1) r"
    }
}

/// Looks reservations up, each with its customer: by id, and by the key they were made under. What is not there is left out.
pub fn recall_all(
    conn: &mut PgConnection,
    ids: &[(&str, ReservationId)],
    keys: &[(&str, &str)],
) -> QueryResult<Vec<Stored>> {
    let statement = RecallAll {
        owners: ids.iter().map(|(customer, _)| *customer).collect(),
        ids: ids.iter().map(|(_, id)| id.0).collect(),
        callers: keys.iter().map(|(customer, _)| *customer).collect(),
        keys: keys.iter().map(|(_, key)| *key).collect(),
    };
    let rows: Vec<Row> = statement.load(conn)?;
    rows.into_iter().map(stored).collect()
}

/// One reservation.
pub fn find(
    conn: &mut PgConnection,
    customer: &str,
    id: ReservationId,
) -> QueryResult<Option<Stored>> {
    Ok(recall_all(conn, &[(customer, id)], &[])?.pop())
}

fn stored(row: Row) -> QueryResult<Stored> {
    let (
        customer_id,
        id,
        feature,
        period_start,
        period_end,
        state,
        quantity,
        committed_quantity,
        idempotency_key,
        fingerprint,
        outcome,
        settlement,
        event_id,
        created_at,
        expires_at,
        settled_at,
    ) = row;
    let state = match state.as_str() {
        "held" => ReservationState::Held,
        "committed" => ReservationState::Committed,
        "released" => ReservationState::Released,
        other => return Err(unreadable(format!("reservation state {other:?}"))),
    };
    Ok(Stored {
        reservation: Reservation {
            id: ReservationId(id),
            customer_id,
            feature,
            state,
            quantity,
            committed_quantity,
            created_at,
            expires_at,
            settled_at,
        },
        period_start,
        period_end,
        idempotency_key,
        fingerprint,
        outcome,
        settlement,
        event_id,
    })
}

statement! {
    InsertAll<'a> -> () {
        "INSERT INTO reservations \
             (customer_id, reservation_id, metric_name, period_start, period_end, state, quantity, idempotency_key, fingerprint, \
              outcome, created_at, expires_at) \
         SELECT customer_id, reservation_id, metric_name, period_start, period_end, 'held', quantity, idempotency_key, \
                fingerprint, outcome::jsonb, created_at, expires_at \
         FROM unnest("
        customers: Vec<&'a str> as Array<Text>,
        "::text[], "
        ids: Vec<Uuid> as Array<diesel::sql_types::Uuid>,
        "::uuid[], "
        features: Vec<&'a str> as Array<Text>,
        "::text[], "
        starts: Vec<DateTime<Utc>> as Array<Timestamptz>,
        "::timestamptz[], "
        ends: Vec<Option<DateTime<Utc>>> as Array<Nullable<Timestamptz>>,
        "::timestamptz[], "
        quantities: Vec<i64> as Array<BigInt>,
        "::bigint[], "
        keys: Vec<Option<&'a str>> as Array<Nullable<Text>>,
        "::text[], "
        fingerprints: Vec<Option<&'a [u8]>> as Array<Nullable<Binary>>,
        "::bytea[], "
        outcomes: Vec<Option<&'a str>> as Array<Nullable<Text>>,
        "::text[], "
        created: Vec<DateTime<Utc>> as Array<Timestamptz>,
        "::timestamptz[], "
        expiring: Vec<DateTime<Utc>> as Array<Timestamptz>,
        "::timestamptz[]) \
         AS new(customer_id, reservation_id, metric_name, period_start, period_end, quantity, idempotency_key, fingerprint, \
                outcome, created_at, expires_at)"
    }
}

/// Adds reservations, all of them held.
pub fn insert_all<'a>(
    conn: &mut PgConnection,
    rows: impl Iterator<Item = &'a Stored> + Clone,
) -> QueryResult<()> {
    let each = || rows.clone().map(|row| &row.reservation);
    let statement = InsertAll {
        customers: each().map(|r| r.customer_id.as_str()).collect(),
        ids: each().map(|r| r.id.0).collect(),
        features: each().map(|r| r.feature.as_str()).collect(),
        starts: rows.clone().map(|r| r.period_start).collect(),
        ends: rows.clone().map(|r| r.period_end).collect(),
        quantities: each().map(|r| r.quantity).collect(),
        keys: rows.clone().map(|r| r.idempotency_key.as_deref()).collect(),
        fingerprints: rows.clone().map(|r| r.fingerprint.as_deref()).collect(),
        outcomes: rows.clone().map(|r| r.outcome.as_deref()).collect(),
        created: each().map(|r| r.created_at).collect(),
        expiring: each().map(|r| r.expires_at).collect(),
    };
    statement.execute(conn)?;
    Ok(())
}

statement! {
    SettleAll<'a> -> () {
        "UPDATE reservations r \
         SET state = s.state, committed_quantity = s.committed_quantity, settlement = s.settlement::jsonb, \
             event_id = s.event_id, settled_at = s.settled_at \
         FROM unnest("
        customers: Vec<&'a str> as Array<Text>,
        "::text[], "
        ids: Vec<Uuid> as Array<diesel::sql_types::Uuid>,
        "::uuid[], "
        states: Vec<&'a str> as Array<Text>,
        "::text[], "
        committed: Vec<Option<i64>> as Array<Nullable<BigInt>>,
        "::bigint[], "
        settlements: Vec<Option<&'a str>> as Array<Nullable<Text>>,
        "::text[], "
        events: Vec<Option<Uuid>> as Array<Nullable<diesel::sql_types::Uuid>>,
        "::uuid[], "
        settled: Vec<Option<DateTime<Utc>>> as Array<Nullable<Timestamptz>>,
        "::timestamptz[]) \
         AS s(customer_id, reservation_id, state, committed_quantity, settlement, event_id, settled_at) \
         WHERE r.customer_id = s.customer_id AND r.reservation_id = s.reservation_id"
    }
}

/// Writes what became of reservations.
pub fn settle_all<'a>(
    conn: &mut PgConnection,
    rows: impl Iterator<Item = &'a Stored> + Clone,
) -> QueryResult<()> {
    let each = || rows.clone().map(|row| &row.reservation);
    let statement = SettleAll {
        customers: each().map(|r| r.customer_id.as_str()).collect(),
        ids: each().map(|r| r.id.0).collect(),
        states: each().map(|r| r.state.as_str()).collect(),
        committed: each().map(|r| r.committed_quantity).collect(),
        settlements: rows.clone().map(|r| r.settlement.as_deref()).collect(),
        events: rows.clone().map(|r| r.event_id).collect(),
        settled: each().map(|r| r.settled_at).collect(),
    };
    statement.execute(conn)?;
    Ok(())
}
