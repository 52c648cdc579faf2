//! Who may do what: every route of the served document with every kind of credential.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use plangate::domain::api_key::{ApiKey, KeyMode, KeyRecord, Scope};
use plangate::store::api_keys;
use plangate::store::clock::Clock as _;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::app::{ADMIN_KEY, TestApp};
use crate::support::client::Call;

/// Credentials, beside the admin key.
const KINDS: [&str; 6] = [
    "entitlements",
    "read",
    "billing",
    "admin",
    "token:read",
    "token:billing",
];

/// A route with a sound request, and which credentials the contract lets in. `None`: no credential is asked for.
struct Route {
    method: &'static str,
    template: &'static str,
    path: &'static str,
    body: Option<Value>,
    lets_in: Option<&'static [&'static str]>,
}

const READERS: &[&str] = &["entitlements", "read", "admin", "token:read"];
const USERS: &[&str] = &["entitlements", "admin"];
const DETAIL: &[&str] = &["entitlements", "read", "admin"];
const CUSTOMERS: &[&str] = &["read", "billing", "admin"];
const SUBSCRIPTION: &[&str] = &["read", "billing", "admin", "token:read", "token:billing"];
const BILLING: &[&str] = &["billing", "admin", "token:billing"];
const BILLING_KEYS: &[&str] = &["billing", "admin"];
const ADMIN: &[&str] = &["admin"];

