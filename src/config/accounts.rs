//! Providers' accounts. Which settings one has its own module knows; here they are looked up.

use url::Url;

use super::source::Source;
use super::{Environment, web};
use crate::domain::catalogue::Catalogue;
use crate::providers::registry::{Account, REGISTRY, Settings};

/// Every account that is configured.
pub(super) fn read(
    source: &mut Source<'_>,
    environment: Environment,
    catalogue: Option<&Catalogue>,
) -> Vec<Account> {
    let mut settings = Looked {
        source,
        environment,
    };
    REGISTRY
        .iter()
        .filter_map(|configure| configure(&mut settings, catalogue))
        .collect()
}

struct Looked<'a, 's> {
    source: &'a mut Source<'s>,
    environment: Environment,
}

impl Settings for Looked<'_, '_> {
    fn text(&self, name: &str) -> Option<String> {
        self.source.text(name)
    }

    fn is_set(&self, name: &str) -> bool {
        self.source.is_set(name)
    }

    fn is_set_as_secret(&self, name: &str) -> bool {
        self.source.is_set_as_secret(name)
    }

    fn secret(&mut self, name: &str) -> Option<String> {
        self.source.secret(name)
    }

    fn api_base(&mut self, name: &str, default: &str) -> Option<Url> {
        web::api_base(self.source, name, default, self.environment)
    }

    fn is_production(&self) -> bool {
        self.environment == Environment::Production
    }

    fn fault(&mut self, name: &str, problem: &str) {
        self.source.fault(name, problem);
    }

    fn warn(&mut self, warning: &str) {
        self.source.warn(warning);
    }
}
