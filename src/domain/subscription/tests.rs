use SubscriptionStatus as S;

use super::*;
use crate::domain::fixtures::{GRACE_DAYS, day, first, hour, report, subscription};

fn active() -> Subscription {
    subscription(S::Active, "pro")
}

/// What becomes of `base` by a report at `now`.
#[track_caller]
fn after(base: &Subscription, report: Report, now: DateTime<Utc>) -> Subscription {
    base.apply(report, false, now, GRACE_DAYS).unwrap().after
}

fn reported(base: &Subscription, status: S, now: DateTime<Utc>) -> Subscription {
    let ended_at = status.is_terminal().then_some(now);
    after(
        base,
        Report {
            ended_at,
            ..report(status, "pro")
        },
        now,
    )
}

fn grace_ends(subscription: &Subscription, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    subscription
        .grace_at(now, GRACE_DAYS)
        .map(|grace| grace.ends_at)
}

#[test]
fn each_status_has_its_row_in_the_table_of_plans_in_force() {
    for (status, access) in [
        (S::Trialing, Access::Live),
        (S::Active, Access::Live),
        (S::PastDue, Access::Live),
        (S::Incomplete, Access::Never),
        (S::IncompleteExpired, Access::Never),
        (S::Unpaid, Access::Lapsed),
        (S::Canceled, Access::Lapsed),
        (S::Paused, Access::Lapsed),
        (S::Expired, Access::Live),
    ] {
        assert_eq!(
            reported(&active(), status, day(5)).access(day(6)),
            access,
            "{status:?}"
        );
    }
}

#[test]
fn past_due_keeps_the_plan_while_its_grace_lasts() {
    let past_due = reported(&active(), S::PastDue, day(5));
    assert_eq!(
        past_due.access(day(12) - chrono::TimeDelta::nanoseconds(1)),
        Access::Live
    );
    assert_eq!(past_due.access(day(12)), Access::Lapsed);
}

#[test]
fn a_cancellation_at_the_periods_end_keeps_the_plan_until_then_and_starts_a_grace_by_the_clock() {
    let leaving = Report {
        cancel_at_period_end: true,
        ..report(S::Active, "pro")
    };
    let leaving = after(&active(), leaving, day(5));
    assert_eq!(
        (
            leaving.access(hour(24 * 31 - 1)),
            grace_ends(&leaving, day(30))
        ),
        (Access::Live, None)
    );
    assert_eq!(
        (leaving.access(day(31)), grace_ends(&leaving, day(31))),
        (Access::Lapsed, Some(day(38)))
    );
    let gone = after(
        &leaving,
        Report {
            ended_at: Some(day(31)),
            ..report(S::Canceled, "pro")
        },
        day(33),
    );
    assert_eq!(
        grace_ends(&gone, day(33)),
        Some(day(38)),
        "the end was paid until the 31st, not until the news of it"
    );
    let resumed = after(&leaving, report(S::Active, "pro"), day(6));
    assert_eq!(resumed.access(day(40)), Access::Live);
}

#[test]
fn what_ran_its_course_keeps_the_plan_until_paid_access_ends() {
    let expired = reported(&active(), S::Expired, day(20));
    assert_eq!(
        (expired.access(day(30)), grace_ends(&expired, day(30))),
        (Access::Live, None)
    );
    assert_eq!(
        (expired.access(day(31)), grace_ends(&expired, day(31))),
        (Access::Lapsed, Some(day(38)))
    );
}

#[test]
fn what_lapsed_before_it_ran_its_course_gets_nothing_back() {
    let expired = reported(&reported(&active(), S::PastDue, day(5)), S::Expired, day(6));
    assert_eq!(
        (expired.access(day(7)), grace_ends(&expired, day(7))),
        (Access::Lapsed, Some(day(12)))
    );
}

#[test]
fn a_grace_counts_from_the_first_failed_payment_and_later_statuses_never_extend_or_reopen_it() {
    let past_due = reported(&active(), S::PastDue, day(5));
    for later in [S::PastDue, S::Unpaid, S::Canceled, S::Paused] {
        for at in [day(6), day(11), day(13), day(40)] {
            let then = reported(&past_due, later, at);
            assert_eq!(grace_ends(&then, at), Some(day(12)), "{later:?}");
        }
    }
}

