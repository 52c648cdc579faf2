use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::money::{Currency, UnitAmount};

/// A small valid file, for tests to spoil.
fn file() -> Value {
    json!({
        "default_tier": "free",
        "features": [
            {"key": "runs", "name": "Runs", "kind": "metered"},
            {"key": "seats", "name": "Seats", "kind": "allocated"},
            {"key": "days", "name": "Days", "kind": "static"},
            {"key": "export", "name": "Export", "kind": "boolean"}
        ],
        "tiers": [
            {"tier": "free", "name": "Free", "description": "To start.", "prices": [], "upgrade_to": "team",
             "limits": {"runs": 10, "seats": 1}},
            {"tier": "team", "name": "Team", "description": "To go on.",
             "prices": [{"currency": "eur", "unit_amount": 900, "interval": "year"}],
             "limits": {"export": true, "days": 30, "seats": null, "runs": {"limit": 100, "hard_limit_percent": 150}}}
        ]
    })
}

/// The faults of the file after `pointer` was set to `value`, as "pointer: detail" lines.
fn faults_after(pointer: &str, value: Value) -> Vec<String> {
    let mut file = file();
    *file
        .pointer_mut(pointer)
        .unwrap_or_else(|| panic!("{pointer}")) = value;
    faults_of(&file.to_string())
}

fn faults_of(text: &str) -> Vec<String> {
    match Catalogue::parse(text) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.0.iter().map(ToString::to_string).collect(),
    }
}

/// Setting `pointer` to `value` leaves exactly one fault, which has all of `words` in it.
#[track_caller]
fn assert_one_fault(pointer: &str, value: Value, words: &[&str]) {
    let faults = faults_after(pointer, value);
    let [fault] = faults.as_slice() else {
        panic!("{pointer}: {faults:?}")
    };
    for word in words {
        assert!(fault.contains(word), "{word:?} is not in {fault:?}");
    }
}

fn metered(limit: i64, percent: u32) -> Grant {
    Grant::Metered {
        limit: Some(limit),
        hard_limit_percent: Some(percent),
        overage: None,
    }
}

#[test]
fn the_embedded_catalogue_is_the_price_list() {
    let catalogue = Catalogue::embedded().unwrap();
    assert_eq!(catalogue.default_tier, "free");
    assert_eq!(
        (catalogue.grace_period_days, catalogue.late_usage_days),
        (7, 3)
    );
    let usd = Currency::parse("usd").unwrap();
    let overage = Overage {
        max_quantity: None,
        prices: vec![OveragePrice {
            currency: usd,
            unit_amount_decimal: UnitAmount::parse("1").unwrap(),
        }],
    };
    let scale_runs = Grant::Metered {
        limit: Some(25_000),
        hard_limit_percent: None,
        overage: Some(overage),
    };
    let rows = [
        ("free", 0, metered(100, 110), 1, 7, false, Some("pro")),
        ("pro", 4900, metered(5000, 110), 3, 60, true, Some("scale")),
        ("scale", 19900, scale_runs, 10, 180, true, None),
    ];
    assert_eq!(catalogue.tiers.len(), rows.len());
    for (rank, (tier, amount, runs, models, days, export, upgrade)) in rows.into_iter().enumerate()
    {
        assert_eq!(catalogue.rank(tier), Some(rank));
        let plan = catalogue.plan(tier).unwrap();
        let price = |unit_amount| Price {
            currency: usd,
            unit_amount,
            interval: Interval::Month,
        };
        assert_eq!(plan.prices, [price(amount)]);
        assert_eq!(plan.is_paid(), amount > 0);
        assert_eq!(plan.has_overage(), tier == "scale");
        let grant = |key| &plan.feature(key).unwrap().grant;
        assert_eq!(*grant("attribution_runs"), runs);
        let models = Some(models);
        assert_eq!(*grant("models"), Grant::Allocated { limit: models });
        assert_eq!(*grant("lookback_days"), Grant::Static { limit: Some(days) });
        assert_eq!(*grant("export"), Grant::Boolean { enabled: export });
        assert_eq!(plan.upgrade_to.as_deref(), upgrade);
    }
}

