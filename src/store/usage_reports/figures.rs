//! What was told, what waits, and what is in trouble.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use uuid::Uuid;

use super::{Report, State};
use crate::store::schema::usage_reports;

/// What has not been told.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Backlog {
    /// Reports that wait.
    #[diesel(sql_type = BigInt)]
    pub pending: i64,
    /// Since when the oldest of them does.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub oldest_at: Option<DateTime<Utc>>,
    /// Reports that need a person: refused by the provider, or of which it is not known whether it has them.
    #[diesel(sql_type = BigInt)]
    pub doubtful: i64,
}

/// How much has not been told. What gathers for the providers `billed_by_link` waits for its period's end instead.
pub fn backlog(conn: &mut PgConnection, billed_by_link: &[&str]) -> QueryResult<Backlog> {
    sql_query(
        "SELECT count(*) AS pending, min(created_at) AS oldest_at, \
         (SELECT count(*) FROM usage_reports WHERE state IN ('refused', 'doubtful')) AS doubtful \
         FROM usage_reports WHERE state IN ('open', 'sealed', 'retracting') AND (state <> 'open' OR quantity > 0) \
           AND provider <> ALL($1)",
    )
    .bind::<Array<Text>, _>(billed_by_link)
    .get_result(conn)
}

/// What one customer of a provider was told in a span of time.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Told {
    /// The sum of what the provider has.
    #[diesel(sql_type = BigInt)]
    pub units: i64,
    /// Whether there are reports among them of which it is not known whether the provider has them.
    #[diesel(sql_type = Bool)]
    pub unsure: bool,
}

/// What the provider was told of its customer under instants from `from` on, before `until`.
pub fn told_between(
    conn: &mut PgConnection,
    (customer, provider, provider_customer): (&str, &str, &str),
    from: DateTime<Utc>,
    until: DateTime<Utc>,
) -> QueryResult<Told> {
    sql_query(
        "SELECT coalesce(sum(quantity) FILTER (WHERE state = 'sent'), 0)::bigint AS units, \
                coalesce(bool_or(state = 'doubtful'), FALSE) AS unsure \
         FROM usage_reports WHERE customer_id = $1 AND provider = $2 AND provider_customer_id = $3 \
           AND state IN ('sent', 'doubtful') AND told_at >= $4 AND told_since < $5",
    )
    .bind::<Text, _>(customer)
    .bind::<Text, _>(provider)
    .bind::<Text, _>(provider_customer)
    .bind::<Timestamptz, _>(from)
    .bind::<Timestamptz, _>(until)
    .get_result(conn)
}

/// The earliest instant under which the provider may have been told what it may also have been told under one from `instant` on;
/// `None`: each was told either before or from then on.
pub fn straddling(
    conn: &mut PgConnection,
    (customer, provider, provider_customer): (&str, &str, &str),
    instant: DateTime<Utc>,
) -> QueryResult<Option<DateTime<Utc>>> {
    usage_reports::table
        .filter(usage_reports::customer_id.eq(customer))
        .filter(usage_reports::provider.eq(provider))
        .filter(usage_reports::provider_customer_id.eq(provider_customer))
        .filter(usage_reports::state.eq_any([State::Sent.as_str(), State::Doubtful.as_str()]))
        .filter(usage_reports::told_since.lt(instant))
        .filter(usage_reports::told_at.ge(instant))
        .select(diesel::dsl::min(usage_reports::told_since))
        .first(conn)
}

/// Notes what the provider says of a report that it could not use. Returns the report where it was one that the provider had; one that was
/// being taken back is as good as that.
pub fn mark_refused(
    conn: &mut PgConnection,
    provider: &str,
    report: Uuid,
    reason: &str,
    now: DateTime<Utc>,
) -> QueryResult<Option<Report>> {
    sql_query(
        "UPDATE usage_reports SET state = CASE state WHEN 'retracting' THEN 'retracted' ELSE 'refused' END, error = $3, \
                claimed_until = NULL, updated_at = $4 \
         WHERE report_id = $1 AND provider = $2 AND state IN ('sealed', 'sent', 'retracting') AND first_tried_at IS NOT NULL \
         RETURNING *",
    )
    .bind::<SqlUuid, _>(report)
    .bind::<Text, _>(provider)
    .bind::<Text, _>(reason)
    .bind::<Timestamptz, _>(now)
    .get_result(conn)
    .optional()
}

