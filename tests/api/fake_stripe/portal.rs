//! The customer portal.

use serde_json::{Value, json};

use super::params::{Params, Refusal};
use super::state::State;

impl State {
    pub(crate) fn open_portal(&mut self, mut params: Params) -> Result<Value, Refusal> {
        let customer = params.required("customer")?;
        let return_url = params.address("return_url")?;
        let configuration = params.optional("configuration");
        let locale = params.optional("locale");
        params.finish()?;
        self.live_customer(&customer)?;
        let id = self.new_id("bps");
        Ok(json!({
            "id": id, "object": "billing_portal.session",
            "configuration": configuration.as_deref().unwrap_or("bpc_fake"), "created": self.now.timestamp(),
            "customer": customer, "customer_account": null, "flow": null, "livemode": false, "locale": locale,
            "on_behalf_of": null, "return_url": return_url,
            "url": format!("https://billing.stripe.test/p/session/{id}"),
        }))
    }
}
