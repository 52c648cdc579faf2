//! Billing: a plan is bought, changed, cancelled and resumed, and what came of it is looked at.

pub mod changes;
pub mod checkout;
pub mod portal;
pub mod subscription;
pub mod verify_payment;

use super::problem::Problem;

/// Longest return URL, in characters: browsers and providers take no longer ones.
const URL_MAX: usize = 2048;

/// Refuses a URL that no browser would follow; `pointer` is where it stands in the body.
fn url_of_sane_length(pointer: &'static str, url: Option<&str>) -> Result<(), Problem> {
    if url.is_some_and(|url| url.chars().count() > URL_MAX) {
        let detail = format!("has more than {URL_MAX} characters");
        return Err(Problem::validation(pointer, detail));
    }
    Ok(())
}
