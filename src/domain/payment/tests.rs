use super::*;
use crate::domain::fixtures::{GRACE_DAYS, day, report, subscription};
use crate::domain::subscription::{Access, SubscriptionStatus as S};

const PAID: Payment = Payment {
    amount: 4900,
    amount_refunded: 0,
    dispute: None,
};
const REFUNDED: Payment = Payment {
    amount_refunded: 4900,
    ..PAID
};

fn disputed(state: DisputeState) -> Payment {
    Payment {
        dispute: Some(state),
        ..PAID
    }
}

fn news(before: Option<Payment>, now: Payment) -> Circumstances {
    Circumstances {
        before,
        now,
        another_is_gone: false,
        has_ended: Some(false),
        ending: None,
    }
}

fn follows(circumstances: Circumstances) -> Consequence {
    circumstances.consequence(OnFullRefund::Cancel)
}

#[test]
fn words_read_back_as_written() {
    for state in [
        DisputeState::UnderReview,
        DisputeState::Won,
        DisputeState::Lost,
    ] {
        assert_eq!(DisputeState::parse(state.as_str()), Some(state));
    }
    for reason in EndingReason::ALL {
        assert_eq!(EndingReason::parse(reason.as_str()), Some(reason));
    }
    assert_eq!(
        (DisputeState::parse(""), EndingReason::parse("due")),
        (None, None)
    );
}

#[test]
fn a_payment_is_gone_when_all_of_it_went_back_or_a_dispute_was_lost() {
    let part = |amount_refunded| Payment {
        amount_refunded,
        ..PAID
    };
    let free = Payment { amount: 0, ..PAID };
    for (payment, gone) in [
        (PAID, None),
        (part(4899), None),
        (REFUNDED, Some(EndingReason::FullRefund)),
        (part(4901), Some(EndingReason::FullRefund)),
        (free, None),
        (disputed(DisputeState::UnderReview), None),
        (disputed(DisputeState::Won), None),
        (
            disputed(DisputeState::Lost),
            Some(EndingReason::DisputeLost),
        ),
    ] {
        assert_eq!(payment.gone(), gone, "{payment:?}");
    }
}

#[test]
fn a_payment_that_is_gone_ends_what_it_paid_for_once() {
    let gone = news(Some(PAID), REFUNDED);
    assert_eq!(follows(gone), Consequence::End(EndingReason::FullRefund));
    let lost = news(
        Some(disputed(DisputeState::UnderReview)),
        disputed(DisputeState::Lost),
    );
    assert_eq!(follows(lost), Consequence::End(EndingReason::DisputeLost));
    assert_eq!(
        follows(news(None, REFUNDED)),
        Consequence::End(EndingReason::FullRefund)
    );
    for state in [EndingState::Due, EndingState::UnderWay, EndingState::Done] {
        for reason in [EndingReason::FullRefund, EndingReason::Duplicate] {
            let noted = Circumstances {
                ending: Some((reason, state)),
                ..gone
            };
            assert_eq!(follows(noted), Consequence::Nothing);
        }
    }
    let partly = Payment {
        amount_refunded: 1,
        ..PAID
    };
    assert_eq!(follows(news(Some(PAID), partly)), Consequence::Nothing);
}

#[test]
fn what_has_ended_loses_its_grace_and_what_is_none_of_ours_nothing() {
    let ended = Circumstances {
        has_ended: Some(true),
        ..news(None, REFUNDED)
    };
    assert_eq!(follows(ended), Consequence::Forfeit);
    let strange = Circumstances {
        has_ended: None,
        ..ended
    };
    assert_eq!(follows(strange), Consequence::Nothing);
}

#[test]
fn an_operator_can_have_refunds_ignored() {
    for has_ended in [Some(false), Some(true)] {
        let gone = Circumstances {
            has_ended,
            ..news(None, REFUNDED)
        };
        assert_eq!(gone.consequence(OnFullRefund::Ignore), Consequence::Nothing);
    }
}

