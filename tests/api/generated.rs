//! What is generated is committed, and current.

use std::collections::BTreeSet;
use std::path::Path;

use plangate::http::openapi;

use crate::architecture::sources;

pub(crate) const REGENERATE: &str =
    "make it anew: cargo run -- openapi > openapi.new && mv openapi.new openapi/openapi.json";

/// The document as it is committed.
pub(crate) fn committed() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/openapi.json");
    std::fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn the_committed_openapi_document_is_current() {
    let current = openapi::rendered(&openapi::document()).unwrap();
    assert_eq!(current, openapi::rendered(&openapi::document()).unwrap());
    // Not `assert_eq`, which would print both.
    assert!(
        committed() == current,
        "openapi/openapi.json is not current; {REGENERATE}"
    );
}

#[test]
fn every_route_of_the_router_is_documented_and_the_other_way_round() {
    let documented: BTreeSet<(String, String)> = openapi::routes(&openapi::document())
        .into_iter()
        .map(|(method, path)| (method.to_string(), path))
        .collect();
    let mut served = BTreeSet::new();
    for source in sources() {
        if !source.path.starts_with("http") {
            continue;
        }
        for hidden in [".route(\"", "web::resource(", "web::scope(", "#[route("] {
            assert!(
                !source.code.contains(hidden),
                "{}: {hidden} makes a route that this test does not see; use #[get(\"…\")] and the like",
                source.path.display()
            );
        }
        for method in ["get", "post", "put", "delete", "patch", "head", "options"] {
            let attribute = format!("#[{method}(\"");
            for (at, _) in source.code.match_indices(&attribute) {
                let rest = &source.code[at + attribute.len()..];
                let template = rest.split('"').next().unwrap();
                let template = without_patterns(template);
                let of_each = ["stripe", "razorpay"].map(|name| format!("/webhook/{name}"));
                let paths = match template.as_str() {
                    "/webhook/{provider}" => of_each.to_vec(),
                    _ => vec![template],
                };
                served.extend(paths.into_iter().map(|path| (method.to_uppercase(), path)));
            }
        }
    }
    assert_eq!(documented, served);
    assert!(served.len() > 5);
}

/// `/docs/{file:[^/]*}` is documented as `/docs/{file}`.
fn without_patterns(template: &str) -> String {
    let mut plain = String::new();
    let mut in_pattern = false;
    for c in template.chars() {
        match c {
            ':' => in_pattern = true,
            '}' => in_pattern = false,
            _ => {}
        }
        if !in_pattern {
            plain.push(c);
        }
    }
    plain
}

#[test]
fn operations_are_named_once_and_grouped() {
    let document = serde_json::to_value(openapi::document()).unwrap();
    let tags: BTreeSet<&str> = document["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| tag["name"].as_str().unwrap())
        .collect();
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap_or_default();
            assert!(
                !name.is_empty() && names.insert(name),
                "{method} {path}: {name:?}"
            );
            let tag = operation["tags"][0].as_str().unwrap_or_default();
            assert!(tags.contains(tag), "{method} {path}: tag {tag:?}");
            assert!(operation["summary"].is_string(), "{method} {path}");
        }
    }
    let used: BTreeSet<&str> = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|item| item.as_object().unwrap().values())
        .filter_map(|operation| operation["tags"][0].as_str())
        .collect();
    assert_eq!(tags, used);
}
