use std::collections::HashMap;
use std::io::Write;

use secrecy::ExposeSecret;
use serde_json::json;
use tempfile::NamedTempFile;

use super::*;
use crate::domain::provider_event::ProviderName;
use crate::providers::SoldUnder;

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// A production deployment that lacks nothing, for tests to spoil.
const PRODUCTION: [(&str, &str); 10] = [
    ("PLANGATE_ENV", "production"),
    ("DATABASE_URL", "postgres://app:hunter2@db/plangate"),
    ("PLANGATE_TOKEN_SECRET", KEY),
    ("STRIPE_SECRET_KEY", "sk_live_abc"),
    ("STRIPE_WEBHOOK_SECRET", "whsec_a,whsec_b"),
    ("STRIPE_PRICE_ID_PRO", "price_pro"),
    ("STRIPE_PRICE_ID_SCALE", "price_scale"),
    ("STRIPE_PRICE_ID_SCALE_OVERAGE", "price_runs"),
    ("STRIPE_METER_EVENT_NAME", "runs"),
    ("PLANGATE_RETURN_ORIGINS", "https://app.example.com"),
];

fn load(variables: &[(&str, &str)]) -> Result<Config, ConfigFaults> {
    // Later ones replace earlier ones.
    let variables: HashMap<&str, &str> = variables.iter().copied().collect();
    Config::load(|name| variables.get(name).map(|value| (*value).to_owned()))
}

fn production(changes: &[(&str, &str)]) -> Result<Config, ConfigFaults> {
    load(&[&PRODUCTION, changes].concat())
}

fn production_without(absent: &[&str]) -> Result<Config, ConfigFaults> {
    let mut variables = PRODUCTION.to_vec();
    variables.retain(|(name, _)| !absent.contains(name));
    load(&variables)
}

fn faulty(result: Result<Config, ConfigFaults>) -> Vec<String> {
    result
        .map_or_else(|faults| faults.0, |_| Vec::new())
        .into_iter()
        .map(|fault| fault.name)
        .collect()
}

/// The one fault of a development configuration with these variables is this variable's and says `words`.
#[track_caller]
fn assert_fault(variables: &[(&str, &str)], name: &str, words: &str) {
    assert_one_fault(load(variables), name, words);
}

#[track_caller]
fn assert_one_fault(result: Result<Config, ConfigFaults>, name: &str, words: &str) {
    let faults = result.unwrap_err().0;
    let [fault] = faults.as_slice() else {
        panic!("{faults:#?}")
    };
    assert_eq!(fault.name, name);
    assert!(fault.problem.contains(words), "{}", fault.problem);
}

fn file(content: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file
}

