//! What operators do. Every write leaves a row in the audit log.

pub mod api_keys;
pub mod audit;
pub mod overrides;
pub mod reconcile;
pub mod subscriptions;
pub mod usage;
pub mod webhooks;

use super::problem::Problem;

/// Longest reason or name, in characters.
const TEXT_MAX: usize = 500;

/// Checks a text for people.
fn text(field: &str, text: &str) -> Result<(), Problem> {
    let fits = (1..=TEXT_MAX).contains(&text.trim().chars().count())
        && !text.chars().any(char::is_control);
    if fits {
        Ok(())
    } else {
        let fault = format!("must be 1 to {TEXT_MAX} characters without control characters");
        Err(Problem::validation(format!("/{field}"), fault))
    }
}
