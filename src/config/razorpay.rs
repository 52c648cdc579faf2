//! Razorpay: keys, and which of its plans stands for which tier.

use std::collections::BTreeMap;

use secrecy::SecretString;
use url::Url;

use super::source::Source;
use super::{Environment, web};
use crate::domain::catalogue::Catalogue;

const DEFAULT_API_BASE: &str = "https://api.razorpay.com";

/// What is needed to take money through Razorpay.
#[derive(Debug, Clone)]
pub struct RazorpayConfig {
    /// Names the key; handed to frontends with a checkout.
    pub key_id: String,
    /// Authorizes every request.
    pub key_secret: SecretString,
    /// Any of them may have signed a webhook.
    pub webhook_secrets: Vec<SecretString>,
    /// Scheme and host, without `/v1`.
    pub api_base: Url,
    /// Razorpay's plan of each tier.
    pub plans: BTreeMap<String, String>,
}

/// Reads everything of Razorpay's.
pub(super) fn read(
    source: &mut Source<'_>,
    environment: Environment,
    catalogue: Option<&Catalogue>,
) -> Option<RazorpayConfig> {
    let key_id = source.text("RAZORPAY_KEY_ID");
    let key_secret = source.secret("RAZORPAY_KEY_SECRET");
    let webhook_secrets = source.secret("RAZORPAY_WEBHOOK_SECRET");
    let api_base = web::api_base(source, "RAZORPAY_API_BASE", environment)
        .or_else(|| Url::parse(DEFAULT_API_BASE).ok());
    let plans = catalogue
        .iter()
        .flat_map(|catalogue| &catalogue.tiers)
        .filter_map(|plan| {
            let tier = plan.tier.to_ascii_uppercase().replace('-', "_");
            let id = source.text(&format!("RAZORPAY_PLAN_ID_{tier}"))?;
            Some((plan.tier.clone(), id))
        })
        .collect();
    Some(RazorpayConfig {
        key_id: key_id?,
        key_secret: key_secret?.into(),
        webhook_secrets: webhook_secrets
            .iter()
            .flat_map(|list| list.split(','))
            .map(|secret| SecretString::from(secret.trim()))
            .collect(),
        api_base: api_base?,
        plans,
    })
}