#[test]
fn features_come_in_the_order_of_their_declaration_and_may_be_missing_from_a_tier() {
    let catalogue = Catalogue::parse(&file().to_string()).unwrap();
    let keys = |features: &[Feature]| {
        features
            .iter()
            .map(|feature| feature.key.clone())
            .collect::<Vec<_>>()
    };
    let declared: Vec<_> = catalogue
        .features()
        .map(|feature| feature.key.as_str())
        .collect();
    assert_eq!(declared, ["runs", "seats", "days", "export"]);
    assert_eq!(keys(&catalogue.tiers[0].features), ["runs", "seats"]);
    assert_eq!(
        keys(&catalogue.tiers[1].features),
        ["runs", "seats", "days", "export"]
    );
    assert_eq!(catalogue.feature_kind("days"), Some(FeatureKind::Static));
    assert_eq!(catalogue.feature_kind("nothing"), None);
    let team = catalogue.plan("team").unwrap();
    assert_eq!(team.feature("runs").unwrap().grant, metered(100, 150));
    assert_eq!(
        team.feature("seats").unwrap().grant,
        Grant::Allocated { limit: None }
    );
}

#[test]
fn the_order_of_a_tiers_limits_makes_no_other_plan() {
    let mut shuffled = file();
    shuffled["tiers"][1]["limits"] = json!({"runs": {"hard_limit_percent": 150, "limit": 100}, "days": 30, "seats": null, "export": true});
    let plan = |file: &Value| {
        Catalogue::parse(&file.to_string()).unwrap().tiers[1]
            .as_ref()
            .clone()
    };
    assert_eq!(
        serde_json::to_vec(&plan(&file())).unwrap(),
        serde_json::to_vec(&plan(&shuffled)).unwrap()
    );
}

#[test]
fn tiers_are_unique_and_name_each_other() {
    assert_one_fault("/default_tier", json!("gone"), &["/default_tier", "`gone`"]);
    let mut twice = file();
    let again = twice["tiers"][1].clone();
    twice["tiers"].as_array_mut().unwrap().push(again);
    assert_eq!(
        faults_of(&twice.to_string()),
        ["/tiers/2/tier: the tier `team` is listed twice"]
    );
    assert_one_fault(
        "/tiers/0/upgrade_to",
        json!("gone"),
        &["/tiers/0/upgrade_to", "tier `free`", "no tier `gone`"],
    );
    assert_one_fault("/tiers/0/upgrade_to", json!("free"), &["to itself"]);
    let faults = faults_after("/tiers", json!([]));
    assert!(
        faults[0].starts_with("/tiers: there must be a tier"),
        "{faults:?}"
    );
}

#[test]
fn an_upgrade_never_leads_back_or_down() {
    let mut circle = file();
    circle["tiers"][1]["upgrade_to"] = json!("free");
    assert_eq!(
        faults_of(&circle.to_string()),
        ["/tiers/1/upgrade_to: tier `team`: its upgrade leads back: team → free → team"]
    );
    let mut down = circle;
    down["tiers"][0]["upgrade_to"] = Value::Null;
    assert_eq!(
        faults_of(&down.to_string()),
        [
            "/tiers/1/upgrade_to: tier `team`: upgrades to `free`, which the file lists as a lower tier"
        ]
    );
}

#[test]
fn a_limit_that_no_kind_fits_is_refused() {
    let wrong = [
        ("/tiers/1/limits/seats", json!(-1), "-1 is below 0"),
        ("/tiers/1/limits/seats", json!(1.5), "no 64-bit integer"),
        ("/tiers/1/limits/seats", json!(1e3), "no 64-bit integer"),
        (
            "/tiers/1/limits/seats",
            json!(u64::MAX),
            "no 64-bit integer",
        ),
        (
            "/tiers/1/limits/seats",
            json!("3"),
            "must be an integer, not a string",
        ),
        (
            "/tiers/1/limits/seats",
            json!({"limit": 3, "overage": {}}),
            "allocated",
        ),
        (
            "/tiers/1/limits/days",
            json!(true),
            "must be an integer, not a boolean",
        ),
        (
            "/tiers/1/limits/export",
            json!(1),
            "must be true or false, not an integer",
        ),
        (
            "/tiers/1/limits/export",
            json!(null),
            "must be true or false, not null",
        ),
        ("/tiers/1/limits/runs", json!(i64::MAX), "110 %"),
        ("/tiers/1/limits/runs", json!({}), "`limit` is missing"),
        (
            "/tiers/1/limits/runs",
            json!({"limit": 1, "soft": 2}),
            "unknown field `soft`",
        ),
        (
            "/tiers/1/limits/runs/hard_limit_percent",
            json!(99),
            "99 is below 100",
        ),
        (
            "/tiers/1/limits/runs/hard_limit_percent",
            json!(i64::MAX),
            "is above",
        ),
    ];
    for (pointer, value, words) in wrong {
        assert_one_fault(pointer, value, &[pointer, "tier `team`: feature `", words]);
    }
    let mut undeclared = file();
    undeclared["tiers"][0]["limits"]["wings"] = json!(2);
    assert_eq!(
        faults_of(&undeclared.to_string()),
        ["/tiers/0/limits/wings: tier `free`: the feature `wings` is not declared in /features"]
    );
}

