//! The Razorpay account, as the settings name it.

use std::collections::BTreeMap;

use super::{Razorpay, RazorpaySettings};
use crate::domain::catalogue::Catalogue;
use crate::domain::money::Currency;
use crate::domain::provider_event::ProviderName;
use crate::providers::price_ids::{Naming, is_sound};
use crate::providers::registry::{Account, Settings, SoldUnder, secrets};

const DEFAULT_API_BASE: &str = "https://api.razorpay.com";
/// `RAZORPAY_PLAN_ID_<TIER>`: Razorpay's plans are prices.
const PRICES: Naming = Naming {
    provider: "Razorpay",
    prefix: "RAZORPAY_PLAN_ID_",
    metered: false,
    problem: plan_id_problem,
};

/// Reads Razorpay's settings.
pub fn configure(settings: &mut dyn Settings, catalogue: Option<&Catalogue>) -> Option<Account> {
    let (razorpay, prices) = read(settings, catalogue)?;
    Some(Account::new(
        ProviderName::Razorpay,
        prices,
        move |transport| Razorpay::new(razorpay.clone(), transport),
    ))
}

fn read(
    settings: &mut dyn Settings,
    catalogue: Option<&Catalogue>,
) -> Option<(RazorpaySettings, BTreeMap<String, SoldUnder>)> {
    let id_given = settings.is_set("RAZORPAY_KEY_ID");
    let secret_given = settings.is_set_as_secret("RAZORPAY_KEY_SECRET");
    let webhooks_given = settings.is_set_as_secret("RAZORPAY_WEBHOOK_SECRET");
    let key_id = settings.text("RAZORPAY_KEY_ID");
    if let Some(id) = &key_id {
        check_key_id(settings, id);
    }
    let key_secret = settings.secret("RAZORPAY_KEY_SECRET");
    if key_secret
        .as_ref()
        .is_some_and(|secret| !secret.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        settings.fault(
            "RAZORPAY_KEY_SECRET",
            "has characters that no key has; copy it again",
        );
    }
    let webhook_secrets = secrets(settings, "RAZORPAY_WEBHOOK_SECRET");
    let api_base = settings.api_base("RAZORPAY_API_BASE", DEFAULT_API_BASE);
    if !id_given && !secret_given {
        if webhooks_given {
            settings.fault(
                "RAZORPAY_KEY_ID",
                "is missing while RAZORPAY_WEBHOOK_SECRET is set: what a webhook announces could not be fetched; set both or neither",
            );
        }
        if PRICES.any_set(settings, catalogue) {
            settings.warn("Razorpay's plan ids are set without RAZORPAY_KEY_ID and are not used");
        }
        return None;
    }
    for (name, given) in [
        ("RAZORPAY_KEY_ID", id_given),
        ("RAZORPAY_KEY_SECRET", secret_given),
    ] {
        if !given {
            settings.fault(
                name,
                "is missing: a key is its id and its secret; copy both from Razorpay's dashboard",
            );
        }
    }
    if !webhooks_given {
        let missing = "without it no payment becomes known; choose one at the webhook's page in Razorpay's dashboard";
        if settings.is_production() {
            settings.fault("RAZORPAY_WEBHOOK_SECRET", &format!("is missing: {missing}"));
        } else {
            settings.warn(&format!("RAZORPAY_WEBHOOK_SECRET is not set: {missing}"));
        }
    }
    let prices = catalogue.map_or_else(BTreeMap::new, |catalogue| PRICES.read(settings, catalogue));
    for (name, what) in catalogue
        .iter()
        .flat_map(|catalogue| PRICES.missing(&prices, catalogue))
    {
        settings.warn(&format!(
            "{name} is not set: {what} cannot be bought through Razorpay"
        ));
    }
    warn_of_unpriced_overage(settings, &prices, catalogue);
    let razorpay = RazorpaySettings {
        key_id: key_id?,
        key_secret: key_secret?.into(),
        webhook_secrets,
        api_base: api_base?,
    };
    Some((razorpay, prices))
}

fn check_key_id(settings: &mut dyn Settings, id: &str) {
    let name = "RAZORPAY_KEY_ID";
    let is_live = id.starts_with("rzp_live_");
    if !is_live && !id.starts_with("rzp_test_") {
        // Frontends see this one, so a secret must never pass for it.
        settings.fault(
            name,
            "is no key id; those begin with rzp_live_ or rzp_test_",
        );
    } else if !id.bytes().all(|byte| byte.is_ascii_graphic()) {
        settings.fault(name, "has characters that no key id has; copy it again");
    } else if is_live && !settings.is_production() {
        settings.warn("RAZORPAY_KEY_ID is a live key in development: real money moves");
    } else if !is_live && settings.is_production() {
        settings.warn("RAZORPAY_KEY_ID is no live key in production: no real money moves");
    }
}

