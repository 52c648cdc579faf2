//! Customers.

use serde_json::json;

use super::Razorpay;
use super::objects::Identified;
use super::wire::is_refused_for;
use crate::providers::{NewCustomer, ProviderError};

/// Razorpay's limit for a name.
const NAME_MAX_CHARS: usize = 50;
/// A name is no shorter.
const NAME_MIN_CHARS: usize = 3;

impl Razorpay {
    /// Razorpay finds a customer by the e-mail address before it makes one, so two of ours can be one there. It is particular about
    /// names: one that it does not take is no reason not to sell.
    pub(super) async fn make_customer(
        &self,
        customer: &NewCustomer,
    ) -> Result<String, ProviderError> {
        let ours = plain(&customer.customer_id);
        let called = customer.name.as_deref().map(str::trim);
        let Some(called) = called.filter(|name| !name.is_empty()) else {
            return self.send_customer(customer, &ours).await;
        };
        match self.send_customer(customer, &cut(called)).await {
            Err(refused) if is_refused_for(&refused, "name") => {
                self.send_customer(customer, &ours).await
            }
            outcome => outcome,
        }
    }

    async fn send_customer(
        &self,
        customer: &NewCustomer,
        name: &str,
    ) -> Result<String, ProviderError> {
        let mut body = json!({
            "name": name,
            "fail_existing": "0",
            "notes": {"customer_id": customer.customer_id},
        });
        if let Some(email) = customer.email.as_deref().filter(|email| !email.is_empty())
            && let Some(fields) = body.as_object_mut()
        {
            fields.insert("email".to_owned(), email.into());
        }
        Ok(self.post::<Identified>("/customers", &body).await?.id)
    }
}

fn cut(name: &str) -> String {
    name.chars().take(NAME_MAX_CHARS).collect()
}

/// A name made of our id that no rule about names refuses.
pub(super) fn plain(id: &str) -> String {
    let letters: String = id
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { ' ' })
        .collect();
    let words: Vec<&str> = letters.split_whitespace().collect();
    let name = cut(&words.join(" ")).trim_end().to_owned();
    if name.len() < NAME_MIN_CHARS {
        format!("Customer {name}").trim_end().to_owned()
    } else {
        name
    }
}
