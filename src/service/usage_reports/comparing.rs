//! Whether the provider has a report, found out from its own sums: for reports that are unresolved for longer than the provider
//! remembers identifiers.

use std::sync::Arc;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};

use super::resolving::{Resolution, resolve as write_down};
use super::{Outcome, postpone};
use crate::providers::ProviderError;
use crate::service::context::{Context, Storefront};
use crate::store::clock::deciding_time;
use crate::store::pool::{self, StoreError};
use crate::store::usage_reports::{self, Report, State, Told};

/// What was told beside a report, and where the comparison begins and ends.
struct Surroundings {
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    told: Told,
}

/// What the provider's sum says of a report.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Counted,
    NotCounted,
    Unclear,
}

/// Compares, and writes down what became of the report.
pub(super) async fn resolve(
    context: &Context,
    storefront: &Storefront,
    report: Report,
) -> Result<Outcome, StoreError> {
    let Some(name) = report.provider_customer_id.clone() else {
        let nobody = "nothing tells of whom the provider was told".to_owned();
        return write_down(context, report, Resolution::Doubtful(nobody)).await;
    };
    let around = surroundings(context, &report, name.clone()).await?;
    let counted = storefront
        .provider
        .usage_counted(&name, around.from, around.until)
        .await;
    let counted = match counted {
        Ok(counted) => counted,
        // Without a sum nothing is known; where the provider will never have one, a person must find out.
        Err(ProviderError::Unsupported { what }) => {
            return write_down(context, report, Resolution::Doubtful(what.to_owned())).await;
        }
        Err(error) => return postpone(context, report, error).await,
    };
    let resolution = match (
        verdict(&around.told, report.quantity, counted),
        report.is(State::Retracting),
    ) {
        (Verdict::Counted, false) => Resolution::Sent { under: None },
        (Verdict::NotCounted, false) => Resolution::NotReceived,
        (Verdict::Counted, true) => Resolution::Kept,
        (Verdict::NotCounted, true) => Resolution::Retracted,
        (Verdict::Unclear, _) => Resolution::Doubtful(format!(
            "the provider counts {counted} units from {} on; it is known to have {}{}, and this report is of {}",
            around.from.to_rfc3339(),
            around.told.units,
            if around.told.unsure {
                ", not counting other doubtful ones"
            } else {
                ""
            },
            report.quantity
        )),
    };
    write_down(context, report, resolution).await
}

fn verdict(told: &Told, quantity: i64, counted: i64) -> Verdict {
    if told.unsure {
        return Verdict::Unclear;
    }
    if counted == told.units {
        Verdict::NotCounted
    } else if told.units.checked_add(quantity) == Some(counted) {
        Verdict::Counted
    } else {
        Verdict::Unclear
    }
}

/// The span that holds every instant under which the report may have been told, and of each other report all or nothing.
async fn surroundings(
    context: &Context,
    report: &Report,
    name: String,
) -> Result<Surroundings, StoreError> {
    let clock = Arc::clone(context.clock());
    let (customer, provider) = (report.customer_id.clone(), report.provider.clone());
    let since = report
        .told_since
        .or(report.told_at)
        .unwrap_or(report.used_at);
    pool::run(&context.pool, move |conn| {
        let until = deciding_time(conn, clock.as_ref())? + TimeDelta::minutes(1);
        let whom = (customer.as_str(), provider.as_str(), name.as_str());
        let mut from = minute_of(since);
        while let Some(earlier) = usage_reports::straddling(conn, whom, from)? {
            from = minute_of(earlier);
        }
        let told = usage_reports::told_between(conn, whom, from, until)?;
        Ok(Surroundings { from, until, told })
    })
    .await
}

/// The minute that an instant is in: providers sum up whole ones.
pub(super) fn minute_of(instant: DateTime<Utc>) -> DateTime<Utc> {
    // Fails only for instants that are centuries away.
    instant
        .duration_trunc(TimeDelta::minutes(1))
        .unwrap_or(instant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sum_that_fits_exactly_tells() {
        let told = |units, unsure| Told { units, unsure };
        assert_eq!(verdict(&told(5, false), 3, 5), Verdict::NotCounted);
        assert_eq!(verdict(&told(5, false), 3, 8), Verdict::Counted);
        for counted in [0, 4, 6, 7, 9, i64::MAX] {
            assert_eq!(verdict(&told(5, false), 3, counted), Verdict::Unclear);
        }
        assert_eq!(verdict(&told(5, true), 3, 8), Verdict::Unclear);
        assert_eq!(verdict(&told(i64::MAX, false), 3, 2), Verdict::Unclear);
    }
}
