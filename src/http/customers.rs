//! Customers and the tokens that let frontends act for them.

#![allow(
    clippy::option_option,
    reason = "a field that is null is not a field that is absent"
)]

use actix_web::{HttpResponse, get, post, put, web};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::extract::{Json, Path};
use super::problem::{Problem, ProblemDocument, ProblemKind};
use super::responses::{AuthErrors, BodyErrors, DatabaseErrors};
use crate::domain::actor::Actor;
use crate::domain::ids::CustomerId;
use crate::domain::money::Currency;
use crate::domain::permission::{Permission, TokenPermission};
use crate::domain::policy::UnknownCustomers;
use crate::service::context::Context;
use crate::service::customer_tokens::{CustomerTokens, MAX_TOKEN_LIFE};
use crate::service::customers;
use crate::store::customers::{CustomerRow, Profile};

/// Longest e-mail address (RFC 5321 with its brackets) and longest name, in characters.
const TEXT_MAX: usize = 320;
/// Most bytes of metadata, as JSON.
const METADATA_MAX: usize = 16 * 1024;
/// A token's life where the caller does not say.
const TOKEN_LIFE_SECONDS: i64 = 900;

/// A customer, named by the caller's own id.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({"customer_id": "acme", "email": "billing@acme.example", "name": "Acme Ltd", "country": "GB",
    "currency": "usd", "metadata": {}, "created_at": "2026-01-12T00:00:00Z", "updated_at": "2026-01-12T00:00:00Z"}))]
pub struct Customer {
    /// The caller's own id.
    pub customer_id: String,
    /// For receipts.
    #[schema(required = true)]
    pub email: Option<String>,
    /// For people.
    #[schema(required = true)]
    pub name: Option<String>,
    /// ISO 3166-1 alpha-2.
    #[schema(required = true)]
    pub country: Option<String>,
    /// ISO 4217, lowercase.
    #[schema(required = true)]
    pub currency: Option<String>,
    /// The caller's own notes.
    #[schema(value_type = Object)]
    pub metadata: Value,
    /// First seen.
    pub created_at: DateTime<Utc>,
    /// Profile last changed.
    pub updated_at: DateTime<Utc>,
}

impl From<CustomerRow> for Customer {
    fn from(row: CustomerRow) -> Self {
        Self {
            customer_id: row.customer_id,
            email: row.email,
            name: row.name,
            country: row.country,
            currency: row.currency,
            metadata: row.metadata,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// A customer's profile. A field that is left out stays as it is; null clears it.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"email": "billing@acme.example", "name": "Acme Ltd", "country": "GB", "currency": "usd"}))]
pub struct CustomerRequest {
    /// For receipts.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 320)]
    email: Option<Option<String>>,
    /// For people.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 320)]
    name: Option<Option<String>>,
    /// ISO 3166-1 alpha-2.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, min_length = 2, max_length = 2)]
    country: Option<Option<String>>,
    /// ISO 4217.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    currency: Option<Option<Currency>>,
    /// The caller's own notes: a JSON object of up to 16 KiB.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Option<Map<String, Value>>>,
}

/// Tells a null from a field that is not there.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl CustomerRequest {
    fn profile(self) -> Result<Profile, Problem> {
        let short_text = |field: &str, text: &str| {
            let fits = (1..=TEXT_MAX).contains(&text.chars().count())
                && !text.chars().any(char::is_control);
            let fault = format!("must be 1 to {TEXT_MAX} characters without control characters");
            if fits {
                Ok(())
            } else {
                Err(Problem::validation(format!("/{field}"), fault))
            }
        };
        if let Some(Some(email)) = &self.email {
            short_text("email", email)?;
            let (local, domain) = email.rsplit_once('@').unwrap_or_default();
            if local.is_empty() || domain.is_empty() || email.contains(char::is_whitespace) {
                return Err(Problem::validation("/email", "must be an e-mail address"));
            }
        }
        if let Some(Some(name)) = &self.name {
            short_text("name", name)?;
        }
        if let Some(Some(country)) = &self.country
            && !(country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_uppercase()))
        {
            return Err(Problem::validation(
                "/country",
                "must be two capital letters (ISO 3166-1 alpha-2)",
            ));
        }
        let metadata = self
            .metadata
            .map(|metadata| Value::Object(metadata.unwrap_or_default()));
        if metadata
            .as_ref()
            .is_some_and(|metadata| metadata.to_string().len() > METADATA_MAX)
        {
            return Err(Problem::validation(
                "/metadata",
                format!("must not be larger than {METADATA_MAX} bytes"),
            ));
        }
        Ok(Profile {
            email: self.email,
            name: self.name,
            country: self.country,
            currency: self
                .currency
                .map(|currency| currency.map(|currency| currency.as_str().to_owned())),
            metadata,
        })
    }
}

/// Makes a customer, or changes what is given of its profile.
///
/// Customers need not be made before they are used: the first use makes them, unless unknown customers are rejected.
#[utoipa::path(
    tag = "Customers",
    operation_id = "putCustomer",
    params(("customer_id" = String, Path, description = "The caller's own id: 1 to 255 of `A-Za-z0-9_-.:@|`", example = "acme")),
    request_body = CustomerRequest,
    responses((status = 200, description = "Changed", body = Customer), (status = 201, description = "Made", body = Customer),
              AuthErrors, BodyErrors, DatabaseErrors)
)]
#[put("/customers/{customer_id}")]
pub(crate) async fn put_customer(
    actor: Actor,
    context: web::Data<Context>,
    customer: Path<CustomerId>,
    body: Json<CustomerRequest>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::WriteCustomers)?;
    let (row, is_new) = customers::put(&context, customer.0, body.0.profile()?).await?;
    let mut response = if is_new {
        HttpResponse::Created()
    } else {
        HttpResponse::Ok()
    };
    Ok(response.json(Customer::from(row)))
}

