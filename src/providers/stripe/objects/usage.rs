//! Meters, what they counted, and what they could not use.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{HasId, null_as_default};
use crate::providers::RefusedUsage;

/// `billing.meter`.
#[derive(Debug, Deserialize)]
pub(in super::super) struct Meter {
    /// Its id.
    pub(in super::super) id: String,
    /// What it listens to.
    pub(in super::super) event_name: String,
    default_aggregation: Option<Aggregation>,
}

#[derive(Debug, Deserialize)]
struct Aggregation {
    formula: Option<String>,
}

impl Meter {
    /// Whether it counts units: others count reports, or keep the last one.
    pub(in super::super) fn sums(&self) -> bool {
        self.default_aggregation
            .as_ref()
            .and_then(|aggregation| aggregation.formula.as_deref())
            .is_none_or(|formula| formula == "sum")
    }
}

impl HasId for Meter {
    fn id(&self) -> &str {
        &self.id
    }
}

/// `billing.meter_event_summary`.
#[derive(Debug, Deserialize)]
pub(in super::super) struct Summary {
    id: String,
    aggregated_value: Box<RawValue>,
}

impl Summary {
    /// The units. Stripe writes them as a floating number; they are read as the digits they are.
    pub(in super::super) fn units(&self) -> Option<i64> {
        let digits = self.aggregated_value.get().trim_matches('"');
        let value = Decimal::from_str_exact(digits)
            .or_else(|_| Decimal::from_scientific(digits))
            .ok()?;
        value.fract().is_zero().then(|| value.to_i64()).flatten()
    }
}

impl HasId for Summary {
    fn id(&self) -> &str {
        &self.id
    }
}

/// The thin events about reports that were taken and could not be used.
#[derive(Debug, Deserialize)]
pub(in super::super) struct MeterErrorReport {
    #[serde(default, deserialize_with = "null_as_default")]
    data: ReportData,
}

#[derive(Debug, Default, Deserialize)]
struct ReportData {
    #[serde(default, deserialize_with = "null_as_default")]
    reason: ReportReason,
    #[serde(default, deserialize_with = "null_as_default")]
    developer_message_summary: String,
}

#[derive(Debug, Default, Deserialize)]
struct ReportReason {
    #[serde(default, deserialize_with = "null_as_default")]
    error_types: Vec<ErrorType>,
}

#[derive(Debug, Deserialize)]
struct ErrorType {
    #[serde(default, deserialize_with = "null_as_default")]
    code: String,
    #[serde(default, deserialize_with = "null_as_default")]
    error_count: usize,
    #[serde(default, deserialize_with = "null_as_default")]
    sample_errors: Vec<SampleError>,
}

#[derive(Debug, Deserialize)]
struct SampleError {
    #[serde(default, deserialize_with = "null_as_default")]
    error_message: String,
    request: Option<SampleRequest>,
}

#[derive(Debug, Deserialize)]
struct SampleRequest {
    identifier: Option<String>,
}

impl MeterErrorReport {
    /// Every report it names, and one entry for those of each kind that it only counts.
    pub(in super::super) fn refused(self) -> Vec<RefusedUsage> {
        let mut refused = Vec::new();
        for kind in self.data.reason.error_types {
            let unnamed = kind.error_count.saturating_sub(kind.sample_errors.len());
            for sample in kind.sample_errors {
                let identifier = sample.request.and_then(|request| request.identifier);
                refused.push(RefusedUsage {
                    identifier: identifier.filter(|identifier| !identifier.is_empty()),
                    reason: format!("{}: {}", kind.code, sample.error_message),
                });
            }
            if unnamed > 0 {
                refused.push(RefusedUsage {
                    identifier: None,
                    reason: format!("{}: {unnamed} more of it", kind.code),
                });
            }
        }
        if refused.is_empty() {
            refused.push(RefusedUsage {
                identifier: None,
                reason: self.data.developer_message_summary,
            });
        }
        refused
    }
}
