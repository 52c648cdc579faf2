//! The provider's customer for ours: made once, under a key that stays the same until it is made.
//!
//! A provider without such keys is asked by the holder of the attempt's claim alone, so two callers never make two. Only an answer that was
//! lost can leave one behind that nobody here knows: it is nobody's payer, no money hangs on it, and where the customer has an e-mail
//! address the provider itself answers with it the next time.

use super::CheckoutError;
use crate::domain::ids::CustomerId;
use crate::providers::{NewCustomer, Provider, ProviderError};
use crate::service::context::Context;
use crate::store::pool::{self, StoreError};
use crate::store::{customers, provider_customers};

/// The provider's id of the customer, who must exist here. `None`: none was made yet.
pub(super) async fn known(
    context: &Context,
    provider: &dyn Provider,
    customer: &CustomerId,
) -> Result<Option<String>, StoreError> {
    let (provider, customer) = (provider.name(), customer.clone());
    let now = context.clock().now();
    pool::run(&context.pool, move |conn| {
        let binding = provider_customers::find_or_begin(conn, customer.as_str(), provider, now)?;
        Ok(binding.provider_customer_id)
    })
    .await
}

/// The provider's id of the customer, who is made there first if need be.
pub(super) async fn ensure(
    context: &Context,
    provider: &dyn Provider,
    customer: &CustomerId,
) -> Result<String, CheckoutError> {
    let (name, clock) = (provider.name(), context.clock().clone());
    let (binding, row) = {
        let (customer, now) = (customer.clone(), clock.now());
        pool::run(&context.pool, move |conn| {
            let binding = provider_customers::find_or_begin(conn, customer.as_str(), name, now)?;
            let row = customers::find(conn, customer.as_str())?;
            Ok::<_, StoreError>((binding, row))
        })
        .await?
    };
    if let Some(id) = binding.provider_customer_id {
        return Ok(id);
    }
    let generation = binding.generation;
    let (email, name_on_receipts) = row.map_or((None, None), |row| (row.email, row.name));
    let new = NewCustomer {
        customer_id: customer.as_str().to_owned(),
        email,
        name: name_on_receipts,
        idempotency_key: format!("customer:{customer}:{generation}"),
    };
    let made = provider.create_customer(&new).await;
    let (customer, now) = (customer.clone(), clock.now());
    match made {
        Ok(id) => pool::run(&context.pool, move |conn| {
            provider_customers::bind(conn, customer.as_str(), name, &id, now)
                .map_err(StoreError::from)
        })
        .await
        .map_err(CheckoutError::from),
        Err(refused @ ProviderError::Rejected { .. }) => {
            // The key may stand for another payload by now (an address that was changed after a lost answer), or for a
            // failure that the provider keeps: only another key can succeed then.
            pool::run(&context.pool, move |conn| {
                let customer = customer.as_str();
                provider_customers::begin_anew(conn, customer, name, generation, now)
                    .map_err(StoreError::from)
            })
            .await?;
            Err(refused.into())
        }
        Err(error) => Err(error.into()),
    }
}
