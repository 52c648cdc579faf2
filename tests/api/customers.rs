//! Customers' profiles and the tokens that let frontends act for them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use plangate::domain::ids::CustomerId;
use plangate::domain::permission::TokenPermission;
use plangate::service::customer_tokens::CustomerTokens;
use plangate::store::clock::Clock as _;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::support::client::Answer;
use crate::support::raw;
use crate::support::steps::count;

async fn put(app: &TestApp, id: &str, body: Value) -> Answer {
    let call = app.put(&format!("/customers/{id}")).json(body);
    call.send().await
}

async fn get(app: &TestApp, id: &str) -> Answer {
    app.get(&format!("/customers/{id}")).send().await
}

#[actix_web::test]
async fn a_profile_is_made_once_and_then_changed_field_by_field() {
    let app = TestApp::start().await;
    get(&app, "acme").await.problem(404, "unknown-customer");
    let made = json!({
        "customer_id": "acme", "email": "billing@acme.example", "name": "Acme Ltd", "country": "GB", "currency": "usd",
        "metadata": {"team": {"size": 3}}, "created_at": "2026-01-12T00:00:00Z", "updated_at": "2026-01-12T00:00:00Z"});
    let profile = json!({"email": "billing@acme.example", "name": "Acme Ltd", "country": "GB", "currency": "USD",
                         "metadata": {"team": {"size": 3}}});
    assert_eq!(put(&app, "acme", profile).await.expect(201), made);
    assert_eq!(get(&app, "acme").await.ok(), made);

    app.advance(TimeDelta::hours(1));
    // What is absent is kept; null clears; metadata is replaced as a whole.
    let changed = put(
        &app,
        "acme",
        json!({"name": null, "metadata": {"vip": true}}),
    )
    .await;
    let mut expected = made.clone();
    expected["name"] = Value::Null;
    expected["metadata"] = json!({"vip": true});
    expected["updated_at"] = json!("2026-01-12T01:00:00Z");
    assert_eq!(changed.ok(), expected);
    let cleared = json!({"email": null, "country": null, "currency": null, "metadata": null});
    let cleared = put(&app, "acme", cleared).await.ok();
    for field in ["email", "name", "country", "currency"] {
        assert_eq!(cleared[field], Value::Null, "{field}");
    }
    assert_eq!(cleared["metadata"], json!({}));
    assert_eq!(get(&app, "acme").await.ok(), cleared);

    let bare = put(&app, "bare", json!({})).await.expect(201);
    assert_eq!(
        (&bare["email"], &bare["metadata"]),
        (&Value::Null, &json!({}))
    );
    // Use makes a customer, too, and that one can be given a profile.
    let body = json!({"customer_id": "used", "feature": "models"});
    app.post("/entitlements/consume")
        .json(body)
        .send()
        .await
        .ok();
    get(&app, "used").await.ok();
    put(&app, "used", json!({"name": "Used"})).await.ok();
}

