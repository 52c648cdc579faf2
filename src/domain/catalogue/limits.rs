//! The part of the file that says how much of each feature a tier gives.

use super::declarations::Declared;
use super::document::Node;
use super::prices::read_overage;
use super::reader::{Cursor, Faults, shown};
use super::{Feature, FeatureKind, Grant};

/// Where the soft zone of a metered feature ends that says nothing else, in percent of the limit.
pub const DEFAULT_HARD_LIMIT_PERCENT: u32 = 110;
const MOST_HARD_LIMIT_PERCENT: i64 = 100_000;

/// The tier's features in the order of their declaration, so that reordering the file's limits is no new plan.
pub(super) fn read_limits(
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