#[test]
fn a_failed_renewal_counts_from_the_end_of_the_paid_period() {
    let renewal = Report {
        current_period_start: Some(day(31)),
        current_period_end: Some(day(59)),
        ..report(S::PastDue, "pro")
    };
    let past_due = after(&active(), renewal, day(33));
    assert_eq!(grace_ends(&past_due, day(33)), Some(day(38)));
    let unheard_of = after(
        &active(),
        Report {
            current_period_start: Some(day(59)),
            ..report(S::PastDue, "pro")
        },
        day(60),
    );
    assert_eq!(
        grace_ends(&unheard_of, day(60)),
        Some(day(66)),
        "a renewal that was never told was paid"
    );
}

/// Cancelled on the 20th, with what is paid until the 31st.
fn cancelled_with_time_left() -> Report {
    Report {
        ended_at: Some(day(20)),
        paid_until: Some(day(31)),
        ..report(S::Canceled, "pro")
    }
}

#[test]
fn what_is_paid_outlasts_a_cancellation_and_a_grace_follows_by_the_clock() {
    let left = after(&active(), cancelled_with_time_left(), day(20));
    let told_again = after(&left, cancelled_with_time_left(), day(25));
    let told_late = after(&left, cancelled_with_time_left(), day(33));
    let never_seen_paid = Report {
        was_paid: true,
        ..cancelled_with_time_left()
    };
    let first_heard_of = after(
        &subscription(S::Incomplete, "pro"),
        never_seen_paid,
        day(20),
    );
    for (word, ended) in [
        ("left", left),
        ("told again", told_again),
        ("first heard of", first_heard_of),
    ] {
        assert_eq!(
            (ended.access(hour(24 * 31 - 1)), grace_ends(&ended, day(30))),
            (Access::Live, None),
            "{word}"
        );
        assert_eq!(
            (ended.access(day(31)), grace_ends(&ended, day(31))),
            (Access::Lapsed, Some(day(38))),
            "{word}"
        );
    }
    assert_eq!(told_late.access(day(33)), Access::Lapsed);
    assert_eq!(grace_ends(&told_late, day(33)), Some(day(38)));
    let only_heard_of_late = after(&active(), cancelled_with_time_left(), day(33));
    assert_eq!(grace_ends(&only_heard_of_late, day(33)), Some(day(38)));
}

#[test]
fn nothing_outlasts_an_end_that_forfeits_what_is_paid() {
    let left = after(&active(), cancelled_with_time_left(), day(20));
    // The money went back, before or after the end was heard of.
    let refunded = Report {
        end_with_grace: false,
        ..cancelled_with_time_left()
    };
    for base in [&active(), &left] {
        let ended = after(base, refunded.clone(), day(21));
        assert_eq!(ended.access(day(21)), Access::Lapsed);
        assert_eq!(grace_ends(&ended, day(21)), None);
        let again = after(&ended, cancelled_with_time_left(), day(22));
        assert_eq!(again.access(day(22)), Access::Lapsed);
        assert_eq!(grace_ends(&again, day(22)), None);
    }
    // Ended at once after all.
    let at_once = Report {
        paid_until: None,
        ended_at: Some(day(21)),
        ..report(S::Canceled, "pro")
    };
    let ended = after(&left, at_once, day(21));
    assert_eq!(
        (ended.access(day(21)), grace_ends(&ended, day(21))),
        (Access::Lapsed, Some(day(28)))
    );
    // Nothing was paid, or the payment failed first.
    let incomplete = subscription(S::Incomplete, "pro");
    let never_paid = after(&incomplete, cancelled_with_time_left(), day(20));
    assert_eq!(never_paid.access(day(21)), Access::Lapsed);
    assert_eq!(grace_ends(&never_paid, day(21)), None);
    let past_due = reported(&active(), S::PastDue, day(19));
    let given_up = after(&past_due, cancelled_with_time_left(), day(20));
    assert_eq!(
        (given_up.access(day(21)), grace_ends(&given_up, day(21))),
        (Access::Lapsed, Some(day(26)))
    );
}

