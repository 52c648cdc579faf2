//! Who may do what: the one table that says which scope of a key, or which permission of a customer token, covers which
//! group of routes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::api_key::Scope;

/// What a route asks of its caller. Each route names exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// `POST /entitlements/check` and its batch form.
    CheckEntitlements,
    /// `GET` of `/entitlements`, `/usage` and `/plan-context`.
    ReadEntitlements,
    /// Consume, release, set, reserve, settle, record: whatever changes usage in the normal course.
    UseEntitlements,
    /// `GET /usage/history`, `/usage/events` and `/reservations/{id}`: detail that only the caller's backend sees.
    ReadUsageDetail,
    /// `GET /customers/{customer_id}`.
    ReadCustomers,
    /// `PUT /customers/{customer_id}`.
    WriteCustomers,
    /// `POST /customers/{customer_id}/tokens`.
    MintTokens,
    /// `GET /billing/subscription`.
    ReadSubscription,
    /// The rest of Billing.
    ManageBilling,
    /// Everything under `/admin`, and erasing a customer.
    Administer,
}

impl Permission {
    /// Every permission, for tables and tests.
    pub const ALL: [Self; 10] = [
        Self::CheckEntitlements,
        Self::ReadEntitlements,
        Self::UseEntitlements,
        Self::ReadUsageDetail,
        Self::ReadCustomers,
        Self::WriteCustomers,
        Self::MintTokens,
        Self::ReadSubscription,
        Self::ManageBilling,
        Self::Administer,
    ];
}

/// What a customer token was minted with.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum TokenPermission {
    /// Plan context, usage, entitlements, subscription; check.
    Read,
    /// Billing for this one customer.
    Billing,
}

/// Whether a key with these scopes may do it.
pub fn scopes_allow(scopes: &[Scope], permission: Permission) -> bool {
    scopes.iter().any(|scope| scope_allows(*scope, permission))
}

/// Whether a customer token with these permissions may do it (for its own customer; that is checked elsewhere).
pub fn token_allows(granted: &[TokenPermission], permission: Permission) -> bool {
    granted
        .iter()
        .any(|granted| token_permission_allows(*granted, permission))
}

fn scope_allows(scope: Scope, permission: Permission) -> bool {
    use Permission as P;
    match scope {
        Scope::Entitlements => matches!(
            permission,
            P::CheckEntitlements | P::ReadEntitlements | P::UseEntitlements | P::ReadUsageDetail
        ),
        Scope::Read => matches!(
            permission,
            P::CheckEntitlements
                | P::ReadEntitlements
                | P::ReadUsageDetail
                | P::ReadCustomers
                | P::ReadSubscription
        ),
        Scope::Billing => matches!(
            permission,
            P::ReadCustomers
                | P::WriteCustomers
                | P::MintTokens
                | P::ReadSubscription
                | P::ManageBilling
        ),
        Scope::Admin => true,
    }
}

fn token_permission_allows(granted: TokenPermission, permission: Permission) -> bool {
    use Permission as P;
    match granted {
        TokenPermission::Read => matches!(
            permission,
            P::CheckEntitlements | P::ReadEntitlements | P::ReadSubscription
        ),
        TokenPermission::Billing => matches!(permission, P::ReadSubscription | P::ManageBilling),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_is_the_documented_one() {
        use Permission as P;
        //                          entitlements  read  billing  admin | token: read  billing
        let matrix = [
            (
                P::CheckEntitlements,
                [true, true, false, true],
                [true, false],
            ),
            (
                P::ReadEntitlements,
                [true, true, false, true],
                [true, false],
            ),
            (
                P::UseEntitlements,
                [true, false, false, true],
                [false, false],
            ),
            (
                P::ReadUsageDetail,
                [true, true, false, true],
                [false, false],
            ),
            (P::ReadCustomers, [false, true, true, true], [false, false]),
            (
                P::WriteCustomers,
                [false, false, true, true],
                [false, false],
            ),
            (P::MintTokens, [false, false, true, true], [false, false]),
            (P::ReadSubscription, [false, true, true, true], [true, true]),
            (P::ManageBilling, [false, false, true, true], [false, true]),
            (P::Administer, [false, false, false, true], [false, false]),
        ];
        assert_eq!(matrix.map(|row| row.0), P::ALL);
        for (permission, keys, tokens) in matrix {
            let by_scope = Scope::ALL.map(|scope| scopes_allow(&[scope], permission));
            assert_eq!(by_scope, keys, "{permission:?}");
            let by_token = [TokenPermission::Read, TokenPermission::Billing]
                .map(|granted| token_allows(&[granted], permission));
            assert_eq!(by_token, tokens, "{permission:?}");
        }
    }

    #[test]
    fn scopes_add_up_and_none_allows_nothing() {
        let both = [Scope::Entitlements, Scope::Billing];
        assert!(scopes_allow(&both, Permission::UseEntitlements));
        assert!(scopes_allow(&both, Permission::ManageBilling));
        assert!(!scopes_allow(&both, Permission::Administer));
        for permission in Permission::ALL {
            assert!(!scopes_allow(&[], permission));
            assert!(!token_allows(&[], permission));
        }
    }
}
