//! What the meter should answer, written down once more and as plainly as possible: one customer, one order after another, maps and
//! sums. Nothing of the service decides here.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, Months, TimeDelta, TimeZone, Utc};
use plangate::domain::decision::Reason;

use super::words::{Feature, Order, Said, Time, Told, said, same};

/// Days that a closed period takes late usage for.
const LATE_DAYS: i64 = 3;

#[derive(Debug, Clone, Copy)]
struct Override {
    limit: i64,
    cap: bool,
    until: Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counter {
    pub(super) end: Option<Time>,
    pub(super) used: i64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Held,
    Committed(i64, Said),
    Released,
}

#[derive(Debug, Clone, Copy)]
struct Hold {
    feature: Feature,
    start: Time,
    end: Option<Time>,
    quantity: i64,
    expires: Time,
    state: State,
}

/// What is granted of a feature.
struct Terms {
    granted: bool,
    limit: Option<i64>,
    hard: i64,
    /// Most that is billed; `None`: nothing is.
    billed: Option<i64>,
}

type Span = (Time, Option<Time>);

#[derive(Debug, Clone, Default)]
pub(super) struct Account {
    /// Tier and anchor of the subscriptions that live, oldest first.
    grants: Vec<(usize, Time)>,
    anchor: Option<Time>,
    since: Option<Time>,
    overrides: BTreeMap<Feature, Override>,
    pub(super) counters: BTreeMap<(Feature, Time), Counter>,
    holds: BTreeMap<u32, Hold>,
    /// By operation and key: what was asked for, and what was told.
    keys: BTreeMap<(&'static str, u8), (Order, Told)>,
}

impl Account {
    pub(super) fn grant(&mut self, now: Time, tier: usize) {
        self.grants.push((tier, now));
        self.turn(now);
    }

    /// The grant that counts: of the highest tier the oldest.
    pub(super) fn leading(&self) -> Option<usize> {
        let highest = self.grants.iter().map(|(tier, _)| *tier).max()?;
        self.grants.iter().position(|(tier, _)| *tier == highest)
    }

    pub(super) fn end(&mut self, now: Time, grant: usize) {
        self.grants.remove(grant);
        self.turn(now);
    }

    /// A new anchor closes the period that runs.
    fn turn(&mut self, now: Time) {
        let anchor = self.leading().map(|index| self.grants[index].1);
        if anchor == self.anchor {
            return;
        }
        (self.anchor, self.since) = (anchor, Some(now));
        for ((_, start), counter) in &mut self.counters {
            if *start < now && counter.end.is_some_and(|end| now < end) {
                counter.end = Some(now);
            }
        }
    }

    pub(super) fn allow(&mut self, feature: Feature, limit: i64, cap: bool, until: Time) {
        let allowed = Override { limit, cap, until };
        self.overrides.insert(feature, allowed);
    }

    fn terms(&self, now: Time, feature: Feature) -> Terms {
        let tier = self.leading().map_or(0, |index| self.grants[index].0);
        let planned = match (feature, tier) {
            (Feature::Runs, 0) => Some(Some(10)),
            (Feature::Runs, 1) => Some(Some(20)),
            (Feature::Runs, _) => Some(None),
            (Feature::Models, 0) | (Feature::Export | Feature::Nonsense, _) => None,
            (Feature::Models, 1) => Some(Some(3)),
            (Feature::Models, _) => Some(Some(5)),
        };
        let base = planned.unwrap_or(Some(0));
        let limit = match self.overrides.get(&feature) {
            Some(allowed) if now < allowed.until => match (allowed.cap, base) {
                (true, _) => Some(allowed.limit),
                (false, None) => None,
                (false, Some(base)) => Some(base.max(allowed.limit)),
            },
            _ => base,
        };
        let soft = if feature == Feature::Runs { 110 } else { 100 };
        Terms {
            granted: planned.is_some() || limit != base,
            limit,
            hard: limit.unwrap_or(0) * soft / 100,
            billed: (feature == Feature::Runs && tier == 1).then_some(5),
        }
    }

