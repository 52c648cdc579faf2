//! The catalogue's file format: reading it, and refusing what no plan can mean.

use std::sync::Arc;

use super::declarations::{Declared, read_declarations};
use super::document::Node;
use super::limits::read_limits;
use super::prices::read_prices;
use super::promotion::{read_promotion_codes, read_trial_days};
use super::reader::{Cursor, Faults};
use super::{Catalogue, CatalogueFaults, Plan};

const DEFAULT_GRACE_PERIOD_DAYS: u32 = 7;
const DEFAULT_LATE_USAGE_DAYS: u32 = 3;

// Bounds that no real catalogue meets; they keep a mistaken file from becoming a strange service.
const MOST_BYTES: usize = 4 << 20;
const MOST_TIERS: usize = 50;
pub(super) const LONGEST_NAME: usize = 200;
const LONGEST_DESCRIPTION: usize = 1000;
const MOST_GRACE_DAYS: i64 = 366;
const MOST_LATE_DAYS: i64 = 31;

pub(super) fn parse(text: &str) -> Result<Catalogue, CatalogueFaults> {
    let mut faults = Faults::default();
    if text.len() > MOST_BYTES {
        faults.add("", format!("is larger than {MOST_BYTES} bytes"));
        return faults.finish(None);
    }
    let root: Node = match serde_json::from_str(text) {
        Ok(root) => root,
        Err(error) => {
            faults.add("", format!("is not JSON: {error}"));
            return faults.finish(None);
        }
    };
    let catalogue = read_catalogue(&root, &mut faults);
    faults.finish(catalogue)
}

fn read_catalogue(root: &Node, faults: &mut Faults) -> Option<Catalogue> {
    let root = Cursor {
        node: root,
        pointer: String::new(),
        context: String::new(),
    };
    let fields = root.fields(
        &[
            "default_tier",
            "grace_period_days",
            "late_usage_days",
            "features",
            "tiers",
        ],
        faults,
    )?;
    let days = |name: &str, default: u32, most: i64, faults: &mut Faults| {
        fields.optional(name).map_or(Some(default), |value| {
            u32::try_from(value.integer(0, most, faults)?).ok()
        })
    };
    let grace_period_days = days(
        "grace_period_days",
        DEFAULT_GRACE_PERIOD_DAYS,
        MOST_GRACE_DAYS,
        faults,
    );
    let late_usage_days = days(
        "late_usage_days",
        DEFAULT_LATE_USAGE_DAYS,
        MOST_LATE_DAYS,
        faults,
    );
    let declared = fields
        .required("features", faults)
        .and_then(|value| read_declarations(value, faults));
    let tiers = fields
        .required("tiers", faults)
        .and_then(|value| value.filled_list(MOST_TIERS, "there must be a tier", faults))
        .unwrap_or_default();
    let known = declared.as_deref();
    let mut plans: Vec<(Cursor<'_>, Plan)> = Vec::with_capacity(tiers.len());
    for tier in tiers {
        let tier = tier.named("tier", "tier");
        let Some(plan) = read_plan(&tier, known, faults) else {
            continue;
        };
        if plans.iter().any(|(_, earlier)| earlier.tier == plan.tier) {
            faults.add(
                format!("{}/tier", tier.pointer),
                format!("the tier `{}` is listed twice", plan.tier),
            );
        } else {
            plans.push((tier, plan));
        }
    }
    let default_tier = fields
        .required("default_tier", faults)
        .and_then(|value| value.key(faults));
    if let Some(default) = &default_tier
        && !plans.iter().any(|(_, plan)| plan.tier == *default)
    {
        faults.add("/default_tier", format!("there is no tier `{default}`"));
    }
    check_upgrades(&plans, faults);
    Some(Catalogue {
        default_tier: default_tier?,
        tiers: plans.into_iter().map(|(_, plan)| Arc::new(plan)).collect(),
        grace_period_days: grace_period_days?,
        late_usage_days: late_usage_days?,
        // A declaration without a kind has left a fault, so the catalogue is not handed out.
        declared: declared?.into_iter().filter_map(Declared::sound).collect(),
    })
}

fn read_plan(
    item: &Cursor<'_>,
    declared: Option<&[Declared]>,
    faults: &mut Faults,
) -> Option<Plan> {
    let fields = item.fields(
        &[
            "tier",
            "name",
            "description",
            "badge",
            "prices",
            "upgrade_to",
            "trial_days",
            "promotion_codes",
            "limits",
        ],
        faults,
    )?;
    let tier = fields
        .required("tier", faults)
        .and_then(|value| value.key(faults));
    let name = fields
        .required("name", faults)
        .and_then(|value| value.prose(LONGEST_NAME, faults));
    let description = fields
        .required("description", faults)
        .and_then(|value| value.prose(LONGEST_DESCRIPTION, faults));
    let badge = fields
        .optional("badge")
        .and_then(|value| value.prose(LONGEST_NAME, faults));
    let prices = fields
        .required("prices", faults)
        .and_then(|value| read_prices(value, faults));
    let upgrade_to = fields
        .optional("upgrade_to")
        .and_then(|value| value.key(faults));
    let features = fields
        .required("limits", faults)
        .and_then(|value| read_limits(value, declared?, faults));
    let trial_days = fields
        .optional("trial_days")
        .and_then(|value| read_trial_days(value, prices.as_deref(), faults));
    let promotion_codes = fields
        .optional("promotion_codes")
        .and_then(|value| read_promotion_codes(value, prices.as_deref(), faults));
    // What is missing here has left a fault; the plan still takes its place, so that others may refer to it.
    Some(Plan {
        tier: tier?,
        name: name.unwrap_or_default(),
        description: description.unwrap_or_default(),
        badge,
        prices: prices.unwrap_or_default(),
        features: features.unwrap_or_default(),
        upgrade_to,
        trial_days,
        promotion_codes: promotion_codes.unwrap_or_default(),
    })
}

/// An upgrade leads to a higher tier. That alone rules out circles; where there is one, the message shows it.
fn check_upgrades(plans: &[(Cursor<'_>, Plan)], faults: &mut Faults) {
    let rank = |tier: &str| plans.iter().position(|(_, plan)| plan.tier == tier);
    for (own, (item, plan)) in plans.iter().enumerate() {
        let Some(target) = &plan.upgrade_to else {
            continue;
        };
        let detail = match rank(target) {
            None => format!("there is no tier `{target}` to upgrade to"),
            Some(there) if there == own => "upgrades to itself".to_owned(),
            Some(there) if there < own => way_back(plans, own, there).map_or_else(
                || format!("upgrades to `{target}`, which the file lists as a lower tier"),
                |way| format!("its upgrade leads back: {way}"),
            ),
            Some(_) => continue,
        };
        let place = format!("{}/upgrade_to", item.pointer);
        faults.add(place, format!("{}{detail}", item.context));
    }
}

/// The chain of upgrades from `start` over `next` back to `start`, if they form a circle.
fn way_back(plans: &[(Cursor<'_>, Plan)], start: usize, next: usize) -> Option<String> {
    let mut way = vec![plans.get(start)?.1.tier.as_str()];
    let mut at = next;
    // More steps than tiers are a circle that `start` is not part of.
    for _ in 0..plans.len() {
        let plan = &plans.get(at)?.1;
        way.push(&plan.tier);
        if at == start {
            return Some(way.join(" → "));
        }
        let target = plan.upgrade_to.as_deref()?;
        at = plans.iter().position(|(_, plan)| plan.tier == target)?;
    }
    None
}