fn path(file: &NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

#[test]
fn development_needs_no_configuration() {
    let config = load(&[]).unwrap();
    assert_eq!(config.environment, Environment::Development);
    assert_eq!(config.bind.to_string(), "127.0.0.1:8080");
    assert!(config.database.url.is_none());
    assert_eq!(config.database.pool_size, 10);
    assert_eq!(config.data_dir, PathBuf::from(".plangate"));
    assert_eq!(config.catalogue.default_tier, "free");
    assert!(
        config.accounts.is_empty() && config.admin_key.is_none() && config.token_secret.is_none()
    );
    assert_eq!(config.plan_tier, None);
    assert_eq!(config.enforcement, Enforcement::Enforce);
    assert_eq!(config.unknown_customers, UnknownCustomers::Create);
    assert_eq!(config.log_format, LogFormat::Pretty);
    assert_eq!(config.drain, Duration::ZERO);
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn production_is_read_whole_and_logs_for_machines() {
    let config = production(&[("STRIPE_PUBLISHABLE_KEY", "pk_live_abc")]).unwrap();
    assert_eq!(config.log_format, LogFormat::Json);
    assert_eq!(config.drain, Duration::from_secs(5));
    assert_eq!(config.warnings, Vec::<String>::new());
    let url = config.database.url.unwrap();
    assert_eq!(url.expose_secret(), "postgres://app:hunter2@db/plangate");
    let [account] = config.accounts.as_slice() else {
        panic!("{:?}", config.accounts)
    };
    assert_eq!(account.provider, ProviderName::Stripe);
    let ids = |base: &str, overage: Option<&str>| SoldUnder {
        base: Some(base.to_owned()),
        overage: overage.map(str::to_owned),
    };
    let expected = [
        ("pro".to_owned(), ids("price_pro", None)),
        ("scale".to_owned(), ids("price_scale", Some("price_runs"))),
    ];
    assert_eq!(account.prices, expected.into());
    let billing = BillingPolicy {
        on_full_refund: OnFullRefund::Cancel,
        on_duplicate: OnDuplicate::Refund,
    };
    assert_eq!(config.billing_policy, billing);
}

#[test]
fn every_setting_can_be_set() {
    let config = load(&[
        ("PLANGATE_BIND", "[::]:9000"),
        ("PLANGATE_DATA_DIR", "/var/lib/plangate"),
        ("PLANGATE_DATABASE_POOL_SIZE", "20"),
        ("PLANGATE_ADMIN_KEY", KEY),
        ("PLANGATE_ENFORCEMENT", "observe"),
        ("PLANGATE_UNKNOWN_CUSTOMERS", "reject"),
        ("PLANGATE_CHECK_MAX_AGE_MS", "250"),
        ("PLANGATE_ON_FULL_REFUND", "ignore"),
        ("PLANGATE_ON_DUPLICATE_SUBSCRIPTION", "alert"),
        ("PLANGATE_LOG_FORMAT", "json"),
        ("PLANGATE_DRAIN_SECONDS", "60"),
        (
            "PLANGATE_RETURN_ORIGINS",
            "https://a.example, http://localhost:3000/,https://a.example:443",
        ),
        ("PLANGATE_CORS_ORIGINS", "http://localhost:3000"),
        (
            "PLANGATE_SUCCESS_URL",
            "https://a.example/done?session={CHECKOUT_SESSION_ID}",
        ),
    ])
    .unwrap();
    assert_eq!(config.bind.port(), 9000);
    assert_eq!(config.data_dir, PathBuf::from("/var/lib/plangate"));
    assert_eq!(config.database.pool_size, 20);
    assert_eq!(config.admin_key.unwrap().expose_secret(), KEY);
    assert_eq!(config.enforcement, Enforcement::Observe);
    assert_eq!(config.unknown_customers, UnknownCustomers::Reject);
    assert_eq!(config.check_max_age, Duration::from_millis(250));
    let billing = BillingPolicy {
        on_full_refund: OnFullRefund::Ignore,
        on_duplicate: OnDuplicate::Alert,
    };
    assert_eq!(config.billing_policy, billing);
    assert_eq!(config.log_format, LogFormat::Json);
    assert_eq!(config.drain, Duration::from_mins(1));
    let origins: Vec<String> = config
        .return_urls
        .origins
        .iter()
        .map(url::Origin::ascii_serialization)
        .collect();
    assert_eq!(origins, ["https://a.example", "http://localhost:3000"]);
    assert_eq!(config.cors_origins, ["http://localhost:3000"]);
    // Stripe fills the placeholder in, so it must arrive as it was written.
    assert_eq!(
        config.return_urls.success_url.unwrap().as_str(),
        "https://a.example/done?session={CHECKOUT_SESSION_ID}"
    );
}

#[test]
fn all_faults_are_listed_at_once_and_no_secret_is_shown() {
    let catalogue = file(r#"{"default_tier": "gone", "features": [], "tiers": [], "colour": 1}"#);
    let faults = load(&[
        ("PLANGATE_ENV", "production"),
        ("DATABASE_URL", "mysql://root:hunter2@db"),
        ("PLANGATE_BIND", "everywhere"),
        ("PLANGATE_ADMIN_KEY", "hunter2"),
        (
            "PLANGATE_TOKEN_SECRET",
            "hunter2 hunter2 hunter2 hunter2 hunter2",
        ),
        ("PLANGATE_CATALOGUE", path(&catalogue)),
        ("STRIPE_SECRET_KEY", "pk_hunter2"),
        ("STRIPE_PUBLISHABLE_KEY", "sk_live_hunter2"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_hunter2,,"),
        ("STRIPE_API_BASE", "http://user:hunter2@api.stripe.com"),
        ("PLANGATE_RETURN_ORIGINS", "https://u:hunter2@a.example"),
        ("PLANGATE_SUCCESS_URL", "http://a.example"),
        ("PLANGATE_CANCEL_URL", "https://u:hunter2@a.example"),
        ("PLANGATE_CORS_ORIGINS", "*"),
        ("PLANGATE_ENFORCEMENT", "maybe"),
        ("PLANGATE_UNKNOWN_CUSTOMERS", "maybe"),
        ("PLANGATE_LOG_FORMAT", "xml"),
        ("PLANGATE_CHECK_MAX_AGE_MS", "60001"),
        ("PLANGATE_DRAIN_SECONDS", "61"),
        ("PLANGATE_DATABASE_POOL_SIZE", "0"),
    ])
    .unwrap_err();
    let message = faults.to_string();
    let mut names = faulty(Err(faults));
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "DATABASE_URL",
            "PLANGATE_ADMIN_KEY",
            "PLANGATE_BIND",
            "PLANGATE_CANCEL_URL",
            "PLANGATE_CATALOGUE",
            "PLANGATE_CATALOGUE",
            "PLANGATE_CATALOGUE",
            "PLANGATE_CHECK_MAX_AGE_MS",
            "PLANGATE_CORS_ORIGINS",
            "PLANGATE_DATABASE_POOL_SIZE",
            "PLANGATE_DRAIN_SECONDS",
            "PLANGATE_ENFORCEMENT",
            "PLANGATE_LOG_FORMAT",
            "PLANGATE_RETURN_ORIGINS",
            "PLANGATE_SUCCESS_URL",
            "PLANGATE_TOKEN_SECRET",
            "PLANGATE_UNKNOWN_CUSTOMERS",
            "STRIPE_API_BASE",
            "STRIPE_PUBLISHABLE_KEY",
            "STRIPE_SECRET_KEY",
            "STRIPE_WEBHOOK_SECRET",
        ]
    );
    assert!(
        message.starts_with("the configuration has 21 faults:\n"),
        "{message}"
    );
    assert!(names.iter().all(|name| message.contains(name)));
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn debug_shows_no_secret() {
    let config = production(&[
        (
            "PLANGATE_ADMIN_KEY",
            "hunter2-hunter2-hunter2-hunter2-hunter2",
        ),
        ("STRIPE_SECRET_KEY", "sk_live_hunter2"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_hunter2"),
    ]);
    let shown = format!("{:?}", config.unwrap());
    assert!(
        !shown.contains("hunter2") && !shown.contains(KEY),
        "{shown}"
    );
}

#[test]
fn production_requires_a_database_and_a_token_secret() {
    let required = ["DATABASE_URL", "PLANGATE_TOKEN_SECRET"];
    let faults = production_without(&required).unwrap_err();
    assert!(
        faults
            .0
            .iter()
            .all(|fault| fault.problem.contains("required in production"))
    );
    assert_eq!(faulty(Err(faults)), required);
}

#[test]
fn a_secret_may_stand_in_a_file() {
    let secret = file(&format!("{KEY}\r\n"));
    let config = load(&[("PLANGATE_ADMIN_KEY_FILE", path(&secret))]).unwrap();
    assert_eq!(config.admin_key.unwrap().expose_secret(), KEY);

    let database = file("postgresql:///plangate?host=/run/postgresql\n");
    let token = file(KEY);
    let stripe = ["DATABASE_URL", "PLANGATE_TOKEN_SECRET"];
    let mut variables = PRODUCTION.to_vec();
    variables.retain(|(name, _)| !stripe.contains(name));
    variables.push(("DATABASE_URL_FILE", path(&database)));
    variables.push(("PLANGATE_TOKEN_SECRET_FILE", path(&token)));
    let config = load(&variables).unwrap();
    assert_eq!(
        config.database.url.unwrap().expose_secret(),
        "postgresql:///plangate?host=/run/postgresql"
    );
}

#[test]
fn a_faulty_secret_file_is_reported_once() {
    let folder = tempfile::tempdir().unwrap();
    let blank = file("\n");
    let good = file(KEY);
    let wrong = [
        ("/nowhere/secret", "cannot read the file `/nowhere/secret`"),
        (folder.path().to_str().unwrap(), "it is a directory"),
        (path(&blank), "is blank"),
    ];
    for (path, words) in wrong {
        assert_fault(
            &[("PLANGATE_ADMIN_KEY_FILE", path)],
            "PLANGATE_ADMIN_KEY_FILE",
            words,
        );
    }
    let both = [
        ("PLANGATE_ADMIN_KEY", KEY),
        ("PLANGATE_ADMIN_KEY_FILE", path(&good)),
    ];
    assert_fault(&both, "PLANGATE_ADMIN_KEY", "remove one of them");
}

#[test]
fn a_blank_secret_is_a_fault_and_a_blank_setting_is_none() {
    for blank in ["", "  "] {
        assert_fault(
            &[("PLANGATE_ADMIN_KEY", blank)],
            "PLANGATE_ADMIN_KEY",
            "is blank",
        );
        assert_one_fault(
            production(&[("STRIPE_SECRET_KEY", blank)]),
            "STRIPE_SECRET_KEY",
            "is blank",
        );
        assert_one_fault(
            production(&[("DATABASE_URL", blank)]),
            "DATABASE_URL",
            "is blank",
        );
        load(&[
            ("PLANGATE_BIND", blank),
            ("PLAN_TIER", blank),
            ("PLANGATE_CORS_ORIGINS", blank),
        ])
        .unwrap();
    }
    let padded = format!(" {KEY}");
    assert_fault(
        &[("PLANGATE_ADMIN_KEY", &padded)],
        "PLANGATE_ADMIN_KEY",
        "white space",
    );
}

#[test]
fn keys_are_long_and_fit_a_header() {
    assert_fault(
        &[("PLANGATE_ADMIN_KEY", &KEY[1..])],
        "PLANGATE_ADMIN_KEY",
        "shorter than 32",
    );
    let umlauts = "ü".repeat(32);
    assert_fault(
        &[("PLANGATE_ADMIN_KEY", &umlauts)],
        "PLANGATE_ADMIN_KEY",
        "visible ASCII",
    );
}

#[test]
fn a_database_url_is_one_of_postgres() {
    for good in [
        "postgres://h/db",
        "postgresql://u:p@h1:5432,h2:5433/db?target_session_attrs=any",
    ] {
        load(&[("DATABASE_URL", good)]).unwrap();
    }
    assert_fault(
        &[("DATABASE_URL", "host=db user=app")],
        "DATABASE_URL",
        "postgres://",
    );
}

#[test]
fn plan_tier_is_in_the_catalogue_and_warns_where_it_has_a_price() {
    assert_fault(&[("PLAN_TIER", "gold")], "PLAN_TIER", "free, pro, scale");
    let config = load(&[("PLAN_TIER", "pro")]).unwrap();
    assert_eq!(config.plan_tier.as_deref(), Some("pro"));
    assert!(
        config.warnings[0].contains("PLAN_TIER"),
        "{:?}",
        config.warnings
    );
    assert!(load(&[("PLAN_TIER", "free")]).unwrap().warnings.is_empty());
}

#[test]
fn a_catalogue_comes_from_a_file_and_its_faults_are_the_configurations() {
    assert_fault(
        &[("PLANGATE_CATALOGUE", "/nowhere.json")],
        "PLANGATE_CATALOGUE",
        "/nowhere.json",
    );
    let bad = file(
        r#"{"default_tier": "a", "features": [], "tiers": [{"tier": "a", "name": "A", "description": "A.", "prices": [], "limits": {"runs": -1}}]}"#,
    );
    assert_fault(
        &[("PLANGATE_CATALOGUE", path(&bad))],
        "PLANGATE_CATALOGUE",
        "/tiers/0/limits/runs: tier `a`: the feature `runs` is not declared",
    );
}

/// A catalogue file with these paid tiers.
fn catalogue_of(tiers: &[(&str, bool)]) -> NamedTempFile {
    let tier = |(tier, overage): &(&str, bool)| {
        let price = json!({"currency": "usd", "unit_amount_decimal": "1"});
        let runs = if *overage {
            json!({"limit": 1, "overage": {"prices": [price]}})
        } else {
            json!(1)
        };
        json!({
            "tier": tier, "name": "Name", "description": "Text.", "limits": {"runs": runs},
            "prices": [{"currency": "usd", "unit_amount": 1, "interval": "month"}],
        })
    };
    let tiers: Vec<_> = tiers.iter().map(tier).collect();
    let features = json!([{"key": "runs", "name": "Runs", "kind": "metered"}]);
    file(
        &json!({"default_tier": tiers[0]["tier"], "features": features, "tiers": tiers})
            .to_string(),
    )
}

#[test]
fn price_ids_are_those_of_the_catalogues_paid_tiers() {
    let catalogue = catalogue_of(&[("team-plus", false)]);
    let variables = [
        ("PLANGATE_CATALOGUE", path(&catalogue)),
        ("STRIPE_SECRET_KEY", "sk_test_a"),
        ("STRIPE_PRICE_ID_TEAM_PLUS", "price_1"),
        ("STRIPE_PRICE_ID_PRO", "price_1"),
    ];
    let prices = load(&variables).unwrap().accounts.remove(0).prices;
    assert_eq!(prices.keys().collect::<Vec<_>>(), ["team-plus"]);
}

#[test]
fn tiers_whose_variables_are_the_same_are_refused() {
    let catalogue = catalogue_of(&[("a-b", false), ("a_b", false)]);
    let at = ("PLANGATE_CATALOGUE", path(&catalogue));
    assert_fault(
        &[at, ("STRIPE_SECRET_KEY", "sk_test_a")],
        "STRIPE_PRICE_ID_A_B",
        "`a-b` and `a_b`",
    );
    // Without Stripe nothing reads the variables.
    load(&[at]).unwrap();
    let catalogue = catalogue_of(&[("a", true), ("a-overage", false)]);
    let at = ("PLANGATE_CATALOGUE", path(&catalogue));
    assert_fault(
        &[at, ("STRIPE_SECRET_KEY", "sk_test_a")],
        "STRIPE_PRICE_ID_A_OVERAGE",
        "`a` and `a-overage`",
    );
}

#[test]
fn production_names_the_prices_and_secrets_that_stripe_lacks() {
    let needed = [
        "STRIPE_PRICE_ID_PRO",
        "STRIPE_PRICE_ID_SCALE",
        "STRIPE_PRICE_ID_SCALE_OVERAGE",
        "STRIPE_WEBHOOK_SECRET",
    ];
    let faults = production_without(&needed).unwrap_err();
    assert!(
        faults.0[0]
            .problem
            .contains("the tier `pro` cannot be sold"),
        "{faults}"
    );
    assert_eq!(faulty(Err(faults)), needed);

    let config = load(&[("STRIPE_SECRET_KEY", "sk_test_a")]).unwrap();
    assert_eq!(config.warnings.len(), 3, "{:?}", config.warnings);
    assert_eq!(config.accounts.len(), 1);
    // What is owed waits for its meter, so its absence stops nobody.
    let config = production_without(&["STRIPE_METER_EVENT_NAME"]).unwrap();
    assert!(config.warnings[0].contains("STRIPE_METER_EVENT_NAME"));
    let odd = "runs\nand more";
    assert_fault(
        &[
            ("STRIPE_SECRET_KEY", "sk_test_a"),
            ("STRIPE_METER_EVENT_NAME", odd),
        ],
        "STRIPE_METER_EVENT_NAME",
        "no event name",
    );
}

#[test]
fn a_price_id_stands_for_one_tier() {
    let same = [("STRIPE_PRICE_ID_SCALE", "price_pro")];
    assert_one_fault(
        production(&same),
        "STRIPE_PRICE_ID_SCALE",
        "same price as STRIPE_PRICE_ID_PRO",
    );
    let same = [("STRIPE_PRICE_ID_SCALE_OVERAGE", "price_scale")];
    assert_one_fault(
        production(&same),
        "STRIPE_PRICE_ID_SCALE_OVERAGE",
        "STRIPE_PRICE_ID_SCALE;",
    );
    assert_one_fault(
        production(&[("STRIPE_PRICE_ID_PRO", "prod_1")]),
        "STRIPE_PRICE_ID_PRO",
        "product",
    );
    assert_one_fault(
        production(&[("STRIPE_PRICE_ID_PRO", "a b")]),
        "STRIPE_PRICE_ID_PRO",
        "no price id",
    );
}

#[test]
fn stripes_keys_are_not_mistaken_for_each_other() {
    for wrong in ["pk_live_a", "whsec_a", "sk_live_a\u{7f}"] {
        let faults = faulty(production(&[("STRIPE_SECRET_KEY", wrong)]));
        assert_eq!(faults, ["STRIPE_SECRET_KEY"], "{wrong}");
    }
    for wrong in ["sk_live_a", "pk_test_a"] {
        let faults = faulty(production(&[("STRIPE_PUBLISHABLE_KEY", wrong)]));
        assert_eq!(faults, ["STRIPE_PUBLISHABLE_KEY"], "{wrong}");
    }
    for wrong in ["whsec_a,", "whsec_a,,whsec_b", ",", "sk_live_a"] {
        let faults = faulty(production(&[("STRIPE_WEBHOOK_SECRET", wrong)]));
        assert_eq!(faults, ["STRIPE_WEBHOOK_SECRET"], "{wrong}");
    }
    let webhooks_alone = [("STRIPE_WEBHOOK_SECRET", "whsec_a")];
    assert_fault(&webhooks_alone, "STRIPE_SECRET_KEY", "set both or neither");
    let test_mode = production(&[("STRIPE_SECRET_KEY", "rk_test_a")]).unwrap();
    assert!(test_mode.warnings[0].contains("no real money"));
}

#[test]
fn the_key_goes_in_the_clear_to_this_machine_alone() {
    for good in [
        "https://stripe.example",
        "http://localhost:9999",
        "http://127.0.0.2:1/",
        "http://[::1]:1",
    ] {
        load(&[("STRIPE_API_BASE", good)]).unwrap();
    }
    for bad in [
        "http://stripe.example",
        "http://localhost.example",
        "https://api.stripe.com/v1",
        "https://api.stripe.com?x",
        "https://key@api.stripe.com",
        "ftp://localhost",
        "api.stripe.com",
    ] {
        assert_fault(
            &[("STRIPE_API_BASE", bad)],
            "STRIPE_API_BASE",
            "api.stripe.com",
        );
    }
    assert_one_fault(
        production(&[("STRIPE_API_BASE", "http://localhost:1")]),
        "STRIPE_API_BASE",
        "https",
    );
}

#[test]
fn browsers_are_sent_to_https_outside_development() {
    for name in [
        "PLANGATE_SUCCESS_URL",
        "PLANGATE_CANCEL_URL",
        "PLANGATE_RETURN_ORIGINS",
        "PLANGATE_CORS_ORIGINS",
    ] {
        load(&[(name, "http://localhost:3000")]).unwrap();
        production(&[(name, "https://app.example.com")]).unwrap();
        assert_one_fault(
            production(&[(name, "http://localhost:3000")]),
            name,
            "https",
        );
        for bad in ["javascript:alert(1)", "https://a@b.example", "/relative"] {
            assert_eq!(faulty(load(&[(name, bad)])), [name], "{bad}");
        }
    }
    for bad in [
        "*",
        "null",
        "https://a.example/path",
        "https://a.example,,https://b.example",
    ] {
        assert_eq!(
            faulty(load(&[("PLANGATE_RETURN_ORIGINS", bad)])),
            ["PLANGATE_RETURN_ORIGINS"],
            "{bad}"
        );
    }
}
