//! Customers' profiles.

use diesel::Connection;

use super::context::Context;
use crate::domain::ids::CustomerId;
use crate::store::clock::deciding_time;
use crate::store::customers::{self, CustomerRow, Profile};
use crate::store::pool::{self, StoreError};

/// Makes the customer or changes what is given of its profile. Returns the row and whether it is new.
pub async fn put(
    context: &Context,
    customer: CustomerId,
    profile: Profile,
) -> Result<(CustomerRow, bool), StoreError> {
    let meter = context.meter.clone();
    pool::run(&context.pool, move |conn| {
        let put = conn.transaction(|conn| {
            let now = deciding_time(conn, meter.rules().clock.as_ref())?;
            let is_new = customers::create(conn, customer.as_str(), now)?;
            Ok((
                customers::update_profile(conn, customer.as_str(), &profile, now)?,
                is_new,
            ))
        });
        meter.forget(customer.as_str());
        put
    })
    .await
}

/// Reads a customer.
pub async fn get(
    context: &Context,
    customer: CustomerId,
) -> Result<Option<CustomerRow>, StoreError> {
    pool::run(&context.pool, move |conn| {
        customers::find(conn, customer.as_str()).map_err(StoreError::from)
    })
    .await
}
