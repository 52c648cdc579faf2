//! Every provider there is, and how one is set up.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use secrecy::SecretString;
use url::Url;

use super::transport::Transport;
use super::{Provider, razorpay, stripe};
use crate::domain::catalogue::Catalogue;
use crate::domain::provider_event::ProviderName;

/// One line for each provider; `docs/providers.md` tells what belongs to it.
pub const REGISTRY: [Configure; 2] = [stripe::configure, razorpay::configure];

/// Reads a provider's settings and says what is wrong with them; `None`: it is not to be used. Without a catalogue, which then has faults
/// of its own, prices are left alone.
pub type Configure = fn(&mut dyn Settings, Option<&Catalogue>) -> Option<Account>;

/// Where a provider's module finds its settings. Whatever is wrong with them is collected, so that one start tells all.
pub trait Settings {
    /// A setting that is no secret.
    fn text(&self, name: &str) -> Option<String>;
    /// Whether the setting is there with something in it.
    fn is_set(&self, name: &str) -> bool;
    /// Whether the secret was meant to be given, be what was given faulty.
    fn is_set_as_secret(&self, name: &str) -> bool;
    /// A secret, from the variable or from the file that `<name>_FILE` names.
    fn secret(&mut self, name: &str) -> Option<String>;
    /// Scheme and host of the provider's API; `default` where none is set.
    fn api_base(&mut self, name: &str, default: &str) -> Option<Url>;
    /// Whether real customers depend on it.
    fn is_production(&self) -> bool;
    /// Notes what keeps the service from starting.
    fn fault(&mut self, name: &str, problem: &str);
    /// Notes what is allowed and yet likely a mistake.
    fn warn(&mut self, warning: &str);
}

/// The provider's prices of one tier.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SoldUnder {
    /// Of the plan itself, for each billing interval.
    pub base: Option<String>,
    /// Of use above a limit, metered.
    pub overage: Option<String>,
}

/// An account at a provider, as it is configured.
#[derive(Clone)]
pub struct Account {
    /// At which provider.
    pub provider: ProviderName,
    /// What it sells our plans under, by tier.
    pub prices: BTreeMap<String, SoldUnder>,
    open: Open,
}

type Open = Arc<dyn Fn(Transport) -> Result<Arc<dyn Provider>, SetupError> + Send + Sync>;

/// Why a provider cannot be used with its settings.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct SetupError(Box<dyn std::error::Error + Send + Sync>);

impl Account {
    /// An account that `open` makes ready for use. Nothing is sent by that.
    pub(super) fn new<P, E>(
        provider: ProviderName,
        prices: BTreeMap<String, SoldUnder>,
        open: impl Fn(Transport) -> Result<P, E> + Send + Sync + 'static,
    ) -> Self
    where
        P: Provider + 'static,
        E: std::error::Error + Send + Sync + 'static,
    {
        let open = move |transport| match open(transport) {
            Ok(provider) => Ok(Arc::new(provider) as Arc<dyn Provider>),
            Err(error) => Err(SetupError(Box::new(error))),
        };
        Self {
            provider,
            prices,
            open: Arc::new(open),
        }
    }

    /// The provider, reached through `transport`.
    pub fn open(&self, transport: Transport) -> Result<Arc<dyn Provider>, SetupError> {
        (self.open)(transport)
    }
}

/// Secrets between commas, several while one is being replaced.
pub(super) fn secrets(settings: &mut dyn Settings, name: &str) -> Vec<SecretString> {
    let Some(list) = settings.secret(name) else {
        return Vec::new();
    };
    let entries: Vec<&str> = list.split(',').map(str::trim).collect();
    if entries.iter().any(|entry| entry.is_empty()) {
        // Anybody could sign with an empty secret.
        settings.fault(name, "has a blank entry between its commas; remove it");
    }
    entries.into_iter().map(SecretString::from).collect()
}

/// Without the credentials that the opening holds.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("provider", &self.provider)
            .field("prices", &self.prices)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::providers::transport::{RetryPolicy, Timeouts};

    /// Settings of production, with what was said of them.
    pub(in crate::providers) struct Given {
        values: BTreeMap<String, String>,
        pub(in crate::providers) problems: Vec<String>,
    }

    impl Given {
        pub(in crate::providers) fn production(values: &[(&str, &str)]) -> Self {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            Self {
                values: values.iter().map(owned).collect(),
                problems: Vec::new(),
            }
        }

        pub(in crate::providers) fn has(&self, words: &str) -> bool {
            self.problems.iter().any(|problem| problem.contains(words))
        }
    }

    impl Settings for Given {
        fn text(&self, name: &str) -> Option<String> {
            self.values.get(name).cloned()
        }

        fn is_set(&self, name: &str) -> bool {
            self.values.contains_key(name)
        }

        fn is_set_as_secret(&self, name: &str) -> bool {
            self.is_set(name)
        }

        fn secret(&mut self, name: &str) -> Option<String> {
            self.text(name)
        }

        fn api_base(&mut self, name: &str, default: &str) -> Option<Url> {
            let text = self.text(name).unwrap_or_else(|| default.to_owned());
            Url::parse(&text).ok()
        }

        fn is_production(&self) -> bool {
            true
        }

        fn fault(&mut self, name: &str, problem: &str) {
            self.problems.push(format!("{name}: {problem}"));
        }

        fn warn(&mut self, warning: &str) {
            self.problems.push(warning.to_owned());
        }
    }

    #[test]
    fn every_provider_but_the_operator_can_be_set_up_once() {
        let values = [
            ("STRIPE_SECRET_KEY", "sk_live_a"),
            ("STRIPE_WEBHOOK_SECRET", "whsec_a"),
            ("RAZORPAY_KEY_ID", "rzp_live_a"),
            ("RAZORPAY_KEY_SECRET", "a"),
            ("RAZORPAY_WEBHOOK_SECRET", "a"),
        ];
        let mut given = Given::production(&values);
        let accounts: Vec<Account> = REGISTRY
            .iter()
            .filter_map(|configure| configure(&mut given, None))
            .collect();
        let mut names: Vec<ProviderName> =
            accounts.iter().map(|account| account.provider).collect();
        names.push(ProviderName::Manual);
        assert_eq!(names, ProviderName::ALL);
        for account in accounts {
            let transport = Transport::new(Timeouts::default(), RetryPolicy::default()).unwrap();
            let provider = account.provider;
            assert_eq!(account.open(transport).unwrap().name(), provider);
        }
    }
}