#[test]
fn money_that_stays_after_all_withdraws_an_end_that_was_not_carried_out() {
    use EndingReason::{DisputeLost, Duplicate, FullRefund};
    use EndingState::{Done, Due, UnderWay};
    let after = |reason, state| Circumstances {
        ending: Some((reason, state)),
        ..news(Some(REFUNDED), PAID)
    };
    for reason in [FullRefund, DisputeLost] {
        assert_eq!(follows(after(reason, Due)), Consequence::Withdraw);
        assert_eq!(follows(after(reason, UnderWay)), Consequence::Wait);
        assert_eq!(follows(after(reason, Done)), Consequence::TooLate);
        let another = Circumstances {
            another_is_gone: true,
            ..after(reason, Due)
        };
        assert_eq!(follows(another), Consequence::Nothing);
        // A person was told when it happened.
        let known = Circumstances {
            before: Some(PAID),
            ..after(reason, Done)
        };
        assert_eq!(follows(known), Consequence::Nothing);
    }
    for state in [Due, UnderWay, Done] {
        assert_eq!(follows(after(Duplicate, state)), Consequence::TooLate);
    }
    assert_eq!(follows(news(Some(REFUNDED), PAID)), Consequence::Nothing);
}

#[test]
fn the_part_that_went_back_of_what_was_replaced_has_no_consequence() {
    let partly = Payment {
        amount_refunded: 2000,
        ..PAID
    };
    for state in [EndingState::Due, EndingState::UnderWay, EndingState::Done] {
        for has_ended in [false, true] {
            for (before, now) in [(PAID, partly), (partly, PAID), (REFUNDED, partly)] {
                let replaced = Circumstances {
                    has_ended: Some(has_ended),
                    ending: Some((EndingReason::Replaced, state)),
                    ..news(Some(before), now)
                };
                assert_eq!(follows(replaced), Consequence::Nothing, "{state:?}");
            }
        }
    }
}

#[test]
fn what_is_left_of_a_period_counts_from_when_it_is_not_used_any_more() {
    let days = |left: i64| {
        let seconds = |days: i64| days * 24 * 60 * 60;
        Some(Unused {
            left: seconds(left),
            of: seconds(30),
        })
    };
    for (since, left) in [
        (day(10), days(20)),
        (day(0), days(30)),
        // It was renewed although another one had taken its place before: nothing of the new period is used.
        (day(-3), days(30)),
        (day(30), None),
        (day(31), None),
    ] {
        assert_eq!(Unused::of(day(0), day(30), since), left, "{since}");
    }
    assert_eq!(Unused::of(day(0), day(0), day(0)), None);
}

#[test]
fn a_whole_period_that_went_back_of_what_was_replaced_forfeits_nothing() {
    let replaced = Circumstances {
        has_ended: Some(true),
        ending: Some((EndingReason::Replaced, EndingState::Done)),
        ..news(Some(PAID), REFUNDED)
    };
    assert_eq!(follows(replaced), Consequence::Nothing);
}

#[test]
fn an_end_that_is_forfeited_serves_its_plan_no_more() {
    for status in [S::Canceled, S::Expired] {
        let ended = subscription(S::Active, "pro")
            .apply(report(status, "pro"), false, day(5), GRACE_DAYS)
            .unwrap()
            .after;
        let was_good = ended.access(day(6)) == Access::Live
            || ended
                .grace_at(day(6), GRACE_DAYS)
                .is_some_and(|grace| day(6) < grace.ends_at);
        assert!(was_good, "{status:?}");
        let mut left = ended;
        // Whatever else is heard of it later, and however often.
        for _ in 0..2 {
            let forfeited = left.apply(forfeiting(&left), false, day(6), GRACE_DAYS);
            left = forfeited.unwrap().after;
            for at in [day(6), day(31), day(32)] {
                assert_eq!(left.access(at), Access::Lapsed, "{status:?}");
                assert_eq!(left.grace_at(at, GRACE_DAYS), None, "{status:?}");
            }
            let again = left.apply(report(status, "pro"), false, day(7), GRACE_DAYS);
            left = again.unwrap().after;
            assert_eq!(left.grace_at(day(7), GRACE_DAYS), None, "{status:?}");
        }
    }
}
