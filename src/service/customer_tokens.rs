//! Customer tokens: short-lived JWTs (HS256) that let a frontend act for one customer.

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::domain::ids::CustomerId;
use crate::domain::permission::TokenPermission;

/// Longest life of a token. A token cannot be revoked, so this is also how long a leaked one works.
pub const MAX_TOKEN_LIFE: TimeDelta = TimeDelta::hours(1);

/// How far the clocks of two replicas may be apart.
const LEEWAY: TimeDelta = TimeDelta::seconds(5);

/// Issuer and audience: a JWT that another service made under the same secret is not ours.
const PLANGATE: &str = "plangate";

/// Makes and checks customer tokens under one secret.
pub struct CustomerTokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

/// A new token. It is a credential, hence no `Debug`.
pub struct MintedToken {
    /// What the frontend sends as its bearer credential.
    pub token: String,
    /// When it ends, a whole second.
    pub expires_at: DateTime<Utc>,
}

/// What a good token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenGrant {
    /// The customer it acts for.
    pub customer_id: CustomerId,
    /// What it may do for that customer.
    pub permissions: Vec<TokenPermission>,
}

/// The token is not ours, was changed, or is not good at this time. Deliberately says no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token is not valid")]
pub struct InvalidToken;

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: CustomerId,
    permissions: Vec<TokenPermission>,
    iat: i64,
    exp: i64,
}