#[test]
fn a_declaration_needs_a_key_of_its_own_and_a_known_kind() {
    assert_one_fault(
        "/features/0/kind",
        json!("gauge"),
        &[
            "/features/0/kind",
            "feature `runs`",
            "no kind `gauge`",
            "metered, allocated, static, boolean",
        ],
    );
    let mut twice = file();
    let again = twice["features"][0].clone();
    twice["features"].as_array_mut().unwrap().push(again);
    assert_eq!(
        faults_of(&twice.to_string()),
        ["/features/4/key: the feature `runs` is declared twice"]
    );
    for bad in ["", "Runs", "1runs", "a b", "a\u{0}", "ü", &"a".repeat(65)] {
        let faults = faults_after("/tiers/1/tier", json!(bad));
        assert!(faults[0].contains("is no key"), "{faults:?}");
    }
}

#[test]
fn overage_has_a_price_and_no_hard_limit() {
    let price = json!({"currency": "eur", "unit_amount_decimal": "0.5"});
    let runs = |overage: Value| json!({"limit": 100, "overage": overage});
    let at = "/tiers/1/limits/runs";
    assert_eq!(
        faults_after(at, runs(json!({"prices": [price], "max_quantity": 5}))),
        Vec::<String>::new()
    );
    let wrong = [
        (json!({"prices": []}), "overage needs a price"),
        (json!({}), "`prices` is missing"),
        (
            json!({"prices": [price, price]}),
            "second overage price in eur",
        ),
        (
            json!({"prices": [price], "max_quantity": 0}),
            "0 is below 1",
        ),
        (
            json!({"prices": [price], "max_quantity": i64::MAX}),
            "is above",
        ),
        (
            json!({"prices": [{"currency": "eur", "unit_amount_decimal": "-1"}]}),
            "not negative",
        ),
        (
            json!({"prices": [{"currency": "eur", "unit_amount_decimal": 1}]}),
            "must be a string",
        ),
        (
            json!({"prices": [{"currency": "wow", "unit_amount_decimal": "1"}]}),
            "`wow` is not an ISO 4217",
        ),
    ];
    for (overage, words) in wrong {
        assert_one_fault(at, runs(overage), &[words]);
    }
    let overage = json!({"prices": [price]});
    assert_one_fault(
        at,
        json!({"limit": 1, "overage": overage, "hard_limit_percent": 120}),
        &["has no meaning beside overage"],
    );
    assert_one_fault(
        at,
        json!({"limit": null, "overage": overage}),
        &["an unlimited feature has no overage"],
    );
}

#[test]
fn prices_are_whole_not_negative_and_one_for_each_interval() {
    let at = "/tiers/1/prices/0/unit_amount";
    assert_one_fault(at, json!(-1), &[at, "tier `team`: -1 is below 0"]);
    assert_one_fault(at, json!(9.99), &["must be an integer"]);
    assert_one_fault(at, json!(i64::MAX), &["is above"]);
    assert_one_fault("/tiers/1/prices/0/currency", json!("xxx"), &["`xxx`"]);
    assert_one_fault("/tiers/1/prices/0/interval", json!("week"), &["not `week`"]);
    let mut twice = file();
    let again = twice["tiers"][1]["prices"][0].clone();
    twice["tiers"][1]["prices"]
        .as_array_mut()
        .unwrap()
        .push(again);
    assert_eq!(
        faults_of(&twice.to_string()),
        ["/tiers/1/prices/1: tier `team`: there is a second price in eur for this interval"]
    );
}

