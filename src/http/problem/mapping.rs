//! Which problem each refusal of a service becomes.

use super::{Problem, ProblemKind};
use crate::meter::MeterError;
use crate::service::apply_event::ReconcileError;
use crate::service::backfill::BackfillError;
use crate::service::billing::BillingError;
use crate::service::checkout::CheckoutError;
use crate::service::grants::GrantError;
use crate::service::ingest_webhook::IngestError;
use crate::service::overrides::OverrideError;

/// Where a customer settles what is due.
const PORTAL: &str = "/billing/portal";

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
            MeterError::Uncountable | MeterError::ReservationSettled { .. } => {
                Self::new(ProblemKind::Conflict, detail)
            }
            MeterError::UnknownReservation => Self::new(ProblemKind::NotFound, detail),
            MeterError::ReservationExpired(decision) => {
                let problem = Self::new(ProblemKind::ReservationExpired, detail);
                match decision.as_deref().map(serde_json::to_value) {
                    None => problem,
                    Some(Ok(decision)) => problem.with_decision(decision),
                    Some(Err(error)) => Self::internal(error),
                }
            }
            MeterError::CommitAboveHold { .. } => Self::validation("/quantity", detail),
            MeterError::Overloaded => Self::new(ProblemKind::Overloaded, detail),
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
            OverrideError::UnknownFeature => Self::new(ProblemKind::UnknownFeature, detail),
            OverrideError::UnknownCustomer => Self::new(ProblemKind::UnknownCustomer, detail),
            OverrideError::Misfit { field, .. } => Self::validation(format!("/{field}"), detail),
            OverrideError::Store(error) => error.into(),
        }
    }
}

/// With the way to settle it, where the provider has pages for that.
fn payment_due(detail: String, portal: bool) -> Problem {
    let due = Problem::new(ProblemKind::PaymentDue, detail);
    if portal {
        due.with_member("portal", PORTAL)
    } else {
        due
    }
}

impl From<CheckoutError> for Problem {
    fn from(error: CheckoutError) -> Self {
        let detail = error.to_string();
        let kind = match error {
            CheckoutError::UnknownPlan(_) => ProblemKind::UnknownPlan,
            CheckoutError::NotForSale => return Self::validation("/plan_tier", detail),
            CheckoutError::ReturnUrl { pointer, .. } => return Self::validation(pointer, detail),
            CheckoutError::ProviderNotConfigured => ProblemKind::ProviderNotConfigured,
            CheckoutError::UnknownCustomer => ProblemKind::UnknownCustomer,
            CheckoutError::AlreadySubscribed => ProblemKind::AlreadySubscribed,
            CheckoutError::UseChangePlan => ProblemKind::UseChangePlan,
            CheckoutError::PaymentDue { portal } => return payment_due(detail, portal),
            CheckoutError::InProgress => ProblemKind::CheckoutInProgress,
            CheckoutError::Completed => ProblemKind::Conflict,
            CheckoutError::PriceMismatch => ProblemKind::PriceMismatch,
            CheckoutError::ProviderFailed(_) => ProblemKind::ProviderFailed,
            CheckoutError::Store(error) => return error.into(),
        };
        Self::new(kind, detail)
    }
}

impl From<BillingError> for Problem {
    fn from(error: BillingError) -> Self {
        let detail = error.to_string();
        let kind = match error {
            BillingError::UnknownPlan(_) => ProblemKind::UnknownPlan,
            BillingError::NotForSale => return Self::validation("/plan_tier", detail),
            BillingError::ReturnUrl(_) => return Self::validation("/return_url", detail),
            BillingError::ProviderNotConfigured | BillingError::NoReturnUrls => {
                ProblemKind::ProviderNotConfigured
            }
            BillingError::NoSubscription | BillingError::NotBought => ProblemKind::NotFound,
            BillingError::BadSignature => ProblemKind::BadSignature,
            BillingError::NoPortal => ProblemKind::NoPortal,
            BillingError::AlreadyOnPlan => ProblemKind::AlreadySubscribed,
            BillingError::PaymentDue { portal } => return payment_due(detail, portal),
            BillingError::ChangeUnpaid | BillingError::Declined => {
                return payment_due(detail, true);
            }
            BillingError::NoProviderCustomer => ProblemKind::NoProviderCustomer,
            BillingError::Granted
            | BillingError::Ended
            | BillingError::NothingToResume
            | BillingError::EndSent
            | BillingError::InProgress => ProblemKind::Conflict,
            BillingError::PriceMismatch => ProblemKind::PriceMismatch,
            BillingError::ProviderFailed(_) | BillingError::NotSeen(_) => {
                ProblemKind::ProviderFailed
            }
            BillingError::Store(error) => return error.into(),
        };
        Self::new(kind, detail)
    }
}