#[actix_web::test]
async fn a_bad_profile_names_the_field_and_stores_nothing() {
    let app = TestApp::start().await;
    let long = "x".repeat(321);
    for (body, pointer) in [
        (json!({"email": "nobody"}), "/email"),
        (json!({"email": "@acme.example"}), "/email"),
        (json!({"email": "a@"}), "/email"),
        (json!({"email": "a b@acme.example"}), "/email"),
        (json!({"email": ""}), "/email"),
        (json!({"email": 5}), "/email"),
        (json!({"email": format!("{long}@acme.example")}), "/email"),
        (
            json!({"email": "a@acme.example\r\nBcc: b@acme.example"}),
            "/email",
        ),
        (json!({"name": ""}), "/name"),
        (json!({"name": long}), "/name"),
        (json!({"name": "a\u{7}"}), "/name"),
        (json!({"name": "a\u{0}"}), "/name"),
        (json!({"country": "gb"}), "/country"),
        (json!({"country": "GBR"}), "/country"),
        (json!({"country": "1A"}), "/country"),
        (json!({"currency": "dollars"}), "/currency"),
        (json!({"currency": "xxx"}), "/currency"),
        (json!({"metadata": []}), "/metadata"),
        (json!({"metadata": "text"}), "/metadata"),
        (
            json!({"metadata": {"note": "x".repeat(16 * 1024)}}),
            "/metadata",
        ),
        (json!({"metadata": {"note": "\u{0}"}}), "/metadata/note"),
        (json!({"phone": "1"}), "/phone"),
        (json!({"customer_id": "acme"}), "/customer_id"),
        (json!(["a@acme.example"]), ""),
    ] {
        let problem = put(&app, "acme", body.clone())
            .await
            .problem(422, "validation-failed");
        assert_eq!(
            problem["errors"][0]["pointer"], pointer,
            "{body}: {problem}"
        );
    }
    let twice = app
        .put("/customers/acme")
        .body("application/json", r#"{"name":"a","name":"b"}"#);
    let problem = twice.send().await.problem(422, "validation-failed");
    assert_eq!(problem["errors"][0]["pointer"], "/name");
    get(&app, "acme").await.problem(404, "unknown-customer");
    let metadata = json!({"metadata": {"note": "x".repeat(16 * 1024 - 11)}});
    put(&app, "acme", metadata).await.expect(201);
}

#[actix_web::test]
async fn an_id_is_the_callers_own_of_255_safe_characters() {
    let app = TestApp::start().await;
    let longest = "x".repeat(255);
    for (written, id) in [
        ("A-Z_a.z:0|9@b", "A-Z_a.z:0|9@b"),
        ("auth0%7Cuser%40acme%3A1", "auth0|user@acme:1"),
        ("...", "..."),
        (".hidden", ".hidden"),
        ("0", "0"),
        (longest.as_str(), longest.as_str()),
    ] {
        let made = put(&app, written, json!({})).await.expect(201);
        assert_eq!(made["customer_id"], id);
        assert_eq!(get(&app, written).await.ok()["customer_id"], id);
        let query = format!("/usage?customer_id={written}");
        assert_eq!(app.get(&query).send().await.ok()["customer_id"], id);
    }
    let customers = count(&app, "SELECT count(*) FROM customers");
    let too_long = "x".repeat(256);
    for id in [
        "a%20b", "a%2Fb", "%C3%A9", "a%00", "%FF", "a%0A", "a%2Bb", "a+b", "%25", &too_long,
    ] {
        put(&app, id, json!({}))
            .await
            .problem(400, "malformed-request");
        let read = get(&app, id).await;
        assert_eq!(read.status, 404, "{id}: {}", read.text);
        let query = app.get(&format!("/usage?customer_id={id}")).send().await;
        let problem = query.problem(400, "malformed-request");
        assert_eq!(problem["errors"][0]["pointer"], "/customer_id", "{id}");
    }
    // Clients drop these two from a path; whoever sends them all the same is refused.
    for id in [".", "..", "%2e", "%2E%2e"] {
        let bearer = format!(
            "Authorization: Bearer {}\r\n",
            crate::support::app::ADMIN_KEY
        );
        let answer = raw::get(&app, &format!("/customers/{id}"), &bearer);
        assert_eq!(answer.status, 404, "{id}: {answer:?}");
        let body = json!({"customer_id": id, "feature": "models"});
        let consumed = app.post("/entitlements/consume").json(body).send().await;
        consumed.problem(422, "validation-failed");
    }
    put(&app, "", json!({})).await.problem(404, "not-found");
    assert_eq!(count(&app, "SELECT count(*) FROM customers"), customers);
}

async fn mint(app: &TestApp, body: Value) -> Answer {
    let call = app.post("/customers/acme/tokens").json(body);
    call.send().await
}

fn token_of(minted: &Value) -> String {
    minted["token"].as_str().unwrap().to_owned()
}

/// The status of reading the own plan context with a credential.
async fn read_with(app: &TestApp, credential: &str) -> u16 {
    app.get("/plan-context").key(credential).send().await.status
}

#[actix_web::test]
async fn a_token_acts_for_its_customer_until_it_expires() {
    let app = TestApp::start().await;
    let minted = mint(&app, json!({})).await.expect(201);
    assert_eq!(minted["expires_at"], "2026-01-12T00:15:00Z");
    assert_eq!(minted.as_object().unwrap().len(), 2);
    let token = token_of(&minted);
    let context = app.get("/plan-context").key(&token).send().await.ok();
    assert_eq!(context["customer_id"], "acme");
    // `read` by default and nothing more.
    let order = app
        .post("/billing/create-checkout")
        .json(json!({"plan_tier": "pro"}));
    order.key(&token).send().await.problem(403, "forbidden");

    app.advance(TimeDelta::minutes(15) + TimeDelta::seconds(4));
    assert_eq!(read_with(&app, &token).await, 200, "within the leeway");
    app.advance(TimeDelta::seconds(1));
    let late = app.get("/plan-context").key(&token).send().await;
    assert_eq!(late.header("www-authenticate"), Some("Bearer"));
    late.problem(401, "unauthorized");

    let longest = mint(
        &app,
        json!({"permissions": ["billing", "read", "read"], "expires_in_seconds": 3600}),
    )
    .await;
    let longest = longest.expect(201);
    assert_eq!(longest["expires_at"], "2026-01-12T01:15:05Z");
    let order = app
        .post("/billing/create-checkout")
        .json(json!({"plan_tier": "pro"}));
    let ordered = order.key(&token_of(&longest)).send().await;
    ordered.problem(409, "provider-not-configured");
    let shortest = mint(&app, json!({"expires_in_seconds": 1}))
        .await
        .expect(201);
    assert_eq!(shortest["expires_at"], "2026-01-12T00:15:06Z");

    for (body, pointer) in [
        (json!({"expires_in_seconds": 0}), "/expires_in_seconds"),
        (json!({"expires_in_seconds": -1}), "/expires_in_seconds"),
        (json!({"expires_in_seconds": 3601}), "/expires_in_seconds"),
        (json!({"expires_in_seconds": "60"}), "/expires_in_seconds"),
        (json!({"expires_in_seconds": 1.5}), "/expires_in_seconds"),
        (json!({"expires_in_seconds": null}), "/expires_in_seconds"),
        (json!({"permissions": []}), "/permissions"),
        (json!({"permissions": ["admin"]}), "/permissions/0"),
        (json!({"permissions": "read"}), "/permissions"),
        (json!({"customer_id": "globex"}), "/customer_id"),
    ] {
        let problem = mint(&app, body.clone())
            .await
            .problem(422, "validation-failed");
        assert_eq!(
            problem["errors"][0]["pointer"], pointer,
            "{body}: {problem}"
        );
    }
    let nowhere = app
        .post("/customers/a%20b/tokens")
        .json(json!({}))
        .send()
        .await;
    nowhere.problem(404, "not-found");
    assert_eq!(
        count(&app, "SELECT count(*) FROM customers"),
        0,
        "a token makes no customer"
    );
}

#[actix_web::test]
async fn a_token_that_was_not_minted_here_is_refused() {
    let app = TestApp::start().await;
    let token = token_of(&mint(&app, json!({})).await.expect(201));
    let parts: Vec<&str> = token.split('.').collect();
    let [head, claims, signature] = parts[..] else {
        panic!("{token}")
    };
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let decoded = URL_SAFE_NO_PAD.decode(claims).unwrap();
    let mut theirs: Value = serde_json::from_slice(&decoded).unwrap();
    theirs["sub"] = json!("globex");
    let mut flipped = URL_SAFE_NO_PAD.decode(signature).unwrap();
    flipped[0] ^= 1;
    let flipped = URL_SAFE_NO_PAD.encode(flipped);
    let none = encode(json!({"alg": "none", "typ": "JWT"}));
    let another = CustomerTokens::new(&SecretString::from("another secret of enough characters"));
    let acme = CustomerId::parse("acme").unwrap();
    let another = another.mint(
        &acme,
        &[TokenPermission::Read],
        app.clock.now(),
        TimeDelta::minutes(5),
    );
    for forged in [
        format!("{head}.{claims}.{flipped}"),
        format!("{head}.{}.{signature}", encode(theirs.clone())),
        format!("{none}.{claims}."),
        format!("{none}.{}.", encode(theirs)),
        format!("{none}.{claims}.{signature}"),
        format!("{head}.{claims}."),
        format!("{head}.{claims}"),
        format!("{token}."),
        "..".to_owned(),
        another.unwrap().token,
    ] {
        assert_eq!(read_with(&app, &forged).await, 401, "{forged}");
    }
    assert_eq!(read_with(&app, &token).await, 200);
}
