//! The Stripe account, as the settings name it.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};

use super::{Stripe, StripeSettings};
use crate::domain::catalogue::Catalogue;
use crate::domain::provider_event::ProviderName;
use crate::providers::price_ids::{Naming, is_sound};
use crate::providers::registry::{Account, Settings, SoldUnder, secrets};

/// Stripe's limit.
const LONGEST_METER_EVENT_NAME: usize = 100;
const DEFAULT_API_BASE: &str = "https://api.stripe.com";
/// `STRIPE_PRICE_ID_<TIER>`, with `_OVERAGE` for what is used above the limits.
const PRICES: Naming = Naming {
    provider: "Stripe",
    prefix: "STRIPE_PRICE_ID_",
    metered: true,
    problem: price_id_problem,
};

/// Reads Stripe's settings.
pub fn configure(settings: &mut dyn Settings, catalogue: Option<&Catalogue>) -> Option<Account> {
    let (stripe, prices) = read(settings, catalogue)?;
    Some(Account::new(
        ProviderName::Stripe,
        prices,
        move |transport| Stripe::new(stripe.clone(), transport),
    ))
}

fn read(
    settings: &mut dyn Settings,
    catalogue: Option<&Catalogue>,
) -> Option<(StripeSettings, BTreeMap<String, SoldUnder>)> {
    let given = settings.is_set_as_secret("STRIPE_SECRET_KEY");
    let webhooks_given = settings.is_set_as_secret("STRIPE_WEBHOOK_SECRET");
    let secret_key = settings.secret("STRIPE_SECRET_KEY");
    if let Some(key) = &secret_key {
        check_secret_key(settings, key);
    }
    let publishable_key = settings.text("STRIPE_PUBLISHABLE_KEY");
    if let Some(key) = &publishable_key {
        check_publishable_key(settings, key, secret_key.as_deref());
    }
    let webhook_secrets = webhook_secrets(settings);
    let api_base = settings.api_base("STRIPE_API_BASE", DEFAULT_API_BASE);
    if !given {
        report_unused(settings, webhooks_given, catalogue);
        return None;
    }
    let prices = catalogue.map_or_else(BTreeMap::new, |catalogue| PRICES.read(settings, catalogue));
    PRICES.require(settings, &prices, catalogue);
    if !webhooks_given {
        let missing = "without it no payment becomes known; copy it from the webhook endpoint's page in Stripe's dashboard";
        if settings.is_production() {
            settings.fault("STRIPE_WEBHOOK_SECRET", &format!("is missing: {missing}"));
        } else {
            settings.warn(&format!("STRIPE_WEBHOOK_SECRET is not set: {missing}"));
        }
    }
    let meter_event_name = meter_event_name(settings, catalogue);
    let stripe = StripeSettings {
        secret_key: secret_key?.into(),
        publishable_key,
        webhook_secrets,
        api_base: api_base?,
        meter_event_name,
    };
    Some((stripe, prices))
}

/// Without it nothing is lost: what is owed waits in the database until there is one.
fn meter_event_name(settings: &mut dyn Settings, catalogue: Option<&Catalogue>) -> Option<String> {
    let name = "STRIPE_METER_EVENT_NAME";
    let given = settings.text(name);
    if given.as_ref().is_some_and(|event| {
        event.chars().count() > LONGEST_METER_EVENT_NAME || event.chars().any(char::is_control)
    }) {
        settings.fault(
            name,
            "is no event name of a meter; copy it from the meter's page in Stripe's dashboard",
        );
    }
    let needed =
        catalogue.is_some_and(|catalogue| catalogue.tiers.iter().any(|plan| plan.has_overage()));
    if needed && given.is_none() {
        settings.warn(&format!(
            "{name} is not set: usage above the limits is noted and not billed; set it to the event name of the Billing Meter"
        ));
    }
    given
}

/// Settings that mean nothing without the key; a webhook's secret among them says that the key was forgotten.
fn report_unused(settings: &mut dyn Settings, webhooks_given: bool, catalogue: Option<&Catalogue>) {
    if webhooks_given {
        settings.fault(
            "STRIPE_SECRET_KEY",
            "is missing while STRIPE_WEBHOOK_SECRET is set: what a webhook announces could not be fetched; set both or neither");
    }
    if PRICES.any_set(settings, catalogue) {
        settings.warn("Stripe's price ids are set without STRIPE_SECRET_KEY and are not used");
    }
}