#[test]
fn repeated_keys_are_refused_rather_than_the_last_one_taken() {
    let text = file()
        .to_string()
        .replace(r#""seats":1"#, r#""seats":1,"seats":1000"#);
    assert_eq!(
        faults_of(&text),
        ["/tiers/0/limits/seats: tier `free`: `seats` is given twice"]
    );
}

#[test]
fn texts_for_people_are_short_and_printable() {
    for bad in [" ", "a\u{0}b", "two\nlines", &"a".repeat(201)] {
        assert_one_fault(
            "/tiers/0/name",
            json!(bad),
            &["/tiers/0/name: tier `free`: "],
        );
    }
}

#[test]
fn all_faults_are_reported_at_once() {
    let mut bad = file();
    bad["default_tier"] = json!("gone");
    bad["grace_period_days"] = json!(-1);
    bad["colour"] = json!("red");
    bad["features"][3]["kind"] = json!("lever");
    bad["tiers"][0]["limits"]["runs"] = json!(-5);
    bad["tiers"][0]["name"] = json!("");
    bad["tiers"][1]["prices"][0]["unit_amount"] = json!(-1);
    let faults = faults_of(&bad.to_string());
    assert_eq!(faults.len(), 7, "{faults:#?}");
    let message = Catalogue::parse(&bad.to_string()).unwrap_err().to_string();
    assert!(faults.iter().all(|fault| message.contains(fault)));
}

#[test]
fn what_is_no_json_object_is_said_to_be_none() {
    assert!(faults_of("{")[0].starts_with("the file: is not JSON"));
    assert!(faults_of("{} {}")[0].starts_with("the file: is not JSON"));
    assert_eq!(faults_of("[]"), ["the file: must be an object, not a list"]);
    assert_eq!(faults_of("{}").len(), 3);
    assert!(faults_of(&"[".repeat(100_000))[0].contains("recursion"));
}

fn grants() -> impl Strategy<Value = Grant> {
    let limit = || proptest::option::of(0..=i64::MAX);
    let overage =
        (proptest::option::of(1..=i64::MAX), 0_u32..1_000_000).prop_map(|(max_quantity, cents)| {
            Overage {
                max_quantity,
                prices: vec![OveragePrice {
                    currency: Currency::parse("jpy").unwrap(),
                    unit_amount_decimal: UnitAmount::parse(&format!("{cents}.25")).unwrap(),
                }],
            }
        });
    prop_oneof![
        (
            limit(),
            proptest::option::of(100_u32..1000),
            proptest::option::of(overage)
        )
            .prop_map(|(limit, hard_limit_percent, overage)| Grant::Metered {
                limit,
                hard_limit_percent,
                overage
            }),
        limit().prop_map(|limit| Grant::Allocated { limit }),
        limit().prop_map(|limit| Grant::Static { limit }),
        any::<bool>().prop_map(|enabled| Grant::Boolean { enabled }),
    ]
}

proptest! {
    #[test]
    fn a_stored_plan_reads_back_as_it_was(
        name in ".*",
        badge in proptest::option::of(".*"),
        amount in 0..=i64::MAX,
        grants in proptest::collection::vec(grants(), 0..5),
        trial_days in proptest::option::of(1..=730u32),
        promotion_codes: bool,
    ) {
        let features = grants.into_iter().enumerate().map(|(at, grant)| Feature {
            key: format!("f{at}"),
            name: name.clone(),
            grant,
        });
        let plan = Plan {
            tier: "pro".to_owned(),
            name: name.clone(),
            description: name.clone(),
            badge,
            prices: vec![Price {
                currency: Currency::parse("kwd").unwrap(),
                unit_amount: amount,
                interval: Interval::Year,
            }],
            features: features.collect(),
            upgrade_to: None,
            trial_days,
            promotion_codes,
        };
        let stored = serde_json::to_vec(&plan).unwrap();
        prop_assert_eq!(&serde_json::from_slice::<Plan>(&stored).unwrap(), &plan);
        // JSONB gives keys back in an order of its own.
        let reordered: Value = serde_json::from_slice(&stored).unwrap();
        let read: Plan = serde_json::from_value(reordered).unwrap();
        prop_assert_eq!(serde_json::to_vec(&read).unwrap(), stored);
    }

    #[test]
    fn parsing_never_panics(text in ".*") {
        let _ = Catalogue::parse(&text);
    }

    #[test]
    fn a_file_with_any_value_anywhere_is_read_or_refused_without_a_panic(
        place in proptest::sample::select(vec![
            "/default_tier", "/features", "/features/0", "/features/1/kind", "/tiers", "/tiers/0", "/tiers/1/tier",
            "/tiers/1/limits", "/tiers/1/limits/runs", "/tiers/1/limits/runs/limit", "/tiers/1/prices", "/tiers/1/prices/0",
        ]),
        value in prop_oneof![
            Just(json!(null)), Just(json!([])), Just(json!([1])), Just(json!({})), Just(json!(true)), Just(json!(0.1)),
            any::<i64>().prop_map(|value| json!(value)), ".{0,80}".prop_map(|value| json!(value)),
        ],
    ) {
        let mut file = file();
        *file.pointer_mut(place).unwrap() = value;
        if let Err(faults) = Catalogue::parse(&file.to_string()) {
            prop_assert!(!faults.0.is_empty());
        }
    }
}
