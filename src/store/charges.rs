//! Payments, as the provider last showed them.

use chrono::{DateTime, Utc};
use diesel::prelude::*;

use super::schema::charges;
use super::unreadable;
use crate::domain::payment::{DisputeState, Payment};
use crate::domain::provider_event::{PaymentMade, ProviderName};

/// A payment to keep.
#[derive(Debug, Clone, Copy)]
pub struct Charge<'a> {
    /// Who took it.
    pub provider: ProviderName,
    /// The provider's id.
    pub id: &'a str,
    /// The subscription whose invoice it paid, by the provider's id.
    pub provider_subscription_id: Option<&'a str>,
    /// ISO 4217, lowercase.
    pub currency: &'a str,
    /// What is known of its money.
    pub payment: Payment,
}

/// The payment as it was last seen.
pub fn find(
    conn: &mut PgConnection,
    customer: &str,
    provider: ProviderName,
    id: &str,
) -> QueryResult<Option<Payment>> {
    charges::table
        .find((customer, provider.as_str(), id))
        .select((charges::amount, charges::amount_refunded, charges::dispute))
        .first(conn)
        .optional()?
        .map(payment)
        .transpose()
}

/// The payments for a subscription other than `apart_from`.
pub fn others_of_subscription(
    conn: &mut PgConnection,
    customer: &str,
    provider: ProviderName,
    provider_subscription_id: &str,
    apart_from: &str,
) -> QueryResult<Vec<Payment>> {
    charges::table
        .filter(charges::customer_id.eq(customer))
        .filter(charges::provider.eq(provider.as_str()))
        .filter(charges::provider_subscription_id.eq(provider_subscription_id))
        .filter(charges::charge_id.ne(apart_from))
        .select((charges::amount, charges::amount_refunded, charges::dispute))
        .load(conn)?
        .into_iter()
        .map(payment)
        .collect()
}

/// Keeps the payment as it is now.
pub fn save(
    conn: &mut PgConnection,
    customer: &str,
    charge: &Charge<'_>,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    let payment = &charge.payment;
    let what_changes = (
        charges::provider_subscription_id.eq(charge.provider_subscription_id),
        charges::amount.eq(payment.amount),
        charges::amount_refunded.eq(payment.amount_refunded),
        charges::currency.eq(charge.currency),
        charges::dispute.eq(payment.dispute.map(DisputeState::as_str)),
        charges::updated_at.eq(now),
    );
    diesel::insert_into(charges::table)
        .values((
            charges::customer_id.eq(customer),
            charges::provider.eq(charge.provider.as_str()),
            charges::charge_id.eq(charge.id),
            charges::created_at.eq(now),
            what_changes,
        ))
        .on_conflict((charges::customer_id, charges::provider, charges::charge_id))
        .do_update()
        .set(what_changes)
        .execute(conn)?;
    Ok(())
}

fn payment((amount, amount_refunded, dispute): (i64, i64, Option<String>)) -> QueryResult<Payment> {
    let dispute = dispute
        .map(|word| {
            DisputeState::parse(&word).ok_or_else(|| unreadable(format!("dispute {word:?}")))
        })
        .transpose()?;
    Ok(Payment {
        amount,
        amount_refunded,
        dispute,
    })
}

/// Keeps a payment for a subscription, unless it is known already: what is known may say more by then.
pub fn note(
    conn: &mut PgConnection,
    customer: &str,
    provider: ProviderName,
    provider_subscription_id: &str,
    payment: &PaymentMade,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::insert_into(charges::table)
        .values((
            charges::customer_id.eq(customer),
            charges::provider.eq(provider.as_str()),
            charges::charge_id.eq(&payment.id),
            charges::provider_subscription_id.eq(provider_subscription_id),
            charges::amount.eq(payment.amount),
            charges::amount_refunded.eq(0),
            charges::currency.eq(&payment.currency),
            charges::created_at.eq(now),
            charges::updated_at.eq(now),
        ))
        .on_conflict_do_nothing()
        .execute(conn)?;
    Ok(())
}