#[expect(clippy::too_many_lines, reason = "one table")]
fn contract() -> Vec<Route> {
    let route = |method, template, path, body, lets_in| Route {
        method,
        template,
        path,
        body,
        lets_in,
    };
    let open = |template, path| route("GET", template, path, None, None);
    let read = |template, path, lets_in| route("GET", template, path, None, Some(lets_in));
    let write = |method, template, path, body, lets_in| {
        route(method, template, path, Some(body), Some(lets_in))
    };
    let question = json!({"customer_id": "acme", "feature": "models"});
    vec![
        open("/livez", "/livez"),
        open("/readyz", "/readyz"),
        open("/metrics", "/metrics"),
        open("/openapi.json", "/openapi.json"),
        open("/docs", "/docs"),
        open("/docs/{file}", "/docs/index.html"),
        open("/problems", "/problems"),
        open("/problems/{slug}", "/problems/forbidden"),
        open("/plans", "/plans"),
        open("/plans/{tier}", "/plans/pro"),
        route(
            "POST",
            "/webhook/stripe",
            "/webhook/stripe",
            Some(json!({})),
            None,
        ),
        route(
            "POST",
            "/webhook/razorpay",
            "/webhook/razorpay",
            Some(json!({})),
            None,
        ),
        write(
            "POST",
            "/entitlements/check",
            "/entitlements/check",
            question.clone(),
            READERS,
        ),
        write(
            "POST",
            "/entitlements/check/batch",
            "/entitlements/check/batch",
            json!({"checks": [question]}),
            READERS,
        ),
        read("/entitlements", "/entitlements?customer_id=acme", READERS),
        write(
            "POST",
            "/entitlements/consume",
            "/entitlements/consume",
            question.clone(),
            USERS,
        ),
        write(
            "POST",
            "/entitlements/release",
            "/entitlements/release",
            question,
            USERS,
        ),
        write(
            "PUT",
            "/entitlements/allocated",
            "/entitlements/allocated",
            json!({"customer_id": "acme", "feature": "models", "value": 1}),
            USERS,
        ),
        write(
            "POST",
            "/reservations",
            "/reservations",
            json!({"customer_id": "acme", "feature": "models"}),
            USERS,
        ),
        write(
            "POST",
            "/reservations/{id}/commit",
            "/reservations/none/commit",
            json!({"customer_id": "acme"}),
            USERS,
        ),
        write(
            "POST",
            "/reservations/{id}/release",
            "/reservations/none/release",
            json!({"customer_id": "acme"}),
            USERS,
        ),
        read(
            "/reservations/{id}",
            "/reservations/none?customer_id=acme",
            DETAIL,
        ),
        read("/usage", "/usage?customer_id=acme", READERS),
        write("POST", "/usage", "/usage", json!({"events": [{}]}), USERS),
        read(
            "/usage/history",
            "/usage/history?customer_id=acme&feature=models",
            DETAIL,
        ),
        read("/usage/events", "/usage/events?customer_id=acme", DETAIL),
        read("/plan-context", "/plan-context?customer_id=acme", READERS),
        write(
            "PUT",
            "/customers/{customer_id}",
            "/customers/acme",
            json!({}),
            BILLING_KEYS,
        ),
        read("/customers/{customer_id}", "/customers/acme", CUSTOMERS),
        write(
            "POST",
            "/customers/{customer_id}/tokens",
            "/customers/acme/tokens",
            json!({}),
            BILLING_KEYS,
        ),
        write(
            "POST",
            "/billing/create-checkout",
            "/billing/create-checkout",
            json!({"customer_id": "acme", "plan_tier": "pro"}),
            BILLING,
        ),
        write(
            "POST",
            "/billing/portal",
            "/billing/portal",
            json!({"customer_id": "acme"}),
            BILLING,
        ),
        write(
            "POST",
            "/billing/change-plan",
            "/billing/change-plan",
            json!({"customer_id": "acme", "plan_tier": "pro"}),
            BILLING,
        ),
        write(
            "POST",
            "/billing/cancel",
            "/billing/cancel",
            json!({"customer_id": "acme"}),
            BILLING,
        ),
        write(
            "POST",
            "/billing/resume",
            "/billing/resume",
            json!({"customer_id": "acme"}),
            BILLING,
        ),
        write(
            "POST",
            "/billing/verify-payment",
            "/billing/verify-payment",
            json!({"customer_id": "acme", "razorpay_payment_id": "pay_1", "razorpay_subscription_id": "sub_1",
                "razorpay_signature": "00"}),
            BILLING,
        ),
        read(
            "/billing/subscription",
            "/billing/subscription?customer_id=acme",
            SUBSCRIPTION,
        ),
        write(
            "POST",
            "/admin/api-keys",
            "/admin/api-keys",
            json!({"name": "n", "scopes": ["read"]}),
            ADMIN,
        ),
        read("/admin/api-keys", "/admin/api-keys", ADMIN),
        route(
            "DELETE",
            "/admin/api-keys/{id}",
            "/admin/api-keys/none",
            None,
            Some(ADMIN),
        ),
        read("/admin/audit", "/admin/audit", ADMIN),
        write(
            "POST",
            "/admin/usage/adjust",
            "/admin/usage/adjust",
            json!({"customer_id": "acme", "feature": "models", "delta": 1, "reason": "r", "idempotency_key": "k"}),
            ADMIN,
        ),
        write(
            "POST",
            "/admin/reconcile-usage",
            "/admin/reconcile-usage",
            json!({"customer_id": "acme"}),
            ADMIN,
        ),
        write(
            "POST",
            "/admin/reconcile-subscriptions",
            "/admin/reconcile-subscriptions",
            json!({}),
            ADMIN,
        ),
        write(
            "POST",
            "/admin/webhooks/backfill",
            "/admin/webhooks/backfill",
            json!({"provider": "stripe", "since": "2026-01-01T00:00:00Z"}),
            ADMIN,
        ),
        write(
            "POST",
            "/admin/subscriptions",
            "/admin/subscriptions",
            json!({"customer_id": "acme", "plan_tier": "pro", "reason": "r"}),
            ADMIN,
        ),
        route(
            "DELETE",
            "/admin/subscriptions/{id}",
            "/admin/subscriptions/none",
            None,
            Some(ADMIN),
        ),
        write(
            "PUT",
            "/admin/customers/{id}/overrides/{feature}",
            "/admin/customers/acme/overrides/models",
            json!({"limit": 5, "reason": "r"}),
            ADMIN,
        ),
        read(
            "/admin/customers/{id}/overrides/{feature}",
            "/admin/customers/acme/overrides/models",
            ADMIN,
        ),
        route(
            "DELETE",
            "/admin/customers/{id}/overrides/{feature}",
            "/admin/customers/acme/overrides/models",
            None,
            Some(ADMIN),
        ),
    ]
}

fn call(app: &TestApp, route: &Route) -> Call {
    let method: Method = route.method.parse().unwrap();
    let call = app.call(method, route.path);
    match &route.body {
        Some(body) => call.json(body.clone()),
        None => call,
    }
}

async fn token(app: &TestApp, customer: &str, permissions: Value) -> String {
    let path = format!("/customers/{customer}/tokens");
    let body = json!({"permissions": permissions});
    let minted = app.post(&path).json(body).send().await.expect(201);
    minted["token"].as_str().unwrap().to_owned()
}

