//! API keys and the audit log.

use std::fmt::Write as _;

use chrono::TimeDelta;
use diesel::prelude::*;
use plangate::domain::api_key::{ApiKey, Scope};
use serde_json::{Value, json};

use super::put_override;
use crate::support::app::{ADMIN_KEY, TestApp};
use crate::support::steps::{count, grant};

async fn audited(app: &TestApp) -> Vec<Value> {
    let log = app.get("/admin/audit?limit=100").send().await.ok();
    log["data"].as_array().unwrap().clone()
}

/// Everything that the database holds, as text.
fn dump(app: &TestApp) -> String {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::Text)]
        text: String,
    }
    let mut conn = app.connect();
    let load = |conn: &mut PgConnection, statement: &str| -> Vec<Row> {
        diesel::sql_query(statement).load(conn).unwrap()
    };
    let tables = "SELECT quote_ident(tablename) AS text FROM pg_tables WHERE schemaname = 'public'";
    let tables = load(&mut conn, tables);
    assert!(tables.len() > 10);
    let rows = tables.iter().flat_map(|table| {
        let statement = format!("SELECT t::text AS text FROM {} t", table.text);
        load(&mut conn, &statement)
    });
    rows.map(|row| row.text + "\n").collect()
}

#[actix_web::test]
async fn a_key_is_shown_once_and_only_its_hash_is_kept() {
    let app = TestApp::start().await;
    let body = json!({"name": "attribution backend", "scopes": ["read", "entitlements", "read"],
                      "expires_at": "2026-02-01T00:00:00Z"});
    let made = app
        .post("/admin/api-keys")
        .json(body)
        .send()
        .await
        .expect(201);
    let text = made["key"].as_str().unwrap();
    let key = ApiKey::parse(text).unwrap();
    let shown = json!({"id": key.id(), "name": "attribution backend", "scopes": ["entitlements", "read"],
                       "created_at": "2026-01-12T00:00:00Z", "expires_at": "2026-02-01T00:00:00Z", "revoked_at": null});
    let mut with_key = shown.clone();
    with_key["key"] = json!(text);
    assert_eq!(made, with_key);
    assert!(text.starts_with("pg_test_"));
    app.get("/usage?customer_id=acme")
        .key(text)
        .send()
        .await
        .ok();
    let list = app.get("/admin/api-keys").send().await.ok();
    assert_eq!(list, json!({"data": [shown], "next_cursor": null}));

    let everything = dump(&app);
    assert!(everything.contains(key.id()));
    for secret in [key.secret(), text, ADMIN_KEY] {
        let mut hex = String::new();
        for byte in secret.bytes() {
            write!(hex, "{byte:02x}").unwrap();
        }
        assert!(!everything.contains(secret) && !everything.contains(&hex));
    }
    let audit = app.get("/admin/audit").send().await;
    assert!(!audit.text.contains(key.secret()));

    app.advance(TimeDelta::minutes(1));
    let path = format!("/admin/api-keys/{}", key.id());
    let revoked = app.delete(&path).send().await;
    assert_eq!((revoked.status, revoked.text.as_str()), (204, ""));
    assert_eq!(app.delete(&path).send().await.status, 204, "again");
    let list = app.get("/admin/api-keys").send().await.ok();
    assert_eq!(list["data"][0]["revoked_at"], "2026-01-12T00:01:00Z");
    app.get("/usage?customer_id=acme")
        .key(text)
        .send()
        .await
        .problem(401, "unauthorized");
    for id in ["000000000000", "none", "%00", "a%20b"] {
        let path = format!("/admin/api-keys/{id}");
        app.delete(&path).send().await.problem(404, "not-found");
    }

    for (body, pointer) in [
        (json!({"scopes": ["read"]}), "/name"),
        (json!({"name": "", "scopes": ["read"]}), "/name"),
        (json!({"name": "  ", "scopes": ["read"]}), "/name"),
        (json!({"name": "a\nb", "scopes": ["read"]}), "/name"),
        (
            json!({"name": "x".repeat(501), "scopes": ["read"]}),
            "/name",
        ),
        (json!({"name": "n"}), "/scopes"),
        (json!({"name": "n", "scopes": []}), "/scopes"),
        (json!({"name": "n", "scopes": ["root"]}), "/scopes/0"),
        (
            json!({"name": "n", "scopes": ["read"], "expires_at": "2026-01-12T00:01:00Z"}),
            "/expires_at",
        ),
        (
            json!({"name": "n", "scopes": ["read"], "expires_at": "soon"}),
            "/expires_at",
        ),
        (
            json!({"name": "n", "scopes": ["read"], "key": "mine"}),
            "/key",
        ),
    ] {
        let answer = app.post("/admin/api-keys").json(body.clone()).send().await;
        let problem = answer.problem(422, "validation-failed");
        assert_eq!(
            problem["errors"][0]["pointer"], pointer,
            "{body}: {problem}"
        );
    }
    assert_eq!(count(&app, "SELECT count(*) FROM api_keys"), 1);
}

