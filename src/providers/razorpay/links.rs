//! Payment links.

use std::cmp::Reverse;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Razorpay;
use super::lenient::{as_text, needed, text, whole};
use super::wire::is_no;
use crate::providers::wire::path_id;
use crate::providers::{LinkStatus, PaymentLink, PaymentLinkRequest, ProviderError};

impl Razorpay {
    /// The reference is unique at Razorpay. So nothing is looked for first: where an answer was lost, the second try is refused and finds
    /// what the first one made.
    pub(super) async fn make_link(
        &self,
        request: &PaymentLinkRequest,
    ) -> Result<PaymentLink, ProviderError> {
        match self.post::<Link>("/payment_links", &body(request)).await {
            Err(refused) if is_no(&refused) => {
                let found = self.link_under(&request.reference).await?;
                found.ok_or(refused)
            }
            outcome => outcome?.normalize(),
        }
    }

    /// The best of them, should there be several after all.
    async fn link_under(&self, reference: &str) -> Result<Option<PaymentLink>, ProviderError> {
        let links: Vec<Link> = self
            .get::<super::wire::List<Link>>("/payment_links", &[("reference_id", reference)])
            .await?
            .items;
        let links = links
            .into_iter()
            .filter(|link| link.reference_id.as_deref() == Some(reference))
            .map(Link::normalize)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(links.into_iter().min_by_key(|link| {
            let settled = link.status == LinkStatus::Paid;
            let payable = link.status == LinkStatus::Open;
            Reverse((settled, payable))
        }))
    }

    pub(super) async fn look_at_link(&self, id: &str) -> Result<PaymentLink, ProviderError> {
        let path = format!("/payment_links/{}", path_id(id)?);
        self.get::<Link>(&path, &[]).await?.normalize()
    }
}

fn body(request: &PaymentLinkRequest) -> Value {
    let mut body = json!({
        "amount": request.amount,
        "currency": request.currency.to_ascii_uppercase(),
        "accept_partial": false,
        "reference_id": request.reference,
        "description": request.description,
        // No telephone number is known here.
        "notify": {"email": request.email.is_some(), "sms": false},
        "reminder_enable": true,
        "notes": {"customer_id": request.customer_id},
    });
    let customer: Map<String, Value> = [("name", &request.name), ("email", &request.email)]
        .into_iter()
        .filter_map(|(field, value)| Some((field.to_owned(), value.clone()?.into())))
        .collect();
    if let Some(fields) = body.as_object_mut() {
        if !customer.is_empty() {
            fields.insert("customer".to_owned(), customer.into());
        }
        if let Some(return_url) = &request.return_url {
            fields.insert("callback_url".to_owned(), return_url.as_str().into());
            fields.insert("callback_method".to_owned(), "get".into());
        }
    }
    body
}

/// `payment_link`.
#[derive(Debug, Deserialize)]
struct Link {
    id: String,
    #[serde(default, deserialize_with = "text")]
    reference_id: Option<String>,
    #[serde(default, deserialize_with = "text")]
    short_url: Option<String>,
    #[serde(default, deserialize_with = "text")]
    status: Option<String>,
    #[serde(default, deserialize_with = "whole")]
    amount: Option<i64>,
    /// A list, or one alone, or nothing.
    #[serde(default)]
    payments: Value,
}

impl Link {
    /// In the core's words.
    fn normalize(self) -> Result<PaymentLink, ProviderError> {
        let status = match self.status.as_deref() {
            Some("created" | "partially_paid") => LinkStatus::Open,
            Some("paid") => LinkStatus::Paid,
            Some("expired" | "cancelled") => LinkStatus::Closed,
            other => {
                return Err(ProviderError::Unreadable {
                    reason: format!("a payment link that is {other:?}"),
                });
            }
        };
        let payment_id = settling(&self.payments).filter(|_| status == LinkStatus::Paid);
        Ok(PaymentLink {
            id: self.id,
            reference: self.reference_id,
            url: needed("short_url", self.short_url)?,
            status,
            amount: needed("amount", self.amount)?,
            payment_id,
        })
    }
}

/// The payment that was taken: tries that failed stay in the list.
fn settling(payments: &Value) -> Option<String> {
    let all = match payments {
        Value::Array(payments) => payments.as_slice(),
        one => std::slice::from_ref(one),
    };
    let is_taken = |payment: &&Value| {
        let status = payment.get("status").and_then(Value::as_str);
        status.is_none_or(|status| matches!(status, "captured" | "paid"))
    };
    all.iter()
        .filter(is_taken)
        .find_map(|payment| payment.get("payment_id").and_then(as_text))
}