#[actix_web::test]
async fn each_route_lets_in_the_credentials_that_the_contract_names() {
    let app = TestApp::start().await;
    let routes = contract();
    let document = app.get("/openapi.json").send().await.ok();
    let mut served = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let route = (method.to_uppercase(), path.clone());
            let open = operation["security"] == json!([{}]);
            served.push((route, open));
        }
    }
    let mut named: Vec<_> = routes
        .iter()
        .map(|route| {
            (
                (route.method.to_owned(), route.template.to_owned()),
                route.lets_in.is_none(),
            )
        })
        .collect();
    served.sort();
    named.sort();
    // A route that is new has to be put into the table above.
    assert_eq!(served, named);

    let mut credentials = BTreeMap::from([
        ("token:read", token(&app, "acme", json!(["read"])).await),
        (
            "token:billing",
            token(&app, "acme", json!(["billing"])).await,
        ),
    ]);
    for (scope, name) in [
        (Scope::Entitlements, "entitlements"),
        (Scope::Read, "read"),
        (Scope::Billing, "billing"),
        (Scope::Admin, "admin"),
    ] {
        credentials.insert(name, app.key(&[scope]).await);
    }
    let unknown = ApiKey::from_entropy(KeyMode::Test, &[7; 48]).reveal();
    let live = ApiKey::from_entropy(KeyMode::Live, &[7; 48]).reveal();
    for route in &routes {
        let name = format!("{} {}", route.method, route.template);
        let Some(lets_in) = route.lets_in else {
            for answer in [
                call(&app, route).anonymous().send().await,
                call(&app, route).key("nonsense").send().await,
            ] {
                assert!(
                    !matches!(answer.status, 401 | 403),
                    "{name}: {}",
                    answer.text
                );
            }
            continue;
        };
        for bad in [
            None,
            Some("nonsense"),
            Some("a.b.c"),
            Some(&unknown),
            Some(&live),
        ] {
            let call = match bad {
                Some(bad) => call(&app, route).key(bad),
                None => call(&app, route).anonymous(),
            };
            let answer = call.send().await;
            assert_eq!(
                answer.header("www-authenticate"),
                Some("Bearer"),
                "{name}: {}",
                answer.text
            );
            answer.problem(401, "unauthorized");
        }
        for kind in KINDS {
            let answer = call(&app, route).key(&credentials[kind]).send().await;
            if lets_in.contains(&kind) {
                assert!(
                    !matches!(answer.status, 401 | 403),
                    "{name} by {kind}: {}",
                    answer.text
                );
                assert!(answer.status < 500, "{name} by {kind}: {}", answer.text);
            } else {
                assert_eq!(answer.status, 403, "{name} by {kind}: {}", answer.text);
                answer.problem(403, "forbidden");
            }
        }
        let answer = call(&app, route).key(ADMIN_KEY).send().await;
        assert!(
            !matches!(answer.status, 401 | 403),
            "{name}: {}",
            answer.text
        );
    }
    // Scopes add up.
    let both = app.key(&[Scope::Read, Scope::Billing]).await;
    for (path, status) in [
        ("/usage?customer_id=acme", 200),
        ("/customers/acme", 200),
        ("/admin/audit", 403),
    ] {
        assert_eq!(
            app.get(path).key(&both).send().await.status,
            status,
            "{path}"
        );
    }
}

