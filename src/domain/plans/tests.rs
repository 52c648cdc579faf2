use crate::domain::fixtures::{first, plan, plans, plans_of};

#[test]
fn tiers_rank_as_the_catalogue_lists_them() {
    let plans = plans();
    assert!(plans.lowers(&first("scale"), &first("pro")));
    assert!(plans.lowers(&first("pro"), &first("free")));
    assert!(!plans.lowers(&first("pro"), &first("scale")));
    assert!(!plans.lowers(&first("pro"), &first("pro")));
}

#[test]
fn a_retired_tier_keeps_its_place_between_those_that_stayed() {
    let plans = plans_of(vec![plan("free", &[]), plan("scale", &[])], None)
        .with_sold([(plan("pro", &[]), 1)]);
    assert!(plans.lowers(&first("scale"), &first("pro")));
    assert!(plans.lowers(&first("pro"), &first("free")));
    let above: Vec<_> = plans
        .above(&first("pro"))
        .map(|version| version.plan.tier.as_str())
        .collect();
    assert_eq!(above, ["scale"]);
}
