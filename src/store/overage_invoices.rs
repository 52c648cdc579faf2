//! Sums of closed periods that customers are asked for with payment links (`overage_invoices`). A row is committed before the provider
//! hears of it.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Nullable, Timestamptz};
use uuid::Uuid;

use super::schema::overage_invoices;

/// Where an invoice stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// To be asked for.
    Sealed,
    /// There is a link.
    Asked,
    /// Settled; nothing follows.
    Paid,
    /// The link can no longer be paid.
    Closed,
}

impl State {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sealed => "sealed",
            Self::Asked => "asked",
            Self::Paid => "paid",
            Self::Closed => "closed",
        }
    }
}

/// A sum to be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInvoice<'a> {
    /// Whose.
    pub customer_id: &'a str,
    /// Its id.
    pub invoice_id: Uuid,
    /// Who asks for it.
    pub provider: &'a str,
    /// Minor units, more than none.
    pub amount: i64,
    /// ISO 4217 code in lower case.
    pub currency: &'a str,
    /// What the customer reads.
    pub description: &'a str,
    /// Known to the provider once.
    pub reference: &'a str,
}

/// An invoice as stored.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = overage_invoices, check_for_backend(diesel::pg::Pg))]
pub struct Invoice {
    /// Whose.
    pub customer_id: String,
    /// Its id.
    pub invoice_id: Uuid,
    /// Who asks for it.
    pub provider: String,
    /// A [`State`].
    pub state: String,
    /// Minor units.
    pub amount: i64,
    /// ISO 4217 code in lower case.
    pub currency: String,
    /// What the customer reads.
    pub description: String,
    /// Known to the provider once.
    pub reference: String,
    /// The provider's id of the link.
    pub provider_link_id: Option<String>,
    /// Where it is paid.
    pub url: Option<String>,
    /// Attempts to ask for it, or looks at its link, this one included.
    pub attempts: i32,
    /// From then on others may claim it; tells one claim from another.
    claimed_until: Option<DateTime<Utc>>,
}

impl Invoice {
    /// Whether it stands there.
    pub fn is(&self, state: State) -> bool {
        self.state == state.as_str()
    }
}

/// Writes a new invoice down; it is due at once.
pub fn seal(conn: &mut PgConnection, new: &NewInvoice<'_>, now: DateTime<Utc>) -> QueryResult<()> {
    diesel::insert_into(overage_invoices::table)
        .values((
            overage_invoices::customer_id.eq(new.customer_id),
            overage_invoices::invoice_id.eq(new.invoice_id),
            overage_invoices::provider.eq(new.provider),
            overage_invoices::state.eq(State::Sealed.as_str()),
            overage_invoices::amount.eq(new.amount),
            overage_invoices::currency.eq(new.currency),
            overage_invoices::description.eq(new.description),
            overage_invoices::reference.eq(new.reference),
            overage_invoices::next_attempt_at.eq(now),
            overage_invoices::created_at.eq(now),
            overage_invoices::updated_at.eq(now),
        ))
        .execute(conn)?;
    Ok(())
}

/// Claims the invoice that is due first, of these providers. Should this worker die, it comes up again at `until`.
pub fn claim(
    conn: &mut PgConnection,
    providers: &[&str],
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> QueryResult<Option<Invoice>> {
    let due: Option<(String, Uuid)> = overage_invoices::table
        .filter(overage_invoices::state.eq_any([State::Sealed.as_str(), State::Asked.as_str()]))
        .filter(overage_invoices::next_attempt_at.le(now))
        .filter(overage_invoices::provider.eq_any(providers))
        .filter(
            overage_invoices::claimed_until
                .is_null()
                .or(overage_invoices::claimed_until.le(now)),
        )
        .order(overage_invoices::next_attempt_at)
        .select((overage_invoices::customer_id, overage_invoices::invoice_id))
        .for_update()
        .skip_locked()
        .first(conn)
        .optional()?;
    let Some(key) = due else { return Ok(None) };
    diesel::update(overage_invoices::table.find(key))
        .set((
            overage_invoices::attempts.eq(overage_invoices::attempts + 1),
            overage_invoices::claimed_until.eq(until),
        ))
        .returning(Invoice::as_returning())
        .get_result(conn)
        .map(Some)
}

/// What a worker found out about the invoice that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// There is a link.
    Asked {
        /// The provider's id of it.
        link_id: &'a str,
        /// Where it is paid.
        url: &'a str,
    },
    /// Nothing new: for this reason, or because it was not paid yet.
    Postponed(Option<&'a str>),
}

/// Puts a claimed invoice down until `next_attempt_at`. Returns `false`, having changed nothing, where the claim was lost or news was
/// quicker.
pub fn put_down(
    conn: &mut PgConnection,
    claimed: &Invoice,
    outcome: Outcome<'_>,
    next_attempt_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let held = diesel::update(
        overage_invoices::table
            .find((&claimed.customer_id, claimed.invoice_id))
            .filter(overage_invoices::state.eq(&claimed.state))
            .filter(overage_invoices::attempts.eq(claimed.attempts))
            .filter(overage_invoices::claimed_until.eq(claimed.claimed_until)),
    );
    let put_down = (
        overage_invoices::next_attempt_at.eq(next_attempt_at),
        overage_invoices::claimed_until.eq(None::<DateTime<Utc>>),
        overage_invoices::updated_at.eq(now),
    );
    let changed = match outcome {
        Outcome::Asked { link_id, url } => held
            .set((
                put_down,
                overage_invoices::state.eq(State::Asked.as_str()),
                overage_invoices::provider_link_id.eq(link_id),
                overage_invoices::url.eq(url),
                overage_invoices::attempts.eq(0),
                overage_invoices::error.eq(None::<String>),
                overage_invoices::asked_at.eq(now),
            ))
            .execute(conn)?,
        Outcome::Postponed(reason) => held
            .set((put_down, overage_invoices::error.eq(reason)))
            .execute(conn)?,
    };
    Ok(changed == 1)
}

/// The link that settled or closed an invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled<'a> {
    /// The provider's id of it.
    pub link_id: &'a str,
    /// Where it was paid.
    pub url: &'a str,
    /// The provider's id of the payment.
    pub payment_id: Option<&'a str>,
}

