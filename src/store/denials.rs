//! Who was turned away lately. A hint for upgrade prompts, not a fact that anything is billed on.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use diesel::prelude::*;

use super::schema::denials;
use crate::domain::decision::Reason;

/// Notes denials, each once per customer, feature and hour.
pub fn note_all(
    conn: &mut PgConnection,
    denied: &[(&str, &str, Reason)],
    now: DateTime<Utc>,
) -> QueryResult<()> {
    let rows: Vec<_> = denied
        .iter()
        .map(|(customer, feature, reason)| {
            (
                denials::customer_id.eq(*customer),
                denials::feature.eq(*feature),
                denials::hour.eq(hour_of(now)),
                denials::reason.eq(reason.as_str()),
            )
        })
        .collect();
    diesel::insert_into(denials::table)
        .values(rows)
        .on_conflict_do_nothing()
        .execute(conn)?;
    Ok(())
}

/// The features that the customer was denied since an instant, or earlier in that instant's hour: nothing finer is noted.
pub fn features_since(
    conn: &mut PgConnection,
    customer: &str,
    since: DateTime<Utc>,
) -> QueryResult<Vec<String>> {
    denials::table
        .filter(denials::customer_id.eq(customer))
        .filter(denials::hour.ge(hour_of(since)))
        .select(denials::feature)
        .distinct()
        .load(conn)
}

/// The hour that an instant belongs to: what denials are told apart by.
pub fn hour_of(instant: DateTime<Utc>) -> DateTime<Utc> {
    instant
        .duration_trunc(TimeDelta::hours(1))
        .unwrap_or(instant)
}
