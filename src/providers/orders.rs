//! What is asked of a provider, and what it answers with: customers, prices, checkouts, changes of a subscription.

use chrono::{DateTime, Utc};

/// A customer to be made at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCustomer {
    /// Our own id, left in the provider's metadata.
    pub customer_id: String,
    /// Where receipts go.
    pub email: Option<String>,
    /// Name on receipts.
    pub name: Option<String>,
    /// Stays the same for every try to make this customer.
    pub idempotency_key: String,
}

/// A price at the provider, to be compared with the catalogue before anybody is sent to pay it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderPrice {
    /// The provider's id.
    pub id: String,
    /// In the currency's smallest unit; absent for tiered prices and for fractions of that unit.
    pub unit_amount: Option<i64>,
    /// The same with up to twelve decimals, in the currency's smallest unit.
    pub unit_amount_decimal: Option<String>,
    /// ISO 4217 code in lower case.
    pub currency: String,
    /// `day`, `week`, `month` or `year`; absent for a one-time price.
    pub interval: Option<String>,
    /// How many intervals a period has.
    pub interval_count: Option<u32>,
    /// Whether the quantity comes from reported usage.
    pub metered: bool,
    /// Whether it can still be sold.
    pub active: bool,
}

/// A checkout to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckoutRequest {
    /// Who pays, by the provider's id.
    pub provider_customer_id: String,
    /// The flat price of the plan.
    pub base_price_id: String,
    /// The metered price of usage above the plan's limit, where it has one.
    pub overage_price_id: Option<String>,
    /// Our own customer id, carried through to the subscription.
    pub customer_id: String,
    /// The plan sold.
    pub plan_tier: String,
    /// The catalogue version sold.
    pub plan_version: i32,
    /// Where the browser goes after the payment.
    pub success_url: String,
    /// Where the browser goes when the customer turns back.
    pub cancel_url: String,
    /// Days before the first payment is taken.
    pub trial_days: Option<u32>,
    /// Whether the customer may enter a promotion code.
    pub promotion_codes: bool,
    /// When the first period begins; `None`: with the payment. Only where the subscription takes another one's place.
    pub starts_at: Option<DateTime<Utc>>,
    /// When the attempt began, whatever try this is: providers without idempotency keys are searched from then on, and what expires is
    /// counted from then.
    pub begun_at: DateTime<Utc>,
    /// Stays the same for every try of this checkout, and belongs to these parameters alone.
    pub idempotency_key: String,
}

/// A checkout session at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckoutSession {
    /// The provider's id.
    pub id: String,
    /// Where the customer pays; only while it is open.
    pub url: Option<String>,
    /// Whether it can still be paid.
    pub status: CheckoutStatus,
    /// When it stops being payable.
    pub expires_at: Option<DateTime<Utc>>,
    /// The subscription it made, once complete.
    pub provider_subscription_id: Option<String>,
}

/// Where a checkout session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckoutStatus {
    /// Can be paid.
    Open,
    /// The customer went through; a slow payment may still be on its way.
    Complete,
    /// Can no longer be paid.
    Expired,
}

/// A visit to the pages on which the provider lets customers look after their cards and invoices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortalRequest {
    /// Who visits, by the provider's id.
    pub provider_customer_id: String,
    /// Where the browser goes afterwards.
    pub return_url: String,
}

/// When a change of plan happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeWhen {
    /// At once; the difference for the rest of the period is charged or credited, and where it is charged the change waits for the payment.
    Now,
    /// With the next period, at its price.
    PeriodEnd,
}

/// Another plan for a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanChange {
    /// The provider's id of the subscription.
    pub provider_subscription_id: String,
    /// Every price that any plan was ever sold under: items with these are replaced, all others are left alone.
    pub replaced_price_ids: Vec<String>,
    /// The flat price of the new plan.
    pub base_price_id: String,
    /// The metered price of usage above the new plan's limit, where it has one.
    pub overage_price_id: Option<String>,
    /// Our own customer id, carried through to the subscription.
    pub customer_id: String,
    /// The new plan.
    pub plan_tier: String,
    /// The catalogue version sold.
    pub plan_version: i32,
    /// At once or with the next period.
    pub when: ChangeWhen,
}

/// How an immediate end is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinalInvoice {
    /// Usage that was reported and not billed yet is billed.
    Drawn,
    /// Nothing more is billed.
    None,
}

/// What of a payment is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefundShare {
    /// All of it.
    Whole,
    /// The part of a period that is left, rounded down; less than the provider's smallest amount: nothing.
    Unused {
        /// Seconds that are left.
        left: i64,
        /// Seconds that were paid for; more than zero.
        of: i64,
    },
}