#[actix_web::test]
async fn every_write_of_an_operator_is_audited() {
    let app = TestApp::start().await;
    let operator = app.key(&[Scope::Admin]).await;
    let by = format!("key:{}", ApiKey::parse(&operator).unwrap().id());
    let before = audited(&app).await.len();
    let body = json!({"name": "n", "scopes": ["read"]});
    let made = app
        .post("/admin/api-keys")
        .key(&operator)
        .json(body)
        .send()
        .await
        .expect(201);
    let key_id = made["id"].as_str().unwrap();
    let delete = async |path: String, status: u16| {
        app.delete(&path).key(&operator).send().await.expect(status)
    };
    delete(format!("/admin/api-keys/{key_id}"), 204).await;
    let body = json!({"customer_id": "acme", "plan_tier": "scale", "until": "2026-03-01T00:00:00Z", "unit_amount": 100,
                      "reason": "invoiced by hand"});
    let granted = app
        .post("/admin/subscriptions")
        .key(&operator)
        .json(body)
        .send()
        .await
        .expect(201);
    let subscription = granted["id"].as_str().unwrap();
    let path = "/admin/customers/acme/overrides/models";
    let body = json!({"add": 2, "expires_at": "2026-02-01T00:00:00Z", "reason": "conference"});
    app.put(path).key(&operator).json(body).send().await.ok();
    delete(path.to_owned(), 204).await;
    app.advance(TimeDelta::minutes(1));
    delete(format!("/admin/subscriptions/{subscription}"), 200).await;

    let log = audited(&app).await;
    assert_eq!(log.len(), before + 6, "{log:?}");
    let expected = [
        ("subscription.end", Some("acme"), subscription, json!({})),
        ("override.delete", Some("acme"), "models", json!({})),
        (
            "override.put",
            Some("acme"),
            "models",
            json!({"limit": null, "add": 2, "enabled": null, "cap": false, "expires_at": "2026-02-01T00:00:00Z",
                   "reason": "conference"}),
        ),
        (
            "subscription.grant",
            Some("acme"),
            subscription,
            json!({"plan_tier": "scale", "until": "2026-03-01T00:00:00Z", "unit_amount": 100, "currency": "usd",
                   "reason": "invoiced by hand"}),
        ),
    ];
    for (entry, (action, customer, target, details)) in log.iter().zip(&expected) {
        assert_eq!(entry["action"], *action, "{entry}");
        assert_eq!(entry["customer_id"], json!(customer), "{entry}");
        assert_eq!(entry["target"], *target, "{entry}");
        assert_eq!(&entry["details"], details, "{entry}");
    }
    assert_eq!(log[0]["occurred_at"], "2026-01-12T00:01:00Z");
    for entry in &log[..6] {
        assert_eq!(entry["actor"], by, "{entry}");
    }
    for entry in &log[4..6] {
        assert!(entry["action"].as_str().unwrap().contains("key"), "{entry}");
        assert_eq!(entry["target"], key_id, "{entry}");
    }
    // What was refused is no write, and what was only read neither.
    app.delete(path).send().await.problem(404, "not-found");
    app.delete(&format!("/admin/subscriptions/{subscription}"))
        .send()
        .await
        .problem(409, "conflict");
    app.delete("/admin/api-keys/none")
        .send()
        .await
        .problem(404, "not-found");
    put_override(&app, "acme", "models", json!({"reason": "r"}))
        .await
        .problem(422, "validation-failed");
    assert_eq!(audited(&app).await.len(), log.len());
    grant(&app, "acme", "pro").await;
    assert_eq!(audited(&app).await[0]["actor"], "admin-key");

    // Page by page it is the same log.
    for list in ["/admin/audit", "/admin/api-keys"] {
        let whole = app.get(&format!("{list}?limit=100")).send().await.ok();
        let (mut tiled, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = app
                .get(&format!("{list}?limit=1{cursor}"))
                .send()
                .await
                .ok();
            tiled.extend(page["data"].as_array().unwrap().clone());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(json!(tiled), whole["data"], "{list}");
        assert!(tiled.len() >= 2);
        for bad in ["limit=0", "limit=101", "cursor=x", "cursor=WyJ4Il0"] {
            let answer = app.get(&format!("{list}?{bad}")).send().await;
            answer.problem(400, "malformed-request");
        }
    }
}
