//! The caller of a request: `actor: Actor` among a handler's arguments demands a good credential.

use std::future::{Ready, ready};

use actix_web::body::MessageBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::AUTHORIZATION;
use actix_web::middleware::Next;
use actix_web::{Error, FromRequest, HttpMessage, HttpRequest, web};

use super::problem::{Problem, ProblemKind};
use crate::domain::actor::Actor;
use crate::domain::ids::CustomerId;
use crate::domain::permission::Permission;
use crate::service::authentication::Authenticator;

/// Judges the credential of a request that has one, before anything of its body is read. Wrap the application in
/// `from_fn(identify)`; a route that asks for no [`Actor`] takes no notice.
pub async fn identify<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    if request.headers().contains_key(AUTHORIZATION) {
        let identity = Identity(authenticate(request.request()).await);
        request.extensions_mut().insert(identity);
    }
    next.call(request).await
}

/// Who makes the request, or why that is not known.
struct Identity(Result<Actor, Problem>);

async fn authenticate(request: &HttpRequest) -> Result<Actor, Problem> {
    let authenticator = request
        .app_data::<web::Data<Authenticator>>()
        .ok_or_else(|| Problem::internal("the application has no Authenticator"))?;
    let actor = authenticator.authenticate(bearer(request)?).await?;
    tracing::Span::current().record("actor", actor.label());
    Ok(actor)
}

impl FromRequest for Actor {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let identity = request.extensions();
        ready(match identity.get::<Identity>() {
            Some(Identity(known)) => known.clone(),
            None => Err(missing()),
        })
    }
}

fn missing() -> Problem {
    ProblemKind::Unauthorized.with_detail("Send `Authorization: Bearer <key>`, once.")
}

/// The credential of the `Authorization` header.
fn bearer(request: &HttpRequest) -> Result<&str, Problem> {
    let mut values = request.headers().get_all(AUTHORIZATION);
    let value = values.next().ok_or_else(missing)?;
    if values.next().is_some() {
        return Err(missing());
    }
    value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, credential)| credential.trim())
        .filter(|credential| !credential.is_empty())
        .ok_or_else(missing)
}

impl Actor {
    /// 403 unless the caller's scopes or token permissions cover it.
    pub fn require(&self, permission: Permission) -> Result<(), Problem> {
        if self.may(permission) {
            Ok(())
        } else {
            Err(ProblemKind::Forbidden.with_detail("The credential's scopes do not cover this."))
        }
    }

    /// The customer that a query is about: the one it names, or the token's own. 400 where neither names one, 403 where
    /// a token's holder names another.
    pub fn customer_of_query(&self, named: Option<CustomerId>) -> Result<CustomerId, Problem> {
        self.customer(named, || {
            Problem::malformed_parameter("customer_id", "missing")
        })
    }

    /// The same for a body, which gets a 422 where no customer is named.
    pub fn customer_of_body(&self, named: Option<CustomerId>) -> Result<CustomerId, Problem> {
        self.customer_at("/customer_id", named)
    }

    /// The same for a part of a body; `pointer` is where the customer should be named.
    pub fn customer_at(
        &self,
        pointer: &str,
        named: Option<CustomerId>,
    ) -> Result<CustomerId, Problem> {
        self.customer(named, || {
            Problem::validation(pointer, "missing field `customer_id`")
        })
    }

