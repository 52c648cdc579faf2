//! Requests that mean harm.

use serde_json::json;

use crate::support::app::{ADMIN_KEY, TestApp};
use crate::support::client::Answer;
use crate::support::raw;
use crate::support::steps::{assert_counters_equal_ledger, count, grant, usage_of};

async fn consume(app: &TestApp, body: impl Into<Vec<u8>>) -> Answer {
    let call = app.post("/entitlements/consume");
    call.body("application/json", body).send().await
}

/// The service still does its work.
async fn assert_sound(app: &TestApp) {
    app.get("/plans/pro").anonymous().send().await.ok();
    app.get("/usage?customer_id=acme").send().await.ok();
}

#[actix_web::test]
async fn no_body_breaks_the_service() {
    let app = TestApp::start().await;
    grant(&app, "acme", "scale").await;
    let runs = |quantity: &str| {
        format!(r#"{{"customer_id":"acme","feature":"models","quantity":{quantity}}}"#)
    };
    let digits = |zeros: usize| format!("1{}", "0".repeat(zeros));
    for (quantity, status) in [
        (digits(18), 402),
        ("9223372036854775807".to_owned(), 402),
        ("9223372036854775808".to_owned(), 422),
        (digits(19), 422),
        (digits(400), 422),
        (digits(100_000), 422),
        ("1e400".to_owned(), 422),
        ("-9223372036854775809".to_owned(), 422),
        ("1.0".to_owned(), 422),
        ("1e0".to_owned(), 422),
        ("-0".to_owned(), 422),
        ("\"1\"".to_owned(), 422),
        ("[1]".to_owned(), 422),
        ("NaN".to_owned(), 400),
        ("Infinity".to_owned(), 400),
        ("01".to_owned(), 400),
        ("+1".to_owned(), 400),
        ("0x1".to_owned(), 400),
    ] {
        let answer = consume(&app, runs(&quantity)).await;
        let shown: String = quantity.chars().take(30).collect();
        assert_eq!(answer.status, status, "{shown}: {}", answer.text);
        assert!(answer.text.len() < 4000, "{shown}");
        if status == 422 {
            let problem = answer.problem(422, "validation-failed");
            assert_eq!(
                problem["errors"][0]["pointer"], "/quantity",
                "{shown}: {problem}"
            );
        }
    }
    let with_properties = |properties: &str| {
        format!(r#"{{"customer_id":"acme","feature":"models","properties":{properties}}}"#)
    };
    let deep = |levels: usize| {
        with_properties(&format!(
            "{{\"a\":{}1{}}}",
            "[".repeat(levels),
            "]".repeat(levels)
        ))
    };
    let long_name = "n".repeat(200_000);
    for (what, body) in [
        ("deep arrays", "[".repeat(100_000)),
        ("deep objects", "{\"a\":".repeat(40_000)),
        ("deep properties", deep(50_000)),
        ("deeper than is read", deep(200)),
        ("half", r#"{"customer_id":"acme","featu"#.to_owned()),
        ("half a string", r#"{"customer_id":"ac"#.to_owned()),
        ("half an escape", r#"{"customer_id":"ac\u00"#.to_owned()),
        (
            "two documents",
            r#"{"customer_id":"acme","feature":"models"}{}"#.to_owned(),
        ),
        (
            "a repeated key",
            r#"{"customer_id":"acme","customer_id":"globex","feature":"models"}"#.to_owned(),
        ),
        (
            "a NUL",
            r#"{"customer_id":"acme","feature":"mod\u0000els"}"#.to_owned(),
        ),
        ("a NUL in notes", with_properties(r#"{"a":"\u0000"}"#)),
        ("a NUL in a name", with_properties(r#"{"\u0000":1}"#)),
        ("a lone surrogate", with_properties(r#"{"a":"\ud800"}"#)),
        ("a huge number in notes", with_properties(r#"{"a":1e999}"#)),
        ("a long unknown name", format!(r#"{{"{long_name}":1}}"#)),
        ("an array", r#"["acme","models"]"#.to_owned()),
        ("null", "null".to_owned()),
        (
            "a comment",
            r#"{"customer_id":"acme",/* */"feature":"models"}"#.to_owned(),
        ),
        ("single quotes", "{'customer_id':'acme'}".to_owned()),
        ("a form", "customer_id=acme&feature=models".to_owned()),
        ("nothing", String::new()),
    ] {
        let answer = consume(&app, body).await;
        assert!(
            matches!(answer.status, 400 | 422),
            "{what}: {} {}",
            answer.status,
            answer.text
        );
        assert!(
            answer.text.len() < 4000,
            "{what}: {} bytes",
            answer.text.len()
        );
        let (status, slug) = (
            answer.status,
            answer.body["type"]
                .as_str()
                .unwrap()
                .replace("/problems/", ""),
        );
        answer.problem(status, &slug);
    }
    for bytes in [
        b"{\"customer_id\":\"\xff\"}".as_slice(),
        b"\xef\xbb\xbf{}",
        b"\x00",
        b"\x1f\x8b\x08\x00",
        b"{\"customer_id\":\"a\0\"}",
    ] {
        consume(&app, bytes).await.problem(400, "malformed-json");
    }
    // What was good in all this was nothing.
    assert_eq!(usage_of(&app, "acme", "models").await["used"], 0);
    assert_eq!(count(&app, "SELECT count(*) FROM usage_events"), 0);
    // Notes of an ordinary depth, with every character that can be stored, come back as they were.
    let odd = "\u{1}\u{7f}\u{2028}\u{1f600}'\";--\\";
    let properties =
        json!({odd: [[[{"a": odd}]]], "n": [1, -1, 1.5, 9_007_199_254_740_993_i64, null, true]});
    let body = json!({"customer_id": "acme", "feature": "models", "properties": properties,
                      "idempotency_key": "'; DROP TABLE usage_events; --"});
    consume(&app, body.to_string()).await.ok();
    let ledger = app.get("/usage/events?customer_id=acme").send().await.ok();
    assert_eq!(ledger["data"][0]["properties"], properties);
    assert_eq!(
        ledger["data"][0]["idempotency_key"],
        "'; DROP TABLE usage_events; --"
    );
    assert_counters_equal_ledger(&app);
    assert_sound(&app).await;
}

#[actix_web::test]
async fn junk_in_paths_queries_and_headers_is_refused_politely() {
    let app = TestApp::start().await;
    let bearer = format!("Authorization: Bearer {ADMIN_KEY}\r\n");
    for (target, status) in [
        ("/customers/%FF", 404),
        ("/customers/%00", 404),
        ("/customers/%2e%2e%2fadmin", 404),
        ("/customers/../admin/audit", 404),
        ("/customers/%", 404),
        ("/customers/%zz", 404),
        ("/customers/%C0%AF", 404),
        ("/customers/a%0d%0aX-Evil:%201", 404),
        ("/customers/acme/", 404),
        ("//customers/acme", 404),
        ("/customers//acme", 404),
        ("/plans/%F0%28%8C%28", 404),
        ("/admin/customers/acme/overrides/%00", 404),
        ("/docs/..%2f..%2fCargo.toml", 404),
        ("/docs/%2e%2e/Cargo.toml", 404),
        ("/problems/%00", 404),
        ("/usage?customer_id=%FF", 400),
        ("/usage?customer_id=a%00", 400),
        ("/usage?customer_id=%zz", 400),
        ("/usage?customer_id=%", 400),
        ("/usage?customer_id=acme&customer_id=globex", 400),
        ("/usage?customer_id[]=acme", 400),
        ("/usage?", 400),
        ("/usage?=", 400),
        ("/usage?%FF=1&customer_id=acme", 400),
        ("/usage/events?customer_id=acme&cursor=%F0%9F%98%80", 400),
        ("/usage/history?customer_id=acme&feature=%00", 400),
        (
            "/usage/history?customer_id=acme&feature=models&from=%2B999999-01-01",
            400,
        ),
        (
            "/usage/history?customer_id=acme&feature=models&from=-262143-01-01&to=+262142-12-31",
            400,
        ),
        (
            "/usage/history?customer_id=acme&feature=models&granularity=month&from=0000-01-01&to=0000-01-02",
            200,
        ),
    ] {
        let answer = raw::get(&app, target, &bearer);
        assert_eq!(answer.status, status, "{target}: {answer:?}");
        if status != 200 {
            assert_eq!(answer.body["status"], status, "{target}");
            assert!(answer.body["instance"].is_string() && answer.body["request_id"].is_string());
        }
    }
    let long = format!("/usage?customer_id={}", "x".repeat(20_000));
    let answer = raw::get(&app, &long, &bearer);
    assert_eq!(
        (answer.status, &answer.body["errors"][0]["pointer"]),
        (400, &json!("/customer_id"))
    );

    let headers = [
        "x".repeat(4000) + ": 1\r\n",
        format!("X-Long: {}\r\n", "x".repeat(1_000_000)),
        "X-Many: 1\r\n".repeat(5000),
        "Authorization: Bearer \u{e9}\u{1f600}\r\n".to_owned(),
        "Content-Length: -1\r\n".to_owned(),
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n".to_owned(),
        "Content-Length: 1\r\nContent-Length: 2\r\n".to_owned(),
        "Transfer-Encoding: nonsense\r\n".to_owned(),
        "No colon\r\n".to_owned(),
    ];
    for header in &headers {
        let answer = raw::get(
            &app,
            "/usage?customer_id=acme",
            &format!("{bearer}{header}"),
        );
        let shown: String = header.chars().take(40).collect();
        assert!((200..500).contains(&answer.status), "{shown}: {answer:?}");
    }
    let post = |headers: &str, body: &[u8]| {
        let head = format!(
            "POST /entitlements/consume HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{bearer}\
             Content-Type: application/json\r\n{headers}\r\n"
        );
        raw::send(&app, &[head.as_bytes(), body].concat())
    };
    // Refused by its declared length alone, before it is sent; a chunked body as soon as it is too long.
    let declared = post("Content-Length: 10000000\r\n", b"");
    assert_eq!(
        (declared.status, &declared.body["type"]),
        (413, &json!("/problems/payload-too-large"))
    );
    assert_eq!(
        post("Content-Length: 18446744073709551615\r\n", b"").status,
        413
    );
    let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 0x10000], b"\r\n"].concat();
    assert_eq!(
        post("Transfer-Encoding: chunked\r\n", &chunk.repeat(5)).status,
        413
    );
    assert_eq!(
        post("Transfer-Encoding: chunked\r\n", b"zz\r\n").status,
        400
    );
    for key in ["\"open", "a\"b\\", "\u{7f}", "\t", "\"\""] {
        let body = br#"{"customer_id":"acme","feature":"models"}"#;
        let headers = format!(
            "Content-Length: {}\r\nIdempotency-Key: {key}\r\n",
            body.len()
        );
        let answer = post(&headers, body);
        assert!(matches!(answer.status, 200 | 400), "{key:?}: {answer:?}");
        if key.starts_with('"') {
            assert_eq!(answer.status, 400, "{key:?}");
        }
    }
    assert_sound(&app).await;
    assert_counters_equal_ledger(&app);
}