#[test]
fn a_cancellation_at_once_takes_the_plan_whatever_was_planned_before() {
    // As Stripe says it: the end that was to come is still named.
    let planned = Report {
        cancel_at_period_end: true,
        cancel_at: Some(day(31)),
        ended_at: Some(day(5)),
        ..report(S::Canceled, "pro")
    };
    let ended = after(&active(), planned, day(5));
    assert_eq!(
        (ended.access(day(6)), grace_ends(&ended, day(6))),
        (Access::Lapsed, Some(day(12)))
    );
}

#[test]
fn an_immediate_cancellation_by_the_customer_starts_a_grace() {
    let gone = reported(&active(), S::Canceled, day(5));
    assert_eq!(
        (gone.access(day(5)), grace_ends(&gone, day(5))),
        (Access::Lapsed, Some(day(12)))
    );
    assert_eq!(gone.grace.unwrap().plan, first("pro"));
}

#[test]
fn no_grace_follows_a_refund_a_dispute_or_an_operators_end() {
    let end = Report {
        end_with_grace: false,
        ended_at: Some(day(5)),
        ..report(S::Canceled, "pro")
    };
    let ended = after(&active(), end.clone(), day(5));
    assert_eq!(grace_ends(&ended, day(5)), None);
    let refunded_in_grace = after(&reported(&active(), S::PastDue, day(3)), end, day(5));
    assert_eq!(grace_ends(&refunded_in_grace, day(5)), None);
    let told_again = reported(&refunded_in_grace, S::Canceled, day(6));
    assert_eq!(grace_ends(&told_again, day(6)), None);
}

#[test]
fn no_grace_follows_a_pause_but_one_that_runs_goes_on() {
    let paused = reported(&active(), S::Paused, day(5));
    for later in [S::Paused, S::PastDue, S::Unpaid, S::Canceled] {
        let then = reported(&paused, later, day(6));
        assert_eq!(
            (then.access(day(6)), grace_ends(&then, day(6))),
            (Access::Lapsed, None),
            "{later:?}"
        );
    }
    let paused_in_grace = reported(&reported(&active(), S::PastDue, day(5)), S::Paused, day(6));
    assert_eq!(
        (
            paused_in_grace.access(day(6)),
            grace_ends(&paused_in_grace, day(6))
        ),
        (Access::Lapsed, Some(day(12)))
    );
    let leaving = after(
        &active(),
        Report {
            cancel_at: Some(day(5)),
            ..report(S::Active, "pro")
        },
        day(4),
    );
    let paused_after_its_end = reported(&leaving, S::Paused, day(6));
    assert_eq!(
        grace_ends(&paused_after_its_end, day(6)),
        Some(day(12)),
        "the clock had started it"
    );
}

#[test]
fn a_change_to_a_lower_tier_starts_a_grace_of_the_former_plan() {
    let scale = subscription(S::Active, "scale");
    let change = scale
        .apply(report(S::Active, "pro"), true, day(5), GRACE_DAYS)
        .unwrap();
    assert_eq!(
        change.after.grace,
        Some(Grace {
            plan: first("scale"),
            ends_at: day(12)
        })
    );
    assert_eq!(
        (change.after.access(day(5)), change.newly_active),
        (Access::Live, false)
    );
    let again = after(&change.after, report(S::Active, "pro"), day(9));
    assert_eq!(grace_ends(&again, day(9)), Some(day(12)));
    // One that came with the new period began with it, however late it is heard of.
    let with_the_period = Report {
        current_period_start: Some(day(31)),
        current_period_end: Some(day(62)),
        ..report(S::Active, "pro")
    };
    let late = scale.apply(with_the_period, true, day(33), GRACE_DAYS);
    assert_eq!(grace_ends(&late.unwrap().after, day(33)), Some(day(38)));
    let raised = after(&active(), report(S::Active, "scale"), day(5));
    assert_eq!(raised.grace, None);
}

#[test]
fn a_payment_ends_the_lapse_and_the_next_one_has_a_grace_of_its_own() {
    let past_due = reported(&active(), S::PastDue, day(5));
    let change = past_due
        .apply(report(S::Active, "pro"), false, day(8), GRACE_DAYS)
        .unwrap();
    assert!(change.newly_active);
    assert_eq!(grace_ends(&change.after, day(8)), None);
    assert_eq!(
        grace_ends(&reported(&change.after, S::PastDue, day(20)), day(20)),
        Some(day(27))
    );
}

