//! Keys that an earlier version used: it remembered the whole answer, not only what cannot be made from the rest of the row.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Binary, Jsonb, Text, Uuid as SqlUuid};
use plangate::domain::decision::Decision;
use plangate::domain::event_id::EventId;
use plangate::domain::ids::{CustomerId, IdempotencyKey};
use plangate::meter::{MeterError, Options, Record, Recorded, Release};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{RUNS, assert_derivable, meter, run_of};
use crate::support::cluster::fresh_database;

/// The customer's row, a ledger row as the former version wrote it, and its counter.
struct Former<'a> {
    operation: &'a str,
    feature: &'a str,
    key: &'a str,
    fingerprint: Vec<u8>,
    outcome: Option<Value>,
    event: Uuid,
    period: (&'a str, Option<&'a str>),
    /// What the counter is with it, and what it is itself.
    quantities: (i64, i64),
}

fn put(conn: &mut PgConnection, former: &Former<'_>) {
    let (start, end) = former.period;
    let end = end.map_or("NULL".to_owned(), |end| format!("'{end}'"));
    let (counter, quantity) = former.quantities;
    let Former {
        operation,
        feature,
        key,
        ..
    } = former;
    for statement in [
        "INSERT INTO customers (customer_id, created_at, updated_at) VALUES ('acme', now(), now()) ON CONFLICT DO NOTHING"
            .to_owned(),
        format!(
            "INSERT INTO usage_metrics (customer_id, metric_name, period_start, period_end, value, warning_level, updated_at) \
             VALUES ('acme', '{feature}', '{start}', {end}, {counter}, 0, now()) \
             ON CONFLICT (customer_id, period_start, metric_name) DO UPDATE SET value = excluded.value"
        ),
    ] {
        diesel::sql_query(statement).execute(conn).unwrap();
    }
    let row = format!(
        "INSERT INTO usage_events (customer_id, event_id, metric_name, period_start, operation, quantity, source, \
             idempotency_key, fingerprint, outcome, occurred_at, recorded_at) \
         VALUES ('acme', $1, '{feature}', '{start}', '{operation}', {quantity}, '', $2, $3, $4, '{AT}', '{AT}')"
    );
    diesel::sql_query(row)
        .bind::<SqlUuid, _>(former.event)
        .bind::<Text, _>(*key)
        .bind::<Binary, _>(&former.fingerprint)
        .bind::<diesel::sql_types::Nullable<Jsonb>, _>(&former.outcome)
        .execute(conn)
        .unwrap();
}

const AT: &str = "2026-01-20T10:00:00.123456Z";
const JANUARY: (&str, Option<&str>) = ("2026-01-12T00:00:00Z", Some("2026-02-12T00:00:00Z"));

/// The digest that the former version wrote of a payload: the same text under SHA-256.
fn digest(payload: &str) -> Vec<u8> {
    use sha2::Digest;
    sha2::Sha256::digest(payload).to_vec()
}

/// An answer with everything in it that an answer can have.
fn whole_answer(event: Uuid) -> Value {
    json!({"customer_id": "acme", "feature": RUNS, "kind": "metered", "allowed": true, "enforced": false,
           "reason": "overage", "requested": 1, "limit": 100, "limit_source": "override", "hard_limit": null, "used": 112,
           "held": 3, "remaining": 0, "percent_used": 112.0, "warning_level": 100, "warnings_crossed": [90, 100],
           "overage": {"quantity": 12, "amount_decimal": "12", "currency": "usd"},
           "plan": {"tier": "scale", "version": 7, "status": "active", "source": "subscription"},
           "period": {"start": "2026-01-12T00:00:00Z", "end": "2026-02-12T00:00:00Z"},
           "grace": {"tier": "pro", "limit": 5000, "ends_at": "2026-01-25T00:00:00Z"},
           "upgrade": {"tier": "scale", "reason": "higher_limit"},
           "event_id": EventId(event).to_string(), "as_of": AT})
}

