//! The subscription that is to take the place of another one, at providers that cannot change a plan.

use super::BillingError;
use super::turn::Held;

/// Gives up what was to take the place of this one.
#[expect(clippy::unused_async, reason = "filled by the change of plans")]
pub(super) async fn drop_successor(_held: &mut Held<'_>) -> Result<(), BillingError> {
    Ok(())
}
