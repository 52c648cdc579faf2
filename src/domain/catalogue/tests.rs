use super::*;

#[test]
fn the_embedded_catalogue_is_the_price_list() {
    let catalogue = Catalogue::embedded().unwrap();
    assert_eq!(catalogue.default_tier, "free");
    assert_eq!(catalogue.rank("scale"), Some(2));
    assert_eq!(
        catalogue.plan("pro").unwrap().upgrade_to.as_deref(),
        Some("scale")
    );
}