    fn customer(
        &self,
        named: Option<CustomerId>,
        missing: impl FnOnce() -> Problem,
    ) -> Result<CustomerId, Problem> {
        match (self.bound_to(), named) {
            (Some(own), Some(named)) if *own != named => {
                Err(ProblemKind::Forbidden.with_detail("The token belongs to another customer."))
            }
            (Some(own), _) => Ok(own.clone()),
            (None, Some(named)) => Ok(named),
            (None, None) => Err(missing()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use actix_web::test::TestRequest;
    use chrono::{DateTime, TimeDelta, Utc};
    use secrecy::SecretString;

    use super::*;
    use crate::domain::api_key::{ApiKey, KEY_ENTROPY, KeyMode};
    use crate::domain::permission::TokenPermission;
    use crate::service::api_keys::ApiKeys;
    use crate::service::customer_tokens::CustomerTokens;
    use crate::store::pool;

    const ADMIN_KEY: &str = "an.operators.key-of-enough-characters";

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn id(text: &str) -> CustomerId {
        CustomerId::parse(text).unwrap()
    }

    fn tokens() -> CustomerTokens {
        CustomerTokens::new(&SecretString::from("a secret of thirty-two characters"))
    }

    fn token() -> String {
        let life = TimeDelta::minutes(5);
        let minted = tokens().mint(&id("acme"), &[TokenPermission::Read], now(), life);
        minted.unwrap().token
    }

    /// No credential of these tests needs the database, so there is none behind this pool.
    async fn actor(authorization: &[&str]) -> Result<Actor, u16> {
        let database = pool::build(&SecretString::from("postgres://127.0.0.1:1/none"), 1);
        let authenticator = Authenticator::new(
            Arc::new(ApiKeys::new(database, KeyMode::Test)),
            Arc::new(tokens()),
            Some(&SecretString::from(ADMIN_KEY)),
            Arc::new(now),
        );
        let request = authorization
            .iter()
            .fold(TestRequest::default(), |request, value| {
                request.append_header((AUTHORIZATION, *value))
            })
            .app_data(web::Data::new(authenticator))
            .to_http_request();
        authenticate(&request)
            .await
            .map_err(|problem| problem.document().status)
    }

    #[actix_web::test]
    async fn the_admin_key_and_a_customer_token_are_known() {
        let operator = actor(&[&format!("Bearer {ADMIN_KEY}")]).await.unwrap();
        assert!(operator.require(Permission::Administer).is_ok());
        let customer = actor(&[&format!("bearer  {}", token())]).await.unwrap();
        assert_eq!(customer.bound_to(), Some(&id("acme")));
        assert!(customer.require(Permission::ReadEntitlements).is_ok());
        let refused = customer.require(Permission::ManageBilling).unwrap_err();
        assert_eq!(refused.kind(), ProblemKind::Forbidden);
    }

    #[actix_web::test]
    async fn anything_else_is_unauthorized() {
        let live = ApiKey::from_entropy(KeyMode::Live, &[1; KEY_ENTROPY]).reveal();
        let admin = format!("Bearer {ADMIN_KEY}");
        let cases: [&[&str]; 11] = [
            &[],
            &[""],
            &["Bearer"],
            &["Bearer "],
            &["Basic dXNlcjpwYXNz"],
            &[ADMIN_KEY],
            &["Bearer nonsense"],
            &["Bearer a.b.c"],
            &["Bearer pg_test_abc_def"],
            &[&format!("Bearer {live}")],
            &[&admin, &admin],
        ];
        for authorization in cases {
            assert_eq!(
                actor(authorization).await.unwrap_err(),
                401,
                "{authorization:?}"
            );
        }
    }

    #[actix_web::test]
    async fn a_token_stands_for_its_own_customer_only() {
        let customer = actor(&[&format!("Bearer {}", token())]).await.unwrap();
        assert_eq!(customer.customer_of_query(None).unwrap(), id("acme"));
        assert_eq!(
            customer.customer_of_body(Some(id("acme"))).unwrap(),
            id("acme")
        );
        let other = customer.customer_of_body(Some(id("globex"))).unwrap_err();
        assert_eq!(other.kind(), ProblemKind::Forbidden);
    }

    #[test]
    fn a_key_must_name_the_customer() {
        let status = |result: Result<CustomerId, Problem>| result.unwrap_err().document().clone();
        let operator = Actor::Operator;
        assert_eq!(
            operator.customer_of_query(Some(id("acme"))).unwrap(),
            id("acme")
        );
        let query = status(operator.customer_of_query(None));
        assert_eq!(
            (query.status, query.errors[0].pointer.as_str()),
            (400, "/customer_id")
        );
        let body = status(operator.customer_of_body(None));
        assert_eq!(
            (body.status, body.errors[0].pointer.as_str()),
            (422, "/customer_id")
        );
        let item = status(operator.customer_at("/checks/3/customer_id", None));
        assert_eq!(item.errors[0].pointer, "/checks/3/customer_id");
    }
}
