//! Which problem each refusal of a service becomes.

use super::{Problem, ProblemKind};
use crate::meter::MeterError;
use crate::providers::WebhookError;
use crate::service::grants::GrantError;
use crate::service::ingest_webhook::IngestError;
use crate::service::overrides::OverrideError;

impl From<MeterError> for Problem {
    fn from(error: MeterError) -> Self {
        let detail = error.to_string();
        match error {
            MeterError::UnknownFeature(_) => Self::new(ProblemKind::UnknownFeature, detail),
            MeterError::UnknownCustomer => Self::new(ProblemKind::UnknownCustomer, detail),
            MeterError::WrongKind { .. } => Self::validation("/feature", detail),
            MeterError::Value(_) => Self::validation("/value", detail),
            MeterError::KeyReused => Self::new(ProblemKind::IdempotencyKeyReused, detail),
            MeterError::BelowZero { .. } => Self::new(ProblemKind::BelowZero, detail),
            MeterError::Store(error) => error.into(),
        }
    }
}

impl From<GrantError> for Problem {
    fn from(error: GrantError) -> Self {
        let detail = error.to_string();
        match error {
            GrantError::UnknownPlan(_) => Self::new(ProblemKind::UnknownPlan, detail),
            GrantError::UnknownCustomer => Self::new(ProblemKind::UnknownCustomer, detail),
            GrantError::UntilPast => Self::validation("/until", detail),
            GrantError::CurrencyMissing => Self::validation("/currency", detail),
            GrantError::NotFound => Self::new(ProblemKind::NotFound, detail),
            GrantError::Ended => Self::new(ProblemKind::Conflict, detail),
            GrantError::Store(error) => error.into(),
        }
    }
}

impl From<OverrideError> for Problem {
    fn from(error: OverrideError) -> Self {
        let detail = error.to_string();
        match error {
            OverrideError::UnknownFeature(_) => Self::new(ProblemKind::UnknownFeature, detail),
            OverrideError::UnknownCustomer => Self::new(ProblemKind::UnknownCustomer, detail),
            OverrideError::Misfit { field, .. } => Self::validation(format!("/{field}"), detail),
            OverrideError::Store(error) => error.into(),
        }
    }
}

impl From<IngestError> for Problem {
    fn from(error: IngestError) -> Self {
        let detail = error.to_string();
        match error {
            IngestError::NotConfigured => Self::new(ProblemKind::NotFound, detail),
            IngestError::Refused(WebhookError::BadSignature(_)) => {
                Self::new(ProblemKind::BadSignature, detail)
            }
            IngestError::Refused(WebhookError::NotAnEvent { .. }) => {
                Self::new(ProblemKind::NotAnEvent, detail)
            }
            IngestError::Store(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalogue::FeatureKind;
    use crate::providers::SignatureFault;
    use crate::store::pool::StoreError;

    fn told(error: impl Into<Problem>) -> (ProblemKind, String) {
        let problem = error.into();
        let pointer = problem
            .document()
            .errors
            .first()
            .map(|fault| fault.pointer.clone());
        (problem.kind(), pointer.unwrap_or_default())
    }

    fn away() -> StoreError {
        StoreError::Unavailable("gone".to_owned())
    }

    #[test]
    fn what_the_meter_refuses() {
        use ProblemKind as K;
        let wrong_kind = MeterError::WrongKind {
            feature: "export".to_owned(),
            kind: FeatureKind::Boolean,
            needed: "an allocated",
        };
        for (error, kind, pointer) in [
            (
                MeterError::UnknownFeature("x".to_owned()),
                K::UnknownFeature,
                "",
            ),
            (MeterError::UnknownCustomer, K::UnknownCustomer, ""),
            (wrong_kind, K::ValidationFailed, "/feature"),
            (
                MeterError::Value("is required"),
                K::ValidationFailed,
                "/value",
            ),
            (MeterError::KeyReused, K::IdempotencyKeyReused, ""),
            (MeterError::BelowZero { used: 1 }, K::BelowZero, ""),
            (MeterError::Store(away()), K::DatabaseUnavailable, ""),
        ] {
            assert_eq!(told(error), (kind, pointer.to_owned()));
        }
    }

    #[test]
    fn what_grants_refuse() {
        use ProblemKind as K;
        for (error, kind, pointer) in [
            (GrantError::UnknownPlan("x".to_owned()), K::UnknownPlan, ""),
            (GrantError::UnknownCustomer, K::UnknownCustomer, ""),
            (GrantError::UntilPast, K::ValidationFailed, "/until"),
            (
                GrantError::CurrencyMissing,
                K::ValidationFailed,
                "/currency",
            ),
            (GrantError::NotFound, K::NotFound, ""),
            (GrantError::Ended, K::Conflict, ""),
            (GrantError::Store(away()), K::DatabaseUnavailable, ""),
        ] {
            assert_eq!(told(error), (kind, pointer.to_owned()));
        }
    }

    #[test]
    fn what_the_webhook_door_refuses() {
        use ProblemKind as K;
        let no_event = WebhookError::NotAnEvent {
            reason: "no id".to_owned(),
        };
        for (error, kind) in [
            (IngestError::NotConfigured, K::NotFound),
            (
                IngestError::Refused(WebhookError::BadSignature(SignatureFault::Missing)),
                K::BadSignature,
            ),
            (IngestError::Refused(no_event), K::NotAnEvent),
            (IngestError::Store(away()), K::DatabaseUnavailable),
        ] {
            assert_eq!(told(error).0, kind);
        }
    }
}
