//! The catalogue's file format: reading it, and refusing what no plan can mean.

use std::sync::Arc;

use super::document::Node;
use super::reader::{Cursor, Faults, Fields, shown};
use super::{
    Catalogue, CatalogueFaults, Feature, FeatureDeclaration, FeatureKind, Grant, Interval, Overage,
    OveragePrice, Plan, Price,
};
use crate::domain::money::{Currency, UnitAmount};

const DEFAULT_GRACE_PERIOD_DAYS: u32 = 7;
const DEFAULT_LATE_USAGE_DAYS: u32 = 3;
const DEFAULT_HARD_LIMIT_PERCENT: u32 = 110;

// Bounds that no real catalogue meets; they keep a mistaken file from becoming a strange service.
const MOST_BYTES: usize = 4 << 20;
const MOST_TIERS: usize = 50;
const MOST_FEATURES: usize = 200;
const MOST_PRICES: usize = 200;
const LONGEST_NAME: usize = 200;
const LONGEST_DESCRIPTION: usize = 1000;
const MOST_GRACE_DAYS: i64 = 366;
const MOST_LATE_DAYS: i64 = 31;
const MOST_HARD_LIMIT_PERCENT: i64 = 100_000;
/// Stripe takes no larger amount in any currency.
const MOST_UNIT_AMOUNT: i64 = 999_999_999_999;

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

/// A declaration that may be faulty: its key is still known, so that the tiers are not blamed for using it.
struct Declared {
    key: String,
    name: Option<String>,
    kind: Option<FeatureKind>,
}

impl Declared {
    fn sound(self) -> Option<FeatureDeclaration> {
        Some(FeatureDeclaration {
            key: self.key,
            name: self.name?,
            kind: self.kind?,
        })
    }
}

fn read_declarations(list: &Cursor<'_>, faults: &mut Faults) -> Option<Vec<Declared>> {
    let mut declared: Vec<Declared> = Vec::new();
    for item in list.list(MOST_FEATURES, faults)? {
        let item = item.named("feature", "key");
        let Some(fields) = item.fields(&["key", "name", "kind"], faults) else {
            continue;
        };
        let key = fields
            .required("key", faults)
            .and_then(|value| value.key(faults));
        let name = fields
            .required("name", faults)
            .and_then(|value| value.prose(LONGEST_NAME, faults));
        let kind = fields
            .required("kind", faults)
            .and_then(|value| read_kind(value, faults));
        let Some(key) = key else { continue };
        if declared.iter().any(|earlier| earlier.key == key) {
            faults.add(
                format!("{}/key", item.pointer),
                format!("the feature `{key}` is declared twice"),
            );
        } else {
            declared.push(Declared { key, name, kind });
        }
    }
    Some(declared)
}

fn read_kind(value: &Cursor<'_>, faults: &mut Faults) -> Option<FeatureKind> {
    const KINDS: [FeatureKind; 4] = [
        FeatureKind::Metered,
        FeatureKind::Allocated,
        FeatureKind::Static,
        FeatureKind::Boolean,
    ];
    let word = value.string(faults)?;
    let kind = KINDS.into_iter().find(|kind| kind.as_str() == word);
    if kind.is_none() {
        let kinds = KINDS.map(FeatureKind::as_str).join(", ");
        value.fault(
            faults,
            format!("there is no kind `{}`; the kinds are {kinds}", shown(word)),
        );
    }
    kind
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
    // What is missing here has left a fault; the plan still takes its place, so that others may refer to it.
    Some(Plan {
        tier: tier?,
        name: name.unwrap_or_default(),
        description: description.unwrap_or_default(),
        badge,
        prices: prices.unwrap_or_default(),
        features: features.unwrap_or_default(),
        upgrade_to,
    })
}

