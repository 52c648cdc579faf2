//! Payment links: a page of the provider on which one sum is paid once.

/// A sum to be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentLinkRequest {
    /// Known to the provider once: what is asked for under it again is the same link. At most 40 characters.
    pub reference: String,
    /// In the currency's minor units; at least the provider's smallest sum.
    pub amount: i64,
    /// ISO 4217 code in lower case.
    pub currency: String,
    /// What the customer reads; at most 2048 characters.
    pub description: String,
    /// Our own customer id, left in the provider's notes.
    pub customer_id: String,
    /// Name of whoever pays.
    pub name: Option<String>,
    /// Where the provider sends the link; `None`: it sends none.
    pub email: Option<String>,
    /// Where the browser goes after the payment.
    pub return_url: Option<String>,
}

/// A payment link at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentLink {
    /// The provider's id.
    pub id: String,
    /// As it was asked for.
    pub reference: Option<String>,
    /// Where it is paid.
    pub url: String,
    /// Where it stands.
    pub status: LinkStatus,
    /// What it asks for, in minor units.
    pub amount: i64,
    /// The provider's id of the payment that settled it.
    pub payment_id: Option<String>,
}

/// Where a payment link stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkStatus {
    /// Can be paid.
    Open,
    /// Was paid in full.
    Paid,
    /// Can no longer be paid: it expired, or somebody cancelled it.
    Closed,
}
