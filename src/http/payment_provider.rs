//! A provider that takes payments, as requests name it.

use serde::Deserialize;
use utoipa::openapi::schema::{Schema, Type};
use utoipa::openapi::{ObjectBuilder, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::provider_event::ProviderName;

/// Any provider but the operator, who grants plans and is paid elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "ProviderName")]
pub struct PaymentProvider(pub(crate) ProviderName);

impl Default for PaymentProvider {
    fn default() -> Self {
        Self(ProviderName::Stripe)
    }
}

/// The operator takes no payments.
#[derive(Debug, thiserror::Error)]
#[error("takes no payments: an operator grants plans with POST /admin/subscriptions")]
pub struct TakesNoPayments;

impl TryFrom<ProviderName> for PaymentProvider {
    type Error = TakesNoPayments;

    fn try_from(name: ProviderName) -> Result<Self, Self::Error> {
        match name {
            ProviderName::Manual => Err(TakesNoPayments),
            name => Ok(Self(name)),
        }
    }
}

/// Every provider that takes payments.
pub(crate) fn all() -> impl Iterator<Item = ProviderName> {
    ProviderName::ALL
        .into_iter()
        .filter(|name| PaymentProvider::try_from(*name).is_ok())
}

impl PartialSchema for PaymentProvider {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("Who takes the money."))
            .enum_values(Some(all().map(ProviderName::as_str)))
            .into()
    }
}

impl ToSchema for PaymentProvider {}