#[actix_web::test]
async fn a_customers_token_reaches_no_other_customer() {
    let app = TestApp::start().await;
    let token = token(&app, "acme", json!(["read", "billing"])).await;
    let get = async |path: &str| app.get(path).key(&token).send().await;
    let post = async |path: &str, body: Value| app.post(path).json(body).key(&token).send().await;
    for path in ["/plan-context", "/usage", "/entitlements"] {
        let named = get(&format!("{path}?customer_id=acme")).await.ok();
        assert_eq!(get(path).await.ok(), named);
        assert!(named.to_string().contains(r#""customer_id":"acme""#));
        for other in ["globex", "ACME", "acme.", "acme%3A1"] {
            get(&format!("{path}?customer_id={other}"))
                .await
                .problem(403, "forbidden");
        }
    }
    let missing = get("/billing/subscription").await.problem(404, "not-found");
    assert!(!missing.to_string().contains("globex"));
    let theirs = get("/billing/subscription?customer_id=globex").await;
    theirs.problem(403, "forbidden");

    let own = post("/entitlements/check", json!({"feature": "models"}))
        .await
        .ok();
    assert_eq!(own["customer_id"], "acme");
    let theirs = post(
        "/entitlements/check",
        json!({"customer_id": "globex", "feature": "models"}),
    )
    .await;
    theirs.problem(403, "forbidden");
    let checks =
        json!({"checks": [{"feature": "models"}, {"customer_id": "globex", "feature": "models"}]});
    let batch = post("/entitlements/check/batch", checks).await.ok();
    assert_eq!(batch["results"][0]["customer_id"], "acme");
    assert_eq!(batch["results"][1]["error"]["type"], "/problems/forbidden");
    let order = json!({"customer_id": "globex", "plan_tier": "pro"});
    post("/billing/create-checkout", order)
        .await
        .problem(403, "forbidden");
    let order = post("/billing/create-checkout", json!({"plan_tier": "pro"})).await;
    order.problem(409, "provider-not-configured");

    // A key has no customer of its own.
    let key = app.key(&[Scope::Entitlements]).await;
    for path in ["/plan-context", "/usage", "/entitlements", "/usage/events"] {
        let nobody = app.get(path).key(&key).send().await;
        let problem = nobody.problem(400, "malformed-request");
        assert_eq!(problem["errors"][0]["pointer"], "/customer_id");
    }
    for path in [
        "/entitlements/check",
        "/entitlements/consume",
        "/entitlements/release",
    ] {
        let nobody = app.post(path).json(json!({"feature": "models"})).key(&key);
        let problem = nobody.send().await.problem(422, "validation-failed");
        assert_eq!(problem["errors"][0]["pointer"], "/customer_id");
    }
}

#[actix_web::test]
async fn a_key_works_until_it_is_revoked_or_expires() {
    let app = TestApp::start().await;
    let make = async |body: Value| {
        app.post("/admin/api-keys")
            .json(body)
            .send()
            .await
            .expect(201)
    };
    let works = async |key: &str| {
        let answer = app.get("/usage?customer_id=acme").key(key).send().await;
        assert!(matches!(answer.status, 200 | 401), "{}", answer.text);
        answer.status == 200
    };
    let expiring =
        make(json!({"name": "short", "scopes": ["read"], "expires_at": "2026-01-12T01:00:00Z"}))
            .await;
    let expiring = expiring["key"].as_str().unwrap();
    assert!(works(expiring).await);
    app.advance(TimeDelta::hours(1) - TimeDelta::seconds(1));
    assert!(works(expiring).await);
    app.advance(TimeDelta::seconds(1));
    assert!(!works(expiring).await);

    let made = make(json!({"name": "long", "scopes": ["read"]})).await;
    let (key, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());
    assert!(works(key).await);
    let path = format!("/admin/api-keys/{id}");
    assert_eq!(app.delete(&path).send().await.status, 204);
    assert!(!works(key).await, "at once");

    // Its id under another secret, with a checksum that is right.
    let (mut one, mut other) = ([1; 48], [1; 48]);
    one[16..].fill(2);
    other[16..].fill(3);
    let (one, other) = (
        ApiKey::from_entropy(KeyMode::Test, &one),
        ApiKey::from_entropy(KeyMode::Test, &other),
    );
    assert_eq!(one.id(), other.id());
    let record = KeyRecord {
        id: one.id().to_owned(),
        name: "by hand".to_owned(),
        scopes: vec![Scope::Read],
        created_at: app.clock.now(),
        expires_at: None,
        revoked_at: None,
    };
    let secret: [u8; 32] = Sha256::digest(one.secret()).into();
    api_keys::insert(&mut app.connect(), &record, secret).unwrap();
    assert!(!works(&other.reveal()).await);
    assert!(works(&one.reveal()).await);
    let mut mistyped = one.reveal();
    mistyped.pop();
    assert!(!works(&mistyped).await);
    // A key of the other environment is none here, whatever is stored.
    assert!(!works(&one.reveal().replace("pg_test_", "pg_live_")).await);
}

#[actix_web::test]
async fn a_credential_comes_once_and_as_a_bearer() {
    let app = TestApp::start().await;
    let send = async |values: &[&str]| {
        let call = app.get("/admin/audit").anonymous();
        let call = values
            .iter()
            .fold(call, |call, value| call.header("authorization", value));
        call.send().await
    };
    for good in [
        format!("Bearer {ADMIN_KEY}"),
        format!("bearer  {ADMIN_KEY} "),
        format!("BEARER {ADMIN_KEY}"),
    ] {
        send(&[&good]).await.ok();
    }
    let good = format!("Bearer {ADMIN_KEY}");
    for bad in [
        vec!["Bearer"],
        vec!["Bearer "],
        vec![ADMIN_KEY],
        vec!["Basic dXNlcjpwYXNz"],
        vec!["Bearer wrong"],
        vec![good.as_str(), good.as_str()],
        vec!["Basic dXNlcjpwYXNz", good.as_str()],
        vec![""],
    ] {
        let answer = send(&bad).await;
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{bad:?}");
        let problem = answer.problem(401, "unauthorized");
        assert!(!problem.to_string().contains(ADMIN_KEY));
    }
    let in_query = app
        .get(&format!("/admin/audit?key={ADMIN_KEY}"))
        .anonymous();
    in_query.send().await.problem(401, "unauthorized");
    // Without a credential nothing else about the request is judged.
    for call in [
        app.post("/admin/api-keys").body("text/plain", "x"),
        app.post("/entitlements/consume")
            .body("application/json", "{"),
        app.put("/customers/a%20b").json(json!({"nothing": 1})),
        app.get("/usage?nothing=1"),
    ] {
        call.anonymous().send().await.problem(401, "unauthorized");
    }
}