    /// The rule of PRODUCT, section 2, without grace.
    fn rule(&self, now: Time, feature: Feature, used: i64, held: i64, asked: i64) -> Reason {
        let terms = self.terms(now, feature);
        if !terms.granted {
            return Reason::FeatureNotInPlan;
        }
        let Some(limit) = terms.limit else {
            return Reason::WithinLimit;
        };
        let after = used + held + asked;
        if after <= limit {
            return Reason::WithinLimit;
        }
        match terms.billed {
            Some(most) if after - limit <= most => Reason::Overage,
            None if after <= terms.hard => Reason::SoftLimitExceeded,
            _ => Reason::HardLimitReached,
        }
    }

    /// The period under the anchor in force.
    fn period(&self, instant: Time) -> (Time, Time) {
        let first = Utc.with_ymd_and_hms(instant.year() - 1, 1, 1, 0, 0, 0);
        let anchor = self.anchor.unwrap_or(first.unwrap());
        let step = |months| anchor + Months::new(months);
        let months = (0..100).find(|months| instant < step(months + 1)).unwrap();
        let start = step(months);
        (
            self.since.map_or(start, |since| start.max(since)),
            step(months + 1),
        )
    }

    /// The counter's span now.
    fn span(&self, now: Time, feature: Feature) -> Span {
        if feature == Feature::Runs {
            let (start, end) = self.period(now);
            (start, Some(end))
        } else {
            (DateTime::UNIX_EPOCH, None)
        }
    }

    fn used(&self, feature: Feature, start: Time) -> i64 {
        let counter = self.counters.get(&(feature, start));
        counter.map_or(0, |counter| counter.used)
    }

    /// What live reservations hold of a counter.
    pub(super) fn held(&self, now: Time, feature: Feature, start: Time) -> i64 {
        let live = self.holds.values().filter(|hold| {
            matches!(hold.state, State::Held)
                && now < hold.expires
                && (hold.feature, hold.start) == (feature, start)
        });
        live.map(|hold| hold.quantity).sum()
    }

    /// The counters that live reservations hold something of.
    pub(super) fn holding(&self, now: Time) -> BTreeMap<(Feature, Time), i64> {
        let counters = self.holds.values().map(|hold| (hold.feature, hold.start));
        counters
            .map(|(feature, start)| ((feature, start), self.held(now, feature, start)))
            .filter(|(_, held)| *held > 0)
            .collect()
    }

    fn count(&mut self, feature: Feature, (start, end): Span, by: i64) -> i64 {
        let new = Counter { end, used: 0 };
        let counter = self.counters.entry((feature, start)).or_insert(new);
        counter.used += by;
        counter.used
    }

    /// The span that late usage belongs to. `None`: no counter and no anchor tells.
    pub(super) fn span_of(&self, now: Time, instant: Time) -> Option<Span> {
        let (start, end) = self.period(now);
        let instant = instant.min(now);
        if start <= instant {
            let counter = self.counters.get(&(Feature::Runs, start));
            return Some((start, counter.map_or(Some(end), |counter| counter.end)));
        }
        let containing = self.counters.iter().rfind(|((feature, start), counter)| {
            *feature == Feature::Runs
                && *start <= instant
                && counter.end.is_some_and(|end| instant < end)
        });
        if let Some(((_, start), counter)) = containing {
            return Some((*start, counter.end));
        }
        self.since.is_none_or(|since| since <= instant).then(|| {
            let (start, end) = self.period(instant);
            (start, Some(end))
        })
    }

    /// Late usage was put into a span that nothing here tells of.
    pub(super) fn adopt(&mut self, order: &Order, told: Told, span: Span) {
        let Order::Record(feature, quantity, _, key) = *order else {
            return;
        };
        self.count(feature, span, quantity);
        self.keys.insert(("record", key), (order.clone(), told));
    }

