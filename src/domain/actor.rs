//! Who makes a request, once the credential has been judged.

use std::sync::Arc;

use super::api_key::KeyRecord;
use super::ids::CustomerId;
use super::permission::{Permission, TokenPermission, scopes_allow, token_allows};

/// The authenticated caller.
#[derive(Clone, Debug)]
pub enum Actor {
    /// Whoever holds the configured admin key.
    Operator,
    /// A stored API key.
    Key(Arc<KeyRecord>),
    /// A frontend, acting for one customer.
    Customer {
        /// The only customer that it may name.
        id: CustomerId,
        /// What the token was minted with.
        permissions: Vec<TokenPermission>,
    },
}

impl Actor {
    /// Whether the caller may do it at all. Whether for *this* customer is a second question, for tokens.
    pub fn may(&self, permission: Permission) -> bool {
        match self {
            Self::Operator => true,
            Self::Key(key) => scopes_allow(&key.scopes, permission),
            Self::Customer { permissions, .. } => token_allows(permissions, permission),
        }
    }

    /// The customer that the caller is bound to; None for keys, which may name any.
    pub fn bound_to(&self) -> Option<&CustomerId> {
        match self {
            Self::Customer { id, .. } => Some(id),
            Self::Operator | Self::Key(_) => None,
        }
    }

    /// How logs and the audit trail name the caller.
    pub fn label(&self) -> String {
        match self {
            Self::Operator => "admin-key".to_owned(),
            Self::Key(key) => format!("key:{}", key.id),
            Self::Customer { id, .. } => format!("customer:{id}"),
        }
    }
}