impl CustomerTokens {
    /// Tokens under `secret`; whoever knows it can act for every customer.
    pub fn new(secret: &SecretString) -> Self {
        let secret = secret.expose_secret().as_bytes();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[PLANGATE]);
        validation.set_audience(&[PLANGATE]);
        // The library asks the machine's clock; here `now` is an argument, see `verify`.
        validation.validate_exp = false;
        Self {
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
            validation,
        }
    }

    /// Makes a token for `life` from `now` on, at most [`MAX_TOKEN_LIFE`]. Fails only if the claims cannot be encoded.
    pub fn mint(
        &self,
        customer_id: &CustomerId,
        permissions: &[TokenPermission],
        now: DateTime<Utc>,
        life: TimeDelta,
    ) -> Result<MintedToken, jsonwebtoken::errors::Error> {
        let issued = now.timestamp();
        let expires = issued.saturating_add(life.min(MAX_TOKEN_LIFE).num_seconds());
        let claims = Claims {
            iss: PLANGATE.to_owned(),
            aud: PLANGATE.to_owned(),
            sub: customer_id.clone(),
            permissions: permissions.to_vec(),
            iat: issued,
            exp: expires,
        };
        Ok(MintedToken {
            token: encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)?,
            expires_at: DateTime::from_timestamp(expires, 0).unwrap_or(now),
        })
    }

    /// What the token grants, if it is good at `now`.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<TokenGrant, InvalidToken> {
        let claims = decode::<Claims>(token, &self.decoding, &self.validation)
            .map_err(|_| InvalidToken)?
            .claims;
        let issued = DateTime::from_timestamp(claims.iat, 0).ok_or(InvalidToken)?;
        let expires = DateTime::from_timestamp(claims.exp, 0).ok_or(InvalidToken)?;
        let in_time = issued - LEEWAY <= now && now < expires + LEEWAY;
        if !in_time || expires - issued > MAX_TOKEN_LIFE {
            return Err(InvalidToken);
        }
        Ok(TokenGrant {
            customer_id: claims.sub,
            permissions: claims.permissions,
        })
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;

    fn tokens() -> CustomerTokens {
        CustomerTokens::new(&SecretString::from("a secret of thirty-two characters"))
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 250_000_000).unwrap()
    }

    fn acme() -> CustomerId {
        CustomerId::parse("acme").unwrap()
    }

    fn minted(life_seconds: i64) -> MintedToken {
        tokens()
            .mint(
                &acme(),
                &[TokenPermission::Read],
                now(),
                TimeDelta::seconds(life_seconds),
            )
            .unwrap()
    }

    fn forged(header: Header, claims: &serde_json::Value) -> String {
        encode(&header, claims, &tokens().encoding).unwrap()
    }

    fn claims() -> serde_json::Value {
        let issued = now().timestamp();
        json!({"iss": "plangate", "aud": "plangate", "sub": "acme", "permissions": ["read"],
            "iat": issued, "exp": issued + 60})
    }

    #[test]
    fn a_token_grants_what_it_was_minted_with() {
        let grant = tokens().verify(&minted(60).token, now()).unwrap();
        assert_eq!(grant.customer_id, acme());
        assert_eq!(grant.permissions, [TokenPermission::Read]);
        assert!(
            tokens()
                .verify(&forged(Header::default(), &claims()), now())
                .is_ok()
        );
    }

    #[test]
    fn a_token_ends_on_time_give_or_take_the_leeway() {
        let minted = minted(60);
        assert_eq!(minted.expires_at.timestamp(), now().timestamp() + 60);
        let at = |offset| {
            tokens().verify(
                &minted.token,
                minted.expires_at + TimeDelta::seconds(offset),
            )
        };
        assert!(at(-1).is_ok());
        assert!(at(4).is_ok());
        assert_eq!(at(5), Err(InvalidToken));
    }

    #[test]
    fn a_token_from_the_future_is_refused_but_for_the_leeway() {
        let token = minted(60).token;
        assert!(
            tokens()
                .verify(&token, now() - TimeDelta::seconds(5))
                .is_ok()
        );
        assert!(
            tokens()
                .verify(&token, now() - TimeDelta::seconds(6))
                .is_err()
        );
    }

    #[test]
    fn no_token_lives_longer_than_an_hour() {
        assert_eq!(
            minted(86_400).expires_at.timestamp(),
            now().timestamp() + 3_600
        );
        let mut long = claims();
        long["exp"] = json!(now().timestamp() + 3_601);
        assert!(
            tokens()
                .verify(&forged(Header::default(), &long), now())
                .is_err()
        );
    }

    #[test]
    fn another_secret_algorithm_issuer_or_audience_is_refused() {
        let other = CustomerTokens::new(&SecretString::from("another secret of enough characters"));
        assert!(other.verify(&minted(60).token, now()).is_err());
        assert!(
            tokens()
                .verify(&forged(Header::new(Algorithm::HS512), &claims()), now())
                .is_err()
        );
        for claim in ["iss", "aud"] {
            let mut wrong = claims();
            wrong[claim] = json!("someone-else");
            assert!(
                tokens()
                    .verify(&forged(Header::default(), &wrong), now())
                    .is_err(),
                "{claim}"
            );
        }
        for claim in ["iss", "aud", "sub", "exp", "iat", "permissions"] {
            let mut without = claims();
            without.as_object_mut().unwrap().remove(claim);
            assert!(
                tokens()
                    .verify(&forged(Header::default(), &without), now())
                    .is_err(),
                "{claim}"
            );
        }
    }

    #[test]
    fn unsigned_changed_and_nonsensical_tokens_are_refused() {
        let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let unsigned = format!(
            "{}.{}.",
            encode(&json!({"alg": "none", "typ": "JWT"})),
            encode(&claims())
        );
        let good = minted(60).token;
        let mut other = claims();
        other["sub"] = json!("globex");
        let parts: Vec<&str> = good.split('.').collect();
        let changed = format!("{}.{}.{}", parts[0], encode(&other), parts[2]);
        let mut odd = claims();
        odd["sub"] = json!("not a customer id");
        let odd = forged(Header::default(), &odd);
        for token in ["", "..", "a.b.c", &unsigned, &changed, &odd] {
            assert_eq!(tokens().verify(token, now()), Err(InvalidToken), "{token}");
        }
    }
}