    /// Carries the order out.
    pub(super) fn apply(&mut self, now: Time, order: &Order) -> Told {
        // What no feature could be asked for is refused before its key is looked for.
        let counted = [Feature::Runs, Feature::Models];
        let (feature, fits) = match *order {
            Order::Consume(feature, ..) => (feature, true),
            Order::Reserve(feature, ..) | Order::Adjust(feature, ..) => {
                (feature, counted.contains(&feature))
            }
            Order::Release(feature, ..) | Order::Set(feature, ..) => {
                (feature, feature == Feature::Models)
            }
            Order::Record(..) | Order::Commit(..) | Order::Free(_) => (Feature::Runs, true),
        };
        if feature == Feature::Nonsense {
            return Told::Refused("unknown feature");
        }
        if !fits {
            return Told::Refused("wrong kind");
        }
        let key = match *order {
            Order::Consume(_, _, key) => key.map(|key| ("consume", key)),
            Order::Release(_, _, key) => key.map(|key| ("release", key)),
            Order::Set(_, _, key) => key.map(|key| ("set", key)),
            Order::Record(.., key) => Some(("record", key)),
            Order::Adjust(_, _, key) => Some(("adjust", key)),
            Order::Reserve(.., key, _) => key.map(|key| ("reserve", key)),
            Order::Commit(..) | Order::Free(_) => None,
        };
        if let Some((first, told)) = key.and_then(|key| self.keys.get(&key)) {
            return match (same(first, order), told) {
                (true, told) => told.again(),
                (false, Told::Recorded(_)) => Told::Recorded("invalid"),
                (false, _) => Told::Refused("key reused"),
            };
        }
        let told = match *order {
            Order::Consume(feature, quantity, _) => self.consume(now, feature, quantity),
            Order::Reserve(feature, quantity, ttl, _, label) => {
                self.reserve(now, feature, quantity, ttl, label)
            }
            Order::Release(feature, quantity, _) => {
                self.restate(now, feature, &[Feature::Models], |used| used - quantity)
            }
            Order::Set(feature, value, _) => {
                self.restate(now, feature, &[Feature::Models], |_| value)
            }
            Order::Adjust(feature, delta, _) => {
                let counted = [Feature::Runs, Feature::Models];
                self.restate(now, feature, &counted, |used| used + delta)
            }
            Order::Record(feature, quantity, at, _) => self.record(now, feature, quantity, at),
            Order::Commit(label, quantity) => self.commit(now, label, quantity),
            Order::Free(label) => self.free(label),
        };
        let stands = match told {
            Told::Decided(said) => said.allowed && said.used.is_some(),
            Told::Reserved(said, _) => said.allowed,
            Told::Recorded(word) => word == "recorded",
            Told::Freed { .. } | Told::Refused(_) => false,
        };
        if let Some(key) = key.filter(|_| stands) {
            self.keys.insert(key, (order.clone(), told));
        }
        told
    }

    fn consume(&mut self, now: Time, feature: Feature, quantity: i64) -> Told {
        match feature {
            Feature::Nonsense => return Told::Refused("unknown feature"),
            Feature::Export => {
                let allowed = self.leading().is_some_and(|index| self.grants[index].0 > 0);
                return Told::Decided(Said {
                    allowed,
                    reason: if allowed {
                        Reason::WithinLimit
                    } else {
                        Reason::FeatureNotInPlan
                    },
                    used: None,
                    held: None,
                    replayed: false,
                });
            }
            Feature::Runs | Feature::Models => {}
        }
        let span = self.span(now, feature);
        let held = self.held(now, feature, span.0);
        let mut used = self.used(feature, span.0);
        let reason = self.rule(now, feature, used, held, quantity);
        if reason.allows() {
            used = self.count(feature, span, quantity);
        }
        Told::Decided(said(reason.allows(), reason, used, held))
    }