fn read_prices(list: &Cursor<'_>, faults: &mut Faults) -> Option<Vec<Price>> {
    let mut prices: Vec<Price> = Vec::new();
    for item in list.list(MOST_PRICES, faults)? {
        let Some(fields) = item.fields(&["currency", "unit_amount", "interval"], faults) else {
            continue;
        };
        let currency = read_currency(&fields, faults);
        let unit_amount = fields
            .required("unit_amount", faults)
            .and_then(|value| value.integer(0, MOST_UNIT_AMOUNT, faults));
        let interval = fields
            .required("interval", faults)
            .and_then(|value| read_interval(value, faults));
        let (Some(currency), Some(unit_amount), Some(interval)) = (currency, unit_amount, interval)
        else {
            continue;
        };
        if prices
            .iter()
            .any(|earlier| earlier.currency == currency && earlier.interval == interval)
        {
            item.fault(
                faults,
                format!("there is a second price in {currency} for this interval"),
            );
        } else {
            prices.push(Price {
                currency,
                unit_amount,
                interval,
            });
        }
    }
    Some(prices)
}

fn read_currency(fields: &Fields<'_>, faults: &mut Faults) -> Option<Currency> {
    let value = fields.required("currency", faults)?;
    Currency::parse(value.string(faults)?)
        .map_err(|error| value.fault(faults, shown(&error.to_string())))
        .ok()
}

fn read_interval(value: &Cursor<'_>, faults: &mut Faults) -> Option<Interval> {
    match value.string(faults)? {
        "month" => Some(Interval::Month),
        "year" => Some(Interval::Year),
        other => {
            value.fault(
                faults,
                format!("the interval is month or year, not `{}`", shown(other)),
            );
            None
        }
    }
}

/// The tier's features in the order of their declaration, so that reordering the file's limits is no new plan.
fn read_limits(
    object: &Cursor<'_>,
    declared: &[Declared],
    faults: &mut Faults,
) -> Option<Vec<Feature>> {
    let limits = object.entries(faults)?;
    let mut features = Vec::with_capacity(limits.len());
    for (key, value) in &limits {
        if !declared.iter().any(|feature| feature.key == **key) {
            value.fault(
                faults,
                format!("the feature `{}` is not declared in /features", shown(key)),
            );
        }
    }
    for feature in declared {
        let Some((_, value)) = limits.iter().find(|(key, _)| **key == feature.key) else {
            continue;
        };
        let mut value = value.clone();
        value.context = format!("{}feature `{}`: ", value.context, feature.key);
        let grant = feature
            .kind
            .and_then(|kind| read_grant(&value, kind, faults));
        if let (Some(grant), Some(name)) = (grant, &feature.name) {
            features.push(Feature {
                key: feature.key.clone(),
                name: name.clone(),
                grant,
            });
        }
    }
    Some(features)
}

fn read_grant(value: &Cursor<'_>, kind: FeatureKind, faults: &mut Faults) -> Option<Grant> {
    match kind {
        FeatureKind::Metered => read_metered(value, faults),
        FeatureKind::Allocated => {
            read_plain_limit(value, kind, faults).map(|limit| Grant::Allocated { limit })
        }
        FeatureKind::Static => {
            read_plain_limit(value, kind, faults).map(|limit| Grant::Static { limit })
        }
        FeatureKind::Boolean => value
            .boolean(faults)
            .map(|enabled| Grant::Boolean { enabled }),
    }
}

/// The limit of a kind that has neither a soft zone nor overage.
#[expect(clippy::option_option, reason = "faulty, unlimited, or limited")]
fn read_plain_limit(
    value: &Cursor<'_>,
    kind: FeatureKind,
    faults: &mut Faults,
) -> Option<Option<i64>> {
    if matches!(value.node, Node::Object(_)) {
        value.fault(
            faults,
            format!(
                "must be a number or null: a soft zone and overage are for metered features, this one is {}",
                kind.as_str()
            ),
        );
        return None;
    }
    read_limit(value, faults)
}

