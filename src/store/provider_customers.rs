//! What providers call our customers.

use chrono::{DateTime, Utc};
use diesel::prelude::*;

use super::schema::provider_customers;
use super::unreadable;
use crate::domain::provider_event::ProviderName;

/// A customer's name at a provider, if it has one yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The provider's id; `None`: not made yet.
    pub provider_customer_id: Option<String>,
    /// Rises when the customer is bound anew; part of the key under which the provider makes the customer once.
    pub generation: i32,
}

/// The provider's id of the customer, if one was ever made.
pub fn known(
    conn: &mut PgConnection,
    customer: &str,
    provider: ProviderName,
) -> QueryResult<Option<String>> {
    let id: Option<Option<String>> = provider_customers::table
        .find((customer, provider.as_str()))
        .select(provider_customers::provider_customer_id)
        .first(conn)
        .optional()?;
    Ok(id.flatten())
}

/// The providers at which the customer has a name, the latest first.
pub fn known_at(conn: &mut PgConnection, customer: &str) -> QueryResult<Vec<ProviderName>> {
    let names: Vec<String> = provider_customers::table
        .filter(provider_customers::customer_id.eq(customer))
        .filter(provider_customers::provider_customer_id.is_not_null())
        .order((
            provider_customers::updated_at.desc(),
            provider_customers::provider,
        ))
        .select(provider_customers::provider)
        .load(conn)?;
    names
        .iter()
        .map(|name| name.parse().map_err(unreadable))
        .collect()
}

/// Reads the binding, which is begun if there is none.
pub fn find_or_begin(
    conn: &mut PgConnection,
    customer: &str,
    provider: ProviderName,
    now: DateTime<Utc>,
) -> QueryResult<Binding> {
    diesel::insert_into(provider_customers::table)
        .values((
            provider_customers::customer_id.eq(customer),
            provider_customers::provider.eq(provider.as_str()),
            provider_customers::updated_at.eq(now),
        ))
        .on_conflict_do_nothing()
        .execute(conn)?;
    let (provider_customer_id, generation) = provider_customers::table
        .find((customer, provider.as_str()))
        .select((
            provider_customers::provider_customer_id,
            provider_customers::generation,
        ))
        .first(conn)?;
    Ok(Binding {
        provider_customer_id,
        generation,
    })
}

/// Binds the customer, unless it is bound already. Returns the name that holds.
pub fn bind(
    conn: &mut PgConnection,
    customer: &str,
    provider: ProviderName,
    provider_customer_id: &str,
    now: DateTime<Utc>,
) -> QueryResult<String> {
    find_or_begin(conn, customer, provider, now)?;
    diesel::update(
        provider_customers::table
            .find((customer, provider.as_str()))
            .filter(provider_customers::provider_customer_id.is_null()),
    )
    .set((
        provider_customers::provider_customer_id.eq(provider_customer_id),
        provider_customers::updated_at.eq(now),
    ))
    .execute(conn)?;
    let binding = find_or_begin(conn, customer, provider, now)?;
    Ok(binding
        .provider_customer_id
        .unwrap_or_else(|| provider_customer_id.to_owned()))
}

/// Gives up what was begun under this generation, unless the customer was bound meanwhile: the next try has another key.
pub fn begin_anew(
    conn: &mut PgConnection,
    customer: &str,
    provider: ProviderName,
    generation: i32,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::update(
        provider_customers::table
            .find((customer, provider.as_str()))
            .filter(provider_customers::provider_customer_id.is_null())
            .filter(provider_customers::generation.eq(generation)),
    )
    .set((
        provider_customers::generation.eq(generation.saturating_add(1)),
        provider_customers::updated_at.eq(now),
    ))
    .execute(conn)?;
    Ok(())
}

/// Forgets that name of the customer, who is gone at the provider; the next one is made under another key. Returns `false` where the
/// customer has another name by now.
pub fn unbind(
    conn: &mut PgConnection,
    customer: &str,
    provider: ProviderName,
    provider_customer_id: &str,
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let unbound = diesel::update(
        provider_customers::table
            .find((customer, provider.as_str()))
            .filter(provider_customers::provider_customer_id.eq(provider_customer_id)),
    )
    .set((
        provider_customers::provider_customer_id.eq(None::<String>),
        provider_customers::generation.eq(provider_customers::generation + 1),
        provider_customers::updated_at.eq(now),
    ))
    .execute(conn)?;
    Ok(unbound == 1)
}

/// Our customer of that name. A provider may give customers who share an e-mail address one name: then nobody is meant.
pub fn customer_of(
    conn: &mut PgConnection,
    provider: ProviderName,
    provider_customer_id: &str,
) -> QueryResult<Option<String>> {
    let mut named: Vec<String> = provider_customers::table
        .filter(provider_customers::provider.eq(provider.as_str()))
        .filter(provider_customers::provider_customer_id.eq(provider_customer_id))
        .select(provider_customers::customer_id)
        .limit(2)
        .load(conn)?;
    Ok(named.pop().filter(|_| named.is_empty()))
}

/// What the provider calls our customer, where it has such a customer.
pub fn name_of(
    conn: &mut PgConnection,
    customer: &str,
    provider: &str,
) -> QueryResult<Option<String>> {
    let name: Option<Option<String>> = provider_customers::table
        .find((customer, provider))
        .select(provider_customers::provider_customer_id)
        .first(conn)
        .optional()?;
    Ok(name.flatten())
}