/// Keys are `sk_live_…`, `rk_test_…` and the like.
fn is_live(key: &str) -> bool {
    key.get(2..)
        .is_some_and(|rest| rest.starts_with("_live_") || rest.starts_with("_org_live_"))
}

fn check_secret_key(settings: &mut dyn Settings, key: &str) {
    let name = "STRIPE_SECRET_KEY";
    if key.starts_with("pk_") {
        settings.fault(
            name,
            "is a publishable key; copy the secret key (sk_…) or a restricted one (rk_…)",
        );
    } else if key.starts_with("whsec_") {
        settings.fault(
            name,
            "is a webhook secret; copy the secret key (sk_…) or a restricted one (rk_…)",
        );
    } else if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        settings.fault(name, "has characters that no key has; copy it again");
    } else if is_live(key) && !settings.is_production() {
        settings.warn("STRIPE_SECRET_KEY is a live key in development: real money moves");
    } else if !is_live(key) && settings.is_production() {
        settings.warn("STRIPE_SECRET_KEY is no live key in production: no real money moves");
    }
}

fn check_publishable_key(settings: &mut dyn Settings, key: &str, secret_key: Option<&str>) {
    let name = "STRIPE_PUBLISHABLE_KEY";
    if !key.starts_with("pk_") {
        // Frontends see this one, so a secret key must never pass for it.
        settings.fault(name, "is no publishable key; those begin with pk_");
    } else if secret_key.is_some_and(|secret| is_live(secret) != is_live(key)) {
        settings.fault(
            name,
            "and STRIPE_SECRET_KEY are of different modes, one live and one test; take both from one mode");
    }
}

fn webhook_secrets(settings: &mut dyn Settings) -> Vec<SecretString> {
    let name = "STRIPE_WEBHOOK_SECRET";
    let secrets = secrets(settings, name);
    let is_api_key = |secret: &SecretString| {
        let secret = secret.expose_secret();
        secret.starts_with("sk_") || secret.starts_with("pk_")
    };
    if secrets.iter().any(is_api_key) {
        settings.fault(name, "is an API key; webhook secrets begin with whsec_");
    }
    secrets
}

fn price_id_problem(id: &str) -> Option<&'static str> {
    if id.starts_with("prod_") {
        return Some("is the id of a product; copy that of its price (price_…)");
    }
    (!is_sound(id)).then_some("is no price id; copy the one that begins with price_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::registry::tests::Given;

    #[test]
    fn every_setting_reaches_the_account() {
        let mut given = Given::production(&[
            ("STRIPE_SECRET_KEY", "sk_live_abc"),
            ("STRIPE_PUBLISHABLE_KEY", "pk_live_abc"),
            ("STRIPE_WEBHOOK_SECRET", "whsec_a, whsec_b"),
            ("STRIPE_PRICE_ID_PRO", "price_pro"),
            ("STRIPE_PRICE_ID_SCALE", "price_scale"),
            ("STRIPE_PRICE_ID_SCALE_OVERAGE", "price_runs"),
            ("STRIPE_METER_EVENT_NAME", "runs"),
        ]);
        let catalogue = Catalogue::embedded().unwrap();
        let (stripe, prices) = read(&mut given, Some(&catalogue)).unwrap();
        assert_eq!(given.problems, Vec::<String>::new());
        assert_eq!(stripe.secret_key.expose_secret(), "sk_live_abc");
        assert_eq!(stripe.publishable_key.as_deref(), Some("pk_live_abc"));
        assert_eq!(stripe.api_base.as_str(), "https://api.stripe.com/");
        let secrets = stripe.webhook_secrets.iter();
        let secrets: Vec<&str> = secrets.map(ExposeSecret::expose_secret).collect();
        assert_eq!(secrets, ["whsec_a", "whsec_b"]);
        assert_eq!(stripe.meter_event_name.as_deref(), Some("runs"));
        assert_eq!(prices.keys().collect::<Vec<_>>(), ["pro", "scale"]);
    }
}
