//! Stripe: keys, and which of its prices stands for which tier.

use std::collections::BTreeMap;

use secrecy::SecretString;
use url::Url;

use super::source::Source;
use super::{Environment, web};
use crate::domain::catalogue::Catalogue;

/// Stripe's limit.
const LONGEST_METER_EVENT_NAME: usize = 100;
const DEFAULT_API_BASE: &str = "https://api.stripe.com";

/// What is needed to take money through Stripe.
#[derive(Debug, Clone)]
pub struct StripeConfig {
    /// Authorizes every request.
    pub secret_key: SecretString,
    /// Handed to frontends with a checkout; not a secret.
    pub publishable_key: Option<String>,
    /// Any of them may have signed a webhook. Empty only in development, and then no webhook is accepted.
    pub webhook_secrets: Vec<SecretString>,
    /// Scheme and host, without `/v1`.
    pub api_base: Url,
    /// By tier.
    pub prices: BTreeMap<String, PriceIds>,
    /// The event name of the Billing Meter that counts usage above the limits.
    pub meter_event_name: Option<String>,
}

/// The ids of one tier's prices at the provider.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PriceIds {
    /// The flat price of a billing interval.
    pub base: Option<String>,
    /// The metered price of what is used above the limit.
    pub overage: Option<String>,
}

/// Reads everything of Stripe's; without `catalogue`, which then has faults of its own, the prices are left alone.
pub(super) fn read(
    source: &mut Source<'_>,
    environment: Environment,
    catalogue: Option<&Catalogue>,
) -> Option<StripeConfig> {
    let given = source.is_set_as_secret("STRIPE_SECRET_KEY");
    let webhooks_given = source.is_set_as_secret("STRIPE_WEBHOOK_SECRET");
    let secret_key = source.secret("STRIPE_SECRET_KEY");
    if let Some(key) = &secret_key {
        check_secret_key(source, key, environment);
    }
    let publishable_key = source.text("STRIPE_PUBLISHABLE_KEY");
    if let Some(key) = &publishable_key {
        check_publishable_key(source, key, secret_key.as_deref());
    }
    let webhook_secrets = webhook_secrets(source);
    let api_base = web::api_base(source, "STRIPE_API_BASE", environment)
        .or_else(|| Url::parse(DEFAULT_API_BASE).ok());
    if !given {
        report_unused(source, webhooks_given, catalogue);
        return None;
    }
    let prices = catalogue.map_or_else(BTreeMap::new, |catalogue| price_ids(source, catalogue));
    if environment == Environment::Production {
        require_prices(source, &prices, catalogue);
    } else if catalogue.is_some_and(|catalogue| !missing_prices(&prices, catalogue).is_empty()) {
        source.warn("Stripe has no price id for some paid tiers, which cannot be bought");
    }
    if !webhooks_given {
        let missing = "without it no payment becomes known; copy it from the webhook endpoint's page in Stripe's dashboard";
        if environment == Environment::Production {
            source.fault("STRIPE_WEBHOOK_SECRET", format!("is missing: {missing}"));
        } else {
            source.warn(format!("STRIPE_WEBHOOK_SECRET is not set: {missing}"));
        }
    }
    let meter_event_name = meter_event_name(source, catalogue);
    let secret_key = secret_key?;
    Some(StripeConfig {
        secret_key: secret_key.into(),
        publishable_key,
        webhook_secrets,
        api_base: api_base?,
        prices,
        meter_event_name,
    })
}

/// Without it nothing is lost: what is owed waits in the database until there is one.
fn meter_event_name(source: &mut Source<'_>, catalogue: Option<&Catalogue>) -> Option<String> {
    let name = "STRIPE_METER_EVENT_NAME";
    let given = source.text(name);
    if given.as_ref().is_some_and(|event| {
        event.chars().count() > LONGEST_METER_EVENT_NAME || event.chars().any(char::is_control)
    }) {
        source.fault(
            name,
            "is no event name of a meter; copy it from the meter's page in Stripe's dashboard",
        );
    }
    let needed =
        catalogue.is_some_and(|catalogue| catalogue.tiers.iter().any(|plan| plan.has_overage()));
    if needed && given.is_none() {
        source.warn(format!(
            "{name} is not set: usage above the limits is noted and not billed; set it to the event name of the Billing Meter"
        ));
    }
    given
}

/// Settings that mean nothing without the key; a webhook's secret among them says that the key was forgotten.
fn report_unused(source: &mut Source<'_>, webhooks_given: bool, catalogue: Option<&Catalogue>) {
    if webhooks_given {
        source.fault(
            "STRIPE_SECRET_KEY",
            "is missing while STRIPE_WEBHOOK_SECRET is set: what a webhook announces could not be fetched; set both or neither",
        );
    }
    let priced = catalogue
        .iter()
        .flat_map(|catalogue| &catalogue.tiers)
        .any(|plan| source.is_set(&variable(&plan.tier, false)));
    if priced {
        source.warn("Stripe's price ids are set without STRIPE_SECRET_KEY and are not used");
    }
}

/// Keys are `sk_live_…`, `rk_test_…` and the like.
fn is_live(key: &str) -> bool {
    key.get(2..)
        .is_some_and(|rest| rest.starts_with("_live_") || rest.starts_with("_org_live_"))
}

