//! The meter from the inside: against a model, among broken connections, killed servers and killed processes.

mod crash;
mod killed;
mod lost_commit;
mod model;
mod neighbours;
mod pile;
mod proxy;
mod remembered;

use std::sync::Arc;

use diesel::prelude::*;
use plangate::domain::catalogue::Catalogue;
use plangate::domain::ids::{CustomerId, IdempotencyKey};
use plangate::domain::policy::{Enforcement, UnknownCustomers};
use plangate::meter::{Consume, Meter, MeterError, Options, Rules, Settled, Step};
use plangate::service::plans::register;
use plangate::store::clock::{Clock, SystemClock};
use plangate::store::plan_book::PlanBook;
use plangate::store::pool::{self, StoreError};
use plangate::store::{counters, schema::usage_events};
use secrecy::SecretString;

/// A metered feature of the default catalogue.
const RUNS: &str = "attribution_runs";
const STEPS: [Step; 5] = [
    Step::Locked,
    Step::Read,
    Step::Judged,
    Step::Written,
    Step::Committed,
];

/// The rules of the default catalogue, which is put in force on the database.
fn rules(conn: &mut PgConnection, clock: Arc<dyn Clock>) -> Rules {
    let catalogue = Catalogue::embedded().unwrap();
    let plans = register(conn, &catalogue, None, &[], clock.now()).unwrap();
    Rules {
        book: Arc::new(PlanBook::new(plans)),
        clock,
        enforcement: Enforcement::Enforce,
        unknown_customers: UnknownCustomers::Create,
    }
}

/// A meter with one writer, so that what piles up is one batch. It goes by the database's clock.
fn meter(conn: &mut PgConnection, url: &str, options: Options) -> Meter {
    let rules = rules(conn, Arc::new(SystemClock));
    let pool = pool::build(&SecretString::from(url), 4);
    let options = Options {
        writers: 1,
        ..options
    };
    Meter::start(pool, rules, &options).unwrap()
}

fn connect(url: &str) -> PgConnection {
    PgConnection::establish(url).unwrap()
}

/// One run of the customer's; `key` makes its repetition safe.
fn run_of(customer: &str, key: Option<&str>) -> Consume {
    Consume {
        customer: CustomerId::parse(customer).unwrap(),
        feature: RUNS.to_owned(),
        quantity: 1,
        value: None,
        key: key.map(|key| IdempotencyKey::parse(key).unwrap()),
        properties: None,
    }
}

/// How often the ledger has the key; `None`: how many entries it has without one.
fn recorded(conn: &mut PgConnection, customer: &str, key: Option<&str>) -> i64 {
    let of_customer = usage_events::table.filter(usage_events::customer_id.eq(customer));
    let counted = match key {
        Some(key) => of_customer
            .filter(usage_events::idempotency_key.eq(key))
            .count()
            .get_result(conn),
        None => of_customer
            .filter(usage_events::idempotency_key.is_null())
            .count()
            .get_result(conn),
    };
    counted.unwrap()
}

/// Every counter is the sum of its ledger rows.
fn assert_derivable(conn: &mut PgConnection) {
    assert_eq!(counters::drifts(conn, None).unwrap(), []);
}

/// Calls that were made together: what each was told must be what the ledger says.
struct Calls {
    commands: Vec<Consume>,
    told: Vec<Result<Settled, MeterError>>,
}

impl Calls {
    /// Several customers' first and second runs, one of them without a key.
    fn commands(batch: &str) -> Vec<Consume> {
        let mut commands = Vec::new();
        for customer in ["anna", "bert", "cleo"] {
            for run in 0..2 {
                commands.push(run_of(customer, Some(&format!("{batch}-{run}"))));
            }
        }
        commands.push(run_of(&format!("keyless-{batch}"), None));
        commands
    }

    fn all_done(&self) -> bool {
        self.told.iter().all(|told| match told {
            Ok(settled) => settled.decision.allowed,
            Err(_) => false,
        })
    }

    /// An allowed answer is in the ledger once; an error of the store may be there once, if it is not one that says that nothing
    /// was done. Nobody is told anything else.
    fn assert_true(&self, conn: &mut PgConnection) {
        for (command, told) in self.commands.iter().zip(&self.told) {
            let customer = command.customer.as_str();
            let key = command.key.as_ref().map(IdempotencyKey::as_str);
            let recorded = recorded(conn, customer, key);
            match told {
                Ok(settled) if settled.decision.allowed => {
                    assert_eq!(recorded, 1, "{customer} {key:?} was told that it is done");
                }
                Err(MeterError::Store(StoreError::Unavailable(_))) => {
                    assert!(
                        recorded <= 1,
                        "{customer} {key:?} is there {recorded} times"
                    );
                }
                Err(MeterError::Store(StoreError::Busy(_))) => {
                    assert_eq!(recorded, 0, "{customer} {key:?}: {told:?}");
                }
                _ => panic!("{customer} {key:?}: {told:?}"),
            }
        }
        assert_derivable(conn);
    }

    /// The same calls again under their keys: each is settled once then, and what was done is told again.
    async fn assert_settled_by_repetition(&self, meter: &Meter, conn: &mut PgConnection) {
        for (command, told) in self.commands.iter().zip(&self.told) {
            let Some(key) = &command.key else { continue };
            let before = recorded(conn, command.customer.as_str(), Some(key.as_str()));
            let again = meter.consume(command.clone()).await.unwrap();
            assert_eq!(again.replayed, before == 1, "{command:?}");
            if let Ok(first) = told {
                assert_eq!(again.decision, first.decision, "a replay answers the same");
            }
            let after = recorded(conn, command.customer.as_str(), Some(key.as_str()));
            assert_eq!(after, 1, "{command:?}");
        }
        assert_derivable(conn);
    }
}