impl From<IngestError> for Problem {
    fn from(error: IngestError) -> Self {
        let detail = error.to_string();
        match error {
            IngestError::NotConfigured => Self::new(ProblemKind::NotFound, detail),
            IngestError::BadSignature { .. } => Self::new(ProblemKind::BadSignature, detail),
            IngestError::NotAnEvent { .. } => Self::new(ProblemKind::NotAnEvent, detail),
            IngestError::Store(error) => error.into(),
        }
    }
}

impl From<BackfillError> for Problem {
    fn from(error: BackfillError) -> Self {
        let detail = error.to_string();
        match error {
            BackfillError::NotConfigured => Self::new(ProblemKind::ProviderNotConfigured, detail),
            BackfillError::Future => Self::validation("/since", detail),
            BackfillError::ProviderFailed(cause) => {
                tracing::warn!(%cause, "the payment provider told no events");
                Self::new(ProblemKind::ProviderFailed, detail)
            }
            BackfillError::Store(error) => error.into(),
        }
    }
}

impl From<ReconcileError> for Problem {
    fn from(error: ReconcileError) -> Self {
        let detail = error.to_string();
        match error {
            ReconcileError::ProviderFailed(cause) => {
                tracing::warn!(%cause, "the payment provider told no subscriptions");
                Self::new(ProblemKind::ProviderFailed, detail)
            }
            ReconcileError::Store(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalogue::FeatureKind;
    use crate::domain::ids::TierKey;
    use crate::domain::reservation::ReservationState;
    use crate::providers::ProviderError;
    use crate::service::apply_event::NotSeen;
    use crate::service::return_urls::ReturnUrlError;
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
            (MeterError::Uncountable, K::Conflict, ""),
            (MeterError::UnknownReservation, K::NotFound, ""),
            (
                MeterError::ReservationSettled {
                    state: ReservationState::Released,
                },
                K::Conflict,
                "",
            ),
            (
                MeterError::ReservationExpired(None),
                K::ReservationExpired,
                "",
            ),
            (
                MeterError::CommitAboveHold { held: 1 },
                K::ValidationFailed,
                "/quantity",
            ),
            (MeterError::Overloaded, K::Overloaded, ""),
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
    fn what_a_checkout_refuses() {
        use ProblemKind as K;
        let url = CheckoutError::ReturnUrl {
            pointer: "/cancel_url",
            fault: ReturnUrlError::Origin,
        };
        let rejected = ProviderError::Rejected {
            status: 400,
            code: None,
            message: "for operators".to_owned(),
        };
        for (error, kind, pointer) in [
            (
                CheckoutError::UnknownPlan(TierKey::parse("x").unwrap()),
                K::UnknownPlan,
                "",
            ),
            (CheckoutError::NotForSale, K::ValidationFailed, "/plan_tier"),
            (url, K::ValidationFailed, "/cancel_url"),
            (
                CheckoutError::ProviderNotConfigured,
                K::ProviderNotConfigured,
                "",
            ),
            (CheckoutError::UnknownCustomer, K::UnknownCustomer, ""),
            (CheckoutError::AlreadySubscribed, K::AlreadySubscribed, ""),
            (CheckoutError::UseChangePlan, K::UseChangePlan, ""),
            (
                CheckoutError::PaymentDue { portal: true },
                K::PaymentDue,
                "",
            ),
            (CheckoutError::InProgress, K::CheckoutInProgress, ""),
            (CheckoutError::Completed, K::Conflict, ""),
            (CheckoutError::PriceMismatch, K::PriceMismatch, ""),
            (
                CheckoutError::ProviderFailed(rejected.clone()),
                K::ProviderFailed,
                "",
            ),
            (CheckoutError::Store(away()), K::DatabaseUnavailable, ""),
        ] {
            assert_eq!(told(error), (kind, pointer.to_owned()));
        }
        let due = Problem::from(CheckoutError::PaymentDue { portal: true });
        assert_eq!(due.document().members["portal"], "/billing/portal");
        let failed = Problem::from(CheckoutError::ProviderFailed(rejected));
        assert!(!failed.document().detail.contains("operators"));
    }

    #[test]
    fn what_a_change_of_a_subscription_refuses() {
        use ProblemKind as K;
        let rejected = |status| ProviderError::Rejected {
            status,
            code: None,
            message: "for operators".to_owned(),
        };
        for (error, kind, pointer) in [
            (
                BillingError::UnknownPlan(TierKey::parse("x").unwrap()),
                K::UnknownPlan,
                "",
            ),
            (BillingError::NotForSale, K::ValidationFailed, "/plan_tier"),
            (
                BillingError::ReturnUrl(ReturnUrlError::Missing),
                K::ValidationFailed,
                "/return_url",
            ),
            (
                BillingError::ProviderNotConfigured,
                K::ProviderNotConfigured,
                "",
            ),
            (BillingError::NoReturnUrls, K::ProviderNotConfigured, ""),
            (
                BillingError::from(CheckoutError::ProviderNotConfigured),
                K::ProviderNotConfigured,
                "",
            ),
            (
                BillingError::from(CheckoutError::Completed),
                K::Conflict,
                "",
            ),
            (BillingError::NoSubscription, K::NotFound, ""),
            (BillingError::Granted, K::Conflict, ""),
            (BillingError::Ended, K::Conflict, ""),
            (BillingError::AlreadyOnPlan, K::AlreadySubscribed, ""),
            (BillingError::PaymentDue { portal: true }, K::PaymentDue, ""),
            (BillingError::ChangeUnpaid, K::PaymentDue, ""),
            (BillingError::from(rejected(402)), K::PaymentDue, ""),
            (BillingError::NothingToResume, K::Conflict, ""),
            (BillingError::EndSent, K::Conflict, ""),
            (BillingError::NoProviderCustomer, K::NoProviderCustomer, ""),
            (BillingError::NoPortal, K::NoPortal, ""),
            (BillingError::NotBought, K::NotFound, ""),
            (BillingError::BadSignature, K::BadSignature, ""),
            (BillingError::InProgress, K::Conflict, ""),
            (BillingError::PriceMismatch, K::PriceMismatch, ""),
            (BillingError::from(rejected(400)), K::ProviderFailed, ""),
            (BillingError::from(NotSeen::Overtaken), K::Conflict, ""),
            (
                BillingError::from(NotSeen::Away("for operators".to_owned())),
                K::ProviderFailed,
                "",
            ),
            (
                BillingError::from(NotSeen::Store(away())),
                K::DatabaseUnavailable,
                "",
            ),
            (BillingError::Store(away()), K::DatabaseUnavailable, ""),
        ] {
            assert_eq!(told(error), (kind, pointer.to_owned()));
        }
        let due = Problem::from(BillingError::ChangeUnpaid);
        assert_eq!(due.document().members["portal"], "/billing/portal");
        let unclear = BillingError::from(NotSeen::Unclear("for operators".to_owned()));
        for hidden in [unclear, BillingError::from(rejected(400))] {
            assert!(
                !Problem::from(hidden)
                    .document()
                    .detail
                    .contains("for operators")
            );
        }
    }

    #[test]
    fn what_the_webhook_door_refuses() {
        use ProblemKind as K;
        let forged = IngestError::BadSignature {
            fault: "header missing".to_owned(),
        };
        let no_event = IngestError::NotAnEvent {
            reason: "no id".to_owned(),
        };
        for (error, kind) in [
            (IngestError::NotConfigured, K::NotFound),
            (forged, K::BadSignature),
            (no_event, K::NotAnEvent),
            (IngestError::Store(away()), K::DatabaseUnavailable),
        ] {
            assert_eq!(told(error).0, kind);
        }
    }
}
