//! In what providers differ, in words that belong to none of them.

use crate::domain::money::Currency;

/// What a provider can do, as far as the core must know before it asks.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether a creation that is repeated under one key is done once, also when two ask at the same time. Without, one caller at a
    /// time creates, and looks first for what an earlier try has made.
    pub idempotency_keys: bool,
    /// Whether a subscription shows that it is to end with its period, or to change its plan. Without, the intention is kept here, sent
    /// just before the period's end, and can be taken back until then.
    pub shows_intentions: bool,
    /// Whether a subscription can be put on another plan. Without, a new subscription takes its place once that is paid.
    pub changes_plans: bool,
    /// Whether the plan's price at the provider may be in a currency that the catalogue does not name. Then the provider's word is the
    /// price that is shown.
    pub sets_prices: bool,
    /// Whether its checkout sends the browser back.
    pub returns_browsers: bool,
    /// Whether it has pages on which customers look after cards and invoices.
    pub customer_pages: bool,
    /// How usage above a plan's limit is billed.
    pub usage: UsageBilling,
}

/// How usage above a plan's limit is billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageBilling {
    /// The provider is told of it, and puts it on the subscription's invoice.
    Metered,
    /// Each closed period is billed with a payment link.
    PaymentLink {
        /// The currency that links are paid in: overage is billed by its price in it.
        currency: Currency,
        /// The smallest sum that a link can ask for, in minor units; less than that waits for the next period.
        least: i64,
    },
    /// Not at all, for now: what is owed waits in the database.
    Unbilled,
}