/// A customer's profile.
#[utoipa::path(
    tag = "Customers",
    operation_id = "getCustomer",
    params(("customer_id" = String, Path, description = "The caller's own id", example = "acme")),
    responses((status = 200, description = "The customer", body = Customer),
              (status = 404, description = "`unknown-customer`: never seen", body = ProblemDocument,
               content_type = "application/problem+json"),
              AuthErrors, DatabaseErrors)
)]
#[get("/customers/{customer_id}")]
pub(crate) async fn get_customer(
    actor: Actor,
    context: web::Data<Context>,
    customer: Path<CustomerId>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::ReadCustomers)?;
    let row = customers::get(&context, customer.0)
        .await?
        .ok_or_else(never_seen)?;
    Ok(HttpResponse::Ok().json(Customer::from(row)))
}

fn never_seen() -> Problem {
    ProblemKind::UnknownCustomer.with_detail("No customer of this id was ever seen.")
}

/// What a token may do, and for how long.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"permissions": ["read"], "expires_in_seconds": 900}))]
pub struct TokenRequest {
    /// `read`: plan context, usage, entitlements, subscription, check. `billing`: billing for this customer.
    #[serde(default = "read_only")]
    #[schema(default = json!(["read"]))]
    permissions: Vec<TokenPermission>,
    /// 1 to 3600.
    #[serde(default = "token_life")]
    #[schema(default = 900, minimum = 1, maximum = 3600)]
    expires_in_seconds: i64,
}

fn read_only() -> Vec<TokenPermission> {
    vec![TokenPermission::Read]
}

const fn token_life() -> i64 {
    TOKEN_LIFE_SECONDS
}

/// A token for a frontend.
#[derive(Serialize, ToSchema)]
pub struct TokenResponse {
    /// Send it as `Authorization: Bearer …`.
    token: String,
    /// When it ends.
    expires_at: DateTime<Utc>,
}

/// Mints a token that lets a frontend act for this one customer.
#[utoipa::path(
    tag = "Customers",
    operation_id = "mintCustomerToken",
    params(("customer_id" = String, Path, description = "The caller's own id", example = "acme")),
    request_body = TokenRequest,
    responses((status = 201, description = "The token", body = TokenResponse),
              (status = 404, description = "`unknown-customer`, where unknown customers are rejected", body = ProblemDocument,
               content_type = "application/problem+json"),
              AuthErrors, BodyErrors, DatabaseErrors)
)]
#[post("/customers/{customer_id}/tokens")]
pub(crate) async fn mint_token(
    actor: Actor,
    context: web::Data<Context>,
    tokens: web::Data<CustomerTokens>,
    customer: Path<CustomerId>,
    body: Json<TokenRequest>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::MintTokens)?;
    let TokenRequest {
        mut permissions,
        expires_in_seconds,
    } = body.0;
    permissions.sort_unstable();
    permissions.dedup();
    if permissions.is_empty() {
        return Err(Problem::validation(
            "/permissions",
            "must name at least one permission",
        ));
    }
    if !(1..=MAX_TOKEN_LIFE.num_seconds()).contains(&expires_in_seconds) {
        let fault = format!("must be 1 to {}", MAX_TOKEN_LIFE.num_seconds());
        return Err(Problem::validation("/expires_in_seconds", fault));
    }
    if context.meter.rules().unknown_customers == UnknownCustomers::Reject {
        customers::get(&context, customer.0.clone())
            .await?
            .ok_or_else(never_seen)?;
    }
    let now = context.clock().now();
    let minted = tokens
        .mint(
            &customer.0,
            &permissions,
            now,
            TimeDelta::seconds(expires_in_seconds),
        )
        .map_err(Problem::internal)?;
    Ok(HttpResponse::Created().json(TokenResponse {
        token: minted.token,
        expires_at: minted.expires_at,
    }))
}