#[actix_web::test]
async fn a_key_of_the_former_version_is_answered_as_it_was() {
    let database = fresh_database();
    let mut conn = database.connect();
    let meter = meter(&mut conn, &database.url, Options::default());
    let event = Uuid::now_v7();
    let answer = whole_answer(event);
    let payload = r#"{"feature":"attribution_runs","quantity":1,"value":null,"occurred_at":null,"properties":{"job":"a"}}"#;
    let former = Former {
        operation: "consume",
        feature: RUNS,
        key: "old",
        fingerprint: digest(payload),
        outcome: Some(answer.clone()),
        event,
        period: JANUARY,
        quantities: (1, 1),
    };
    put(&mut conn, &former);

    let mut command = run_of("acme", Some("old"));
    command.properties = Some(json!({"job": "a"}));
    let told = meter.consume(command.clone()).await.unwrap();
    assert!(told.replayed);
    let first: Decision = serde_json::from_value(answer).unwrap();
    assert_eq!(told.decision, first);
    command.quantity = 2;
    let other = meter.consume(command).await;
    assert!(matches!(other, Err(MeterError::KeyReused)), "{other:?}");
    assert_derivable(&mut conn);
}

#[actix_web::test]
async fn a_gauge_and_a_record_of_the_former_version_are_remembered_too() {
    let database = fresh_database();
    let mut conn = database.connect();
    let meter = meter(&mut conn, &database.url, Options::default());
    let event = Uuid::now_v7();
    let answer = json!({"customer_id": "acme", "feature": "models", "kind": "allocated", "allowed": true, "enforced": true,
        "reason": "within_limit", "requested": 1, "limit": 3, "limit_source": "plan", "hard_limit": 3, "used": 2, "held": 0,
        "remaining": 1, "percent_used": 66.66, "warning_level": null, "warnings_crossed": [], "overage": null,
        "plan": {"tier": "pro", "version": 1, "status": "active", "source": "subscription"}, "period": null, "grace": null,
        "upgrade": null, "event_id": EventId(event).to_string(), "as_of": AT});
    let gauge = "1970-01-01T00:00:00Z";
    put(
        &mut conn,
        &Former {
            operation: "set",
            feature: "models",
            key: "import",
            fingerprint: digest("an import"),
            outcome: None,
            event: Uuid::now_v7(),
            period: (gauge, None),
            quantities: (3, 3),
        },
    );
    put(
        &mut conn,
        &Former {
            operation: "release",
            feature: "models",
            key: "old",
            fingerprint: digest(
                r#"{"feature":"models","quantity":1,"value":null,"occurred_at":null,"properties":null}"#,
            ),
            outcome: Some(answer.clone()),
            event,
            period: (gauge, None),
            quantities: (2, -1),
        },
    );
    let occurred_at: DateTime<Utc> = AT.parse().unwrap();
    put(
        &mut conn,
        &Former {
            operation: "record",
            feature: RUNS,
            key: "old",
            fingerprint: digest(&format!(
                r#"{{"feature":"attribution_runs","quantity":4,"value":null,"occurred_at":"{AT}","properties":null}}"#
            )),
            outcome: None,
            event: Uuid::now_v7(),
            period: JANUARY,
            quantities: (4, 4),
        },
    );

    let release = Release {
        customer: CustomerId::parse("acme").unwrap(),
        feature: "models".to_owned(),
        quantity: 1,
        key: Some(IdempotencyKey::parse("old").unwrap()),
    };
    let told = meter.release(release).await.unwrap();
    assert!(told.replayed);
    let first: Decision = serde_json::from_value(answer).unwrap();
    assert_eq!(told.decision, first);

    let event = Record {
        id: IdempotencyKey::parse("old").unwrap(),
        source: String::new(),
        customer: CustomerId::parse("acme").unwrap(),
        feature: RUNS.to_owned(),
        quantity: 4,
        occurred_at: Some(occurred_at),
        properties: None,
    };
    let told = meter.record(vec![event]).await.unwrap();
    assert_eq!(told, [Recorded::Duplicate]);
    assert_derivable(&mut conn);
}