    fn reserve(&mut self, now: Time, feature: Feature, asked: i64, ttl: i64, label: u32) -> Told {
        match feature {
            Feature::Nonsense => return Told::Refused("unknown feature"),
            Feature::Export => return Told::Refused("wrong kind"),
            Feature::Runs | Feature::Models => {}
        }
        let (start, end) = self.span(now, feature);
        let (used, held) = (self.used(feature, start), self.held(now, feature, start));
        let reason = self.rule(now, feature, used, held, asked);
        if !reason.allows() {
            return Told::Reserved(said(false, reason, used, held), None);
        }
        let reservation = Hold {
            feature,
            start,
            end,
            quantity: asked,
            expires: now + TimeDelta::seconds(ttl),
            state: State::Held,
        };
        self.holds.insert(label, reservation);
        // What holds of a period opens it, as what is used of it does.
        self.count(feature, (start, end), 0);
        Told::Reserved(said(true, reason, used, held + asked), Some(label))
    }

    fn restate(
        &mut self,
        now: Time,
        feature: Feature,
        fitting: &[Feature],
        change: impl Fn(i64) -> i64,
    ) -> Told {
        if feature == Feature::Nonsense {
            return Told::Refused("unknown feature");
        }
        if !fitting.contains(&feature) {
            return Told::Refused("wrong kind");
        }
        let span = self.span(now, feature);
        let before = self.used(feature, span.0);
        let used = change(before);
        if used < 0 {
            return Told::Refused("below zero");
        }
        let held = self.held(now, feature, span.0);
        self.count(feature, span, used - before);
        let reason = self.rule(now, feature, used, held, 0);
        Told::Decided(said(true, reason, used, held))
    }

    fn record(&mut self, now: Time, feature: Feature, quantity: i64, at: Option<Time>) -> Told {
        let at = at.unwrap_or(now);
        if feature != Feature::Runs || at > now + TimeDelta::minutes(5) {
            return Told::Recorded("invalid");
        }
        let Some(span) = self.span_of(now, at) else {
            return Told::Recorded("nobody knows");
        };
        if is_shut(now, span) {
            return Told::Recorded("invalid");
        }
        self.count(feature, span, quantity);
        Told::Recorded("recorded")
    }

    fn commit(&mut self, now: Time, label: Option<u32>, quantity: Option<i64>) -> Told {
        let Some((label, hold)) = label.and_then(|label| Some((label, *self.holds.get(&label)?)))
        else {
            return Told::Refused("unknown reservation");
        };
        let quantity = quantity.unwrap_or(hold.quantity);
        match hold.state {
            State::Committed(committed, said) if committed == quantity => {
                return Told::Decided(said).again();
            }
            State::Committed(..) | State::Released => return Told::Refused("settled"),
            State::Held => {}
        }
        if quantity > hold.quantity {
            return Told::Refused("above the hold");
        }
        let live = now < hold.expires;
        let others =
            self.held(now, hold.feature, hold.start) - if live { hold.quantity } else { 0 };
        let used = self.used(hold.feature, hold.start);
        let reason = self.rule(now, hold.feature, used, others, quantity);
        let current = self.span(now, hold.feature).0;
        let end = match self.counters.get(&(hold.feature, hold.start)) {
            Some(counter) => counter.end,
            None if hold.start < current => hold.end.map(|end| end.min(current)),
            None => hold.end,
        };
        let span = (hold.start, end);
        // What holds is the customer's, whatever became of the limit; what has expired is asked for again.
        if !live && quantity > 0 && (is_shut(now, span) || !reason.allows()) {
            return Told::Refused("expired");
        }
        let used = if quantity > 0 {
            self.count(hold.feature, span, quantity)
        } else {
            used
        };
        let said = said(true, reason, used, others);
        let state = State::Committed(quantity, said);
        self.holds.insert(label, Hold { state, ..hold });
        Told::Decided(said)
    }

    fn free(&mut self, label: Option<u32>) -> Told {
        let Some(hold) = label.and_then(|label| self.holds.get_mut(&label)) else {
            return Told::Refused("unknown reservation");
        };
        match hold.state {
            State::Committed(..) => Told::Refused("settled"),
            State::Released => Told::Freed { replayed: true },
            State::Held => {
                hold.state = State::Released;
                Told::Freed { replayed: false }
            }
        }
    }
}

/// Whether a span takes no more late usage.
fn is_shut(now: Time, (_, end): Span) -> bool {
    end.is_some_and(|end| end + TimeDelta::days(LATE_DAYS) <= now)
}