/// What is owed in a currency that nobody named a price in cannot be asked for.
fn warn_of_unpriced_overage(
    settings: &mut dyn Settings,
    prices: &BTreeMap<String, SoldUnder>,
    catalogue: Option<&Catalogue>,
) {
    let Ok(inr) = Currency::parse("inr") else {
        return;
    };
    let tiers = catalogue.iter().flat_map(|catalogue| &catalogue.tiers);
    let unpriced: Vec<&str> = tiers
        .filter(|plan| prices.contains_key(&plan.tier))
        .filter(|plan| {
            let mut overages = plan.features.iter().filter_map(|f| f.grant.overage());
            overages.any(|overage| overage.price_in(inr).is_none())
        })
        .map(|plan| plan.tier.as_str())
        .collect();
    if !unpriced.is_empty() {
        settings.warn(&format!(
            "the catalogue has no overage price in INR for {}: what Razorpay's customers use above the limits is noted and not \
             billed; add one under `overage.prices`",
            unpriced.join(", ")
        ));
    }
}

fn plan_id_problem(id: &str) -> Option<&'static str> {
    (!is_sound(id) || !id.starts_with("plan_"))
        .then_some("is no plan id; copy the one that begins with plan_")
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::providers::registry::tests::Given;

    const WHOLE: [(&str, &str); 5] = [
        ("RAZORPAY_KEY_ID", "rzp_live_abc"),
        ("RAZORPAY_KEY_SECRET", "hunter2"),
        ("RAZORPAY_WEBHOOK_SECRET", "first,second"),
        ("RAZORPAY_PLAN_ID_PRO", "plan_pro"),
        ("RAZORPAY_PLAN_ID_SCALE", "plan_scale"),
    ];

    fn without(name: &str) -> Given {
        let rest: Vec<_> = WHOLE.into_iter().filter(|(n, _)| *n != name).collect();
        let mut given = Given::production(&rest);
        configure(&mut given, Some(&Catalogue::embedded().unwrap()));
        given
    }

    #[test]
    fn every_setting_reaches_the_account() {
        let mut given = Given::production(&WHOLE);
        let catalogue = Catalogue::embedded().unwrap();
        let (razorpay, prices) = read(&mut given, Some(&catalogue)).unwrap();
        assert_eq!(razorpay.key_id, "rzp_live_abc");
        assert_eq!(razorpay.key_secret.expose_secret(), "hunter2");
        assert_eq!(razorpay.api_base.as_str(), "https://api.razorpay.com/");
        let secrets = razorpay.webhook_secrets.iter();
        let secrets: Vec<&str> = secrets.map(ExposeSecret::expose_secret).collect();
        assert_eq!(secrets, ["first", "second"]);
        assert_eq!(prices["pro"].base.as_deref(), Some("plan_pro"));
        // The catalogue that comes along has its overage in dollars alone.
        let [warning] = given.problems.as_slice() else {
            panic!("{:?}", given.problems)
        };
        assert!(warning.contains("INR for scale"), "{warning}");
        let shown = format!("{:?} {razorpay:?}", configure(&mut given, None));
        assert!(
            !shown.contains("hunter2") && !shown.contains("second"),
            "{shown}"
        );
    }

    #[test]
    fn half_a_key_is_refused_and_a_missing_plan_is_told() {
        assert!(without("RAZORPAY_KEY_ID").has("RAZORPAY_KEY_ID: is missing"));
        assert!(without("RAZORPAY_KEY_SECRET").has("RAZORPAY_KEY_SECRET: is missing"));
        assert!(without("RAZORPAY_WEBHOOK_SECRET").has("RAZORPAY_WEBHOOK_SECRET: is missing"));
        assert!(without("RAZORPAY_PLAN_ID_PRO").has("RAZORPAY_PLAN_ID_PRO is not set"));
        let mut none = Given::production(&[("RAZORPAY_WEBHOOK_SECRET", "first")]);
        assert!(configure(&mut none, None).is_none());
        assert!(none.has("RAZORPAY_KEY_ID: is missing while"));
    }

    #[test]
    fn what_cannot_be_what_it_is_given_for_is_refused() {
        for (name, value, words) in [
            ("RAZORPAY_KEY_ID", "hunter2", "is no key id"),
            ("RAZORPAY_KEY_SECRET", "hunter\u{e9}", "has characters"),
            ("RAZORPAY_WEBHOOK_SECRET", "first,,second", "blank entry"),
            ("RAZORPAY_PLAN_ID_PRO", "price_1", "is no plan id"),
            ("RAZORPAY_PLAN_ID_SCALE", "plan_pro", "is the same price as"),
        ] {
            let changed = WHOLE.map(|(n, v)| (n, if n == name { value } else { v }));
            let mut given = Given::production(&changed);
            configure(&mut given, Some(&Catalogue::embedded().unwrap()));
            assert!(
                given.has(&format!("{name}: ")) && given.has(words),
                "{:?}",
                given.problems
            );
            assert!(!given.has("hunter"), "{:?}", given.problems);
        }
    }
}
