//! Addresses on the web: where browsers are sent, and from where they may call.

use std::net::IpAddr;

use url::{Host, Origin, Url};

use super::Environment;
use super::source::Source;

/// Where a browser may be sent after a checkout.
#[derive(Debug, Clone)]
pub struct ReturnUrls {
    /// Origins that callers may name.
    pub origins: Vec<Origin>,
    /// After a payment, where the caller names nothing.
    pub success_url: Option<Url>,
    /// After giving up, where the caller names nothing.
    pub cancel_url: Option<Url>,
}

pub(super) fn return_urls(source: &mut Source<'_>, environment: Environment) -> ReturnUrls {
    ReturnUrls {
        origins: origins(source, "PLANGATE_RETURN_ORIGINS", environment),
        success_url: page(source, "PLANGATE_SUCCESS_URL", environment),
        cancel_url: page(source, "PLANGATE_CANCEL_URL", environment),
    }
}

/// Origins as browsers write them in their `Origin` header.
pub(super) fn cors_origins(source: &mut Source<'_>, environment: Environment) -> Vec<String> {
    origins(source, "PLANGATE_CORS_ORIGINS", environment)
        .iter()
        .map(Origin::ascii_serialization)
        .collect()
}

fn origins(source: &mut Source<'_>, name: &str, environment: Environment) -> Vec<Origin> {
    let mut origins = Vec::new();
    for entry in source.list(name) {
        if entry.is_empty() {
            continue;
        }
        match web_url(&entry, environment).and_then(|url| bare(&url).map(|()| url.origin())) {
            Ok(origin) if origins.contains(&origin) => {}
            Ok(origin) => origins.push(origin),
            // The entry is not shown, it could have a password in it.
            Err(problem) => source.fault(
                name,
                format!("an entry {problem}; write origins such as https://app.example.com"),
            ),
        }
    }
    origins
}

fn page(source: &mut Source<'_>, name: &str, environment: Environment) -> Option<Url> {
    let text = source.text(name)?;
    web_url(&text, environment)
        .map_err(|problem| {
            source.fault(
                name,
                format!("{problem}; write one such as https://app.example.com/billing"),
            );
        })
        .ok()
}

/// The base of a provider's API: a scheme and a host, reached in the clear on this machine alone.
pub(super) fn api_base(
    source: &mut Source<'_>,
    name: &str,
    default: &str,
    environment: Environment,
) -> Option<Url> {
    let text = source.text(name).unwrap_or_else(|| default.to_owned());
    let checked = web_url(&text, environment).and_then(|url| {
        bare(&url)?;
        if url.scheme() == "http" && !is_loopback(&url) {
            return Err("is http beyond this machine, which would show the key to the network");
        }
        Ok(url)
    });
    checked
        .map_err(|problem| {
            source.fault(
                name,
                format!("{problem}; write a scheme and host such as {default}"),
            );
        })
        .ok()
}

fn web_url(text: &str, environment: Environment) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "is no absolute URL")?;
    match url.scheme() {
        "https" => {}
        "http" if environment == Environment::Development => {}
        "http" => return Err("must be https in production"),
        _ => return Err("must be https"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not have a user or password in it");
    }
    Ok(url)
}

/// No more than a scheme, a host and perhaps a port.
fn bare(url: &Url) -> Result<(), &'static str> {
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err("must not have a path, query or fragment");
    }
    Ok(())
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}