#[test]
fn what_was_never_paid_has_no_grace() {
    let incomplete = subscription(S::Incomplete, "pro");
    for first in [S::Unpaid, S::Canceled, S::IncompleteExpired] {
        assert_eq!(
            grace_ends(&reported(&incomplete, first, day(1)), day(1)),
            None
        );
    }
    let unpaid = reported(&incomplete, S::Unpaid, day(1));
    assert_eq!(
        grace_ends(&reported(&unpaid, S::Canceled, day(2)), day(2)),
        None
    );
    assert_eq!(
        reported(&incomplete, S::PastDue, day(1)).access(day(1)),
        Access::Live,
        "something was paid before"
    );
}

#[test]
fn a_repeated_report_of_an_ended_access_is_no_new_activity() {
    let leaving = Report {
        cancel_at: Some(day(5)),
        ..report(S::Active, "pro")
    };
    let left = after(&active(), leaving.clone(), day(4));
    let change = left.apply(leaving, false, day(6), GRACE_DAYS).unwrap();
    assert!(!change.newly_active);
    assert_eq!(grace_ends(&change.after, day(6)), Some(day(12)));
    let renewed = left
        .apply(report(S::Active, "pro"), false, day(6), GRACE_DAYS)
        .unwrap();
    assert!(renewed.newly_active);
    assert_eq!(grace_ends(&renewed.after, day(6)), None);
}

#[test]
fn a_newly_active_subscription_ends_the_grace_of_another_but_not_a_plan_in_force() {
    let gone = reported(&active(), S::Canceled, day(5));
    let superseded = gone.superseded(day(6), GRACE_DAYS).unwrap();
    assert_eq!(grace_ends(&superseded, day(6)), None);
    assert_eq!(
        grace_ends(&reported(&superseded, S::Canceled, day(7)), day(7)),
        None
    );
    assert_eq!(
        gone.superseded(day(12), GRACE_DAYS),
        None,
        "its grace is over"
    );

    let past_due = reported(&active(), S::PastDue, day(5));
    assert_eq!(past_due.superseded(day(6), GRACE_DAYS), None);

    let scale = subscription(S::Active, "scale");
    let lowered = scale
        .apply(report(S::Active, "pro"), true, day(5), GRACE_DAYS)
        .unwrap()
        .after;
    let superseded = lowered.superseded(day(6), GRACE_DAYS).unwrap();
    assert_eq!(grace_ends(&superseded, day(6)), None);
    assert_eq!(
        reported(&superseded, S::PastDue, day(7)).access(day(7)),
        Access::Live,
        "its own lapse has a grace"
    );
}

#[test]
fn a_terminal_status_never_regresses() {
    for terminal in S::ALL.into_iter().filter(|status| status.is_terminal()) {
        let ended = reported(&active(), terminal, day(5));
        for later in S::ALL.into_iter().filter(|status| *status != terminal) {
            assert_eq!(
                ended.apply(report(later, "pro"), false, day(6), GRACE_DAYS),
                None,
                "{terminal:?} {later:?}"
            );
        }
    }
}

#[test]
fn what_was_not_paid_counts_from_the_period_that_was_not() {
    // Heard of as a whole, and only when it was over: the grace is the one that news in time would have given.
    let over = Report {
        ended_at: Some(day(45)),
        was_paid: true,
        unpaid_since: Some(day(31)),
        current_period_start: Some(day(31)),
        current_period_end: Some(day(62)),
        ..report(S::Canceled, "pro")
    };
    let unheard_of = subscription(S::Incomplete, "pro");
    for base in [&active(), &unheard_of] {
        let ended = after(base, over.clone(), day(46));
        assert_eq!(grace_ends(&ended, day(46)), Some(day(38)));
    }
    let late = Report {
        unpaid_since: Some(day(31)),
        current_period_start: Some(day(31)),
        ..report(S::PastDue, "pro")
    };
    let past_due = after(&unheard_of, late, day(33));
    assert_eq!(grace_ends(&past_due, day(33)), Some(day(38)));
    // Nothing was ever paid: nothing is left.
    let never = Report {
        was_paid: false,
        unpaid_since: None,
        ..over
    };
    assert_eq!(
        grace_ends(&after(&unheard_of, never, day(46)), day(46)),
        None
    );
}