/// Notes that an invoice was paid, whoever is at it. Returns `false`, having changed nothing, where that is noted already.
pub fn pay(
    conn: &mut PgConnection,
    invoice: &Invoice,
    link: Settled<'_>,
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let paid = diesel::update(
        overage_invoices::table
            .find((&invoice.customer_id, invoice.invoice_id))
            .filter(overage_invoices::state.ne(State::Paid.as_str())),
    )
    .set((
        overage_invoices::state.eq(State::Paid.as_str()),
        overage_invoices::provider_link_id.eq(link.link_id),
        overage_invoices::url.eq(link.url),
        overage_invoices::payment_id.eq(link.payment_id),
        overage_invoices::paid_at.eq(now),
        overage_invoices::claimed_until.eq(None::<DateTime<Utc>>),
        overage_invoices::error.eq(None::<String>),
        overage_invoices::updated_at.eq(now),
    ))
    .execute(conn)?;
    Ok(paid == 1)
}

/// Notes that an invoice can no longer be paid. Returns `false`, having changed nothing, where it was paid or is closed already.
pub fn close(
    conn: &mut PgConnection,
    invoice: &Invoice,
    link: Settled<'_>,
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let closed = diesel::update(
        overage_invoices::table
            .find((&invoice.customer_id, invoice.invoice_id))
            .filter(
                overage_invoices::state.eq_any([State::Sealed.as_str(), State::Asked.as_str()]),
            ),
    )
    .set((
        overage_invoices::state.eq(State::Closed.as_str()),
        overage_invoices::provider_link_id.eq(link.link_id),
        overage_invoices::url.eq(link.url),
        overage_invoices::claimed_until.eq(None::<DateTime<Utc>>),
        overage_invoices::updated_at.eq(now),
    ))
    .execute(conn)?;
    Ok(closed == 1)
}

/// The invoice that a link asks for, locked: by the link's id, else by its reference, since news of a link can be quicker than its id.
pub fn of_link(
    conn: &mut PgConnection,
    provider: &str,
    link_id: &str,
    reference: Option<&str>,
) -> QueryResult<Option<Invoice>> {
    let of_provider = || {
        overage_invoices::table
            .filter(overage_invoices::provider.eq(provider))
            .select(Invoice::as_select())
            .for_update()
    };
    let known = of_provider()
        .filter(overage_invoices::provider_link_id.eq(link_id))
        .first(conn)
        .optional()?;
    match (known, reference) {
        (None, Some(reference)) => of_provider()
            .filter(overage_invoices::reference.eq(reference))
            .first(conn)
            .optional(),
        (known, _) => Ok(known),
    }
}

/// The customer's invoices that can be paid, the oldest first.
pub fn payable_of(conn: &mut PgConnection, customer: &str) -> QueryResult<Vec<Invoice>> {
    overage_invoices::table
        .filter(overage_invoices::customer_id.eq(customer))
        .filter(overage_invoices::state.eq(State::Asked.as_str()))
        .order(overage_invoices::invoice_id)
        .select(Invoice::as_select())
        .load(conn)
}

/// What waits to be asked for.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Backlog {
    /// Invoices that the provider was not asked to make a link for, or did not.
    #[diesel(sql_type = BigInt)]
    pub due: i64,
    /// When the oldest of them was sealed.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub oldest_at: Option<DateTime<Utc>>,
}

/// What is still to be asked for.
pub fn backlog(conn: &mut PgConnection) -> QueryResult<Backlog> {
    sql_query(
        "SELECT count(*) AS due, min(created_at) AS oldest_at FROM overage_invoices WHERE state = 'sealed'",
    )
    .get_result(conn)
}