fn check_secret_key(source: &mut Source<'_>, key: &str, environment: Environment) {
    let name = "STRIPE_SECRET_KEY";
    if key.starts_with("pk_") {
        source.fault(
            name,
            "is a publishable key; copy the secret key (sk_…) or a restricted one (rk_…)",
        );
    } else if key.starts_with("whsec_") {
        source.fault(
            name,
            "is a webhook secret; copy the secret key (sk_…) or a restricted one (rk_…)",
        );
    } else if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        source.fault(name, "has characters that no key has; copy it again");
    } else if is_live(key) && environment == Environment::Development {
        source.warn("STRIPE_SECRET_KEY is a live key in development: real money moves");
    } else if !is_live(key) && environment == Environment::Production {
        source.warn("STRIPE_SECRET_KEY is no live key in production: no real money moves");
    }
}

fn check_publishable_key(source: &mut Source<'_>, key: &str, secret_key: Option<&str>) {
    let name = "STRIPE_PUBLISHABLE_KEY";
    if !key.starts_with("pk_") {
        // Frontends see this one, so a secret key must never pass for it.
        source.fault(name, "is no publishable key; those begin with pk_");
    } else if secret_key.is_some_and(|secret| is_live(secret) != is_live(key)) {
        source.fault(
            name,
            "and STRIPE_SECRET_KEY are of different modes, one live and one test; take both from one mode",
        );
    }
}

fn webhook_secrets(source: &mut Source<'_>) -> Vec<SecretString> {
    let name = "STRIPE_WEBHOOK_SECRET";
    let Some(list) = source.secret(name) else {
        return Vec::new();
    };
    let entries: Vec<&str> = list.split(',').map(str::trim).collect();
    if entries.iter().any(|entry| entry.is_empty()) {
        // Anybody could sign with an empty secret.
        source.fault(name, "has a blank entry between its commas; remove it");
    }
    if entries
        .iter()
        .any(|entry| entry.starts_with("sk_") || entry.starts_with("pk_"))
    {
        source.fault(name, "is an API key; webhook secrets begin with whsec_");
    }
    entries.into_iter().map(SecretString::from).collect()
}

/// `STRIPE_PRICE_ID_<TIER>`, with `_OVERAGE` for what is used above the limits.
fn variable(tier: &str, overage: bool) -> String {
    let tier = tier.to_ascii_uppercase().replace('-', "_");
    let suffix = if overage { "_OVERAGE" } else { "" };
    format!("STRIPE_PRICE_ID_{tier}{suffix}")
}

fn price_ids(source: &mut Source<'_>, catalogue: &Catalogue) -> BTreeMap<String, PriceIds> {
    let mut prices: BTreeMap<String, PriceIds> = BTreeMap::new();
    // Whose a variable is, and where an id was seen first.
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for plan in &catalogue.tiers {
        for overage in [false, true] {
            let name = variable(&plan.tier, overage);
            if !(if overage {
                plan.has_overage()
            } else {
                plan.is_paid()
            }) {
                continue;
            }
            if let Some(other) = owners.insert(name.clone(), &plan.tier) {
                source.fault(
                    &name,
                    format!(
                        "would belong to the tiers `{other}` and `{}`; rename one of them",
                        plan.tier
                    ),
                );
                continue;
            }
            let Some(id) = source.text(&name) else {
                continue;
            };
            if let Some(problem) = price_id_problem(&id) {
                source.fault(&name, problem);
                continue;
            }
            if let Some(other) = seen.insert(id.clone(), name.clone()) {
                source.fault(
                    &name,
                    format!("is the same price as {other}; each needs its own"),
                );
                continue;
            }
            let ids = prices.entry(plan.tier.clone()).or_default();
            if overage {
                ids.overage = Some(id);
            } else {
                ids.base = Some(id);
            }
        }
    }
    for plan in catalogue.tiers.iter().filter(|plan| !plan.is_paid()) {
        let name = variable(&plan.tier, false);
        if !owners.contains_key(&name) && source.is_set(&name) {
            source.warn(format!(
                "{name} is not used: the tier `{}` costs nothing",
                plan.tier
            ));
        }
    }
    prices
}

fn price_id_problem(id: &str) -> Option<&'static str> {
    if id.starts_with("prod_") {
        return Some("is the id of a product; copy that of its price (price_…)");
    }
    let sound = id.len() <= 255
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    (!sound).then_some("is no price id; copy the one that begins with price_")
}

/// The variables whose absence leaves something for sale that cannot be sold, with the tier.
fn missing_prices(
    prices: &BTreeMap<String, PriceIds>,
    catalogue: &Catalogue,
) -> Vec<(String, String)> {
    let mut missing = Vec::new();
    for plan in &catalogue.tiers {
        let ids = prices.get(&plan.tier);
        if plan.is_paid() && ids.is_none_or(|ids| ids.base.is_none()) {
            let what = format!("the tier `{}`", plan.tier);
            missing.push((variable(&plan.tier, false), what));
        }
        if plan.has_overage() && ids.is_none_or(|ids| ids.overage.is_none()) {
            let what = format!("the overage of the tier `{}`", plan.tier);
            missing.push((variable(&plan.tier, true), what));
        }
    }
    missing
}

fn require_prices(
    source: &mut Source<'_>,
    prices: &BTreeMap<String, PriceIds>,
    catalogue: Option<&Catalogue>,
) {
    let Some(catalogue) = catalogue else { return };
    for (name, what) in missing_prices(prices, catalogue) {
        // One that is set and faulty has been reported already.
        if !source.is_set(&name) {
            source.fault(
                &name,
                format!("is missing, so {what} cannot be sold; set it to Stripe's price id"),
            );
        }
    }
}
