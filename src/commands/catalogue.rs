//! `plangate catalogue check`: what a catalogue file would change.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::Value;

use super::{Database, Failure, say};
use plangate::config::Config;
use plangate::domain::catalogue::{Catalogue, Plan};
use plangate::domain::plans::PlanVersion;
use plangate::server::connect;
use plangate::store::{migrations, plan_versions};

pub(crate) fn check(config: &Config, file: &Path) -> Result<ExitCode, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::Refused(format!("cannot read {}: {error}", file.display())))?;
    let catalogue = match Catalogue::parse(&text) {
        Ok(catalogue) => catalogue,
        Err(faults) => {
            for fault in faults.0 {
                say(format_args!("{}: {fault}", file.display()))?;
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    let (against, known) = known_versions(config)?;
    say(format_args!(
        "{} is valid; against {against}:",
        file.display()
    ))?;
    for line in report(&catalogue, &known) {
        say(line)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What the file is compared with: the versions in the database if one can be reached, else the catalogue of the binary.
fn known_versions(config: &Config) -> Result<(&'static str, Vec<Arc<PlanVersion>>), Failure> {
    if let Some(url) = Database::reachable(config)? {
        let mut conn = connect(&url)?;
        if !migrations::pending(&mut conn)? {
            let versions = plan_versions::all(&mut conn)?;
            let versions: Vec<_> = versions.into_iter().map(|(version, _)| version).collect();
            if !versions.is_empty() {
                return Ok(("the plan versions in the database", versions));
            }
        }
    }
    let embedded = Catalogue::embedded().map_err(|faults| Failure::Refused(faults.to_string()))?;
    let versions = embedded.tiers.iter().map(|plan| {
        Arc::new(PlanVersion {
            version: 1,
            plan: plan.as_ref().clone(),
        })
    });
    Ok(("the default catalogue (no database)", versions.collect()))
}

/// A line for each tier, followed by what changes in it.
fn report(catalogue: &Catalogue, known: &[Arc<PlanVersion>]) -> Vec<String> {
    let mut lines = Vec::new();
    for plan in &catalogue.tiers {
        let latest = latest_of(known, &plan.tier);
        let same = known
            .iter()
            .find(|version| version.plan == **plan)
            .map(|version| version.version);
        match (latest, same) {
            (None, _) => lines.push(format!("{}: new tier, version 1", plan.tier)),
            (Some(latest), Some(same)) if same == latest.version => {
                lines.push(format!("{}: unchanged, version {same}", plan.tier));
            }
            (Some(latest), Some(same)) => {
                lines.push(format!("{}: back to version {same}", plan.tier));
                lines.extend(differences(&latest.plan, plan));
            }
            (Some(latest), None) => {
                let next = latest.version.saturating_add(1);
                lines.push(format!("{}: new version {next}", plan.tier));
                lines.extend(differences(&latest.plan, plan));
            }
        }
    }
    let mut gone: Vec<&str> = known
        .iter()
        .map(|version| version.plan.tier.as_str())
        .filter(|tier| catalogue.plan(tier).is_none())
        .collect();
    gone.sort_unstable();
    gone.dedup();
    lines.extend(gone.iter().map(|tier| {
        format!("{tier}: not in this file; subscriptions keep the version that they were sold")
    }));
    lines
}

fn latest_of<'a>(known: &'a [Arc<PlanVersion>], tier: &str) -> Option<&'a Arc<PlanVersion>> {
    known
        .iter()
        .filter(|version| version.plan.tier == tier)
        .max_by_key(|version| version.version)
}

fn differences(old: &Plan, new: &Plan) -> Vec<String> {
    let (old, new) = (flat(old), flat(new));
    let none = "nothing".to_owned();
    let mut places: Vec<&String> = old.keys().chain(new.keys()).collect();
    places.sort_unstable();
    places.dedup();
    places
        .into_iter()
        .filter(|place| old.get(*place) != new.get(*place))
        .map(|place| {
            let (was, is) = (
                old.get(place).unwrap_or(&none),
                new.get(place).unwrap_or(&none),
            );
            format!("    {place}: {was} -> {is}")
        })
        .collect()
}

/// Every leaf of the plan under a name for people: entries of lists by what tells them apart, not by their place.
fn flat(plan: &Plan) -> BTreeMap<String, String> {
    let mut leaves = BTreeMap::new();
    if let Ok(value) = serde_json::to_value(plan) {
        flatten("", &value, &mut leaves);
    }
    leaves
}

fn flatten(place: &str, value: &Value, leaves: &mut BTreeMap<String, String>) {
    let below = |name: &str| match place {
        "" => name.to_owned(),
        place => format!("{place}.{name}"),
    };
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                flatten(&below(name), member, leaves);
            }
        }
        Value::Array(entries) => {
            for (index, entry) in entries.iter().enumerate() {
                let name = ["key", "currency", "interval"]
                    .iter()
                    .filter_map(|member| entry.get(member)?.as_str())
                    .collect::<Vec<_>>()
                    .join("/");
                let name = if name.is_empty() {
                    index.to_string()
                } else {
                    name
                };
                flatten(&below(&name), entry, leaves);
            }
        }
        leaf => {
            leaves.insert(place.to_owned(), leaf.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(catalogue: &Catalogue) -> Vec<Arc<PlanVersion>> {
        let plans = catalogue.tiers.iter();
        plans
            .map(|plan| {
                Arc::new(PlanVersion {
                    version: 1,
                    plan: plan.as_ref().clone(),
                })
            })
            .collect()
    }

    #[test]
    fn an_equal_catalogue_changes_nothing() {
        let catalogue = Catalogue::embedded().unwrap();
        let lines = report(&catalogue, &versions(&catalogue));
        assert_eq!(
            lines,
            ["free", "pro", "scale"].map(|tier| format!("{tier}: unchanged, version 1"))
        );
    }

    #[test]
    fn changes_are_named_and_a_former_content_is_its_former_version() {
        let catalogue = Catalogue::embedded().unwrap();
        let mut known = versions(&catalogue);
        let mut newer = known[1].as_ref().clone();
        newer.version = 2;
        newer.plan.prices[0].unit_amount = 5900;
        known.push(Arc::new(newer));
        let mut gone = known[0].as_ref().clone();
        gone.plan.tier = "starter".to_owned();
        known.remove(2);
        known.push(Arc::new(gone));
        let lines = report(&catalogue, &known);
        assert_eq!(
            lines,
            [
                "free: unchanged, version 1",
                "pro: back to version 1",
                "    prices.usd/month.unit_amount: 5900 -> 4900",
                "scale: new tier, version 1",
                "starter: not in this file; subscriptions keep the version that they were sold",
            ]
        );
    }
}
