//! Payments whose money does not stay, and what follows for the subscription that they paid.

use chrono::{DateTime, Utc};

use super::policy::OnFullRefund;
use super::subscription::{Report, Subscription};

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
    /// The part of the period that is paid for which lies after that instant.
    UnusedSince(DateTime<Utc>),
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
    /// What of a period lies after `since`; `None`: nothing. All of it, where it began later.
    pub fn of(start: DateTime<Utc>, end: DateTime<Utc>, since: DateTime<Utc>) -> Option<Self> {
        let unused = Self {
            left: (end - since.max(start)).num_seconds(),
            of: (end - start).num_seconds(),
        };
        (unused.left > 0).then_some(unused)
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
            // A whole period can be unused where it was renewed before it was ended: that is no refund of what the customer had.
            (Some(EndingReason::FullRefund), Some(true), Some((EndingReason::Replaced, _))) => {
                Consequence::Nothing
            }
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
mod tests;
