//! Payments whose money does not stay, and what follows for the subscription that they paid.

use chrono::{DateTime, Utc};

use super::policy::OnFullRefund;
use super::subscription::{Report, Subscription, SubscriptionStatus};

/// Where a dispute stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisputeState {
    /// Not decided.
    UnderReview,
    /// The payment stands.
    Won,
    /// The payment went back.
    Lost,
}

impl DisputeState {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnderReview => "under_review",
            Self::Won => "won",
            Self::Lost => "lost",
        }
    }

    /// The inverse of [`Self::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        [Self::UnderReview, Self::Won, Self::Lost]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

/// Why a subscription is ended at its provider by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndingReason {
    /// The customer has a better one.
    Duplicate,
    /// What was paid for it went back.
    FullRefund,
    /// The payer's bank claimed back what was paid for it.
    DisputeLost,
    /// Another one took its place, with another plan.
    Replaced,
}

impl EndingReason {
    const ALL: [Self; 4] = [
        Self::Duplicate,
        Self::FullRefund,
        Self::DisputeLost,
        Self::Replaced,
    ];

    /// The word in the database and in the audit log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::FullRefund => "full_refund",
            Self::DisputeLost => "dispute_lost",
            Self::Replaced => "replaced",
        }
    }

    /// The inverse of [`Self::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}

/// What is given back of the latest payment for a subscription that is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refund {
    /// Nothing.
    None,
    /// All of it.
    Whole,
    /// The part of the period that is left.
    Unused(Unused),
}

/// How much of a period that was paid for is left, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unused {
    /// What is left; more than zero.
    pub left: i64,
    /// All of it; not less than what is left.
    pub of: i64,
}

impl Unused {
    /// What is left of the subscription's period from that instant on; `None`: nothing that was paid for.
    pub fn from(subscription: &Subscription, from: DateTime<Utc>) -> Option<Self> {
        let paid = subscription.status == SubscriptionStatus::Active;
        let (start, end) = (
            subscription.current_period_start?,
            subscription.current_period_end?,
        );
        let unused = Self {
            left: (end - from.max(start)).num_seconds(),
            of: (end - start).num_seconds(),
        };
        (paid && unused.left > 0).then_some(unused)
    }
}

/// What is known of a payment's money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payment {
    /// What was paid, in minor units.
    pub amount: i64,
    /// What went back or is on its way back, in minor units.
    pub amount_refunded: i64,
    /// Whether the payer's bank claims it back.
    pub dispute: Option<DisputeState>,
}

impl Payment {
    /// Why nothing of the payment stays; `None` where something does. Partial refunds that add up to the total are a full one.
    pub fn gone(&self) -> Option<EndingReason> {
        if self.dispute == Some(DisputeState::Lost) {
            Some(EndingReason::DisputeLost)
        } else if self.amount > 0 && self.amount_refunded >= self.amount {
            Some(EndingReason::FullRefund)
        } else {
            None
        }
    }
}

/// How far the end of a subscription has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndingState {
    /// To be carried out.
    Due,
    /// Being carried out right now.
    UnderWay,
    /// The provider has ended it.
    Done,
}

/// What a payment's news is judged on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Circumstances {
    /// The payment as it was known before.
    pub before: Option<Payment>,
    /// The payment as it is.
    pub now: Payment,
    /// Nothing stayed of another payment for the same subscription either.
    pub another_is_gone: bool,
    /// Whether the subscription that was paid for has ended; `None`: it is none of ours.
    pub has_ended: Option<bool>,
    /// The end of that subscription which was noted before.
    pub ending: Option<(EndingReason, EndingState)>,
}

/// What follows from a payment's news for the subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consequence {
    /// It is recorded, and that is all.
    Nothing,
    /// The subscription is to be ended.
    End(EndingReason),
    /// The subscription has ended: so does the grace that it left.
    Forfeit,
    /// The money stays after all, and nothing was done yet: the subscription goes on.
    Withdraw,
    /// The money stays after all, and the end is being carried out: to be judged again in a moment.
    Wait,
    /// The money stays after all, but the subscription was ended: only a person can make that good.
    TooLate,
}

impl Circumstances {
    /// Judges the news.
    pub fn consequence(&self, policy: OnFullRefund) -> Consequence {
        let of_payment =
            |reason| matches!(reason, EndingReason::FullRefund | EndingReason::DisputeLost);
        match (self.now.gone(), self.has_ended, self.ending) {
            (_, None, _) => Consequence::Nothing,
            (Some(_), _, _) if policy == OnFullRefund::Ignore => Consequence::Nothing,
            (Some(_), Some(true), _) => Consequence::Forfeit,
            (Some(reason), Some(false), None) => Consequence::End(reason),
            (None, _, Some((reason, state))) if of_payment(reason) && !self.another_is_gone => {
                match state {
                    EndingState::Due => Consequence::Withdraw,
                    EndingState::UnderWay => Consequence::Wait,
                    EndingState::Done => self.too_late(),
                }
            }
            // Of a second subscription nothing is taken back: it was ended for another reason. Of one that was replaced neither, and the
            // part that went back of it was never to stay.
            (None, _, Some((EndingReason::Duplicate, _))) => self.too_late(),
            _ => Consequence::Nothing,
        }
    }

    /// A person is told once.
    fn too_late(&self) -> Consequence {
        if self.before.is_some_and(|before| before.gone().is_some()) {
            Consequence::TooLate
        } else {
            Consequence::Nothing
        }
    }
}

/// Says of a subscription that has ended what is known of it, but that its end is one without grace.
pub fn forfeiting(ended: &Subscription) -> Report {
    Report {
        end_with_grace: false,
        ..ended.restated()
    }
}

#[cfg(test)]
mod tests {
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
        let paid = Subscription {
            current_period_start: Some(day(0)),
            current_period_end: Some(day(30)),
            ..subscription(S::Active, "pro")
        };
        let days = |left: i64| {
            let seconds = |days: i64| days * 24 * 60 * 60;
            Some(Unused {
                left: seconds(left),
                of: seconds(30),
            })
        };
        for (from, left) in [
            (day(10), days(20)),
            (day(0), days(30)),
            // It was renewed although another one had taken its place before: nothing of the new period is used.
            (day(-3), days(30)),
            (day(30), None),
            (day(31), None),
        ] {
            assert_eq!(Unused::from(&paid, from), left, "{from}");
        }
        for status in S::ALL.into_iter().filter(|status| *status != S::Active) {
            let unpaid = Subscription {
                status,
                ..paid.clone()
            };
            assert_eq!(Unused::from(&unpaid, day(10)), None, "{status:?}");
        }
        let endless = Subscription {
            current_period_end: None,
            ..paid
        };
        assert_eq!(Unused::from(&endless, day(10)), None);
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
}