#[expect(clippy::option_option, reason = "faulty, unlimited, or limited")]
fn read_limit(value: &Cursor<'_>, faults: &mut Faults) -> Option<Option<i64>> {
    if matches!(value.node, Node::Null) {
        return Some(None);
    }
    value.integer(0, i64::MAX, faults).map(Some)
}

fn read_metered(value: &Cursor<'_>, faults: &mut Faults) -> Option<Grant> {
    if !matches!(value.node, Node::Object(_)) {
        let limit = read_limit(value, faults)?;
        return soft_limited(value, limit, DEFAULT_HARD_LIMIT_PERCENT, faults);
    }
    let fields = value.fields(&["limit", "hard_limit_percent", "overage"], faults)?;
    let limit = fields
        .required("limit", faults)
        .and_then(|value| read_limit(value, faults));
    let percent = fields.optional("hard_limit_percent");
    let Some(overage) = fields.optional("overage") else {
        let percent = percent.map_or(Some(DEFAULT_HARD_LIMIT_PERCENT), |value| {
            u32::try_from(value.integer(100, MOST_HARD_LIMIT_PERCENT, faults)?).ok()
        });
        return soft_limited(value, limit?, percent?, faults);
    };
    if let Some(percent) = percent {
        percent.fault(
            faults,
            "has no meaning beside overage, which is capped by `overage.max_quantity`",
        );
    }
    if limit == Some(None) {
        overage.fault(
            faults,
            "an unlimited feature has no overage; give it a limit",
        );
    }
    let read = read_overage(overage, limit.flatten(), faults);
    Some(Grant::Metered {
        limit: limit?,
        hard_limit_percent: None,
        overage: Some(read?),
    })
}

fn soft_limited(
    value: &Cursor<'_>,
    limit: Option<i64>,
    percent: u32,
    faults: &mut Faults,
) -> Option<Grant> {
    let hard_limit = i128::from(limit.unwrap_or(0)) * i128::from(percent) / 100;
    if i64::try_from(hard_limit).is_err() {
        value.fault(
            faults,
            format!("{percent} % of the limit is more than a 64-bit integer holds"),
        );
        return None;
    }
    Some(Grant::Metered {
        limit,
        hard_limit_percent: Some(percent),
        overage: None,
    })
}

fn read_overage(value: &Cursor<'_>, limit: Option<i64>, faults: &mut Faults) -> Option<Overage> {
    let fields = value.fields(&["max_quantity", "prices"], faults)?;
    let mut max_quantity = None;
    if let Some(value) = fields.optional("max_quantity") {
        // The cap in force is the sum of both, and it must fit.
        let most = i64::MAX - limit.unwrap_or(0);
        max_quantity = value.integer(1, most, faults);
    }
    let items = fields.required("prices", faults)?.filled_list(
        MOST_PRICES,
        "overage needs a price",
        faults,
    )?;
    let mut prices: Vec<OveragePrice> = Vec::new();
    for item in items {
        let Some(fields) = item.fields(&["currency", "unit_amount_decimal"], faults) else {
            continue;
        };
        let currency = read_currency(&fields, faults);
        let unit_amount_decimal = fields
            .required("unit_amount_decimal", faults)
            .and_then(|value| read_unit_amount(value, faults));
        let (Some(currency), Some(unit_amount_decimal)) = (currency, unit_amount_decimal) else {
            continue;
        };
        if prices.iter().any(|earlier| earlier.currency == currency) {
            item.fault(
                faults,
                format!("there is a second overage price in {currency}"),
            );
        } else {
            prices.push(OveragePrice {
                currency,
                unit_amount_decimal,
            });
        }
    }
    Some(Overage {
        max_quantity,
        prices,
    })
}

fn read_unit_amount(value: &Cursor<'_>, faults: &mut Faults) -> Option<UnitAmount> {
    UnitAmount::parse(value.string(faults)?)
        .map_err(|error| value.fault(faults, error.to_string()))
        .ok()
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