/// The refused reports of a counter, locked.
pub fn refused_of(
    conn: &mut PgConnection,
    customer: &str,
    provider: &str,
    metric: &str,
    period_start: DateTime<Utc>,
) -> QueryResult<Vec<Report>> {
    usage_reports::table
        .filter(usage_reports::customer_id.eq(customer))
        .filter(usage_reports::provider.eq(provider))
        .filter(usage_reports::metric_name.eq(metric))
        .filter(usage_reports::period_start.eq(period_start))
        .filter(usage_reports::state.eq(State::Refused.as_str()))
        .select(Report::as_select())
        .for_update()
        .load(conn)
}

/// A counter of which a provider was told.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct ToldCounter {
    /// Whose.
    #[diesel(sql_type = Text)]
    pub customer_id: String,
    /// Whom.
    #[diesel(sql_type = Text)]
    pub provider: String,
    /// Of which feature.
    #[diesel(sql_type = Text)]
    pub metric_name: String,
    /// First instant of the counter's period.
    #[diesel(sql_type = Timestamptz)]
    pub period_start: DateTime<Utc>,
    /// First instant after it.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub period_end: Option<DateTime<Utc>>,
    /// The sum of what the provider has.
    #[diesel(sql_type = BigInt)]
    pub reported: i64,
    /// Reports that the provider could not use.
    #[diesel(sql_type = BigInt)]
    pub refused: i64,
    /// The provider's customer, where all of it was told of one.
    #[diesel(sql_type = Nullable<Text>)]
    pub provider_customer_id: Option<String>,
    /// The earliest instant under which any of it may have been told.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub told_since: Option<DateTime<Utc>>,
    /// The latest.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub told_until: Option<DateTime<Utc>>,
    /// Whether nothing of the customer's is on its way, and the last was told or taken back by `settled_by`.
    #[diesel(sql_type = Bool)]
    pub is_settled: bool,
}

/// Counters of which a provider was told something since `told_after`, the latest first.
pub fn told_counters(
    conn: &mut PgConnection,
    providers: &[&str],
    customer: Option<&str>,
    told_after: DateTime<Utc>,
    settled_by: DateTime<Utc>,
    limit: i64,
) -> QueryResult<Vec<ToldCounter>> {
    sql_query(
        "SELECT r.customer_id, r.provider, r.metric_name, r.period_start, max(r.period_end) AS period_end, \
                coalesce(sum(r.quantity) FILTER (WHERE r.state = 'sent'), 0)::bigint AS reported, \
                count(*) FILTER (WHERE r.state = 'refused') AS refused, \
                CASE WHEN count(DISTINCT r.provider_customer_id) = 1 THEN max(r.provider_customer_id) END AS provider_customer_id, \
                min(r.told_since) FILTER (WHERE r.state <> 'refused') AS told_since, \
                max(r.told_at) FILTER (WHERE r.state <> 'refused') AS told_until, \
                NOT EXISTS (SELECT 1 FROM usage_reports u WHERE u.customer_id = r.customer_id AND u.provider = r.provider \
                            AND (u.state IN ('sealed', 'retracting') OR (u.state = 'open' AND u.quantity > 0) \
                                 OR (u.state IN ('sent', 'retracted') AND u.updated_at > $4))) AS is_settled \
         FROM usage_reports r \
         WHERE r.state IN ('sent', 'refused', 'doubtful') AND r.told_at IS NOT NULL AND r.provider = ANY($1) AND ($2 IS NULL OR r.customer_id = $2) \
         GROUP BY r.customer_id, r.provider, r.metric_name, r.period_start \
         HAVING max(r.told_at) >= $3 \
         ORDER BY max(r.told_at) DESC LIMIT $5",
    )
    .bind::<Array<Text>, _>(providers)
    .bind::<Nullable<Text>, _>(customer)
    .bind::<Timestamptz, _>(told_after)
    .bind::<Timestamptz, _>(settled_by)
    .bind::<BigInt, _>(limit)
    .load(conn)
}
